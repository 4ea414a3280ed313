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

	bindings []binding
	// roles are the rules of those that are bound to an operator.
	roles map[roleKey][]rbacv1.PolicyRule

	webhooks         []*admissionv1.MutatingWebhookConfiguration
	mutating         map[string]*admissionv1.MutatingAdmissionPolicySpec
	mutatingBound    map[string]bool
	validating       []*admissionv1.ValidatingAdmissionPolicy
	validatingBound  map[string]bool
	certificates     map[types.NamespacedName]*corev1.Secret
	platforms        []*obsv1.ObservabilityPlatform
	stacks           []*obsv1.ObservabilityStack
	namespaces       map[string]map[string]string
	prometheuses     []judge.Prometheus
	children         []*metav1.PartialObjectMetadata
	monitoringServed bool
	// operatorsIn and stacksIn are the only namespaces that were looked at; empty if all were.
	operatorsIn, stacksIn string
	// failed are the errors by what could not be read.
	failed map[string]error
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
}

// newScopedReader connects, and returns the version of Kubernetes too.
func newScopedReader(flags *genericclioptions.ConfigFlags) (reader scopedReader, kubernetes string, err error) {
	api, namespace, err := connect(flags)
	if err != nil {
		return reader, "", err
	}
	discovery, err := flags.ToDiscoveryClient()
	if err != nil {
		return reader, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	version, err := discovery.ServerVersion()
	if err != nil {
		return reader, "", fmt.Errorf("ask the cluster for its version: %w", err)
	}
	return scopedReader{Reader: api, mapper: api.RESTMapper(), namespace: namespace}, version.GitVersion, nil
}

// installed selects what an installation consists of, and not what the operator made for stacks.
var installed = selector("app.kubernetes.io/part-of=obstack,!" + obsv1.LabelStack)

func selector(text string) client.MatchingLabelsSelector {
	parsed, err := labels.Parse(text)
	utilruntime.Must(err) // It is written above.
	return client.MatchingLabelsSelector{Selector: parsed}
}

// read all: what does not depend on other things first, and at the same time.
func (in *installation) read(ctx context.Context, api scopedReader) {
	in.failed = map[string]error{}
	in.parallel(map[string]func() error{
		ofDefinitions: func() error { return in.readDefinitions(ctx, api) },
		ofOperators:   func() error { return in.readOperators(ctx, api) },
		ofRoles:       func() error { return in.readBindings(ctx, api) },
		ofWebhooks:    func() error { return in.readWebhooks(ctx, api) },
		ofMutating:    func() error { return in.readMutating(ctx, api) },
		ofValidating:  func() error { return in.readValidating(ctx, api) },
		ofPlatforms:   func() error { return in.readPlatforms(ctx, api) },
		ofStacks:      func() error { return in.readStacks(ctx, api) },
		ofSelecting:   func() error { return in.readSelecting(ctx, api) },
	})
	_, err := api.mapper.RESTMapping(desired.ServiceMonitorKind.GroupKind())
	in.monitoringServed = err == nil
	steps := map[string]func() error{ofCertificate: func() error { return in.readCertificates(ctx, api) }}
	if in.failed[ofRoles] == nil {
		steps[ofRoles] = func() error { return in.readRoles(ctx, api) }
	}
	in.parallel(steps)
}

// parallel reads several things at a time, of which none writes what another does.
func (in *installation) parallel(steps map[string]func() error) {
	var wait sync.WaitGroup
	var lock sync.Mutex
	for what, step := range steps {
		wait.Go(func() {
			if err := step(); err != nil {
				lock.Lock()
				defer lock.Unlock()
				in.failed[what] = err
			}
		})
	}
	wait.Wait()
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

func (in *installation) readDefinitions(ctx context.Context, api scopedReader) error {
	in.definitions = map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, want := range wantedDefinitions() {
		live := &apiextensionsv1.CustomResourceDefinition{}
		err := api.Get(ctx, client.ObjectKeyFromObject(want), live)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err == nil {
			in.definitions[want.Name] = live
		}
	}
	monitors := metadata.Of(metadata.Definition)
	err := api.Get(ctx, client.ObjectKey{Name: "servicemonitors.monitoring.coreos.com"}, monitors)
	in.monitoring = monitors.Annotations["operator.prometheus.io/version"]
	return client.IgnoreNotFound(err)
}

func (in *installation) readOperators(ctx context.Context, api scopedReader) error {
	var err error
	in.operatorsIn, err = api.confined(ctx, &appsv1.DeploymentList{}, func(object client.Object) {
		if o, ok := operatorOf(object.(*appsv1.Deployment)); ok {
			in.operators = append(in.operators, o)
		}
	}, installed)
	slices.SortFunc(in.operators, func(a, b operator) int { return strings.Compare(a.String(), b.String()) })
	return err
}

func (in *installation) readWebhooks(ctx context.Context, api scopedReader) error {
	return each(ctx, api, &admissionv1.MutatingWebhookConfigurationList{}, func(object client.Object) {
		in.webhooks = append(in.webhooks, object.(*admissionv1.MutatingWebhookConfiguration))
	}, installed)
}

// readMutating reads nothing where the cluster has no such policies.
func (in *installation) readMutating(ctx context.Context, api scopedReader) error {
	in.mutating, in.mutatingBound = map[string]*admissionv1.MutatingAdmissionPolicySpec{}, map[string]bool{}
	err := each(ctx, api, &admissionv1.MutatingAdmissionPolicyList{}, func(object client.Object) {
		policy := object.(*admissionv1.MutatingAdmissionPolicy)
		in.mutating[policy.Name] = &policy.Spec
	}, installed)
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return each(ctx, api, &admissionv1.MutatingAdmissionPolicyBindingList{}, func(object client.Object) {
		in.mutatingBound[object.(*admissionv1.MutatingAdmissionPolicyBinding).Spec.PolicyName] = true
	})
}

func (in *installation) readValidating(ctx context.Context, api scopedReader) error {
	in.validatingBound = map[string]bool{}
	err := each(ctx, api, &admissionv1.ValidatingAdmissionPolicyList{}, func(object client.Object) {
		in.validating = append(in.validating, object.(*admissionv1.ValidatingAdmissionPolicy))
	}, installed)
	if err != nil {
		return err
	}
	return each(ctx, api, &admissionv1.ValidatingAdmissionPolicyBindingList{}, func(object client.Object) {
		spec := object.(*admissionv1.ValidatingAdmissionPolicyBinding).Spec
		if slices.Contains(spec.ValidationActions, admissionv1.Deny) {
			in.validatingBound[spec.PolicyName] = true
		}
	})
}

// readCertificates reads the Secrets that the operators serve the webhooks with.
func (in *installation) readCertificates(ctx context.Context, api scopedReader) error {
	in.certificates = map[types.NamespacedName]*corev1.Secret{}
	for _, o := range in.operators {
		key := o.certificate()
		if key.Name == "" {
			continue
		}
		secret := &corev1.Secret{}
		err := api.Get(ctx, key, secret)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err == nil {
			in.certificates[key] = secret
		}
	}
	return nil
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

// readSelecting reads the metadata of what is selected, and what selects.
func (in *installation) readSelecting(ctx context.Context, api scopedReader) (err error) {
	in.namespaces = map[string]map[string]string{}
	serves := func(kind schema.GroupVersionKind) bool {
		_, err := api.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		return err == nil
	}
	if in.prometheuses, err = selection.Prometheuses(ctx, api, serves); err != nil || len(in.prometheuses) == 0 {
		return err
	}
	err = each(ctx, api, metadata.ListOf(metadata.Namespace), func(object client.Object) {
		in.namespaces[object.GetName()] = object.GetLabels()
	})
	for _, kind := range []schema.GroupVersionKind{desired.ServiceMonitorKind, desired.PrometheusRuleKind} {
		if err != nil || !serves(kind) {
			continue
		}
		_, err = api.confined(ctx, metadata.ListOf(kind), func(object client.Object) {
			child := object.(*metav1.PartialObjectMetadata)
			child.SetGroupVersionKind(kind)
			in.children = append(in.children, child)
		}, client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy}, client.HasLabels{obsv1.LabelStack})
	}
	return err
}
