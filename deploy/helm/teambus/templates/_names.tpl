{{/* What things are called, and the labels they carry. */}}

{{- define "teambus.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Of (dict "root" $ "parts" (list ...)): <fullname>-<part>-<part>, with a digest where it would be too long. */}}
{{- define "teambus.name" -}}
{{- $whole := printf "%s-%s" (include "teambus.fullname" .root) (join "-" .parts) -}}
{{- if gt (len $whole) 57 -}}
{{- printf "%s-%s" ($whole | trunc 48 | trimSuffix "-") ($whole | sha256sum | trunc 8) -}}
{{- else -}}
{{- $whole -}}
{{- end -}}
{{- end -}}

{{/* Of (dict "root" $ "component" ... "app" ... "group" ...). These never change for a Deployment. */}}
{{- define "teambus.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .app }}
teambus.dev/app: {{ . }}
{{- end }}
{{- with .group }}
teambus.dev/group: {{ . }}
{{- end }}
{{- end -}}

{{- define "teambus.releaseLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "teambus.labels" -}}
{{ include "teambus.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: teambus
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of (dict "root" $ "image" {repository, tag, digest}). */}}
{{- define "teambus.image" -}}
{{- $tag := default (default .root.Chart.AppVersion .root.Values.image.tag) .image.tag -}}
{{- $name := .image.repository -}}
{{- with .root.Values.image.registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name $tag -}}
{{- end -}}
{{- end -}}

{{/* Of (dict "root" $ "role" ...). */}}
{{- define "teambus.serviceAccount" -}}
{{- if .root.Values.serviceAccounts.create -}}
{{- include "teambus.name" (dict "root" .root "parts" (list (kebabcase .role))) -}}
{{- else -}}
{{- index .root.Values.serviceAccounts.existing .role -}}
{{- end -}}
{{- end -}}

{{/* The consumer a pool's runners pull from. */}}
{{- define "teambus.poolConsumer" -}}
pool_{{ . }}
{{- end -}}

{{/* Of (list app hook): the consumer a hook is delivered from. */}}
{{- define "teambus.hookConsumer" -}}
hook_{{ printf "%s/%s" (index . 0) (index . 1) | sha256sum | trunc 26 }}
{{- end -}}
