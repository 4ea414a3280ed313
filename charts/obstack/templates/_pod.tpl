{{- /* Arguments of the operator, one list item each. */ -}}
{{- define "obstack.args" -}}
- --log-format={{ .Values.logging.format }}
- --log-level={{ .Values.logging.level }}
- --leader-elect={{ .Values.leaderElection.enabled }}
- --max-concurrent-reconciles={{ .Values.maxConcurrentReconciles }}
- --max-concurrent-rollouts={{ .Values.maxConcurrentRollouts }}
- --exporter-image={{ default (include "obstack.image" .) .Values.exporter.image }}
{{- with .Values.proofs }}
- --proof-interval={{ .interval }}
- --dashboard-proof-interval={{ .dashboardInterval }}
- --sentry-proof-interval={{ .sentryInterval }}
- --sentry-hosts={{ join "," .sentryHosts }}
{{- end }}
{{- $labels := list }}
{{- range $key, $value := include "obstack.selectorLabels" . | fromYaml }}{{ $labels = append $labels (printf "%s=%s" $key $value) }}{{ end }}
- --pod-labels={{ join "," $labels }}
{{- if .Values.metrics.enabled }}
- --metrics-bind-address=:{{ .Values.metrics.port }}
- --metrics-secure={{ .Values.metrics.secure }}
{{- with include "obstack.metricsCertificate" . }}
- --metrics-cert-dir=/etc/obstack/{{ . }}
{{- end }}
{{- else }}
- --metrics-bind-address=0
{{- end }}
{{- if include "obstack.policies" . }}
- --injection-policy={{ include "obstack.fullname" . }}-pods
{{- end }}
{{- if include "obstack.webhooks" . }}
- --webhook-bind-address=:{{ .Values.webhook.port }}
- --webhook-cert-dir=/etc/obstack/webhook-certs
{{- if include "obstack.makesCertificate" . }}
- --webhook-cert-secret={{ .Release.Namespace }}/{{ include "obstack.webhookSecret" . }}
- --webhook-service={{ .Release.Namespace }}/{{ include "obstack.webhookName" . }}
- --webhook-configuration={{ include "obstack.webhookName" . }}
{{- end }}
{{- end }}
{{- with .Values.watchNamespaces }}
- --watch-namespaces={{ join "," . }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Environment of the operator: its own error reporting. */ -}}
{{- define "obstack.env" -}}
{{- with .Values.sentry }}
{{- if .existingSecret }}
- name: SENTRY_DSN
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .key }}
{{- end }}
{{- if .environment }}
- name: SENTRY_ENVIRONMENT
  value: {{ .environment | quote }}
{{- end }}
{{- if .release }}
- name: SENTRY_RELEASE
  value: {{ .release | quote }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Volume of the certificate of the metrics: that of the webhooks unless they have one of their own. */ -}}
{{- define "obstack.metricsCertificate" -}}
{{- if not .Values.metrics.secure }}
{{- else if .Values.metrics.certSecret }}metrics-certs
{{- else if include "obstack.webhooks" . }}webhook-certs
{{- end }}
{{- end }}

{{- /* Secrets that the operator serves with, by the name of the volume. */ -}}
{{- define "obstack.certificates" -}}
{{- with .Values.metrics.certSecret }}
metrics-certs: {{ . }}
{{- end }}
{{- if include "obstack.webhooks" . }}
webhook-certs: {{ include "obstack.webhookSecret" . }}
{{- end }}
{{- end }}

{{- define "obstack.volumeMounts" -}}
{{- range $name, $_ := include "obstack.certificates" . | fromYaml }}
- name: {{ $name }}
  mountPath: /etc/obstack/{{ $name }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Without the authority's private key, and without waiting for what the operator makes itself. */ -}}
{{- define "obstack.volumes" -}}
{{- $own := include "obstack.makesCertificate" . }}
{{- range $name, $secret := include "obstack.certificates" . | fromYaml }}
- name: {{ $name }}
  secret:
    secretName: {{ $secret }}
    items:
    - {key: tls.crt, path: tls.crt}
    - {key: tls.key, path: tls.key}
    {{- if and $own (eq $name "webhook-certs") }}
    optional: true
    {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "obstack.topologySpread" -}}
{{- if .Values.topologySpreadConstraints }}
{{- toYaml .Values.topologySpreadConstraints }}
{{- else if gt (int .Values.replicaCount) 1 }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "obstack.selectorLabels" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end }}
