{{- /* What one component may talk to, and who to it. dict "root" $ "component" "router" ["annotations" (dict)] */ -}}
{{- define "broker-events.networkPolicy" -}}
{{- $values := .root.Values -}}
{{- $policy := $values.networkPolicy -}}
{{- $inClusterPush := and (eq .component "bridge") $values.simulator.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "broker-events.metadata" . | nindent 2 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  podSelector:
    matchLabels:
      {{- include "broker-events.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- if eq .component "simulator" }}
  ingress:
    - from:
        - podSelector:
            matchLabels:
              {{- include "broker-events.selector" (dict "root" .root "component" "bridge") | nindent 14 }}
      ports: [{port: {{ $values.simulator.port }}}]
  {{- else }}
  {{- if has .component (list "bridge" "router" "projector" "deliver") }}
  ingress:
    - from:
        - podSelector:
            matchLabels:
              {{- include "broker-events.selector" (dict "root" .root "component" "test") | nindent 14 }}
        {{- with $policy.scrape.from }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports: [{port: metrics}]
  {{- else if eq .component "console" }}
  ingress:
    - {{ with $values.console.networkPolicyFrom }}from:
        {{- toYaml . | nindent 8 }}
      {{ end }}ports: [{port: http}]
    - {{ with $policy.scrape.from }}from:
        {{- toYaml . | nindent 8 }}
      {{ end }}ports: [{port: metrics}]
  {{- end }}
  egress:
    - {{ with $policy.dns.to }}to:
        {{- toYaml . | nindent 8 }}
      {{ end }}ports:
        {{- range $policy.dns.ports }}
        - {port: {{ . }}, protocol: UDP}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
    {{- $kafka := list -}}
    {{- range splitList "," $values.settings.kafka_bootstrap_servers -}}
    {{- $kafka = append $kafka (include "broker-events.port" (dict "address" (trim .)) | int) -}}
    {{- end }}
    {{- include "broker-events.egress" (dict "rule" $policy.kafka "ports" ($kafka | uniq)) | nindent 4 }}
    {{- $registry := include "broker-events.port" (dict "address" $values.settings.schema_registry_url) | int }}
    {{- include "broker-events.egress" (dict "rule" $policy.registry "ports" (list $registry)) | nindent 4 }}
    {{- if $inClusterPush }}
    - to:
        - podSelector:
            matchLabels:
              {{- include "broker-events.selector" (dict "root" .root "component" "simulator") | nindent 14 }}
      ports: [{port: {{ $values.simulator.port }}}]
    {{- else if eq .component "bridge" }}
    {{- $push := include "broker-events.port" (dict "address" (dig "grpc_target" "" $values.bridge.settings)) | int }}
    {{- include "broker-events.egress" (dict "rule" $policy.push "ports" (list $push)) | nindent 4 }}
    {{- else if eq .component "deliver" }}
    {{- include "broker-events.egress" (dict "rule" $policy.receivers "ports" (list 443)) | nindent 4 }}
    {{- else if eq .component "test" }}
    {{- range list "bridge" "router" "projector" "deliver" }}
    - to:
        - podSelector:
            matchLabels:
              {{- include "broker-events.selector" (dict "root" $.root "component" .) | nindent 14 }}
      ports: [{port: metrics}]
    {{- end }}
    {{- end }}
  {{- end }}
{{- end }}

{{- /* One egress entry: dict "rule" {to, ports} "ports" (list of those for a rule without) */ -}}
{{- define "broker-events.egress" -}}
- {{ with .rule.to }}to:
    {{- toYaml . | nindent 4 }}
  {{ end }}ports:
    {{- range default .ports .rule.ports }}
    - {port: {{ . }}}
    {{- end }}
{{- end }}
