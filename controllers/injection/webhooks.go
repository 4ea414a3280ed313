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
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

// The paths under which the webhooks are served.
const (
	PodPath      = "/inject-pod"
	WorkloadPath = "/stamp-workload"
)

// Lookup reads what the webhooks need to know of the cluster.
type Lookup struct {
	*Reader
	// Live reads the metadata of Secrets that the cache does not show yet.
	Live client.Reader
	// absent are the Secrets that were not there either, for absentFor.
	absent *utilcache.Expiring
}

const (
	// absentFor is how long a Secret that is not there is not looked for again but in the cache.
	absentFor = 3 * time.Second
	// lookupTimeout ends a look at the API server while its clients pause, or the cluster would
	// give up the call that waits, and start the Pod without its settings: after a second at the
	// earliest.
	lookupTimeout = 500 * time.Millisecond
	// lookupsPerSecond bounds the requests that calls of the webhooks make.
	lookupsPerSecond = 20
)

// NewLookup makes a Lookup.
func NewLookup(reader *Reader, live client.Reader) Lookup {
	return Lookup{Reader: reader, Live: live, absent: utilcache.NewExpiring()}
}

// AddWebhooks registers the webhooks with a server. They read through the caches of a
// manager, which may be those of some namespaces.
func AddWebhooks(mgr ctrl.Manager, server webhook.Server, namespaces map[string]cache.Config) error {
	config := rest.CopyConfig(mgr.GetConfig())
	config.QPS, config.Burst = lookupsPerSecond, 2*lookupsPerSecond
	live, err := client.New(config, client.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
	})
	if err != nil {
		return fmt.Errorf("make the webhooks' client: %w", err)
	}
	RegisterWebhooks(server, NewLookup(newReader(mgr, nil, namespaces), live))
	return nil
}

// RegisterWebhooks registers the handlers with a server.
func RegisterWebhooks(server webhook.Server, lookup Lookup) {
	server.Register(PodPath, &webhook.Admission{Handler: &PodWebhook{Lookup: lookup}})
	server.Register(WorkloadPath, &webhook.Admission{Handler: &WorkloadWebhook{Lookup: lookup}})
}

// PodWebhook adds the settings to Pods that are stamped or annotated.
type PodWebhook struct {
	Lookup
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
		return failed(ctx, err)
	}
	claim := policy.PodClaim(pod, req.Namespace, namespace.Labels)
	decision, stack, err := h.decide(ctx, claim, req.Namespace)
	if err != nil {
		countInjection("failed", "LookupFailed")
		return failed(ctx, err)
	}
	var names []string
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Name)
	}
	decision = decision.Check(claim, names)
	if !decision.Granted {
		return refused(decision)
	}
	// The status may be behind the stamp: what is stamped has a configuration.
	stamp := podStamp(pod, claim, stack.Status.ConfigHash)
	if stamp.ConfigHash == "" {
		countInjection("skipped", obsv1.ReasonWaitingForSettings)
		return admission.Allowed("").WithWarnings(
			fmt.Sprintf("obstack: ObservabilityStack %s has no settings yet: see its status", claim.Stack))
	}
	grant := policy.Grant{
		Stamp:            stamp,
		Secret:           obsv1.SettingsName(stack.Namespace, stack.Name, stamp.ConfigHash),
		ReleaseFromImage: stack.Spec.Sentry.ReleasesFromImage(),
	}
	settings := types.NamespacedName{Namespace: req.Namespace, Name: grant.Secret}
	if grant.SecretExists, err = h.secretExists(ctx, settings); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not look for the settings", "secret", settings)
	}
	countInjection("injected", "")
	return withWarning(admission.Patched("", policy.PodPatch(pod, grant, claim)...), decision)
}

// podStamp is the stamp that the Pod's template gave it, or that of an annotated Pod.
func podStamp(pod *corev1.Pod, claim policy.Claim, current string) policy.Stamp {
	stamp, _ := policy.StampOf(pod.Labels, pod.Annotations)
	if stamp.Stack != claim.Stack || stamp.ConfigHash == "" {
		return policy.Stamp{Stack: claim.Stack, ConfigHash: current}
	}
	return stamp
}

// WorkloadWebhook stamps the templates of annotated workloads.
type WorkloadWebhook struct {
	Lookup
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
	change := policy.TemplateChange{Path: after.path, New: after.template}
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
	decision, err := h.want(ctx, claim, &after.Workload, &change)
	if err != nil {
		return failed(ctx, err)
	}
	return withWarning(admission.Patched("", append(ops, policy.TemplatePatch(change)...)...), decision)
}

// byOperator reports whether the operator asks, which stamps in its own time.
func byOperator(req admission.Request) bool {
	var options struct {
		FieldManager string `json:"fieldManager"`
	}
	return json.Unmarshal(req.Options.Raw, &options) == nil && options.FieldManager == obsv1.FieldManager
}

// want finds out which stamp a workload should have.
func (h *WorkloadWebhook) want(ctx context.Context, claim policy.Claim, w *policy.Workload,
	change *policy.TemplateChange) (policy.Decision, error) {
	decision, stack, err := h.decide(ctx, claim, w.Namespace)
	if err != nil {
		return policy.Decision{}, err
	}
	decision = decision.Check(claim, w.PodTemplate().ContainerNames())
	change.Claimed = claim.Made()
	if decision.Granted && stack.Status.ConfigHash != "" {
		// A name that is to be generated is not known yet.
		change.Want = new(policy.StampFor(claim, stack, w.Name, stack.Status.ConfigHash))
	} else {
		// A new stack has no settings yet, and an owner corrects what is mistyped: neither costs a
		// stamp.
		change.Hold = decision.Granted || decision.Hold || claim.Problem != ""
	}
	return decision, nil
}

// admitted is a workload in an admission request.
type admitted struct {
	policy.Workload
	template *corev1.PodTemplateSpec
	path     string
}

func decodeWorkload(raw []byte, kind string) (*admitted, error) {
	var full struct {
		Spec struct {
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
	w.Kind = kind
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

// decide about a claim; the stack is nil unless the claim is granted.
func (l *Lookup) decide(ctx context.Context, claim policy.Claim,
	namespace string) (policy.Decision, *obsv1.ObservabilityStack, error) {
	stack, err := l.stack(ctx, claim)
	if stack == nil || err != nil {
		return policy.Decide(claim, namespace, nil, nil), nil, err
	}
	meta, err := l.namespace(ctx, namespace)
	if err != nil {
		return policy.Decision{}, nil, err
	}
	return policy.Decide(claim, namespace, meta.Labels, stack), stack, nil
}

// secretExists looks in the cache, and asks the API server if that shows none: the first
// Pods of a namespace come right after the copy.
func (l *Lookup) secretExists(ctx context.Context, name types.NamespacedName) (bool, error) {
	if found, err := exists(ctx, l.Main, name); found || err != nil {
		return found, err
	}
	if _, absent := l.absent.Get(name); absent {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := exists(ctx, l.Live, name)
	if !found && err == nil {
		l.absent.Set(name, nil, absentFor)
	}
	return found, err
}

func exists(ctx context.Context, reader client.Reader, secret types.NamespacedName) (bool, error) {
	err := reader.Get(ctx, secret, metadata.Of(metadata.Secret))
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read metadata of Secret %s: %w", secret, err)
	}
	return err == nil, nil
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
	if decision.Reason == "" {
		countInjection("skipped", "OptedOut")
	} else {
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
