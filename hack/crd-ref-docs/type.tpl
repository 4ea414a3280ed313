{{- define "validation" -}}
{{- $rules := list -}}
{{- range . -}}
{{- if hasPrefix "Required" . -}}
{{- $rules = append $rules "required" -}}
{{- else if not (or (hasPrefix "Optional" .) (contains "XValidation" .)) -}}
{{- $rules = append $rules (markdownRenderFieldDoc .) -}}
{{- end -}}
{{- end -}}
{{- join "<br />" $rules -}}
{{- end -}}

{{- define "type" -}}
{{- $type := . -}}
{{- if markdownShouldRenderType $type }}
### {{ $type.Name }}

{{ if $type.IsAlias }}_{{ markdownRenderType $type.UnderlyingType }}_{{ if $type.Validation }}, {{ range $i, $rule := $type.Validation }}{{ if $i }}, {{ end }}{{ $rule }}{{ end }}{{ end }}

{{ end -}}
{{ $type.Doc | replace "<" "&lt;" }}

{{ if $type.References -}}
Appears in {{ range $i, $reference := $type.SortedReferences }}{{ if $i }}, {{ end }}{{ markdownRenderTypeLink $reference }}{{ end }}.

{{ end -}}
{{ if $type.Members -}}
| Field | Description | Default | Validation |
| --- | --- | --- | --- |
{{ if $type.GVK -}}
| `apiVersion` _string_ | `{{ $type.GVK.Group }}/{{ $type.GVK.Version }}` | | |
| `kind` _string_ | `{{ $type.GVK.Kind }}` | | |
{{ end -}}
{{ range $type.Members -}}
| `{{ .Name }}` _{{ markdownRenderType .Type }}_ | {{ template "type_members" . }} | {{ markdownRenderDefault .Default | replace "\\{  \\}" "" }} | {{ template "validation" .Validation }} |
{{ end }}
{{ end -}}
{{ if $type.EnumValues -}}
| Value | Description |
| --- | --- |
{{ range $type.EnumValues -}}
| `{{ .Name }}` | {{ regexReplaceAll "^\\w+ is " (markdownRenderFieldDoc .Doc) "" | replace "<br />" "" }} |
{{ end }}
{{ end -}}
{{- end -}}
{{- end -}}
