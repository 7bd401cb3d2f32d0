{{/* Every Deployment of a service, as JSON: what it is called, and the labels that select it. */}}
{{- define "teambus.workloads" -}}
{{- $root := . -}}
{{- $all := list -}}
{{- if .Values.gateway.enabled -}}
{{- $all = append $all (dict "component" "gateway" "parts" (list "gateway")) -}}
{{- end -}}
{{- range $key, $app := include "teambus.apps" . | fromJson -}}
{{- $pool := include "teambus.pool" (dict "root" $root "name" $key "app" $app) | fromJson -}}
{{- $all = append $all (dict "component" "team-runner" "app" $key "id" (include "teambus.appId" (dict "name" $key "app" $app)) "parts" (list $key "team-runner") "workload" $pool) -}}
{{- if $pool.sessionsOnly.enabled -}}
{{- $all = append $all (dict "component" "sessions" "app" $key "parts" (list $key "sessions")) -}}
{{- end -}}
{{- range $group, $runner := include "teambus.hookGroups" (dict "root" $root "name" $key "app" $app) | fromJson -}}
{{- $all = append $all (dict "component" "hook-runner" "app" $key "group" $group "id" (include "teambus.appId" (dict "name" $key "app" $app)) "parts" (list $key "hook-runner" $group) "workload" $runner) -}}
{{- end -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}
