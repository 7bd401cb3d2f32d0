{{/* What an app's runners have: the app itself, its database and, in team-runners alone, the model's key. */}}

{{/* The defaults with what an app says in place of them, as JSON. Of (list defaults overrides...). */}}
{{- define "teambus.workload" -}}
{{- $merged := deepCopy (first .) -}}
{{- range (rest .) -}}
{{- if . -}}{{- $merged = mergeOverwrite $merged (deepCopy .) -}}{{- end -}}
{{- end -}}
{{- toJson $merged -}}
{{- end -}}

{{/* The apps, as JSON, without those that a later values file takes out with null. */}}
{{- define "teambus.apps" -}}
{{- $apps := dict -}}
{{- range $key, $app := .Values.apps -}}
{{- if $app -}}{{- $_ := set $apps $key $app -}}{{- end -}}
{{- end -}}
{{- toJson $apps -}}
{{- end -}}

{{- define "teambus.appId" -}}
{{- default .name .app.id -}}
{{- end -}}

{{/* Of (dict "root" $ "role" ... "own" credentials "name" key "app" values). */}}
{{- define "teambus.appSettings" -}}
{{ include "teambus.commonSettings" . }}
TEAMBUS_APP: {{ .app.app | quote }}
TEAMBUS_APP_DIR: {{ default "/app" .app.appDir | quote }}
{{- include "teambus.settings" .app.env }}
{{- end -}}

{{- define "teambus.databaseSettings" -}}
{{- $database := .Values.database -}}
{{- if .Values.small.postgres.enabled }}
TEAM_RUNNER_DB_URL: postgresql://teambus@{{ include "teambus.name" (dict "root" . "parts" (list "postgres")) }}:5432/teambus
TEAM_RUNNER_DB_PASSWORD_FILE: /run/secrets/teambus/database-password/{{ .Values.small.postgres.password.key }}
{{- else }}
{{- if $database.urlSecret.name }}
TEAM_RUNNER_DB_URL_FILE: /run/secrets/teambus/database-url/{{ $database.urlSecret.key }}
{{- else if $database.url }}
TEAM_RUNNER_DB_URL: {{ $database.url | quote }}
{{- end }}
{{- if $database.passwordSecret.name }}
TEAM_RUNNER_DB_PASSWORD_FILE: /run/secrets/teambus/database-password/{{ $database.passwordSecret.key }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The secrets of the database that are mounted, as JSON: volume to {name, keys}. */}}
{{- define "teambus.databaseSecrets" -}}
{{- $secrets := dict -}}
{{- $password := .Values.database.passwordSecret -}}
{{- if .Values.small.postgres.enabled -}}
{{- $password = .Values.small.postgres.password -}}
{{- else if .Values.database.urlSecret.name -}}
{{- $_ := set $secrets "database-url" (dict "name" .Values.database.urlSecret.name "keys" (list .Values.database.urlSecret.key)) -}}
{{- end -}}
{{- if $password.name -}}
{{- $_ := set $secrets "database-password" (dict "name" $password.name "keys" (list $password.key)) -}}
{{- end -}}
{{- toJson $secrets -}}
{{- end -}}

{{- define "teambus.settingsMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "teambus.labels" . | nindent 4 }}
data:
  {{- .settings | nindent 2 }}
{{- end -}}
