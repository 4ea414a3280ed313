// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func (in *installation) readWebhooks(ctx context.Context, api scopedReader) error {
	return each(ctx, api, &admissionv1.MutatingWebhookConfigurationList{}, func(object client.Object) {
		in.webhooks = append(in.webhooks, object.(*admissionv1.MutatingWebhookConfiguration))
	}, installed)
}

// readMutating and readMutatingBindings read nothing where the cluster has no such policies.
func (in *installation) readMutating(ctx context.Context, api scopedReader) error {
	in.mutating = map[string]*admissionv1.MutatingAdmissionPolicySpec{}
	return ignoreNoMatch(each(ctx, api, &admissionv1.MutatingAdmissionPolicyList{}, func(object client.Object) {
		policy := object.(*admissionv1.MutatingAdmissionPolicy)
		in.mutating[policy.Name] = &policy.Spec
	}, installed))
}

func (in *installation) readMutatingBindings(ctx context.Context, api scopedReader) error {
	in.mutatingBound = map[string]bool{}
	return ignoreNoMatch(each(ctx, api, &admissionv1.MutatingAdmissionPolicyBindingList{}, func(object client.Object) {
		in.mutatingBound[object.(*admissionv1.MutatingAdmissionPolicyBinding).Spec.PolicyName] = true
	}))
}

func ignoreNoMatch(err error) error {
	if meta.IsNoMatchError(err) {
		return nil
	}
	return err
}

func (in *installation) readValidating(ctx context.Context, api scopedReader) error {
	return each(ctx, api, &admissionv1.ValidatingAdmissionPolicyList{}, func(object client.Object) {
		in.validating = append(in.validating, object.(*admissionv1.ValidatingAdmissionPolicy))
	}, installed)
}

func (in *installation) readValidatingBindings(ctx context.Context, api scopedReader) error {
	in.validatingBound = map[string]bool{}
	return each(ctx, api, &admissionv1.ValidatingAdmissionPolicyBindingList{}, func(object client.Object) {
		spec := object.(*admissionv1.ValidatingAdmissionPolicyBinding).Spec
		if slices.Contains(spec.ValidationActions, admissionv1.Deny) {
			in.validatingBound[spec.PolicyName] = true
		}
	})
}

// certificateSteps read the Secrets that the operators serve the webhooks with.
func (in *installation) certificateSteps() (steps []step) {
	in.certificates = map[types.NamespacedName]*corev1.Secret{}
	for _, o := range in.operators {
		key := o.certificate()
		if key.Name == "" {
			continue
		}
		steps = append(steps, step{ofCertificate, func(ctx context.Context, api scopedReader) error {
			secret := &corev1.Secret{}
			if err := api.Get(ctx, key, secret); err != nil {
				return client.IgnoreNotFound(err)
			}
			in.lock.Lock()
			defer in.lock.Unlock()
			in.certificates[key] = secret
			return nil
		}})
	}
	return steps
}
