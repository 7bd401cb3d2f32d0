{{/* What only team-runners have: the model's key, and a folder for SQLite where there is no PostgreSQL. */}}

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
