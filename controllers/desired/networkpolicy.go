// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// The ports where names are asked for, wherever the cluster's DNS is. Most network plugins judge
// egress by the Pod behind a Service, and OpenShift's DNS Pods listen on the second one.
const (
	portDNS    = 53
	portDNSPod = 5353
)

// exporterNetworkPolicy lets an exporter reach its broker and DNS, and be scraped, and be asked by
// the operator if it is known who that is.
func exporterNetworkPolicy(stack *obsv1.ObservabilityStack, broker *obsv1.Broker,
	operator *networkingv1.NetworkPolicyPeer) *networkingv1.NetworkPolicy {
	from := broker.NetworkPolicy.Scraper
	if len(from) > 0 && operator != nil && broker.Image == "" {
		from = append(slices.Clone(from), *operator)
	}
	return &networkingv1.NetworkPolicy{
		ObjectMeta: exporterMeta(stack, broker, nil),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: exporterSelector(stack, broker)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				Ports: []networkingv1.NetworkPolicyPort{policyPort(corev1.ProtocolTCP, ExporterPort)},
				From:  from,
			}},
			Egress: []networkingv1.NetworkPolicyEgressRule{
				{Ports: []networkingv1.NetworkPolicyPort{
					policyPort(corev1.ProtocolUDP, portDNS), policyPort(corev1.ProtocolTCP, portDNS),
					policyPort(corev1.ProtocolUDP, portDNSPod), policyPort(corev1.ProtocolTCP, portDNSPod),
				}},
				{To: broker.NetworkPolicy.Broker},
			},
		},
	}
}

func policyPort(protocol corev1.Protocol, port int32) networkingv1.NetworkPolicyPort {
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: new(intstr.FromInt32(port))}
}
