{{- /* Arguments of the operator, one list item each. */ -}}
{{- define "obstack.args" -}}
- --log-format={{ .Values.logging.format }}
- --log-level={{ .Values.logging.level }}
- --leader-elect={{ .Values.leaderElection.enabled }}
- --max-concurrent-reconciles={{ .Values.maxConcurrentReconciles }}
- --exporter-image={{ default (include "obstack.image" .) .Values.exporter.image }}
{{- if .Values.metrics.enabled }}
- --metrics-bind-address=:{{ .Values.metrics.port }}
- --metrics-secure={{ .Values.metrics.secure }}
{{- if .Values.metrics.certSecret }}
- --metrics-cert-dir=/etc/obstack/metrics-certs
{{- end }}
{{- else }}
- --metrics-bind-address=0
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
