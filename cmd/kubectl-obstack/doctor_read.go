// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/selection"
)

// installation is what was read of obstack and its surroundings. What could not be read is empty,
// and failed has the reason.
type installation struct {
	kubernetes  string
	definitions map[string]*apiextensionsv1.CustomResourceDefinition
	// monitoring is the version of prometheus-operator's definitions; empty if it is not known.
	monitoring string
	operators  []operator
	// pretenders are Deployments that only claim to be one.
	pretenders []string

	bindings []binding
	// roles are the rules of those that are bound to an operator.
	roles map[roleKey][]rbacv1.PolicyRule

	webhooks        []*admissionv1.MutatingWebhookConfiguration
	mutating        map[string]*admissionv1.MutatingAdmissionPolicySpec
	mutatingBound   map[string]bool
	validating      []*admissionv1.ValidatingAdmissionPolicy
	validatingBound map[string]bool
	certificates    map[types.NamespacedName]*corev1.Secret
	platforms       []*obsv1.ObservabilityPlatform
	stacks          []*obsv1.ObservabilityStack
	namespaces      map[string]map[string]string
	prometheuses    []judge.Prometheus
	children        []*metav1.PartialObjectMetadata
	// unserved are the kinds that the cluster is known not to serve: ours, and ServiceMonitors.
	unserved map[schema.GroupKind]bool
	// operatorsIn and stacksIn are the only namespaces that were looked at; empty if all were.
	operatorsIn, stacksIn string
	// operatorsGiven reports whether operatorsIn is from the command line.
	operatorsGiven bool
	// failed are the errors by what could not be read.
	failed map[string][]error
	// lock guards failed and what several steps of parallel write.
	lock sync.Mutex
}

// What is read, as messages call it.
const (
	ofDefinitions = "CustomResourceDefinitions"
	ofOperators   = "Deployments"
	ofRoles       = "roles and their bindings"
	ofWebhooks    = "MutatingWebhookConfigurations"
	ofMutating    = "MutatingAdmissionPolicies and their bindings"
	ofValidating  = "ValidatingAdmissionPolicies and their bindings"
	ofCertificate = "the Secret with the certificate"
	ofPlatforms   = "ObservabilityPlatforms"
	ofStacks      = "ObservabilityStacks"
	ofSelecting   = "what Prometheus selects by"
)

// scopedReader reads for the caller, who may be confined to a namespace.
type scopedReader struct {
	client.Reader
	mapper    meta.RESTMapper
	namespace string
	// kubernetes is the version of the cluster.
	kubernetes string
}

func newScopedReader(flags *genericclioptions.ConfigFlags) (reader scopedReader, err error) {
	api, namespace, err := connect(flags)
	if err != nil {
		return reader, err
	}
	discovery, err := flags.ToDiscoveryClient()
	if err != nil {
		return reader, fmt.Errorf("read the kubeconfig: %w", err)
	}
	version, err := discovery.ServerVersion()
	if err != nil {
		return reader, fmt.Errorf("ask the cluster for its version: %w", err)
	}
	return scopedReader{api, api.RESTMapper(), namespace, version.GitVersion}, nil
}

// installed selects what an installation consists of, and not what the operator made for stacks.
var installed = selector("app.kubernetes.io/part-of=obstack,!" + obsv1.LabelStack)

func selector(text string) client.MatchingLabelsSelector {
	parsed, err := labels.Parse(text)
	utilruntime.Must(err) // It is written above.
	return client.MatchingLabelsSelector{Selector: parsed}
}

// step of the reading.
type step struct {
	// what it reads, as messages call it.
	what string
	read func(context.Context, scopedReader) error
}

// read all: what does not depend on other things first, and at the same time.
func (in *installation) read(ctx context.Context, api scopedReader) {
	in.failed = map[string][]error{}
	in.definitions = map[string]*apiextensionsv1.CustomResourceDefinition{}
	var claim []operator
	steps := []step{
		{ofDefinitions, in.readMonitoring}, {ofOperators, in.operatorReader(&claim)},
		{ofRoles, in.readClusterBindings}, {ofRoles, in.readBindings}, {ofWebhooks, in.readWebhooks},
		{ofMutating, in.readMutating}, {ofMutating, in.readMutatingBindings},
		{ofValidating, in.readValidating}, {ofValidating, in.readValidatingBindings},
		{ofPlatforms, in.readPlatforms}, {ofStacks, in.readStacks},
	}
	for _, kind := range selection.Kinds() {
		steps = append(steps, step{ofSelecting, in.prometheusReader(kind)})
	}
	for _, want := range wantedDefinitions() {
		steps = append(steps, step{ofDefinitions, in.definitionReader(want.Name)})
	}
	in.parallel(ctx, api, steps)
	in.recognize(claim)
	steps = in.certificateSteps()
	if len(in.failed[ofRoles]) == 0 {
		steps = append(steps, in.roleSteps()...)
	}
	if len(in.prometheuses) > 0 {
		steps = append(steps, step{ofSelecting, in.readNamespaces},
			step{ofSelecting, in.childReader(desired.ServiceMonitorKind)},
			step{ofSelecting, in.childReader(desired.PodMonitorKind)},
			step{ofSelecting, in.childReader(desired.PrometheusRuleKind)})
	}
	in.parallel(ctx, api, steps)
}

// parallel takes several steps at a time. What more than one of them writes is written with the
// lock.
func (in *installation) parallel(ctx context.Context, api scopedReader, steps []step) {
	var wait sync.WaitGroup
	for _, step := range steps {
		wait.Go(func() {
			if err := step.read(ctx, api); err != nil {
				in.lock.Lock()
				defer in.lock.Unlock()
				in.failed[step.what] = append(in.failed[step.what], err)
			}
		})
	}
	wait.Wait()
}

// serves reports whether the cluster has a kind. Not to know is an error.
func (r scopedReader) serves(kind schema.GroupVersionKind) (bool, error) {
	_, err := r.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	return err == nil, err
}

// confined reads all namespaces or, where the caller may not, his own, which it returns.
func (r scopedReader) confined(
	ctx context.Context, list client.ObjectList, do func(client.Object), opts ...client.ListOption,
) (string, error) {
	err := each(ctx, r, list, do, opts...)
	if !apierrors.IsForbidden(err) {
		return "", err
	}
	if each(ctx, r, list, do, slices.Concat(opts, []client.ListOption{client.InNamespace(r.namespace)})...) != nil {
		return "", err // That of all namespaces says more.
	}
	return r.namespace, nil
}

// readServed asks whether the cluster serves stacks and ServiceMonitors, which everybody may.
func (in *installation) readServed(api scopedReader) error {
	in.unserved = map[schema.GroupKind]bool{}
	for _, kind := range []schema.GroupVersionKind{stackKind, desired.ServiceMonitorKind} {
		serves, err := api.serves(kind)
		if err != nil {
			return err
		}
		in.unserved[kind.GroupKind()] = !serves
	}
	return nil
}

// seen reports whether the cluster is known to serve stacks, and to have an operator.
func (in *installation) seen() bool {
	return len(in.operators) > 0 && !in.unserved[stackKind.GroupKind()]
}

// definitionReader reads one of that name, if it is there.
func (in *installation) definitionReader(name string) func(context.Context, scopedReader) error {
	return func(ctx context.Context, api scopedReader) error {
		live := &apiextensionsv1.CustomResourceDefinition{}
		if err := api.Get(ctx, client.ObjectKey{Name: name}, live); err != nil {
			return client.IgnoreNotFound(err)
		}
		in.lock.Lock()
		defer in.lock.Unlock()
		in.definitions[name] = live
		return nil
	}
}

// readMonitoring reads the version of prometheus-operator's definitions.
func (in *installation) readMonitoring(ctx context.Context, api scopedReader) error {
	monitors := metadata.Of(metadata.Definition)
	err := api.Get(ctx, client.ObjectKey{Name: "servicemonitors.monitoring.coreos.com"}, monitors)
	in.monitoring = monitors.Annotations["operator.prometheus.io/version"]
	return client.IgnoreNotFound(err)
}

// operatorReader reads the Deployments that claim to be the operator: those of the namespace of the
// command line, or of all, or of the usual one.
func (in *installation) operatorReader(claim *[]operator) func(context.Context, scopedReader) error {
	return func(ctx context.Context, api scopedReader) error {
		read := func(namespace string) error {
			return each(ctx, api, &appsv1.DeploymentList{}, func(object client.Object) {
				if o, ok := operatorOf(object.(*appsv1.Deployment)); ok {
					*claim = append(*claim, o)
				}
			}, installed, client.InNamespace(namespace))
		}
		err := read(in.operatorsIn)
		if apierrors.IsForbidden(err) && !in.operatorsGiven && read(usualNamespace) == nil {
			in.operatorsIn, err = usualNamespace, nil
		}
		slices.SortFunc(*claim, func(a, b operator) int { return strings.Compare(a.String(), b.String()) })
		return err
	}
}

func (in *installation) readPlatforms(ctx context.Context, api scopedReader) error {
	return each(ctx, api, &obsv1.ObservabilityPlatformList{}, func(object client.Object) {
		in.platforms = append(in.platforms, object.(*obsv1.ObservabilityPlatform))
	})
}

func (in *installation) readStacks(ctx context.Context, api scopedReader) error {
	var err error
	in.stacksIn, err = api.confined(ctx, &obsv1.ObservabilityStackList{}, func(object client.Object) {
		in.stacks = append(in.stacks, object.(*obsv1.ObservabilityStack))
	})
	slices.SortFunc(in.stacks, func(a, b *obsv1.ObservabilityStack) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return err
}
