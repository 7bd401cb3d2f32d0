{{/*
How a pod reaches the bus: where it is, and the files it shows itself with. Each of
(dict "root" $ "role" ... "own" credentials that stand in for the role's, or nothing).
*/}}

{{- define "teambus.natsUrls" -}}
{{- if .Values.small.nats.enabled -}}
nats://{{ include "teambus.name" (dict "root" . "parts" (list "nats")) }}:4222
{{- else -}}
{{- join "," .Values.nats.urls -}}
{{- end -}}
{{- end -}}

{{/* The secrets that are mounted, as JSON: volume to {name, keys}. */}}
{{- define "teambus.busSecrets" -}}
{{- $secrets := dict -}}
{{- $credentials := include "teambus.busCredentials" . | fromJson -}}
{{- with $credentials }}{{ if .name }}{{ $_ := set $secrets "bus-credentials" (dict "name" .name "keys" (list .key)) }}{{ end }}{{ end -}}
{{- with .root.Values.nats.tls.ca }}{{ if .name }}{{ $_ := set $secrets "bus-ca" (dict "name" .name "keys" (list .key)) }}{{ end }}{{ end -}}
{{- with .root.Values.nats.tls.client }}{{ if .name }}{{ $_ := set $secrets "bus-client" (dict "name" .name "keys" (list .certKey .keyKey)) }}{{ end }}{{ end -}}
{{- toJson $secrets -}}
{{- end -}}

{{- define "teambus.busCredentials" -}}
{{- mergeOverwrite (deepCopy (index .root.Values.nats.credentials .role)) (default dict .own) | toJson -}}
{{- end -}}

{{/* A map of settings. */}}
{{- define "teambus.busSettings" -}}
NATS_URL: {{ include "teambus.natsUrls" .root | quote }}
{{- $credentials := include "teambus.busCredentials" . | fromJson }}
{{- if $credentials.name }}
{{- $file := printf "/run/secrets/teambus/bus-credentials/%s" $credentials.key }}
{{- if eq $credentials.kind "creds" }}
NATS_CREDENTIALS_FILE: {{ $file }}
{{- else if eq $credentials.kind "nkey" }}
NATS_NKEY_SEED_FILE: {{ $file }}
{{- else }}
NATS_USER: {{ required "nats.credentials: kind password needs a user" $credentials.user | quote }}
NATS_PASSWORD_FILE: {{ $file }}
{{- end }}
{{- end }}
{{- with .root.Values.nats.tls.ca }}
{{- if .name }}
NATS_TLS_CA_FILE: /run/secrets/teambus/bus-ca/{{ .key }}
{{- end }}
{{- end }}
{{- with .root.Values.nats.tls.client }}
{{- if .name }}
NATS_TLS_CERT_FILE: /run/secrets/teambus/bus-client/{{ .certKey }}
NATS_TLS_KEY_FILE: /run/secrets/teambus/bus-client/{{ .keyKey }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What every service is told. */}}
{{- define "teambus.commonSettings" -}}
{{ include "teambus.busSettings" . }}
MANAGEMENT_HOST: {{ .root.Values.bindHost | quote }}
MANAGEMENT_PORT: {{ .root.Values.managementPort | quote }}
{{- end -}}

{{/* Settings as people write them in values, as strings: numbers come as floating point ones. */}}
{{- define "teambus.settings" -}}
{{- range $name, $value := . }}
{{ $name }}: {{ include "teambus.text" $value | quote }}
{{- end }}
{{- end -}}

{{- define "teambus.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- printf "%.0f" . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* Secrets as files. Of volume to {name, keys}. */}}
{{- define "teambus.secretMounts" -}}
{{- range $volume, $_ := . }}
- name: {{ $volume }}
  mountPath: /run/secrets/teambus/{{ $volume }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "teambus.secretVolumes" -}}
{{- range $volume, $secret := . }}
- name: {{ $volume }}
  secret:
    secretName: {{ $secret.name }}
    defaultMode: 0440
    items:
      {{- range $secret.keys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end }}
{{- end -}}
