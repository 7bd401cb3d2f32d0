{{/* What only the gateway has: its port, and who may ask it. */}}

{{- define "teambus.gatewaySettings" -}}
{{- $gateway := .Values.gateway -}}
{{ include "teambus.commonSettings" (dict "root" . "role" "gateway") }}
GATEWAY_HOST: {{ .Values.bindHost | quote }}
GATEWAY_PORT: {{ $gateway.containerPort | quote }}
GATEWAY_DRAIN_S: {{ include "teambus.text" $gateway.drainS | quote }}
{{- range $secret := include "teambus.gatewayAuth" . | fromJsonArray }}
{{ $secret.variable }}: /run/secrets/teambus/{{ $secret.volume }}/{{ $secret.key }}
{{- end }}
{{- include "teambus.settings" $gateway.settings }}
{{- end -}}

{{/* The files that say who may ask, as JSON: each a volume, the variable that names the file, and where it is from. */}}
{{- define "teambus.gatewayAuth" -}}
{{- $auth := .Values.gateway.auth -}}
{{- $known := list
  (dict "volume" "security-key" "variable" "OS_SECURITY_KEY_FILE" "from" $auth.securityKey)
  (dict "volume" "api-keys" "variable" "TEAMBUS_API_KEYS_FILE" "from" $auth.apiKeys)
  (dict "volume" "jwt-key" "variable" "JWT_VERIFICATION_KEY_FILE" "from" $auth.jwtVerificationKey)
  (dict "volume" "jwks" "variable" "JWT_JWKS_FILE" "from" $auth.jwks)
-}}
{{- $found := list -}}
{{- range $known -}}
{{- if .from.name -}}
{{- $found = append $found (dict "volume" .volume "variable" .variable "name" .from.name "key" .from.key) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "teambus.gatewaySecrets" -}}
{{- $secrets := dict -}}
{{- range include "teambus.gatewayAuth" . | fromJsonArray -}}
{{- $_ := set $secrets .volume (dict "name" .name "keys" (list .key)) -}}
{{- end -}}
{{- toJson $secrets -}}
{{- end -}}

{{- define "teambus.gatewayPorts" -}}
- name: http
  containerPort: {{ .Values.gateway.containerPort }}
  protocol: TCP
{{- end -}}
