{{/* Which hook-runners deliver which hooks: a group names its hooks, and one that names none has all the others. */}}

{{/* The groups of an app, as JSON. Of (dict "name" key "app" values). */}}
{{- define "teambus.hookGroups" -}}
{{- $runner := default dict .app.hookRunner -}}
{{- $groups := default (dict "default" dict) $runner.groups -}}
{{- $rest := list -}}
{{- $seen := dict -}}
{{- range $group, $own := $groups -}}
{{- $hooks := (default dict $own).hooks -}}
{{- if not $hooks -}}{{- $rest = append $rest $group -}}{{- end -}}
{{- range $hooks -}}
{{- if hasKey $seen . -}}
{{- fail (printf "apps.%s.hookRunner.groups: the hook %q is in two groups, %q and %q; leave it in one" $.name . (get $seen .) $group) -}}
{{- end -}}
{{- $_ := set $seen . $group -}}
{{- end -}}
{{- end -}}
{{- if ne (len $rest) 1 -}}
{{- $how := "none has all the others: add one without hooks" -}}
{{- if $rest -}}{{- $how = printf "%s name no hooks: only one group may, it has all the others" (join ", " $rest) -}}{{- end -}}
{{- fail (printf "apps.%s.hookRunner.groups: %s" .name $how) -}}
{{- end -}}
{{- toJson $groups -}}
{{- end -}}

{{/* Every hook that some group names, as JSON. */}}
{{- define "teambus.namedHooks" -}}
{{- $named := list -}}
{{- range . -}}{{- $named = concat $named (default list (default dict .).hooks) -}}{{- end -}}
{{- toJson (sortAlpha $named) -}}
{{- end -}}
