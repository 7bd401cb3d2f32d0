{{/* What only team-runners have: the model's key, and a folder for SQLite where there is no PostgreSQL. */}}

{{/* An app's pool of team-runners, as JSON, if it can be. Of (dict "root" $ "name" key "app" values). */}}
{{- define "teambus.pool" -}}
{{- $pool := include "teambus.workload" (list .root.Values.teamRunner .app.teamRunner) | fromJson -}}
{{- $where := printf "apps.%s.teamRunner" .name -}}
{{- $scaled := and .root.Values.keda.enabled $pool.keda.enabled -}}
{{- if not $pool.image.repository -}}
{{- fail (printf "%s.image.repository is empty: name the image of your app on top of the team-runner" $where) -}}
{{- end -}}
{{- if $pool.persistence.enabled -}}
{{- if or $scaled $pool.sessionsOnly.enabled (gt (int $pool.replicas) 1) -}}
{{- fail (printf "%s.persistence is a folder that one pod has: set replicas to 1, keda.enabled and sessionsOnly.enabled to false, or use PostgreSQL" $where) -}}
{{- end -}}
{{- end -}}
{{- if and $scaled (eq (int $pool.keda.minReplicas) 0) (not $pool.sessionsOnly.enabled) -}}
{{- fail (printf "%s.keda.minReplicas is 0, and then nobody would answer for the sessions: set sessionsOnly.enabled to true" $where) -}}
{{- end -}}
{{- toJson $pool -}}
{{- end -}}

{{- define "teambus.runnerSettings" -}}
{{ include "teambus.appSettings" (merge (dict "role" "teamRunner" "own" .pool.credentials) .) }}
{{- include "teambus.databaseSettings" .root }}
{{- include "teambus.settings" .pool.settings }}
{{- end -}}

{{- define "teambus.modelSettings" -}}
{{- if .apiKey.name }}
OPENAI_API_KEY_FILE: /run/secrets/teambus/model-key/{{ .apiKey.key }}
{{- end }}
{{- with .baseUrl }}
OPENAI_BASE_URL: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "teambus.dataMount" -}}
{{- if .persistence.enabled }}
- name: data
  mountPath: {{ .persistence.mountPath }}
{{- end }}
{{- end -}}

{{- define "teambus.dataVolume" -}}
{{- if .pool.persistence.enabled }}
- name: data
  persistentVolumeClaim:
    claimName: {{ default .name .pool.persistence.existingClaim }}
{{- end }}
{{- end -}}
