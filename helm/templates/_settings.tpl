{{- /* The entries of two maps; the second's win, each as a whole. list <map> <map>, result as JSON */ -}}
{{- define "broker-events.overlaid" -}}
{{- $entries := dict -}}
{{- range . -}}{{- range $name, $value := . -}}{{- $_ := set $entries $name $value -}}{{- end -}}{{- end -}}
{{- toJson $entries -}}
{{- end }}

{{- /*
Settings of one workload, `part` being its values: those of all, those of its own, then `fixed`, the chart's.
dict "root" $ "part" .Values.router "fixed" (dict "instance_id" "...")
*/ -}}

{{- /* As JSON: {PIPELINE_...: text} of what is no secret. */ -}}
{{- define "broker-events.plainSettings" -}}
{{- $values := .root.Values -}}
{{- $settings := include "broker-events.overlaid" (list $values.settings .part.settings .fixed) | fromJson -}}
{{- $_ := required "settings.kafka_bootstrap_servers: where is Kafka? host:port, comma separated" $values.settings.kafka_bootstrap_servers -}}
{{- $_ := required "settings.schema_registry_url: where is the schema registry?" $values.settings.schema_registry_url -}}
{{- $environment := dict -}}
{{- range $name, $value := $settings -}}
{{- $text := toJson $value -}}
{{- if kindIs "string" $value -}}{{- $text = $value -}}{{- else if kindIs "slice" $value -}}{{- $text = join "," $value -}}{{- end -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $environment (printf "PIPELINE_%s" (upper $name)) $text -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := include "broker-events.files" . | fromJson -}}
{{- $_ := set $environment (printf "PIPELINE_%s" (upper $name)) (printf "/etc/broker-events/%s" $name) -}}
{{- end -}}
{{- include "broker-events.checkKafka" (dict "environment" $environment "secrets" (include "broker-events.secrets" . | fromJson)) -}}
{{- toJson $environment -}}
{{- end }}

{{- /* Fail where the program would end with exit code 2. dict "environment" {PIPELINE_...: text} "secrets" {name: ...} */ -}}
{{- define "broker-events.checkKafka" -}}
{{- $environment := .environment -}}
{{- $protocol := dig "PIPELINE_KAFKA_SECURITY_PROTOCOL" "PLAINTEXT" $environment -}}
{{- $sasl := list "mechanism" "username" "password" -}}
{{- if contains "SASL" $protocol -}}
{{- range $sasl -}}
{{- $name := printf "kafka_sasl_%s" . -}}
{{- if not (or (hasKey $environment (printf "PIPELINE_%s" (upper $name))) (hasKey $.secrets $name)) -}}
{{- fail (printf "kafka_security_protocol: %s needs %s.%s" $protocol (ternary "secrets" "settings" (eq . "password")) $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $certificate := hasKey $environment "PIPELINE_KAFKA_SSL_CERTIFICATE_LOCATION" -}}
{{- if ne $certificate (hasKey $environment "PIPELINE_KAFKA_SSL_KEY_LOCATION") -}}
{{- fail "files.kafka_ssl_certificate_location and files.kafka_ssl_key_location: a client certificate needs both" -}}
{{- end -}}
{{- if and (not (contains "SSL" $protocol)) (or $certificate (hasKey $environment "PIPELINE_KAFKA_SSL_CA_LOCATION")) -}}
{{- fail (printf "kafka_security_protocol: %s has no use for files.kafka_ssl_...; is it to be SSL or SASL_SSL?" $protocol) -}}
{{- end -}}
{{- end }}

{{- define "broker-events.secrets" -}}
{{- include "broker-events.overlaid" (list .root.Values.secrets .part.secrets) -}}
{{- end }}

{{- define "broker-events.files" -}}
{{- include "broker-events.overlaid" (list .root.Values.files .part.files) -}}
{{- end }}

{{- /* Env entries of what isn't in a ConfigMap: settings that are in Secrets, and variables that aren't settings. */ -}}
{{- define "broker-events.otherEnv" -}}
{{- range $name, $secret := include "broker-events.secrets" . | fromJson }}
- name: PIPELINE_{{ upper $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.name }}
      key: {{ $secret.key | quote }}
{{- end }}
{{- with (include "broker-events.podValues" . | fromJson).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Port of `host:port` or of a URL: dict "address" "..." */ -}}
{{- define "broker-events.port" -}}
{{- $host := .address | trimSuffix "/" -}}
{{- if contains "://" $host -}}{{- $host = (urlParse .address).host -}}{{- end -}}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" -}}
{{- default (ternary "443" "80" (hasPrefix "https:" .address)) $port -}}
{{- end }}

{{- /* All settings as env entries, for pods that exist before or after the ConfigMaps of the release do. */ -}}
{{- define "broker-events.inlineEnv" -}}
{{- range $name, $value := include "broker-events.plainSettings" . | fromJson }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- include "broker-events.otherEnv" . }}
{{- end }}
