// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/test/testenv"
)

func TestEngineSendsNothingForUnchangedObjects(t *testing.T) {
	p := start(t)
	wantSent(t, p.pass(t, configMap("a", "k=1"), configMap("b")), "patch a", "patch b")
	if got := p.read(t, "a"); !metav1.IsControlledBy(got, p.owner) || got.Data["k"] != "1" {
		t.Errorf("a = %v, want it as given, and controlled by its owner", got)
	}
	wantSent(t, p.pass(t, configMap("a", "k=1"), configMap("b")))
	wantSent(t, p.pass(t, configMap("a", "k=2"), configMap("b")), "patch a")
}

func TestEngineRepairsDrift(t *testing.T) {
	p := start(t)
	want := []client.Object{configMap("edited", "k=1"), configMap("deleted"), configMap("unlabelled"), configMap("intact")}
	p.pass(t, want...)
	p.edit(t, "edited", func(c *corev1.ConfigMap) { c.Data = map[string]string{"k": "2", "theirs": "1"} })
	p.edit(t, "unlabelled", func(c *corev1.ConfigMap) { c.Labels = nil }) // Not even listed any more.
	remove(t, p.read(t, "deleted"))
	wantSent(t, p.pass(t, want...), "patch edited", "patch deleted", "patch unlabelled")
	if got := p.read(t, "edited").Data; !maps.Equal(got, map[string]string{"k": "1", "theirs": "1"}) {
		t.Errorf("data = %v, want ours repaired and theirs kept", got)
	}
	if got := p.read(t, "unlabelled").Labels; !maps.Equal(got, labels) {
		t.Errorf("labels = %v, want %v", got, labels)
	}
	wantSent(t, p.pass(t, want...))
}

func TestEngineRemovesDroppedFields(t *testing.T) {
	p := start(t)
	p.pass(t, configMap("a", "k=1", "dropped=1"))
	p.edit(t, "a", func(c *corev1.ConfigMap) { c.Data["theirs"] = "1" })
	p.pass(t, configMap("a", "k=1"))
	if got := p.read(t, "a").Data; !maps.Equal(got, map[string]string{"k": "1", "theirs": "1"}) {
		t.Errorf("data = %v, want the dropped field gone and theirs kept", got)
	}
}

func TestEngineLeavesUnmanagedObjects(t *testing.T) {
	p := start(t)
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.owner.Namespace, Name: "early"}}
	theirs.Data = map[string]string{"theirs": "1"}
	create(t, theirs)
	late := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.owner.Namespace, Name: "late"}}
	p.before = func(_, name string) {
		if name == late.Name && late.UID == "" { // in the last moment
			create(t, late)
		}
	}
	for _, theirs := range []*corev1.ConfigMap{theirs, late} {
		_, err := p.try(t, configMap(theirs.Name, "k=1"), configMap("mine"))
		var taken *NameTakenError
		if !errors.As(err, &taken) || *taken != (NameTakenError{"ConfigMap", theirs.Name}) {
			t.Errorf("error = %v, want that the name %s is taken", err, theirs.Name)
		}
		if diff := cmp.Diff(theirs, p.read(t, theirs.Name), ignoreKind); diff != "" {
			t.Errorf("%s changed (-before +after):\n%s", theirs.Name, diff)
		}
		p.read(t, "mine") // One that fails does not stop the others.
	}
	p.before = nil
	p.pass(t)
	p.read(t, "early") // Nor does pruning remove it.
}

var ignoreKind = cmp.FilterPath(func(path cmp.Path) bool { return path.String() == "TypeMeta" }, cmp.Ignore())

func TestEngineTakesBackOrphans(t *testing.T) {
	p := start(t)
	p.pass(t, configMap("a", "k=1"))
	p.edit(t, "a", func(c *corev1.ConfigMap) { c.OwnerReferences = nil })
	p.pass(t, configMap("a", "k=1"))
	if got := p.read(t, "a"); !metav1.IsControlledBy(got, p.owner) {
		t.Errorf("owners = %v, want ours", got.OwnerReferences)
	}
}

func TestEngineReplacesWhatCannotBeChanged(t *testing.T) {
	p := start(t)
	immutable := func(data ...string) *corev1.ConfigMap {
		c := configMap("a", data...)
		c.Immutable = new(true)
		return c
	}
	p.pass(t, immutable("k=1"))
	first := p.read(t, "a")
	p.pass(t, immutable("k=2"))
	second := p.read(t, "a")
	if second.UID == first.UID || second.Data["k"] != "2" {
		t.Errorf("a = %v, want another ConfigMap with the new data", second)
	}
	// What would be refused anyway must not cost the one that is there.
	if _, err := p.try(t, immutable("not a key=3")); err == nil {
		t.Error("no error for a key that is invalid")
	}
	if got := p.read(t, "a"); got.UID != second.UID {
		t.Error("the ConfigMap was replaced, although the new one is refused as well")
	}
}

// TestEngineReplacesNothingThatAPolicyRefuses: of a deletion and a creation this policy would not
// know. It fails instead of refusing, which is an invalid request too.
func TestEngineReplacesNothingThatAPolicyRefuses(t *testing.T) {
	p := start(t)
	p.pass(t, configMap("a", "k=1"))
	first := p.read(t, "a")
	name := "refuses-" + p.owner.Namespace
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Update},
					Rule: admissionv1.Rule{
						APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"},
					},
				},
			}}},
			MatchConditions: []admissionv1.MatchCondition{{
				Name: "here", Expression: "request.namespace == '" + p.owner.Namespace + "'",
			}},
			Validations: []admissionv1.Validation{{Expression: "object.data['absent'] == '1'"}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	for _, object := range []client.Object{policy, binding} {
		create(t, object)
		t.Cleanup(func() { _ = live.Delete(context.WithoutCancel(t.Context()), object) })
	}
	testenv.Poll(t, func(ctx context.Context) string {
		if err := live.Update(ctx, first.DeepCopy(), client.DryRunAll); !apierrors.IsInvalid(err) {
			return fmt.Sprintf("the policy is not in force: %v", err)
		}
		return ""
	})
	sent, err := p.try(t, configMap("a", "k=2"))
	if !apierrors.IsInvalid(err) || !Rejected(err) {
		t.Errorf("error = %v, want that of the policy", err)
	}
	wantSent(t, sent, "patch a")
	if got := p.read(t, "a"); got.UID != first.UID {
		t.Error("the ConfigMap was replaced")
	}
}

func TestPassPrunesWhatIsNotWanted(t *testing.T) {
	p := start(t)
	p.pass(t, configMap("a"), configMap("b"), configMap("held"))
	foreign := configMap("foreign")
	foreign.Namespace = p.owner.Namespace
	create(t, foreign)
	pass := p.Begin(t.Context(), p.owner, p.kinds)
	hold := func(child *metav1.PartialObjectMetadata) bool { return child.Name == "held" }
	if err := pass.Apply(t.Context(), []client.Object{configMap("a")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Change{{"delete", "ConfigMap", "b"}}, pass.DiffPrune(hold)); diff != "" {
		t.Errorf("would prune (-want +got):\n%s", diff)
	}
	// Somebody else's object takes the name in the last moment.
	replaced := configMap("b")
	replaced.Namespace = p.owner.Namespace
	p.before = func(verb, _ string) {
		if verb == "delete" {
			remove(t, p.read(t, "b"))
			create(t, replaced)
		}
	}
	if err := pass.Prune(t.Context(), hold); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "held", "foreign"} {
		p.read(t, name)
	}
	if got := p.read(t, "b"); got.UID != replaced.UID {
		t.Error("what took the name of a child was deleted")
	}
}

func TestPassPrunesWhatTheCacheDoesNotShowYet(t *testing.T) {
	p := start(t)
	p.Children = func(context.Context, client.Object, schema.GroupVersionKind) ([]metav1.PartialObjectMetadata, error) {
		return nil, nil
	}
	p.pass(t, configMap("a"))
	wantSent(t, p.pass(t), "delete a")
}

func TestPassDiffChangesNothing(t *testing.T) {
	p := start(t)
	p.pass(t, configMap("edited", "k=1"), configMap("same", "k=1"))
	p.edit(t, "edited", func(c *corev1.ConfigMap) { c.Data["k"] = "2" })
	before := p.read(t, "edited")
	next := p.restart()
	changes, err := next.Begin(t.Context(), next.owner, next.kinds).Diff(t.Context(), []client.Object{
		configMap("edited", "k=1"), configMap("same", "k=1"), configMap("new"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Change{{"update", "ConfigMap", "edited"}, {"create", "ConfigMap", "new"}}, changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, p.read(t, "edited")); diff != "" {
		t.Errorf("it changed (-before +after):\n%s", diff)
	}
}

func TestEngineExpectsEventsOfItsOwnWrites(t *testing.T) {
	p := start(t)
	event := configMap("a")
	event.Namespace = p.owner.Namespace
	event.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(p.owner, configMapKind)}
	expected := func(child client.Object) bool { return p.Expected(child, configMapKind.GroupKind()) }
	if expected(event) {
		t.Error("a child that the engine never wrote is expected")
	}
	for version, raced := range map[string]bool{"2": false, "9000000000": true} { // before the response, and after
		p.before = func(string, string) {
			event.ResourceVersion = version
			if !expected(event) {
				t.Error("an event while a request is under way is not kept for the pass")
			}
		}
		pass := p.Begin(t.Context(), p.owner, p.kinds)
		if err := pass.Apply(t.Context(), []client.Object{configMap("a", "version="+version)}); err != nil {
			t.Fatal(err)
		}
		if pass.Raced() != raced {
			t.Errorf("event of version %s: raced = %t, want %t", version, pass.Raced(), raced)
		}
	}
	p.before = nil
	if !expected(p.read(t, "a")) {
		t.Error("what the engine wrote is not expected")
	}
	p.edit(t, "a", func(c *corev1.ConfigMap) { c.Data["theirs"] = "1" })
	if expected(p.read(t, "a")) {
		t.Error("what somebody else wrote is expected")
	}
	p.Forget(p.owner.UID)
	if expected(p.read(t, "a")) {
		t.Error("a child of an owner that is forgotten is expected")
	}
}
