{{/* How a pod reaches the bus: where it is, and the files it shows itself with. Of (dict "root" $ "role" ...). */}}

{{- define "teambus.natsUrls" -}}
{{- if .Values.small.nats.enabled -}}
nats://{{ include "teambus.name" (dict "root" . "parts" (list "nats")) }}:4222
{{- else -}}
{{- join "," .Values.nats.urls -}}
{{- end -}}
{{- end -}}

{{/* A map of settings. */}}
{{- define "teambus.busSettings" -}}
NATS_URL: {{ include "teambus.natsUrls" .root | quote }}
{{- with (index .root.Values.nats.credentials .role) }}
{{- if .name }}
NATS_CREDENTIALS_FILE: /run/secrets/teambus/bus-credentials/{{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "teambus.busMounts" -}}
{{- if (index .root.Values.nats.credentials .role).name }}
{{ include "teambus.secretMount" (dict "volume" "bus-credentials") }}
{{- end }}
{{- end -}}

{{- define "teambus.busVolumes" -}}
{{- with (index .root.Values.nats.credentials .role) }}
{{- if .name }}
{{ include "teambus.secretVolume" (dict "volume" "bus-credentials" "secret" .) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What every service is told. Of (dict "root" $ "role" ...). */}}
{{- define "teambus.commonSettings" -}}
{{ include "teambus.busSettings" . }}
MANAGEMENT_HOST: {{ .root.Values.bindHost | quote }}
MANAGEMENT_PORT: {{ .root.Values.managementPort | quote }}
PYTHONUNBUFFERED: "1"
{{- end -}}

{{/* Settings as people write them in values, as strings. */}}
{{- define "teambus.settings" -}}
{{- range $name, $value := . }}
{{ $name }}: {{ if kindIs "float64" $value }}{{ if eq (floor $value) $value }}{{ printf "%.0f" $value | quote }}{{ else }}{{ $value | toString | quote }}{{ end }}{{ else }}{{ $value | toString | quote }}{{ end }}
{{- end }}
{{- end -}}
