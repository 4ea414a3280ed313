// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"obstack.dev/obstack/test/testenv"
)

// live is a client of the API server of all tests of this package.
var live client.WithWatch

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	options := testenv.Options{Log: os.Stderr, WithoutPrometheusOperator: true}
	plane, err := testenv.StartControlPlane(context.Background(), options)
	if err != nil {
		panic(err) // Without an API server there is nothing to test.
	}
	if live, err = client.NewWithWatch(plane.Config, client.Options{Scheme: clientgoscheme.Scheme}); err != nil {
		panic(err)
	}
	m.Run()
	if err := plane.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the control plane:", err)
	}
}

var (
	configMapKind = corev1.SchemeGroupVersion.WithKind("ConfigMap")
	serviceKind   = corev1.SchemeGroupVersion.WithKind("Service")
	labels        = map[string]string{"managed-by": "engine"}
)

const hashAnnotation = "example.com/applied"

// process is an engine as one process has it, and an owner.
type process struct {
	*Engine
	owner *corev1.ConfigMap
	kinds []schema.GroupVersionKind
	// sent are the writes, such as "patch ConfigMap a", and pages counts the lists of the engine
	// itself.
	sent  []string
	pages int
	// before, if set, is called before each write.
	before func(verb, name string)
}

// start starts a process for an owner in a namespace of its own.
func start(t *testing.T) *process {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "apply-"}}
	create(t, namespace)
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "owner"}}
	create(t, owner)
	return newProcess(owner)
}

// restart starts another process for the same owner, which knows nothing of the one before.
func (p *process) restart() *process {
	next := newProcess(p.owner)
	next.kinds = p.kinds
	return next
}

func newProcess(owner *corev1.ConfigMap) *process {
	p := &process{owner: owner, kinds: []schema.GroupVersionKind{configMapKind}}
	p.Engine = &Engine{
		Children: childrenOf, FieldManager: "engine", HashAnnotation: hashAnnotation, Labels: labels,
		Namespaces: []string{owner.Namespace},
	}
	p.Live = interceptor.NewClient(live, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			p.pages++
			return c.List(ctx, list, append(opts, client.Limit(2))...)
		},
	})
	p.Client = interceptor.NewClient(live, interceptor.Funcs{
		Patch: func(
			ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption,
		) error {
			p.note("patch", obj)
			return c.Patch(ctx, obj, patch, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			p.note("delete", obj)
			return c.Delete(ctx, obj, opts...)
		},
	})
	return p
}

func (p *process) note(verb string, obj client.Object) {
	p.sent = append(p.sent, verb+" "+obj.GetName())
	if p.before != nil {
		p.before(verb, obj.GetName())
	}
}

// childrenOf lists from the API server what a cache would show: no hash, and no managed fields.
func childrenOf(
	ctx context.Context, owner client.Object, kind schema.GroupVersionKind,
) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	err := live.List(ctx, list, client.InNamespace(owner.GetNamespace()), client.MatchingLabels(labels))
	for i := range list.Items {
		delete(list.Items[i].Annotations, hashAnnotation)
		list.Items[i].ManagedFields = nil
	}
	foreign := func(m metav1.PartialObjectMetadata) bool { return !metav1.IsControlledBy(&m, owner) }
	return slices.DeleteFunc(list.Items, foreign), err
}

// pass applies the objects and prunes, and returns what it sent.
func (p *process) pass(t *testing.T, objects ...client.Object) []string {
	t.Helper()
	sent, err := p.try(t, objects...)
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

func (p *process) try(t *testing.T, objects ...client.Object) ([]string, error) {
	t.Helper()
	p.sent = nil
	pass := p.Begin(t.Context(), p.owner, p.kinds)
	if err := pass.Apply(t.Context(), objects); err != nil {
		return p.sent, err
	}
	err := pass.Prune(t.Context(), func(*metav1.PartialObjectMetadata) bool { return false })
	return p.sent, err
}

// configMap is one with data from KEY=VALUE pairs.
func configMap(name string, data ...string) *corev1.ConfigMap {
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: map[string]string{}}
	for _, pair := range data {
		key, value, _ := strings.Cut(pair, "=")
		c.Data[key] = value
	}
	return c
}

// read returns a ConfigMap of the owner's namespace.
func (p *process) read(t *testing.T, name string) *corev1.ConfigMap {
	t.Helper()
	c := &corev1.ConfigMap{}
	if err := live.Get(t.Context(), client.ObjectKey{Namespace: p.owner.Namespace, Name: name}, c); err != nil {
		t.Fatal(err)
	}
	return c
}

// edit changes a ConfigMap as somebody else.
func (p *process) edit(t *testing.T, name string, change func(*corev1.ConfigMap)) {
	t.Helper()
	c := p.read(t, name)
	change(c)
	if err := live.Update(t.Context(), c, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, obj client.Object) {
	t.Helper()
	if err := live.Create(t.Context(), obj, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, obj client.Object) {
	t.Helper()
	if err := live.Delete(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

func wantSent(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}
