{{/* The namespaces that are asked about: not kube-system, not ours, and as namespaces.mode says. */}}
{{- define "ecr-admission.namespace-selector" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
      {{- concat (list "kube-system" .Release.Namespace) .Values.config.excludedNamespaces | uniq | toYaml | nindent 6 }}
  - key: ecr-admission.dev/admission
    {{- if eq .Values.namespaces.mode "OptIn" }}
    operator: In
    values: [enabled]
    {{- else }}
    operator: NotIn
    values: [disabled]
    {{- end }}
{{- end -}}

{{/* What the webhooks have in common. The list: root, path, failurePolicy. */}}
{{- define "ecr-admission.webhook" -}}
{{- $root := index . 0 -}}
admissionReviewVersions: [v1]
clientConfig:
  service:
    name: {{ include "ecr-admission.name" $root }}
    namespace: {{ toYaml $root.Release.Namespace }}
    path: {{ index . 1 }}
    port: {{ $root.Values.service.port }}
  {{- if eq $root.Values.certificates.mode "Files" }}
  {{- with $root.Values.certificates.caBundle }}
  caBundle: {{ b64enc . }}
  {{- end }}
  {{- end }}
failurePolicy: {{ index . 2 }}
matchPolicy: Equivalent
sideEffects: NoneOnDryRun
timeoutSeconds: {{ $root.Values.webhooks.timeoutSeconds }}
namespaceSelector:
  {{- include "ecr-admission.namespace-selector" $root | nindent 2 }}
{{- end -}}

{{/* The metadata of both configurations. cert-manager puts the authority in where it finds the annotation. */}}
{{- define "ecr-admission.webhook-metadata" -}}
{{- include "ecr-admission.cluster-metadata" (list . (include "ecr-admission.webhook-configuration" .)) }}
{{- if eq .Values.certificates.mode "CertManager" }}
annotations:
  cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ include "ecr-admission.name" . }}
{{- end }}
{{- end -}}

{{/* CEL: every image that a Pod's spec names, in brackets. */}}
{{- define "ecr-admission.images" -}}
({{ . }}.?containers.orValue([]).map(c, c.?image.orValue('')) +
{{ . }}.?initContainers.orValue([]).map(c, c.?image.orValue('')) +
{{ . }}.?ephemeralContainers.orValue([]).map(c, c.?image.orValue('')) +
{{ . }}.?volumes.orValue([]).map(v, v.?image.?reference.orValue('')))
{{- end -}}

{{/* CEL: whether one of them may concern ECR, as image::lookalike::may_concern_ecr says it. */}}
{{- define "ecr-admission.names-ecr" -}}
{{ include "ecr-admission.images" . }}.exists(
  image, image.matches(r'(?i)^([a-z][a-z0-9+-]*://)?([^/]*[._-])?ecr'))
{{- end -}}

{{/* A matchCondition: of updates, only those that change an image. */}}
{{- define "ecr-admission.changes-an-image" -}}
- name: changes-an-image
  expression: |-
    request.operation != 'UPDATE' ||
    {{- include "ecr-admission.images" "object.spec" | nindent 4 }} !=
    {{- include "ecr-admission.images" "oldObject.spec" | nindent 4 }}
{{- end -}}
