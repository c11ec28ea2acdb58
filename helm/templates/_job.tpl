{{- /* The spec of a job that runs one command: dict "root" $ "component" "command" "part" .Values.ledger "args" (list) */ -}}
{{- define "broker-events.commandJob" -}}
activeDeadlineSeconds: {{ .part.activeDeadlineSeconds }}
backoffLimit: 2
ttlSecondsAfterFinished: 86400
podFailurePolicy:
  rules:
    - action: FailJob # 1 is an answer (not reconciled, different), 2 and 3 are for a person: another try changes nothing
      onExitCodes: {operator: In, values: [1, 2, 3]}
template:
  metadata:
    {{- include "broker-events.podMetadata" . | nindent 4 }}
  spec:
    restartPolicy: Never
    {{- include "broker-events.podSpec" . | nindent 4 }}
    containers:
      - name: command
        {{- include "broker-events.container" . | nindent 8 }}
        env:
          {{- include "broker-events.inlineEnv" . | trim | nindent 10 }}
{{- end }}
