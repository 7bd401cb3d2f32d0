{{/* More pods when work waits, fewer when it has not for a while: a pod that goes gives its work back, which costs time. */}}

{{- define "teambus.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 100, periodSeconds: 15}
    - {type: Pods, value: 4, periodSeconds: 15}
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: 300
  policies:
    - {type: Percent, value: 25, periodSeconds: 60}
    - {type: Pods, value: 1, periodSeconds: 60}
  selectPolicy: Max
{{- end -}}

{{/* Of (dict "root" $ "each" one of the workloads "scaling" its keda values "replicas" n "triggers" yaml). */}}
{{- define "teambus.scaledObject" -}}
{{- $name := include "teambus.name" (dict "root" .root "parts" .each.parts) -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "teambus.labels" (dict "root" .root "component" .each.component "app" .each.app "group" .each.group) | nindent 4 }}
spec:
  scaleTargetRef:
    name: {{ $name }}
  minReplicaCount: {{ .scaling.minReplicas }}
  maxReplicaCount: {{ .scaling.maxReplicas }}
  {{- if ne .each.component "gateway" }}
  pollingInterval: {{ .scaling.pollingS }}
  cooldownPeriod: {{ .scaling.cooldownS }}
  # Where the bus cannot be asked.
  fallback:
    failureThreshold: 3
    replicas: {{ max 1 (int .replicas) }}
  {{- end }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- include "teambus.scalingBehavior" .root | nindent 8 }}
  triggers:
    {{- .triggers | nindent 4 }}
{{- end -}}

{{- define "teambus.cpuTrigger" -}}
- type: cpu
  metricType: Utilization
  metadata:
    value: {{ .cpuPercent | toString | quote }}
{{- end -}}

{{/* How much waits at a consumer and is in hand. Of (dict "root" $ "stream" ... "consumer" ... "scaling" keda values). */}}
{{- define "teambus.lagTrigger" -}}
- type: nats-jetstream
  metadata:
    natsServerMonitoringEndpoint: {{ include "teambus.natsMonitor" .root | quote }}
    useHttps: {{ .root.Values.keda.monitorHttps | toString | quote }}
    account: {{ .root.Values.keda.account | quote }}
    stream: {{ .stream }}
    consumer: {{ .consumer }}
    lagThreshold: {{ .scaling.lagThreshold | toString | quote }}
    activationLagThreshold: "0"
{{- end -}}

{{- define "teambus.natsMonitor" -}}
{{- if .Values.small.nats.enabled -}}
{{ include "teambus.name" (dict "root" . "parts" (list "nats")) }}.{{ .Release.Namespace }}.svc:8222
{{- else -}}
{{- required "keda.monitor is empty: name the monitoring port of NATS, as nats.messaging.svc:8222" .Values.keda.monitor -}}
{{- end -}}
{{- end -}}

{{- define "teambus.poolTriggers" -}}
{{ include "teambus.lagTrigger" (dict "root" .root "stream" "TEAMBUS_REQUESTS" "consumer" (include "teambus.poolConsumer" .each.id) "scaling" .each.workload.keda) }}
{{- end -}}

{{/* For each hook what completed runs make of work, and what is delivered again. */}}
{{- define "teambus.hookTriggers" -}}
{{- $root := .root -}}
{{- $each := .each -}}
{{- range $hook := $each.workload.scaledBy }}
{{- range $stream := list "TEAMBUS_EVENTS" "TEAMBUS_REDRIVE" }}
{{ include "teambus.lagTrigger" (dict "root" $root "stream" $stream "consumer" (include "teambus.hookConsumer" (list $each.id $hook)) "scaling" $each.workload.keda) }}
{{- end }}
{{- end }}
{{- end -}}
