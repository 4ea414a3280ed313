// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/capabilities"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof"
	"obstack.dev/obstack/controllers/settings"
	"obstack.dev/obstack/controllers/stack"
	"obstack.dev/obstack/test/testenv"
)

// The API server of all tests of this package.
var (
	restConfig *rest.Config
	live       client.WithWatch
	scheme     = testenv.Scheme()

	// operatorConfig connects as the operator, under its admission policy, and operator writes so.
	operatorConfig *rest.Config
	operator       client.WithWatch
)

func TestMain(m *testing.M) {
	plane, err := testenv.StartControlPlane(context.Background(), testenv.Options{
		Log:      os.Stderr,
		CRDPaths: []string{filepath.Join("..", "test", "crds")},
	})
	if err != nil {
		panic(err) // Without an API server there is nothing to test.
	}
	restConfig = plane.Config
	if live, err = client.NewWithWatch(restConfig, client.Options{Scheme: scheme}); err != nil {
		panic(err)
	}
	if operatorConfig, err = testenv.AsOperator(context.Background(), restConfig); err != nil {
		panic(err)
	}
	if operator, err = client.NewWithWatch(operatorConfig, client.Options{Scheme: scheme}); err != nil {
		panic(err)
	}
	removeCertificate, err := serveWebhooks(restConfig)
	if err != nil {
		panic(err)
	}
	served, err := testenv.ServesPolicies(restConfig)
	if err != nil {
		panic(err)
	}
	if !served {
		fmt.Fprintln(os.Stderr, "NOT TESTED: injection by policies, for which this API server is too old")
		engines = []string{"webhook"}
	} else if err := installPolicies(context.Background()); err != nil {
		panic(err)
	}
	m.Run()
	if err := errors.Join(removeCertificate(), plane.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, "stop the control plane:", err)
	}
}

// requests counts the requests that a reconciler sends to change something, and to read live.
type requests struct {
	writes, reads []string
}

func (r *requests) total() int { return len(r.writes) + len(r.reads) }

func (r *requests) reset() { *r = requests{} }

// fixture is a reconciler whose every read and write goes to the API server.
type fixture struct {
	*stack.Reconciler
	sent *requests
	// fail, if set, is called before each write.
	fail     func(verb string, obj client.Object) error
	recorded *events.FakeRecorder
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{sent: &requests{}, recorded: events.NewFakeRecorder(100)}
	counted := interceptor.NewClient(operator, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if err := f.before("create", obj); err != nil {
				return err
			}
			return c.Create(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch,
			opts ...client.PatchOption) error {
			if err := f.before("patch", obj); err != nil {
				return err
			}
			return c.Patch(ctx, obj, patch, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			if err := f.before("delete", obj); err != nil {
				return err
			}
			return c.Delete(ctx, obj, opts...)
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object,
			opts ...client.SubResourceUpdateOption) error {
			if err := f.before(sub, obj); err != nil {
				return err
			}
			return c.SubResource(sub).Update(ctx, obj, opts...)
		},
	})
	reads := interceptor.NewClient(live, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object,
			opts ...client.GetOption) error {
			f.sent.reads = append(f.sent.reads, fmt.Sprintf("%s %s", obj.GetObjectKind().GroupVersionKind().Kind, key.Name))
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if _, ok := list.(*corev1.PodList); ok { // Others are of metadata, or of what the caches hold.
				f.sent.reads = append(f.sent.reads, "Pods")
			}
			return c.List(ctx, list, opts...)
		},
	})
	kinds := allKinds()
	f.Reconciler = &stack.Reconciler{
		Client: counted,
		Engine: &apply.Engine{
			Client: counted, Live: reads, Children: liveChildren, FieldManager: obsv1.FieldManager,
			HashAnnotation: obsv1.AnnotationApplied, Labels: map[string]string{obsv1.LabelManagedBy: obsv1.ManagedBy},
		},
		Platforms: platform.Resolver{Reader: live},
		Settings:  &settings.Keeper{Client: counted, Cache: indexed{live}, Live: reads, Now: time.Now},
		// What the cache returns in production costs no request, so it is not counted.
		Values: &stack.ValueReader{Metadata: live, Live: reads},
		Kinds:  kinds, Events: f.recorded, ExporterImage: "ghcr.io/obstack/obstack:test",
		Proofs: &proof.Store{}, Now: time.Now,
	}
	return f
}

// allKinds are the kinds of a cluster that serves all.
func allKinds() *capabilities.Kinds {
	kinds := stack.NewKinds()
	for _, kind := range kinds.Optional {
		kinds.Set(kind, true)
	}
	return kinds
}

func (f *fixture) before(verb string, obj client.Object) error {
	f.sent.writes = append(f.sent.writes, fmt.Sprintf("%s %s", verb, obj.GetName()))
	if f.fail != nil {
		return f.fail(verb, obj)
	}
	return nil
}

// liveChildren stands in for the index of the cache.
func liveChildren(ctx context.Context, owner client.Object,
	kind schema.GroupVersionKind) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	err := live.List(ctx, list, client.InNamespace(owner.GetNamespace()),
		client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy})
	return slices.DeleteFunc(list.Items, func(m metav1.PartialObjectMetadata) bool {
		return !metav1.IsControlledBy(&m, owner)
	}), err
}

// reconcileStack runs one pass over the stack as it is on the API server, and reads it back.
func (f *fixture) reconcileStack(t *testing.T, stack *obsv1.ObservabilityStack) ctrl.Result {
	t.Helper()
	refresh(t, stack)
	result, err := f.Reconcile(t.Context(), stack.DeepCopy())
	if err != nil {
		t.Fatalf("Reconcile: %v", err)
	}
	refresh(t, stack)
	return result
}

func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	create(t, ns)
	return ns.Name
}

func create(t *testing.T, obj client.Object) {
	t.Helper()
	if err := live.Create(t.Context(), obj); err != nil {
		t.Fatalf("create %s: %v", obj.GetName(), err)
	}
}

func refresh(t *testing.T, obj client.Object) {
	t.Helper()
	if err := live.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
		t.Fatalf("read %s: %v", obj.GetName(), err)
	}
}

// change edits the stack's spec on the API server.
func change(t *testing.T, stack *obsv1.ObservabilityStack, edit func(*obsv1.ObservabilityStackSpec)) {
	t.Helper()
	before := stack.DeepCopy()
	edit(&stack.Spec)
	if err := live.Patch(t.Context(), stack, client.MergeFrom(before)); err != nil {
		t.Fatalf("change %s: %v", stack.Name, err)
	}
}

// children of the stack that exist, as "Kind/name", sorted.
func children(t *testing.T, stack *obsv1.ObservabilityStack) []string {
	t.Helper()
	var names []string
	for _, kind := range allKinds().Served() {
		list, err := liveChildren(t.Context(), stack, kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, child := range list {
			names = append(names, kind.Kind+"/"+child.Name)
		}
	}
	slices.Sort(names)
	return names
}

// wantCondition checks a condition's status and reason, and returns its message.
func wantCondition(t *testing.T, stack *obsv1.ObservabilityStack, conditionType string, status metav1.ConditionStatus,
	reason string) string {
	t.Helper()
	got := meta.FindStatusCondition(stack.Status.Conditions, conditionType)
	if got == nil {
		t.Fatalf("condition %s is absent, want %s %s", conditionType, status, reason)
	}
	if got.Status != status || got.Reason != reason {
		t.Errorf("condition %s = %s %s (%s), want %s %s", conditionType, got.Status, got.Reason, got.Message, status, reason)
	}
	if got.ObservedGeneration != stack.Generation {
		t.Errorf("condition %s is about generation %d, want %d", conditionType, got.ObservedGeneration, stack.Generation)
	}
	return got.Message
}
