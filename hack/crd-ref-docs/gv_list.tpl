{{- define "gvList" -}}
# Field reference

Every field of the API, made from the comments in `api/v1alpha1` by `make generate`. The same text is in
`kubectl explain obs.spec`; rules that tie fields together are in the error of the API server when they are broken.
Start at [ObservabilityStackSpec](#observabilitystackspec).

{{ range . }}
{{ template "gvDetails" . }}
{{ end }}
{{- end -}}
