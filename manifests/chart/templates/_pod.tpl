{{/* The spec of the Pods. */}}
{{- define "ecr-admission.pod" -}}
serviceAccountName: {{ include "ecr-admission.service-account" . | toYaml }}
automountServiceAccountToken: true
# The variables that Kubernetes makes for Services look like settings of the program.
enableServiceLinks: false
# The time to serve on after SIGTERM, the time to drain, and some to spare.
terminationGracePeriodSeconds: {{ add .Values.shutdown.graceSeconds .Values.shutdown.drainSeconds 5 }}
{{- if .Values.hostNetwork }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
# Not a spread over hostnames: the scheduler leaves a node without a zone out of every such spread as soon as one is over zones.
affinity:
  {{- with .Values.affinity }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "ecr-admission.selector" . | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
  {{- end }}
topologySpreadConstraints:
  {{- with .Values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "ecr-admission.selector" . | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.extraInitContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: ecr-admission
    {{- include "ecr-admission.container" . | nindent 4 }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  {{- include "ecr-admission.volumes" . | nindent 2 }}
{{- end -}}

{{/* Our container, behind its name. */}}
{{- define "ecr-admission.container" -}}
image: {{ include "ecr-admission.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, --config, /etc/ecr-admission/config/config.yaml]
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: webhook
    containerPort: {{ .Values.ports.webhook }}
    protocol: TCP
  - name: admin
    containerPort: {{ .Values.ports.admin }}
    protocol: TCP
# Ready as soon as there is a certificate to serve and what is in the cluster is known.
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet:
    path: /livez
    port: admin
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - name: config
    mountPath: /etc/ecr-admission/config
    readOnly: true
  {{- if not (include "ecr-admission.self-managed" .) }}
  - name: tls
    mountPath: /etc/ecr-admission/tls
    readOnly: true
  {{- end }}
  {{- if .Values.certificates.clientCa.configMap }}
  - name: client-ca
    mountPath: /etc/ecr-admission/client-ca
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "ecr-admission.volumes" -}}
- name: config
  configMap:
    name: {{ include "ecr-admission.name" . }}
{{- if not (include "ecr-admission.self-managed" .) }}
- name: tls
  secret:
    secretName: {{ include "ecr-admission.tls-secret" . | toYaml }}
{{- end }}
{{- with .Values.certificates.clientCa.configMap }}
- name: client-ca
  configMap:
    name: {{ toYaml . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}
