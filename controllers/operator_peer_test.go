// SPDX-License-Identifier: Apache-2.0

package controllers

import "testing"

// A peer without labels would be everybody in the namespace, and one without a namespace every Pod
// of the cluster that has the labels.
func TestOperatorPeerIsNamedOnlyWhereItIsKnown(t *testing.T) {
	labels := map[string]string{"app.kubernetes.io/name": "obstack"}
	for _, opts := range []Options{{}, {Namespace: "obstack-system"}, {Proofs: ProofOptions{PodLabels: labels}}} {
		if peer := operatorPeer(opts); peer != nil {
			t.Errorf("of %+v the peer is %v, want none", opts, peer)
		}
	}
	peer := operatorPeer(Options{Namespace: "obstack-system", Proofs: ProofOptions{PodLabels: labels}})
	if peer == nil || peer.PodSelector.MatchLabels["app.kubernetes.io/name"] != "obstack" ||
		peer.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] != "obstack-system" {
		t.Errorf("the peer is %v, want the operator's Pods", peer)
	}
}
