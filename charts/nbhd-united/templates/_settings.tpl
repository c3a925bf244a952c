{{/*
What the services are told, as YAML: the values, or the addresses of the emulators where local.enabled.
Use: {{- $s := include "nbhd.settings" . | fromYaml }}
*/}}
{{- define "nbhd.settings" -}}
{{- if .Values.local.enabled -}}
{{- $host := printf "local.%s.svc" .Release.Namespace -}}
website: http://localhost:8000
telegram: http://router.{{ .Release.Namespace }}.svc:8000
egress: http://router.{{ .Release.Namespace }}.svc:8001
models: http://local.{{ .Release.Namespace }}.svc:9/v1
armUrl: https://{{ $host }}:8443
authorityHost: https://{{ $host }}:8444
vaultUrl: https://{{ $host }}:8445
stripeUrl: https://{{ $host }}:8446
telegramUrl: https://{{ $host }}:8447
linkUrl: http://localhost:8449
azureTenantId: 10ca1000-0000-4000-8000-000000000001
clientId: 10ca1000-0000-4000-8000-000000000002
subscriptionId: 10ca1000-0000-4000-8000-000000000003
keyVaultName: local
botId: 7000001
botUsername: nbhd_local_bot
priceBasic: price_localbasic
pricePlus: price_localplus
{{- else -}}
website: {{ .Values.urls.website | quote }}
telegram: {{ .Values.urls.telegram | quote }}
egress: {{ .Values.urls.egress | quote }}
models: {{ .Values.urls.models | quote }}
armUrl: {{ .Values.azure.armUrl | quote }}
authorityHost: {{ .Values.azure.authorityHost | quote }}
stripeUrl: {{ .Values.stripe.apiUrl | quote }}
telegramUrl: {{ .Values.telegram.apiUrl | quote }}
linkUrl: {{ .Values.telegram.linkUrl | quote }}
azureTenantId: {{ .Values.azure.tenantId | quote }}
clientId: {{ .Values.azure.clientId | quote }}
subscriptionId: {{ .Values.azure.subscriptionId | quote }}
keyVaultName: {{ .Values.azure.keyVaultName | quote }}
botId: {{ .Values.telegram.botId | int64 }}
botUsername: {{ .Values.telegram.botUsername | quote }}
priceBasic: {{ .Values.stripe.prices.basic | quote }}
pricePlus: {{ .Values.stripe.prices.plus | quote }}
{{- end }}
{{- end }}

{{/* The Cells to make, as YAML: the values, or the emulator's one. */}}
{{- define "nbhd.cells" -}}
{{- if .Values.local.enabled -}}
{{- $s := include "nbhd.settings" . | fromYaml -}}
{{- $group := printf "/subscriptions/%s/resourceGroups/local/providers" $s.subscriptionId -}}
local-1:
  resourceGroup: local
  location: eastus2
  environmentId: {{ $group }}/Microsoft.App/managedEnvironments/local
  pullIdentityId: {{ $group }}/Microsoft.ManagedIdentity/userAssignedIdentities/pull
  vault: {name: local, url: {{ $s.vaultUrl | quote }}}
{{- else -}}
{{ toYaml .Values.cells }}
{{- end }}
{{- end }}

{{/* Image of the tenants' containers where a plan names none. */}}
{{- define "nbhd.openclawImage" -}}
{{- if and .Values.local.enabled (not .Values.openclaw.image) -}}
registry.local/openclaw/openclaw@sha256:{{ repeat 64 "0" }}
{{- else -}}
{{ .Values.openclaw.image }}
{{- end }}
{{- end }}
