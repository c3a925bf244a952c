{{/* Labels of every object. Takes (dict "root" $ "component" name). */}}
{{- define "nbhd.labels" -}}
{{ include "nbhd.selector" . }}
app.kubernetes.io/part-of: nbhd-united
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels that never change: selectors. */}}
{{- define "nbhd.selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* Annotation of what must outlive the release where Tenants do. */}}
{{- define "nbhd.keptWithTenants" -}}
{{- if eq .Values.uninstall.withTenants "keep" }}
helm.sh/resource-policy: keep
{{- end }}
{{- end }}

{{- define "nbhd.image" -}}
{{- $image := .Values.image }}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "nbhd.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "nbhd.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What all Pods share outside their containers. Takes root and component. */}}
{{- define "nbhd.pod" -}}
{{- $pods := .root.Values.pods }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "nbhd.podSecurity" . | nindent 2 }}
{{- with $pods.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
enableServiceLinks: false
{{- end }}

{{/* Spreads the replicas of a Deployment; zones are only preferred, for not every cluster has them. Takes root and component. */}}
{{- define "nbhd.spread" -}}
topologySpreadConstraints:
  {{- range tuple "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ ternary $.root.Values.pods.topologySpread "ScheduleAnyway" (eq . "kubernetes.io/hostname") }}
    labelSelector:
      matchLabels:
        {{- include "nbhd.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}

{{/* Metadata of a Pod template. Takes root, component and azure (the Pod has an identity in Azure). */}}
{{- define "nbhd.podMetadata" -}}
labels:
  {{- include "nbhd.labels" . | nindent 2 }}
  {{- if .azure }}
  azure.workload.identity/use: "true"
  {{- end }}
  {{- with .root.Values.pods.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.pods.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the kubelet asks on the health port. */}}
{{- define "nbhd.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}

{{/* Settings that all services read. */}}
{{- define "nbhd.commonEnv" -}}
- name: NBHD_PLATFORM_ID
  value: {{ .Values.platform.id | quote }}
- name: NBHD_NAMESPACE
  value: {{ .Values.tenants.namespace | quote }}
- name: NBHD_LOG_LEVEL
  value: {{ .Values.platform.logLevel }}
- name: NBHD_HEALTH_LISTEN
  value: 0.0.0.0:8080
{{- if include "nbhd.mock" . }}
- name: AZURE_MOCK
  value: "true"
{{- end }}
{{- if include "nbhd.caConfigMap" . }}
- name: SSL_CERT_FILE
  value: /etc/nbhd/ca/ca.pem
{{- end }}
{{- if .Values.clock.existingClaim }}
- name: NBHD_CLOCK_FILE
  value: /run/nbhd-clock/clock.json
{{- end }}
{{- end }}

{{/* NAME_FILE settings of secrets. Takes root and secrets (names of settings). */}}
{{- define "nbhd.secretEnv" -}}
{{- range .secrets }}
- name: {{ . }}_FILE
  value: /run/secrets/nbhd/{{ . }}
{{- end }}
{{- end }}

{{/* Mounts of a service. */}}
{{- define "nbhd.mounts" -}}
- name: secrets
  mountPath: /run/secrets/nbhd
  readOnly: true
{{- if include "nbhd.caConfigMap" . }}
- name: ca
  mountPath: /etc/nbhd/ca
  readOnly: true
{{- end }}
{{- if .Values.clock.existingClaim }}
- name: clock
  mountPath: /run/nbhd-clock
  readOnly: true
{{- end }}
{{- end }}

{{/* Volumes of a service: only the secrets that it needs. Takes root, component and secrets. */}}
{{- define "nbhd.volumes" -}}
{{- $secrets := .root.Values.secrets }}
- name: secrets
  {{- if eq (include "nbhd.secretsProvider" .root) "keyVault" }}
  csi:
    driver: secrets-store.csi.k8s.io
    readOnly: true
    volumeAttributes:
      secretProviderClass: {{ .component }}
  {{- else }}
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ $secrets.platform }}
          items:
            {{- range without .secrets "NBHD_LINK_KEYS" }}
            - {key: {{ . }}, path: {{ . }}}
            {{- end }}
      {{- if has "NBHD_LINK_KEYS" .secrets }}
      - secret:
          name: {{ $secrets.linkKeys }}
          items:
            - {key: keys, path: NBHD_LINK_KEYS}
      {{- end }}
  {{- end }}
{{- with include "nbhd.caConfigMap" .root }}
- name: ca
  configMap:
    name: {{ . }}
    items:
      - {key: ca.pem, path: ca.pem}
{{- end }}
{{- with .root.Values.clock.existingClaim }}
- name: clock
  persistentVolumeClaim:
    claimName: {{ . }}
{{- end }}
{{- end }}

{{- define "nbhd.secretsProvider" -}}
{{- if .Values.local.enabled }}existing{{ else }}{{ .Values.secrets.provider }}{{ end }}
{{- end }}

{{/* True where Azure is an emulator. */}}
{{- define "nbhd.mock" -}}
{{- if or .Values.local.enabled .Values.azure.mock }}true{{ end }}
{{- end }}

{{- define "nbhd.caConfigMap" -}}
{{- if .Values.local.enabled }}local-ca{{ else }}{{ .Values.caBundle.configMap }}{{ end }}
{{- end }}

{{/* Names of the secret settings of each service. */}}
{{- define "nbhd.operatorSecrets" -}}
NBHD_BOT_KEYS NBHD_WEBHOOK_KEYS NBHD_GATEWAY_KEYS NBHD_MODEL_KEYS
{{- end }}
{{- define "nbhd.routerSecrets" -}}
TELEGRAM_BOT_TOKEN TELEGRAM_WEBHOOK_SECRET NBHD_BOT_KEYS NBHD_WEBHOOK_KEYS NBHD_LINK_KEYS
{{- end }}
{{- define "nbhd.webhooksSecrets" -}}
{{ if .Values.stripe.liveMode }}STRIPE_LIVE_SECRET_KEY{{ else }}STRIPE_TEST_SECRET_KEY{{ end }} STRIPE_WEBHOOK_SECRETS NBHD_LINK_KEYS
{{- end }}

{{/* Host of a URL. */}}
{{- define "nbhd.host" -}}
{{- (urlParse .).host }}
{{- end }}
