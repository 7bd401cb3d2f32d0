{{/* The single NATS of a small installation: every write on disk before it is acknowledged. */}}

{{- define "teambus.natsConfig" -}}
listen: "{{ ternary "[::]" .Values.bindHost (eq .Values.bindHost "::") }}:4222"
http: "{{ ternary "[::]" .Values.bindHost (eq .Values.bindHost "::") }}:8222"
server_name: {{ include "teambus.name" (dict "root" . "parts" (list "nats")) }}
max_payload: 1MB
jetstream {
  store_dir: /data
  sync_interval: always
}
{{- end -}}
