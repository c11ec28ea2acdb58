{{- /* Values for all pods and those of one workload. dict "root" $ "part" .Values.router */ -}}
{{- define "broker-events.podValues" -}}
{{- include "broker-events.overlaid" (list .root.Values.pod .part.pod) -}}
{{- end }}

{{- define "broker-events.podMetadata" -}}
{{- $pod := include "broker-events.podValues" . | fromJson -}}
labels:
  {{- include "broker-events.selector" . | nindent 2 }}
  app.kubernetes.io/part-of: broker-events
  {{- with $pod.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "broker-events.overlaid" (list $pod.annotations .annotations) | fromJson }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Everything of a pod's spec but its containers. dict "root" $ "component" "..." "part" ... ["serviceAccount" "..."] */ -}}
{{- define "broker-events.podSpec" -}}
{{- $pod := include "broker-events.podValues" . | fromJson -}}
{{- $files := include "broker-events.files" . | fromJson -}}
serviceAccountName: {{ default (include "broker-events.serviceAccount" .root) .serviceAccount }}
automountServiceAccountToken: false
enableServiceLinks: false # a Service named pipeline-... would be taken for a setting
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml $pod.securityContext | nindent 2 }}
terminationGracePeriodSeconds: {{ $pod.terminationGracePeriodSeconds }}
{{- with $pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml . | nindent 4 | trim }}
    labelSelector:
      matchLabels:
        {{- include "broker-events.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
volumes:
  - name: tmp # the only place that is written to, and nothing is kept there
    emptyDir: {sizeLimit: 16Mi}
  {{- if and (dig "state" "enabled" false .part) .part.state.emptyDir }}
  - name: state # goes with the pod
    emptyDir: {sizeLimit: {{ .part.state.size }}}
  {{- end }}
  {{- with $files }}
  - name: files
    projected:
      defaultMode: 0440
      sources:
        {{- range $name, $file := . }}
        - {{ ternary "secret" "configMap" (hasKey $file "secret") }}:
            name: {{ default $file.configMap $file.secret }}
            items:
              - {key: {{ $file.key | quote }}, path: {{ $name }}}
        {{- end }}
  {{- end }}
  {{- range dig "receiverSecrets" list .part }}
  - name: receiver-{{ . }}
    projected:
      defaultMode: 0440
      sources: [{secret: {name: {{ . }}}}]
  {{- end }}
  {{- with $pod.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* Annotations of what has pods that run on. */ -}}
{{- define "broker-events.workloadAnnotations" -}}
{{- with .Values.workloadAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The list items of sidecars. dict "root" $ "part" ... */ -}}
{{- define "broker-events.sidecars" -}}
{{- with (include "broker-events.podValues" . | fromJson).extraContainers }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What every container of the program has. dict as of podSpec, and "args" */ -}}
{{- define "broker-events.container" -}}
{{- $pod := include "broker-events.podValues" . | fromJson -}}
image: {{ include "broker-events.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
  {{- toYaml .args | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources:
  {{- toYaml .part.resources | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if dig "state" "enabled" false .part }}
  - {name: state, mountPath: /state}
  {{- end }}
  {{- with include "broker-events.files" . | fromJson }}
  - {name: files, mountPath: /etc/broker-events, readOnly: true}
  {{- end }}
  {{- range dig "receiverSecrets" list .part }}
  - {name: receiver-{{ . }}, mountPath: /etc/receivers/{{ . }}, readOnly: true}
  {{- end }}
  {{- with $pod.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
