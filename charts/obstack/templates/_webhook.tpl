{{- /* Of the Service and of the MutatingWebhookConfiguration. */ -}}
{{- define "obstack.webhookName" -}}
{{- include "obstack.fullname" . }}-webhook
{{- end }}

{{- /* What injects: Policy, Webhook, or nothing. Auto is decided by what the cluster serves. */ -}}
{{- define "obstack.engine" -}}
{{- if not .Values.injection.enabled }}
{{- else if ne .Values.injection.engine "Auto" }}{{ .Values.injection.engine }}
{{- else if .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" }}Policy
{{- else }}Webhook
{{- end }}
{{- end }}

{{- /* Not empty if the operator serves webhooks. */ -}}
{{- define "obstack.webhooks" -}}
{{- if eq (include "obstack.engine" . | trim) "Webhook" }}true{{ end }}
{{- end }}

{{- /* Not empty if the API server injects by the policies. */ -}}
{{- define "obstack.policies" -}}
{{- if eq (include "obstack.engine" . | trim) "Policy" }}true{{ end }}
{{- end }}

{{- /* Not empty if the operator makes the certificate itself. */ -}}
{{- define "obstack.makesCertificate" -}}
{{- if and (include "obstack.webhooks" .) (not .Values.webhook.certManager.enabled) (not .Values.webhook.certSecret) }}true{{ end }}
{{- end }}

{{- /*
The Secret of the certificate. cert-manager's has a name of its own, because it
stays when the release is uninstalled, and Helm would not take it over.
*/ -}}
{{- define "obstack.webhookSecret" -}}
{{- if .Values.webhook.certSecret }}{{ .Values.webhook.certSecret }}
{{- else if .Values.webhook.certManager.enabled }}{{ include "obstack.webhookName" . }}-tls
{{- else }}{{ include "obstack.webhookName" . }}-cert
{{- end }}
{{- end }}

{{- /* Which namespaces' workloads reach the webhooks and policies. */ -}}
{{- define "obstack.namespaceSelector" -}}
{{- $excluded := concat (list "kube-system" .Release.Namespace) .Values.webhook.excludedNamespaces | uniq }}
{{- $expressions := list (dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" $excluded) }}
{{- with .Values.watchNamespaces }}
{{- $expressions = append $expressions (dict "key" "kubernetes.io/metadata.name" "operator" "In" "values" .) }}
{{- end }}
{{- $more := .Values.webhook.namespaceSelector }}
{{- toYaml (merge (dict "matchExpressions" (concat $expressions (default list $more.matchExpressions))) $more) }}
{{- end }}

{{- /*
How Prometheus checks the certificate of the metrics before it sends its token: by the
authority beside the certificate.
*/ -}}
{{- define "obstack.metricsTLS" -}}
{{- $host := printf "%s.%s.svc" (include "obstack.webhookName" .) .Release.Namespace }}
{{- $secret := include "obstack.webhookSecret" . }}
{{- if .Values.metrics.certSecret }}
{{- $host = printf "%s-metrics.%s.svc" (include "obstack.fullname" .) .Release.Namespace }}
{{- $secret = .Values.metrics.certSecret }}
{{- end }}
{{- if .Values.metrics.serviceMonitor.tlsConfig }}
{{- toYaml .Values.metrics.serviceMonitor.tlsConfig }}
{{- else if or .Values.metrics.certSecret (include "obstack.webhooks" .) }}
{{- toYaml (dict "serverName" $host "ca" (dict "secret" (dict "name" $secret "key" "ca.crt"))) }}
{{- else }}
{{- fail "metrics.serviceMonitor.enabled without the certificate of webhooks: set metrics.certSecret, so that Prometheus can check to whom it sends its token, or metrics.serviceMonitor.tlsConfig" }}
{{- end }}
{{- end }}
