{{/* Who may talk to whom. */}}

{{/* Of (dict "root" $ "component" ... "from" yaml rules "to" yaml rules "before" bool): made before the provision hook runs,
where that is one. Names are asked for by everybody who may ask anything. */}}
{{- define "teambus.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "teambus.name" (dict "root" .root "parts" (list .component)) }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "teambus.labels" (dict "root" .root "component" .component) | nindent 4 }}
  {{- if and .before (not .root.Values.small.nats.enabled) }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "-10"
    helm.sh/hook-delete-policy: before-hook-creation
  {{- end }}
spec:
  podSelector:
    matchLabels:
      {{- include "teambus.releaseLabels" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  policyTypes: [Ingress, Egress]
  {{- with (default "" .from | trim) }}
  ingress:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with (default "" .to | trim) }}
  egress:
    - to:
        {{- toYaml $.root.Values.networkPolicies.dns | nindent 8 }}
      ports:
        - {port: 53, protocol: UDP}
        - {port: 53, protocol: TCP}
    {{- . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "teambus.peers" -}}
{{- with . }}
{{- toYaml . }}
{{- end }}
{{- end -}}

{{- define "teambus.natsPeer" -}}
- ports:
    {{- range .Values.networkPolicies.nats.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- if .Values.small.nats.enabled }}
  to:
    - podSelector:
        matchLabels:
          {{- include "teambus.selectorLabels" (dict "root" . "component" "nats") | nindent 10 }}
  {{- else }}
  {{- with .Values.networkPolicies.nats.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "teambus.databasePeer" -}}
- ports:
    {{- range .Values.networkPolicies.database.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- if .Values.small.postgres.enabled }}
  to:
    - podSelector:
        matchLabels:
          {{- include "teambus.selectorLabels" (dict "root" . "component" "postgres") | nindent 10 }}
  {{- else }}
  {{- with .Values.networkPolicies.database.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "teambus.gatewayPeer" -}}
- ports:
    - {port: {{ .Values.gateway.containerPort }}, protocol: TCP}
  to:
    - podSelector:
        matchLabels:
          {{- include "teambus.selectorLabels" (dict "root" . "component" "gateway") | nindent 10 }}
{{- end -}}

{{- define "teambus.managementFrom" -}}
- ports:
    - {port: {{ .Values.managementPort }}, protocol: TCP}
  {{- with .Values.networkPolicies.monitoring.from }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "teambus.gatewayFrom" -}}
- ports:
    - {port: {{ .Values.gateway.containerPort }}, protocol: TCP}
  {{- with .Values.networkPolicies.gateway.from }}
  from:
    {{- toYaml . | nindent 4 }}
    - podSelector:
        matchLabels:
          {{- include "teambus.selectorLabels" (dict "root" $ "component" "test") | nindent 10 }}
  {{- end }}
{{ include "teambus.managementFrom" . }}
{{- end -}}

{{- define "teambus.smallNatsFrom" -}}
- ports:
    - {port: 4222, protocol: TCP}
  from:
    - podSelector:
        matchLabels:
          {{- include "teambus.releaseLabels" . | nindent 10 }}
- ports:
    - {port: 8222, protocol: TCP}
  {{- with .Values.networkPolicies.monitoring.from }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "teambus.smallPostgresFrom" -}}
- ports:
    - {port: 5432, protocol: TCP}
  from:
    - podSelector:
        matchLabels:
          {{- include "teambus.releaseLabels" . | nindent 10 }}
        matchExpressions:
          - {key: app.kubernetes.io/component, operator: In, values: [team-runner, sessions]}
{{- end -}}
