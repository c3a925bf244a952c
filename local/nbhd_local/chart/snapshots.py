"""What value sets of ``ci/`` change about the default install, as diffs that a reviewer can read.

The default install itself is ``manifests/base/platform.yaml``.
"""

from __future__ import annotations

import difflib
from typing import Any

from nbhd_local.chart import helm
from nbhd_local.chart.templates import dump
from nbhd_local.tools import ROOT

SNAPSHOTS = ROOT / "tests" / "chart" / "snapshots"
SETS = ("ha", "strict", "monitoring", "local")


def render() -> dict[str, str]:
    """Name of a file → text. ``hooks.yaml`` is what Helm runs besides the install, with any values."""
    documents = helm.documents(helm.template())
    hooks = [one for one in documents if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    default = _texts(documents)
    return {
        "hooks.yaml": dump(hooks),
        **{f"{name}.diff": _difference(default, _texts(helm.documents(helm.template(name)))) for name in SETS},
    }


def _texts(documents: list[dict[str, Any]]) -> dict[str, str]:
    return {
        f"{one['kind']} {one['metadata'].get('namespace', '')} {one['metadata']['name']}": dump([_without_luck(one)])
        for one in documents
    }


def _without_luck(one: dict[str, Any]) -> dict[str, Any]:
    """What Helm makes up at random is the same every time here."""
    if one["kind"] == "Secret" or one["metadata"]["name"] == "local-ca":
        return {**one, "data": dict.fromkeys(one["data"], "RANDOM")}
    return one


def _difference(before: dict[str, str], after: dict[str, str]) -> str:
    lines: list[str] = []
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = (text.get(name, "").splitlines() for text in (before, after))
        changed = list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]
        if changed:
            hunks = ["@@" if line.startswith("@@ ") else line for line in changed]  # without line numbers
            lines += [f"=== {name}", *hunks]
    return "\n".join(lines) + "\n"
