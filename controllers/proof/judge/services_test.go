// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

func serving(name string, labels map[string]string, ports ...string) Service {
	return Service{Name: name, Labels: labels, Ports: ports}
}

func TestServedNamesWhatThereIs(t *testing.T) {
	api := map[string]string{"app": "shop-api"}
	for name, tc := range map[string]struct {
		services        []Service
		unready         bool
		selector        *metav1.LabelSelector
		reason, message string
	}{
		"a Service with the port":      {services: []Service{serving("shop-api", api, "metrics", "http")}},
		"one of several with the port": {services: []Service{serving("a", api, "grpc"), serving("b", api, "http")}},
		"a Service too large to read":  {services: []Service{{Name: "a", Labels: api}, {Name: "b", Unread: true}}},
		"the port of another's Service": {
			services: []Service{serving("a", api, "web"), serving("b", nil, "http")},
			reason:   obsv1.ReasonPortNotFound, message: "no Service of monitor api has a port named http: a has web",
		},
		"nothing ready": {
			services: []Service{serving("a", api, "http"), {Name: "b", Labels: api}}, unready: true,
			reason:  obsv1.ReasonNoReadyAddress,
			message: "nothing that is ready stands behind the Services of monitor api: look at the Pods of a",
		},
		"nothing ready behind no Service": {
			unready: true, reason: obsv1.ReasonNoService,
			message: "monitor api selects no Service: it wants app=shop-api, and namespace shop has no Service",
		},
		"no Service": {
			reason:  obsv1.ReasonNoService,
			message: "monitor api selects no Service: it wants app=shop-api, and namespace shop has no Service",
		},
		"other values": {
			services: []Service{
				serving("a", map[string]string{"app": "worker"}),
				serving("b", map[string]string{"app": "api", "x": "y"}),
				serving("c", map[string]string{"app": "api"}),
			},
			reason: obsv1.ReasonNoService,
			message: "monitor api selects no Service: it wants app=shop-api, and the Services have app=api, " +
				"app=worker",
		},
		"other labels": {
			services: []Service{
				serving("a", map[string]string{"app.kubernetes.io/name": "api"}),
				serving("b", nil), serving("c", nil),
				serving("d", nil), serving("e", nil),
			},
			reason: obsv1.ReasonNoService,
			message: "monitor api selects no Service: it wants app=shop-api, and its labels are on none of the Services " +
				"a, b, c, and 2 more",
		},
		"an expression": {
			services: []Service{serving("a", api)}, selector: expression("app", metav1.LabelSelectorOpIn, "b", "c"),
			reason:  obsv1.ReasonNoService,
			message: "monitor api selects no Service: it wants app in (b,c), and the Services have app=shop-api",
		},
		"other ports": {
			services: []Service{serving("a", api, "web", "grpc"), serving("b", api, ""), serving("c", api)},
			reason:   obsv1.ReasonPortNotFound,
			message: "no Service of monitor api has a port named http: a has web, grpc; b has a port without a name; " +
				"c has no port",
		},
	} {
		t.Run(name, func(t *testing.T) {
			stack := &obsv1.ObservabilityStack{}
			stack.Namespace = "shop"
			monitor := obsv1.Monitor{Name: "api", Port: "http", Selector: metav1.LabelSelector{MatchLabels: api}}
			if tc.selector != nil {
				monitor.Selector = *tc.selector
			}
			stack.Spec.Metrics = &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{monitor}}
			got := Served(stack, Cluster{Services: tc.services, Unready: map[string]bool{"api": tc.unready}})
			if tc.reason == "" {
				if len(got) > 0 {
					t.Errorf("findings = %+v, want none", got)
				}
				return
			}
			want := Finding{
				Part: Part{obsv1.PartMonitor, "api"}, Level: obsv1.LevelSelected, State: metav1.ConditionFalse,
				Reason: tc.reason, Message: tc.message,
			}
			if len(got) != 1 || got[0] != want {
				t.Errorf("findings = %+v, want %+v", got, want)
			}
		})
	}
}
