{{/* The name of everything: the release's, with the chart's in it. */}}
{{- define "ecr-admission.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* By what the Pods are selected; never to change, since a Deployment's selector is immutable. */}}
{{- define "ecr-admission.selector" -}}
app.kubernetes.io/name: ecr-admission
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The start of an object's metadata; the list holds the root and the name, "" for the common one. */}}
{{- define "ecr-admission.cluster-metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 | default (include "ecr-admission.name" $root) | toYaml }}
labels:
  {{- include "ecr-admission.selector" $root | nindent 2 }}
{{- end -}}

{{/* The same for an object in our namespace. */}}
{{- define "ecr-admission.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 | default (include "ecr-admission.name" $root) | toYaml }}
namespace: {{ toYaml $root.Release.Namespace }}
labels:
  {{- include "ecr-admission.selector" $root | nindent 2 }}
{{- end -}}

{{- define "ecr-admission.service-account" -}}
{{- .Values.serviceAccount.name | default (include "ecr-admission.name" .) -}}
{{- end -}}

{{/* The subjects of every binding. */}}
{{- define "ecr-admission.subjects" -}}
- kind: ServiceAccount
  name: {{ include "ecr-admission.service-account" . | toYaml }}
  namespace: {{ toYaml .Release.Namespace }}
{{- end -}}

{{/* Our account, as admission policies see it. */}}
{{- define "ecr-admission.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "ecr-admission.service-account" . }}
{{- end -}}

{{- define "ecr-admission.webhook-configuration" -}}
{{- .Values.webhooks.configurationName | default (printf "zz-%s" (include "ecr-admission.name" .)) -}}
{{- end -}}

{{/* The Secret with the certificate that is served, whoever keeps it. */}}
{{- define "ecr-admission.tls-secret" -}}
{{- .Values.certificates.secretName | default (printf "%s-tls" (include "ecr-admission.name" .)) -}}
{{- end -}}

{{- define "ecr-admission.self-managed" -}}
{{- if eq .Values.certificates.mode "SelfManaged" }}yes{{ end -}}
{{- end -}}

{{/* Whether ServiceAccounts are changed. */}}
{{- define "ecr-admission.changes-service-accounts" -}}
{{- if ne (.Values.config.serviceAccountMode | default "Never") "Never" }}yes{{ end -}}
{{- end -}}

{{/* The names of the repository Secrets of Argo CD. */}}
{{- define "ecr-admission.repositories" -}}
{{- range $number := untilStep 1 17 1 }}
- ecr-admission-repository-{{ $number }}
{{- end }}
{{- end -}}

{{/* The annotations of what runs before an uninstall, in the order of the given weight. */}}
{{- define "ecr-admission.cleanup-hook" -}}
annotations:
  helm.sh/hook: pre-delete
  helm.sh/hook-weight: {{ . | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- define "ecr-admission.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- with .Values.image.digest -}}
{{- printf "%s:%s@%s" $.Values.image.repository $tag . -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{/* An address to listen on; the list holds the root and the port. */}}
{{- define "ecr-admission.address" -}}
{{- $host := (index . 0).Values.bindAddress -}}
{{- if contains ":" $host }}[{{ $host }}]{{ else }}{{ $host }}{{ end }}:{{ index . 1 }}
{{- end -}}

{{/* The program's configuration file: the values under config, and what this chart decides. */}}
{{- define "ecr-admission.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "listen" (include "ecr-admission.address" (list . .Values.ports.webhook)) -}}
{{- $_ := set $config "adminListen" (include "ecr-admission.address" (list . .Values.ports.admin)) -}}
{{- $_ := set $config "namespaceMode" .Values.namespaces.mode -}}
{{- if .Values.webhooks.allImages.enabled -}}
{{- $_ := set $config "registeredPods" "All" -}}
{{- end -}}
{{- $_ := set $config "graceTime" (printf "%ds" (int .Values.shutdown.graceSeconds)) -}}
{{- $_ := set $config "drainTime" (printf "%ds" (int .Values.shutdown.drainSeconds)) -}}
{{- if include "ecr-admission.self-managed" . -}}
{{- $self := get $config "selfManaged" | default dict -}}
{{- $_ := set $self "service" (include "ecr-admission.name" .) -}}
{{- $_ := set $self "webhookConfiguration" (include "ecr-admission.webhook-configuration" .) -}}
{{- $_ := set $self "tlsSecretName" (include "ecr-admission.tls-secret" .) -}}
{{- $_ := set $config "selfManaged" $self -}}
{{- else -}}
{{- $_ := unset $config "selfManaged" -}}
{{- $_ := set $config "tlsCert" "/etc/ecr-admission/tls/tls.crt" -}}
{{- $_ := set $config "tlsKey" "/etc/ecr-admission/tls/tls.key" -}}
{{- $_ := set $config "tlsNames" (list (printf "%s.%s.svc" (include "ecr-admission.name" .) .Release.Namespace)) -}}
{{- end -}}
{{- with .Values.certificates.clientCa.configMap -}}
{{- $_ := set $config "clientCa" (printf "/etc/ecr-admission/client-ca/%s" $.Values.certificates.clientCa.key) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
