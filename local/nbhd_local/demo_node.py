"""``nbhd-local demo-node``: the demo on a real node, with the platform installed by its chart from its own image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nbhd_local import image
from nbhd_local.node import Node, missing


def command(node: Node, folder: Path, reference: str) -> list[str]:
    """The command that tells the story in the node's network, with mounts of its own."""
    dns = node.cluster.kubectl("-n", "kube-system", "get", "service", "kube-dns", "-o", "jsonpath={.spec.clusterIP}")
    story = [
        *(sys.executable, "-m", "nbhd_local.installed"),
        *(f"--folder={folder}", f"--kubeconfig={node.inside_kubeconfig}", f"--image={reference}", f"--dns={dns}"),
    ]
    return node.command("unshare", "--mount", "--propagation=private", *story)


def run(folder: Path) -> int:
    """Builds the image if needed, starts a node, tells the story; returns the exit status."""
    reason = missing() or image.missing()
    if reason:
        print(f"This demo needs a real node: {reason}. `make demo` needs none.", file=sys.stderr)
        return 1
    print("Building the platform's image, if it changed, and starting a node …", flush=True)
    with Node(images=[image.build()]) as node:
        return subprocess.run(command(node, folder, image.reference()), check=False).returncode
