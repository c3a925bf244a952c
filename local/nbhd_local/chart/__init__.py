"""Writes what the Helm chart and ``manifests`` hold that is not written by hand; used by `make generate` and tests."""
