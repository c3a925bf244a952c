"""Writes what the Helm chart and ``manifests`` hold that is not written by hand; used by `make generate` and tests."""

from nbhd_local.tools import ROOT

CHART = ROOT / "charts" / "nbhd-united"
