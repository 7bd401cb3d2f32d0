{{/* Which hook-runners deliver which hooks: a group names its hooks, and the one that names none has all the others. */}}

{{/* The groups of an app with all their values, as JSON. Of (dict "root" $ "name" key "app" values). */}}
{{- define "teambus.hookGroups" -}}
{{- $own := default dict .app.hookRunner -}}
{{- $groups := default (dict "default" dict) $own.groups -}}
{{- $where := printf "apps.%s.hookRunner" .name -}}
{{- $rest := list -}}
{{- $seen := dict -}}
{{- range $group, $values := $groups -}}
{{- $hooks := (default dict $values).hooks -}}
{{- if not $hooks -}}{{- $rest = append $rest $group -}}{{- end -}}
{{- range $hooks -}}
{{- if hasKey $seen . -}}
{{- fail (printf "%s.groups: the hook %q is in two groups, %s and %s; leave it in one" $where . (get $seen .) $group) -}}
{{- end -}}
{{- $_ := set $seen . $group -}}
{{- end -}}
{{- end -}}
{{- if not $rest -}}
{{- fail (printf "%s.groups: add one that names no hooks; it has all that the others do not name" $where) -}}
{{- end -}}
{{- if gt (len $rest) 1 -}}
{{- fail (printf "%s.groups: %s name no hooks; only one may, it has all that the others do not name" $where (join " and " $rest)) -}}
{{- end -}}
{{- $whole := dict -}}
{{- range $group, $values := $groups -}}
{{- $runner := include "teambus.workload" (list $.root.Values.hookRunner (omit $own "groups") $values) | fromJson -}}
{{- if not $runner.image.repository -}}
{{- fail (printf "%s.image.repository is empty: name the image of your app on top of the hook-runner" $where) -}}
{{- end -}}
{{- $_ := set $runner "others" (ternary list (sortAlpha (keys $seen)) (not (not $runner.hooks))) -}}
{{- $_ := set $runner "scaledBy" (default $runner.keda.hooks $runner.hooks) -}}
{{- if and $.root.Values.keda.enabled $runner.keda.enabled (not $runner.scaledBy) -}}
{{- fail (printf "%s.groups.%s.keda.hooks is empty: name the hooks to scale by, or set keda.enabled to false there" $where $group) -}}
{{- end -}}
{{- $_ := set $whole $group $runner -}}
{{- end -}}
{{- toJson $whole -}}
{{- end -}}

{{/* Of (dict "root" $ "name" key "app" values "runner" one of the groups). */}}
{{- define "teambus.hookSettings" -}}
{{ include "teambus.appSettings" (merge (dict "role" "hookRunner" "own" .runner.credentials) .) }}
HOOK_RUNNER_DRAIN_S: {{ include "teambus.text" .runner.drainS | quote }}
{{- with .runner.hooks }}
HOOK_RUNNER_HOOKS: {{ join "," . | quote }}
{{- end }}
{{- with .runner.others }}
HOOK_RUNNER_HOOKS_EXCEPT: {{ join "," . | quote }}
{{- end }}
{{- include "teambus.settings" .runner.settings }}
{{- end -}}
