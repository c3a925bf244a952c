"""Running files of ``inside/``: a pytest of its own in the node's network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from nbhd_local import image
from nbhd_local.demo_node import command
from nbhd_local.node import Node

_INSIDE = Path(__file__).parent / "inside"


def run_inside(node: Node, folder: Path, *names: str, **told: str) -> subprocess.CompletedProcess[str]:
    """What came of these files; ``told`` is their environment, besides what all of them are told."""
    told |= {
        "NBHD_NODE_FOLDER": str(folder),
        "NBHD_NODE_KUBECONFIG": str(node.inside_kubeconfig),
        "NBHD_NODE_IMAGE": image.reference(),
        "NBHD_NODE_LOCAL_IMAGE": image.reference("local"),
        "NBHD_NODE_PROCESS": str(node.process),
    }
    files = [str(_INSIDE / f"{name}.py") for name in names]
    inside = command(node, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-q", "-s", *files)
    return subprocess.run(inside, env={**os.environ, **told}, capture_output=True, text=True, timeout=800)
