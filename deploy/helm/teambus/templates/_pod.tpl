{{/* What all pods have in common. */}}

{{- define "teambus.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.podSecurity.runAsUser }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "teambus.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "teambus.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where pods go. Of (dict "root" $ "workload" values "labels" selectorLabels). */}}
{{- define "teambus.scheduling" -}}
{{- with .workload.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .workload.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .workload.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .workload.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- $labels := .labels }}
{{- with .workload.topologySpread }}
topologySpreadConstraints:
{{- range . }}
  - maxSkew: {{ default 1 .maxSkew }}
    topologyKey: {{ .topologyKey }}
    whenUnsatisfiable: {{ default "ScheduleAnyway" .whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- $labels | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Asked on the management port. Starting may take long: the user's module is imported before it opens. */}}
{{- define "teambus.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: management}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: {{ max 1 (ceil (divf .startS 2.0) | int) }}
livenessProbe:
  httpGet: {path: /livez, port: management}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: management}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{/*
A Deployment of one service. Of (dict "root" $ "name" ... "component" ... "app" ... "group" ... "role" ... "workload" values
"settings" yaml "secrets" {volume: {name, keys}} "mounts" yaml "volumes" yaml "ports" yaml "scaled" bool "recreate" bool
"workingDir" folder). Its settings are in the ConfigMap of its name.
*/}}
{{- define "teambus.deployment" -}}
{{- $root := .root -}}
{{- $workload := .workload -}}
{{- $bus := dict "root" $root "role" .role "own" $workload.credentials -}}
{{- $secrets := merge (include "teambus.busSecrets" $bus | fromJson) (default dict .secrets) -}}
{{- $labelled := dict "root" $root "component" .component "app" .app "group" .group -}}
{{- $selector := include "teambus.selectorLabels" $labelled -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "teambus.labels" $labelled | nindent 4 }}
  {{- with $root.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if not .scaled }}
  replicas: {{ $workload.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
  strategy:
    {{- if .recreate }}
    type: Recreate
    {{- else }}
    type: RollingUpdate
    rollingUpdate:
      maxSurge: {{ $workload.maxSurge }}
      maxUnavailable: {{ $workload.maxUnavailable }}
    {{- end }}
  template:
    metadata:
      labels:
        {{- $selector | nindent 8 }}
        teambus.dev/management: "true"
        {{- with $root.Values.commonLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with $workload.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        kubectl.kubernetes.io/default-container: {{ .component }}
        teambus.dev/settings: {{ .settings | sha256sum }}
        {{- with $workload.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "teambus.serviceAccount" (dict "root" $root "role" .role) }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ include "teambus.graceS" $workload }}
      {{- with (include "teambus.pullSecrets" $root | trim) }}
      {{- . | nindent 6 }}
      {{- end }}
      securityContext:
        {{- include "teambus.podSecurity" $root | nindent 8 }}
      {{- with (include "teambus.scheduling" (dict "workload" $workload "labels" $selector) | trim) }}
      {{- . | nindent 6 }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "teambus.image" (dict "root" $root "image" $workload.image) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          {{- with .workingDir }}
          workingDir: {{ . }}
          {{- end }}
          securityContext:
            {{- include "teambus.containerSecurity" $root | nindent 12 }}
          envFrom:
            - configMapRef:
                name: {{ .name }}
            {{- with $workload.extraEnvFrom }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- with $workload.extraEnv }}
          env:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            {{- with (default "" .ports | trim) }}
            {{- . | nindent 12 }}
            {{- end }}
            - name: management
              containerPort: {{ $root.Values.managementPort }}
              protocol: TCP
          {{- include "teambus.probes" $workload | nindent 10 }}
          {{- if gt (int $workload.preStopS) 0 }}
          lifecycle:
            preStop:
              exec:
                command: [python, -c, "import time; time.sleep({{ int $workload.preStopS }})"]
          {{- end }}
          resources:
            {{- toYaml $workload.resources | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            {{- with (include "teambus.secretMounts" $secrets | trim) }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- with (default "" .mounts | trim) }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- with $workload.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir:
            sizeLimit: {{ $workload.tmpSize }}
        {{- with (include "teambus.secretVolumes" $secrets | trim) }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with (default "" .volumes | trim) }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $workload.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end -}}

{{/* How long a pod may take to stop: it leaves the Service, drains, and closes its connections. */}}
{{- define "teambus.graceS" -}}
{{- add (int .preStopS) (int (ceil (float64 .drainS))) 30 -}}
{{- end -}}
