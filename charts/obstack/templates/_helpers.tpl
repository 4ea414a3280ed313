{{- define "obstack.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* 40 characters leave room for the suffixes of object names. */ -}}
{{- define "obstack.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "obstack.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "obstack.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "obstack.selectorLabels" -}}
app.kubernetes.io/name: {{ include "obstack.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller-manager
{{- end }}

{{- define "obstack.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" "obstack" }}
{{- toYaml (merge (include "obstack.selectorLabels" . | fromYaml) $own .Values.commonLabels) }}
{{- end }}

{{- define "obstack.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "obstack.fullname" .) .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.name }}
{{- .Values.serviceAccount.name }}
{{- else }}
{{- fail "serviceAccount.create: false without serviceAccount.name: set it to the account that you made for the operator alone, which its roles and the admission policy name; \"default\" is that of every Pod without one" }}
{{- end }}
{{- end }}

{{- define "obstack.image" -}}
{{- $image := .Values.image }}
{{- $name := $image.repository }}
{{- if $image.registry }}{{ $name = printf "%s/%s" $image.registry $image.repository }}{{ end }}
{{- if $image.digest }}
{{- printf "%s@%s" $name $image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- /*
The rules of one file below files/rbac, a copy of config/rbac. Where they name one
object, it is the one that is called "named" here.
*/ -}}
{{- define "obstack.rules" -}}
{{- $rules := index (.root.Files.Get (printf "files/rbac/%s.yaml" .file) | fromYaml) "rules" }}
{{- range $rule := $rules }}
{{- if $rule.resourceNames }}{{ $_ := set $rule "resourceNames" (list $.named) }}{{ end }}
{{- end }}
{{- toYaml $rules }}
{{- end }}

{{- define "obstack.subject" -}}
- kind: ServiceAccount
  name: {{ include "obstack.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
