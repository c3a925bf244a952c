{{/*
Says everything that is missing in one message, in the words of the values. The schema has checked types and shapes;
this checks what depends on other values.
*/}}
{{- define "nbhd.validate" -}}
{{- $v := .Values }}
{{- $missing := list }}
{{- if not $v.local.enabled }}
{{- range $path, $what := dict
  "urls.website" "the website's address, such as https://example.com"
  "urls.telegram" "where Telegram reaches the router, such as https://bot.example.com"
  "urls.egress" "where the tenants' containers reach the router, such as https://egress.example.com"
  "urls.models" "the model gateway as the tenants' containers reach it, such as https://models.example.com/v1"
  "azure.clientId" "the client id of the operator's managed identity"
  "telegram.botId" "the bot's numeric id: what is before the colon of its token"
  "telegram.botUsername" "the bot's name, without @"
  "stripe.prices.basic" "the id of the Basic plan's price, price_..."
  "stripe.prices.plus" "the id of the Plus plan's price, price_..."
}}
{{- $value := $v }}
{{- range splitList "." $path }}{{ $value = index $value . }}{{ end }}
{{- if not $value }}{{ $missing = append $missing (printf "%s: %s" $path $what) }}{{ end }}
{{- end }}
{{- if eq $v.secrets.provider "keyVault" }}
{{- range $key, $what := dict "name" "the vault that holds the platform's secrets" "tenantId" "the vault's directory" "clientId" "the client id of the identity that reads it" }}
{{- if not (index $v.secrets.keyVault $key) }}{{ $missing = append $missing (printf "secrets.keyVault.%s: %s (because secrets.provider is keyVault)" $key $what) }}{{ end }}
{{- end }}
{{- end }}
{{- if and $v.plans (not $v.openclaw.image) }}
{{- range $name, $plan := $v.plans }}
{{- if not $plan.image }}{{ $missing = append $missing (printf "openclaw.image: the image of the tenants' containers, by digest (plan %s names none)" $name) }}{{ end }}
{{- end }}
{{- end }}
{{- range $name, $cell := $v.cells }}
{{- if not (or $cell.subscriptionId $v.azure.subscriptionId) }}{{ $missing = append $missing (printf "cells.%s.subscriptionId, or azure.subscriptionId for all cells" $name) }}{{ end }}
{{- if not (or (and $cell.vault $cell.vault.name) $v.azure.keyVaultName) }}{{ $missing = append $missing (printf "cells.%s.vault.name, or azure.keyVaultName for all cells" $name) }}{{ end }}
{{- end }}
{{- if and $v.azure.mock (not (and $v.azure.tenantId $v.azure.authorityHost)) }}{{ $missing = append $missing "azure.tenantId and azure.authorityHost: those of the emulator (because azure.mock is true)" }}{{ end }}
{{- end }}
{{- if $missing }}
{{- fail (printf "\n\nThese values are needed:\n  - %s\n\nEach is explained in the chart's README.md.\n" (join "\n  - " (uniq $missing))) }}
{{- end }}
{{- $wrong := compact (splitList "\n" (include "nbhd.shapes" .)) }}
{{- if and $v.stripe.liveMode (include "nbhd.mock" .) }}{{ $wrong = append $wrong "stripe.liveMode must be false with an emulated Azure: real money must not buy an emulated cloud" }}{{ end }}
{{- if and $v.clock.existingClaim (not (include "nbhd.mock" .)) }}{{ $wrong = append $wrong "clock.existingClaim needs azure.mock: only an emulated world may move the services' clock" }}{{ end }}
{{- if eq $v.tenants.namespace .Release.Namespace }}{{ $wrong = append $wrong (printf "tenants.namespace must be another namespace than the release's (%s): deleting the platform's must not delete subscribers" .Release.Namespace) }}{{ end }}
{{- if and $v.stripe.prices.basic (eq $v.stripe.prices.basic $v.stripe.prices.plus) }}{{ $wrong = append $wrong "stripe.prices.basic and stripe.prices.plus must differ: the price tells the plan" }}{{ end }}
{{- if $wrong }}
{{- fail (printf "\n\nThese values are wrong:\n  - %s\n" (join "\n  - " $wrong)) }}
{{- end }}
{{- end }}

{{/* What strings must look like, in words: the schema's own message for a pattern is not for people. */}}
{{- define "nbhd.shapes" -}}
{{- $guid := `^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$` }}
{{- $vault := `^[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]$` }}
{{- $site := ternary `^https?://[^/ ]+$` `^https://[^/ ]+$` (not (empty (include "nbhd.mock" .))) }}
{{- range $path, $shape := dict
  "urls.website" (tuple $site "https and a host, without a path, such as https://example.com")
  "urls.telegram" (tuple $site "https and a host, without a path, such as https://bot.example.com")
  "urls.egress" (tuple $site "https and a host, without a path, such as https://egress.example.com")
  "urls.models" (tuple `^https?://[^ ]+$` "a URL, such as https://models.example.com/v1")
  "azure.clientId" (tuple $guid "a GUID, as `az identity show --query clientId` prints it")
  "azure.tenantId" (tuple $guid "a GUID, as `az account show --query tenantId` prints it")
  "azure.subscriptionId" (tuple $guid "a GUID, as `az account show --query id` prints it")
  "azure.keyVaultName" (tuple $vault "the name of a vault, not its URL")
  "azure.armUrl" (tuple `^https://` "an https URL")
  "azure.authorityHost" (tuple `^https://` "an https URL")
  "telegram.botUsername" (tuple `^[A-Za-z][A-Za-z0-9_]{3,31}$` "the bot's name without @")
  "telegram.apiUrl" (tuple `^https?://` "a URL")
  "telegram.linkUrl" (tuple `^https?://` "a URL")
  "stripe.prices.basic" (tuple `^price_[A-Za-z0-9_]+$` "the id of a price (price_...), not of a product")
  "stripe.prices.plus" (tuple `^price_[A-Za-z0-9_]+$` "the id of a price (price_...), not of a product")
  "stripe.apiUrl" (tuple `^https?://` "a URL")
  "secrets.keyVault.name" (tuple $vault "the name of a vault, not its URL")
  "secrets.keyVault.tenantId" (tuple $guid "a GUID, as `az account show --query tenantId` prints it")
  "secrets.keyVault.clientId" (tuple $guid "a GUID, as `az identity show --query clientId` prints it")
  "openclaw.image" (tuple `^[a-z0-9.:-]+(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}$` "an image by digest, registry/name@sha256:..., so that every tenant of a plan runs the same")
  "image.digest" (tuple `^sha256:[0-9a-f]{64}$` "a digest, sha256: and 64 digits")
  "platform.id" (tuple `^[a-z0-9-]{1,32}$` "1 to 32 of a-z, 0-9 and -")
  "tenants.namespace" (tuple `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$` "the name of a namespace")
}}
{{- $value := $.Values }}
{{- range splitList "." $path }}{{ $value = index $value . }}{{ end }}
{{- if and $value (not (regexMatch (index $shape 0) (toString $value))) }}
{{ printf "%s is %q: it must be %s" $path $value (index $shape 1) }}
{{- end }}
{{- end }}
{{- end }}
