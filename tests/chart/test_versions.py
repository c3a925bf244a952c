"""One version of the product, wherever it is written, and one before it that an upgrade is tried from."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from nbhd_local import release
from nbhd_local.chart import CHART
from nbhd_local.tools import ROOT

VERSION: str = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


@pytest.mark.parametrize("path", ["pyproject.toml", "local/pyproject.toml"])
def test_of_the_distributions(path: str) -> None:
    assert tomllib.loads((ROOT / path).read_text())["project"]["version"] == VERSION


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("charts/nbhd-united/Chart.yaml", r"appVersion: (.+)"),
        ("Dockerfile", r"ARG VERSION=(.+)"),
        ("docs/install-aks.md", r"nbhd-united:(\d[\w.]+)"),
        ("manifests/overlays/example/kustomization.yaml", r"newTag: (.+)"),
        ("manifests/base/platform.yaml", r"app.kubernetes.io/version: (.+)"),
    ],
)
def test_of_what_is_installed(path: str, pattern: str) -> None:
    assert set(re.findall(pattern, (ROOT / path).read_text())) == {VERSION}


def test_the_previous_release_is_older() -> None:
    assert number(release.previous().version) < number(VERSION)
