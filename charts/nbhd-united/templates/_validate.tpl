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
{{- $wrong := list }}
{{- if and $v.stripe.liveMode (include "nbhd.mock" .) }}{{ $wrong = append $wrong "stripe.liveMode must be false with an emulated Azure: real money must not buy an emulated cloud" }}{{ end }}
{{- if and $v.clock.existingClaim (not (include "nbhd.mock" .)) }}{{ $wrong = append $wrong "clock.existingClaim needs azure.mock: only an emulated world may move the services' clock" }}{{ end }}
{{- if eq $v.tenants.namespace .Release.Namespace }}{{ $wrong = append $wrong (printf "tenants.namespace must be another namespace than the release's (%s): deleting the platform's must not delete subscribers" .Release.Namespace) }}{{ end }}
{{- if and $v.stripe.prices.basic (eq $v.stripe.prices.basic $v.stripe.prices.plus) }}{{ $wrong = append $wrong "stripe.prices.basic and stripe.prices.plus must differ: the price tells the plan" }}{{ end }}
{{- if $wrong }}
{{- fail (printf "\n\nThese values do not fit together:\n  - %s\n" (join "\n  - " $wrong)) }}
{{- end }}
{{- end }}
