"""``nbhd-local demo-node``: the demo on a real node, with the platform installed by its chart from its own image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nbhd_local import image
from nbhd_local.node import Node, missing


def command(node: Node, *arguments: str) -> list[str]:
    """A command line of Python that runs in the node's network, with mounts of its own."""
    return node.command("unshare", "--mount", "--propagation=private", sys.executable, *arguments)


def run(folder: Path) -> int:
    """Builds the image if needed, starts a node, tells the story; returns the exit status."""
    reason = missing() or image.missing()
    if reason:
        print(f"This demo needs a real node: {reason}. `make demo` needs none.", file=sys.stderr)
        return 1
    print("Building the platform's image, if it changed, and starting a node …", flush=True)
    with Node(images=[image.build()]) as node:
        given = (f"--folder={folder}", f"--kubeconfig={node.inside_kubeconfig}", f"--image={image.reference()}")
        return subprocess.run(command(node, "-m", "nbhd_local.installed", *given), check=False).returncode
