{{/* What only the gateway has: its port, and who may ask it. */}}

{{- define "teambus.gatewaySettings" -}}
{{- $gateway := .Values.gateway -}}
{{ include "teambus.commonSettings" (dict "root" . "role" "gateway") }}
GATEWAY_HOST: {{ .Values.bindHost | quote }}
GATEWAY_PORT: {{ $gateway.containerPort | quote }}
GATEWAY_DRAIN_S: {{ $gateway.drainS | quote }}
{{- with $gateway.securityKey }}
{{- if .name }}
OS_SECURITY_KEY_FILE: /run/secrets/teambus/security-key/{{ .key }}
{{- end }}
{{- end }}
{{- include "teambus.settings" $gateway.settings }}
{{- end -}}

{{- define "teambus.gatewayPorts" -}}
- name: http
  containerPort: {{ .Values.gateway.containerPort }}
  protocol: TCP
{{- end -}}

{{- define "teambus.gatewayMounts" -}}
{{- if .Values.gateway.securityKey.name }}
{{ include "teambus.secretMount" (dict "volume" "security-key") }}
{{- end }}
{{- end -}}

{{- define "teambus.gatewayVolumes" -}}
{{- if .Values.gateway.securityKey.name }}
{{ include "teambus.secretVolume" (dict "volume" "security-key" "secret" .Values.gateway.securityKey) }}
{{- end }}
{{- end -}}
