// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/injection/policy"
)

// TestWrittenStopsNoOtherVariant: a version that cannot be written is the trouble of those who need
// it, and the stack's condition speaks for its own workloads.
func TestWrittenStopsNoOtherVariant(t *testing.T) {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	stack.Spec.Environment = "production"
	stack.Spec.Injection = &obsv1.InjectionSpec{Env: []obsv1.EnvVar{{Name: "FLAGS", Value: "new"}}}
	stack.Status.ConfigHash, stack.Status.ConfigHashWithoutEnv = "last", "last-plain"
	own, plain := desired.Variant{Env: true}, desired.Variant{}
	needed := map[string][]desired.Variant{"shop": {own}, "accepts": {own}, "team": {plain}, "web": {plain}}
	made := desired.NewSettings(stack, nil, nil)
	names := map[desired.Variant]string{own: made.Name(own), plain: made.Name(plain)}
	for name, tc := range map[string]struct {
		namespace string
		failed    desired.Variant
		stopped   []need
		// own and others are for whom it is trouble; kept is whether the status names the last one.
		own, others, kept bool
	}{
		"a copy":                     {"web", plain, []need{{"web", plain}}, false, true, false},
		"what the others need":       {"shop", plain, []need{{"team", plain}, {"web", plain}}, false, true, true},
		"what the own workloads get": {"shop", own, []need{{"shop", own}, {"accepts", own}}, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := written{Settings: desired.NewSettings(stack, nil, nil)}
			wanted := map[desired.Variant]string{own: w.Hash(own), plain: w.Hash(plain)}
			w.note("shop", needed, map[types.NamespacedName]error{
				{Namespace: tc.namespace, Name: names[tc.failed]}: errors.New("exceeded quota"),
			})
			stopped := map[need]bool{}
			for _, one := range tc.stopped {
				stopped[one] = true
			}
			version := w.version(observation{})
			for namespace, variants := range needed {
				for _, v := range variants {
					c := &policy.Candidate{Workload: &policy.Workload{}, Variant: policy.Variant(v)}
					c.Namespace = namespace
					if got := version(c); (got == "") != stopped[need{namespace, v}] || got != "" && got != wanted[v] {
						t.Errorf("version of %+v in %s = %q, want %s: %t", v, namespace, got, wanted[v],
							!stopped[need{namespace, v}])
					}
				}
			}
			if (w.own != nil) != tc.own || (w.elsewhere().recheck > 0) != tc.others {
				t.Errorf("own = %v, elsewhere = %+v", w.own, w.elsewhere())
			}
			if kept := w.Hash(tc.failed) == stack.Status.Version("", tc.failed.Env); kept != tc.kept {
				t.Errorf("the status names the last version: %t", kept)
			}
		})
	}
}
