// SPDX-License-Identifier: Apache-2.0

// Package injection brings the settings of stacks to workloads: it reads and watches
// workloads, patches their templates, and serves the webhooks. What is decided about
// them is decided in package policy.
package injection

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/settings"
)

// The paths under which the webhooks are served.
const (
	PodPath      = "/inject-pod"
	WorkloadPath = "/stamp-workload"
)

// AddWebhooks registers the webhooks with a server. They read through the caches of a
// manager, which may be those of some namespaces.
func AddWebhooks(mgr ctrl.Manager, server webhook.Server, namespaces map[string]cache.Config) {
	RegisterWebhooks(server, newReader(mgr, nil, namespaces))
}

// RegisterWebhooks registers the handlers with a server.
func RegisterWebhooks(server webhook.Server, reader *Reader) {
	server.Register(PodPath, &webhook.Admission{Handler: &PodWebhook{reader}})
	server.Register(WorkloadPath, &webhook.Admission{Handler: &WorkloadWebhook{reader}})
}

// PodWebhook adds the settings to Pods that are stamped or annotated.
type PodWebhook struct {
	*Reader
}

// Handle responds with a patch, or with a warning that says why there is none. It
// never refuses a Pod.
func (h *PodWebhook) Handle(ctx context.Context, req admission.Request) admission.Response {
	pod := &corev1.Pod{}
	if err := json.Unmarshal(req.Object.Raw, pod); err != nil {
		countInjection("failed", "Undecodable")
		return failed(ctx, fmt.Errorf("decode the Pod: %w", err))
	}
	namespace, err := h.namespace(ctx, req.Namespace)
	if err != nil {
		countInjection("failed", "LookupFailed")
		return failed(ctx, err)
	}
	claim := policy.PodClaim(pod, req.Namespace, namespace)
	stack, err := h.stack(ctx, claim)
	if err != nil {
		countInjection("failed", "LookupFailed")
		return failed(ctx, err)
	}
	decision, stamp := policy.DecidePod(pod, claim, req.Namespace, namespace.Labels, stack)
	if decision.Granted {
		decision, err = h.withoutTakenBack(ctx, decision, req.Namespace, stamp)
	}
	if err != nil {
		countInjection("failed", "LookupFailed")
		return failed(ctx, err)
	}
	if !decision.Granted {
		return refused(decision)
	}
	countInjection("injected", "")
	return withWarning(admission.Patched("", policy.PodPatch(pod, stamp, claim)...), decision)
}

// withoutTakenBack refuses a version that holds variables which the namespace of a Pod does not
// accept, or not any more: the stamp is that of a template, and may be older.
func (h *PodWebhook) withoutTakenBack(ctx context.Context, granted policy.Decision, namespace string,
	stamp policy.Stamp) (policy.Decision, error) {
	version := settings.Version{Stack: stamp.Stack, Namespace: namespace, Hash: stamp.ConfigHash}
	if namespace == stamp.Stack.Namespace {
		return granted, nil
	}
	secret := metadata.Of(metadata.Secret)
	if err := h.Main.Get(ctx, version.Secret(), secret); client.IgnoreNotFound(err) != nil {
		return granted, fmt.Errorf("read metadata of Secret %s: %w", version.Secret(), err)
	}
	if !settings.HoldsEnv(secret, version) {
		return granted, nil
	}
	accepts, err := Uses{h.Reader}.Accepts(ctx, namespace)
	if err != nil || accepts {
		return granted, err
	}
	return policy.EnvNotAccepted(stamp), nil
}

// WorkloadWebhook stamps the templates of annotated workloads.
type WorkloadWebhook struct {
	*Reader
}

// Handle responds with a patch, or with a warning that says why there is none. It
// never refuses a workload.
func (h *WorkloadWebhook) Handle(ctx context.Context, req admission.Request) admission.Response {
	after, err := decodeWorkload(req.Object.Raw, req.Kind.Kind)
	if err != nil {
		return failed(ctx, err)
	}
	ops := policy.ProbePatch(after.Annotations)
	// The Jobs of a CronJob have the stamp of its template, and the operator knows what it writes.
	if after.OfCronJob() || byOperator(req) {
		return admission.Patched("", ops...)
	}
	change := policy.TemplateChange{Path: after.path, Selector: after.selector, New: after.template}
	if req.Operation == admissionv1.Update {
		before, err := decodeWorkload(req.OldObject.Raw, req.Kind.Kind)
		if err != nil {
			return failed(ctx, err)
		}
		change.Old = before.template
	}
	namespace, err := h.namespace(ctx, req.Namespace)
	if err != nil {
		return failed(ctx, err)
	}
	claim := policy.ClaimOf(&after.Workload, namespace)
	if claim.Made() && !h.Watched(claim.Stack.Namespace) {
		return admission.Patched("", ops...) // It is another operator's.
	}
	stack, err := h.stack(ctx, claim)
	if err != nil {
		return failed(ctx, err)
	}
	decision := change.Decide(&after.Workload, claim, namespace.Labels, stack)
	if err := h.holdUnwritten(ctx, req.Namespace, &change); err != nil {
		return failed(ctx, err)
	}
	ops = append(append(ops, policy.TemplatePatch(change)...), policy.WithdrawalPatch(&after.Workload)...)
	return withWarning(admission.Patched("", ops...), decision)
}

// holdUnwritten has a template keep the stamp that it has if the wanted version is not in its
// namespace: there it could not be written, and the last settings are better than none.
func (h *WorkloadWebhook) holdUnwritten(ctx context.Context, namespace string, change *policy.TemplateChange) error {
	if change.Want == nil || change.Old == nil || namespace == change.Want.Stack.Namespace {
		return nil // The stack has none that is not in its own namespace.
	}
	version := settings.Version{Stack: change.Want.Stack, Namespace: namespace, Hash: change.Want.ConfigHash}
	err := h.Main.Get(ctx, version.Secret(), metadata.Of(metadata.Secret))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read metadata of Secret %s: %w", version.Secret(), err)
	}
	if err != nil {
		change.Want, change.Hold = nil, true
	}
	return nil
}

// byOperator reports whether the operator asks, which stamps in its own time.
func byOperator(req admission.Request) bool {
	var options struct {
		FieldManager string `json:"fieldManager"`
	}
	return json.Unmarshal(req.Options.Raw, &options) == nil && options.FieldManager == obsv1.FieldManager
}

// admitted is a workload in an admission request.
type admitted struct {
	policy.Workload
	selector *metav1.LabelSelector
	template *corev1.PodTemplateSpec
	path     string
}

func decodeWorkload(raw []byte, kind string) (*admitted, error) {
	var full struct {
		Spec struct {
			Selector    *metav1.LabelSelector   `json:"selector"`
			Template    *corev1.PodTemplateSpec `json:"template"`
			JobTemplate *struct {
				Spec struct {
					Template corev1.PodTemplateSpec `json:"template"`
				} `json:"spec"`
			} `json:"jobTemplate"`
		} `json:"spec"`
	}
	w := &admitted{path: "/spec/template"}
	if err := json.Unmarshal(raw, &w.Workload); err != nil {
		return nil, fmt.Errorf("decode the %s: %w", kind, err)
	}
	if err := json.Unmarshal(raw, &full); err != nil {
		return nil, fmt.Errorf("decode the template of the %s: %w", kind, err)
	}
	w.Kind, w.selector = kind, full.Spec.Selector
	switch {
	case full.Spec.JobTemplate != nil:
		w.template, w.path = &full.Spec.JobTemplate.Spec.Template, "/spec/jobTemplate/spec/template"
	case full.Spec.Template != nil:
		w.template = full.Spec.Template
	default:
		return nil, fmt.Errorf("the %s has no Pod template", kind)
	}
	return w, nil
}

// failed lets the request pass as it is. An error would do the same by way of
// failurePolicy, and be counted as a failure of the cluster's.
func failed(ctx context.Context, err error) admission.Response {
	ctrl.LoggerFrom(ctx).Error(err, "Could not decide about an injection")
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{
		Allowed: true, Result: &metav1.Status{Code: http.StatusOK},
		Warnings: []string{"obstack: could not look up what to inject; obstack's log has the details"},
	}}
}

func refused(decision policy.Decision) admission.Response {
	switch decision.Reason {
	case "":
		countInjection("skipped", "OptedOut")
	case obsv1.ReasonWaitingForSettings:
		countInjection("skipped", decision.Reason)
	default:
		countInjection("refused", decision.Reason)
	}
	return withWarning(admission.Allowed(""), decision)
}

// maxWarning is what kubectl and the API server pass on of a warning, in bytes.
const maxWarning = 256

func withWarning(response admission.Response, decision policy.Decision) admission.Response {
	if decision.Message == "" {
		return response
	}
	warning := "obstack: " + decision.Message
	return response.WithWarnings(warning[:min(len(warning), maxWarning)])
}
