"""``helm template``: the chart as Helm renders it without a cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

import yaml

from nbhd_local import tools
from nbhd_local.chart import CHART

NAMESPACE = "nbhd-system"


def template_command(*sets: str, settings: Sequence[str] = ()) -> list[str]:
    """Helm's arguments for value sets of the chart's ``ci/`` and ``--set`` settings."""
    given = [part for one in settings for part in ("--set", one)]
    return ["template", "nbhd", str(CHART), *values(*sets), *given]


def values(*sets: str) -> list[str]:
    """Helm's arguments for value sets; all but ``local`` stand on ``minimal``."""
    names = list(sets) if "local" in sets else ["minimal", *sets]
    return [part for name in names for part in ("--values", str(CHART / "ci" / f"{name}-values.yaml"))]


def template(*sets: str) -> str:
    """What Helm renders; raises ``CalledProcessError``."""
    command = [str(tools.helm()), "--namespace", NAMESPACE, *template_command(*sets)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def documents(text: str) -> list[dict[str, Any]]:
    """The objects in a stream of YAML."""
    return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]


def installed(*sets: str) -> list[dict[str, Any]]:
    """The objects that an install leaves in the cluster: without hooks."""
    return [one for one in documents(template(*sets)) if "helm.sh/hook" not in one["metadata"].get("annotations", {})]
