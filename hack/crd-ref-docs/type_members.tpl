{{- define "type_members" -}}
{{- /* GitHub would take <name> for a tag. */ -}}
{{- markdownRenderFieldDoc .Doc | replace "<" "&lt;" | replace "&lt;br />" "<br />" -}}
{{- end -}}
