{{- /* How many workers of a component there should be at least: dict "root" $ "component" "router" */ -}}
{{- define "broker-events.expected" -}}
{{- $part := get .root.Values .component -}}
{{- if not $part.enabled -}}0
{{- else if dig "autoscaling" "enabled" false $part -}}{{ $part.autoscaling.minReplicas }}
{{- else -}}{{ dig "replicas" 1 $part }}
{{- end -}}
{{- end }}

{{- /* A text with links to the runbook of monitoring.runbookUrl: dict "root" $ "text" "..." */ -}}
{{- define "broker-events.linked" -}}
{{- .text | replace "https://github.com/broker-events/broker-events/blob/main/docs/how-to/runbook.md" .root.Values.monitoring.runbookUrl -}}
{{- end }}

{{- /* rules/broker-events.yaml for this release alone: each series is asked for with its namespace and job. */ -}}
{{- define "broker-events.rules" -}}
{{- $release := printf "namespace=%q,job=%q" .Release.Namespace (include "broker-events.fullname" .) -}}
{{- $groups := (include "broker-events.linked" (dict "root" . "text" (.Files.Get "rules/broker-events.yaml")) | fromYaml).groups -}}
{{- range $group := $groups -}}
{{- range $rule := $group.rules -}}
{{- $expression := regexReplaceAll "\\b(broker_events[_:][a-z0-9_:]+|process_start_time_seconds)\\b" $rule.expr (printf "${1}{%s}" $release) -}}
{{- $expression = $expression | replace "}{" "," -}}
{{- $cronJob := printf "namespace=%q,cronjob=%q" $.Release.Namespace (printf "%s-ledger" (include "broker-events.fullname" $)) -}}
{{- $_ := set $rule "expr" ($expression | replace "cronjob=~\".+-ledger\"" $cronJob) -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "groups" $groups) -}}
{{- end }}
