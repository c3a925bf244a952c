"""``nbhd-local demo`` tells the story and exits; ``nbhd-local up`` leaves the same world running to try.

``nbhd-local node`` starts an empty cluster with a real node instead, ``demo-node`` tells the story on one; ``serve`` is
the emulators in a Pod.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

from nbhd_local import demo, demo_node, serve, tools, world
from nbhd_local.cluster import ClusterError
from nbhd_local.node import Node, missing
from nbhd_local.services import ServiceError
from nbhd_local.story import Story, StoryError


async def _demo(folder: Path) -> int:
    story = Story()
    try:
        story.tell(
            "Starting a Kubernetes API server, emulators of Azure, Stripe and Telegram, and our three services …"
        )
        async with world.running(folder) as everything:
            story.add("everything starts", time.monotonic() - story.started)
            await demo.tell(story, everything)
            story.table()
    except (StoryError, ServiceError, ClusterError) as problem:
        story.fail(problem)
        return 1
    story.tell("\nEvery step held. `make up` leaves the same world running for you to try.")
    return 0


async def _demo_node(folder: Path) -> int:
    return await asyncio.to_thread(demo_node.run, folder)


async def _up(folder: Path) -> int:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop.set)
    print("Starting (about ten seconds) …", flush=True)
    try:
        async with world.running(folder) as everything:
            here = ("config", "set-context", "--current", f"--namespace={everything.namespace}")
            await asyncio.to_thread(everything.cluster.kubectl, *here)
            if not stop.is_set():
                print(_guide(everything), flush=True)
            await stop.wait()
            print("Stopping …", flush=True)
    except (ServiceError, ClusterError) as problem:
        if stop.is_set():  # Ctrl-C in a terminal reaches what is just starting too
            return 0
        print(problem, file=sys.stderr)
        return 1
    return 0


async def _node(folder: Path) -> int:
    reason = missing()
    if reason:
        print(f"No node on this machine: {reason}.", file=sys.stderr)
        return 1
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop.set)
    print("Starting (about ten seconds, but the first time minutes: its parts are built) …", flush=True)
    node, began = Node(folder / "node"), time.monotonic()
    try:
        await asyncio.to_thread(node.start)
        if not stop.is_set():
            print(_node_guide(node, time.monotonic() - began), flush=True)
        await stop.wait()
        print("Stopping …", flush=True)
    except (ClusterError, tools.ToolError) as problem:
        if stop.is_set():
            return 0
        print(problem, file=sys.stderr)
        return 1
    finally:
        await asyncio.to_thread(node.stop)
    return 0


def _node_guide(node: Node, seconds: float) -> str:
    load = node.inside(str(tools.containerd() / "ctr"), "--namespace=k8s.io", "images", "import", "ARCHIVE")
    return f"""
A Kubernetes cluster with one real node, ready after {seconds:.1f} s. Paste into another terminal:

  export KUBECONFIG="{node.cluster.kubeconfig}"
  export PATH="{tools.kubectl().parent}:$PATH"

What to try:

  kubectl get nodes -o wide; kubectl get all -A

There is no registry; an image comes from an archive:

  {" ".join(load)}

The node has a network of its own, where Pods and Services are reachable; {node.address} is the node there:

  {" ".join(node.command("COMMAND"))}

Logs: {node.folder}/*.log. Ctrl-C stops everything and deletes its data.
"""


def _guide(everything: world.World) -> str:
    return f"""
Everything runs, on this machine only. Open in a browser:

  {everything.frontend_url:<24} the website
  {everything.telegram.web_url:<24} Telegram, as anybody you like
  {everything.stripe.pages_url:<24} Stripe: cancel, let a card fail, end a period

For kubectl, paste into another terminal:

  export KUBECONFIG="{everything.cluster.kubeconfig}"
  export PATH="{tools.kubectl().parent}:$PATH:{Path(sys.executable).parent}"

What to try:

  1. Choose a plan on the website and pay on the page that opens; no card is charged.
  2. On the welcome page, press Open Telegram, then Connect, and write something.
  3. Watch it from the other side:  kubectl get tenants -w
  4. Move an assistant to another chat:  kubectl nbhd link NAME  prints a link; in Telegram, switch to somebody
     else and send it as a message.

Logs: {everything.folder}/*.log. Ctrl-C stops everything and deletes its data.
"""


def main() -> None:
    """Parses the command line and runs the world."""
    parser = argparse.ArgumentParser(prog="nbhd-local", description=__doc__)
    commands = {"demo": _demo, "demo-node": _demo_node, "up": _up, "node": _node, "serve": serve.run}
    parser.add_argument("command", choices=list(commands))
    command = commands[parser.parse_args().command]
    with tempfile.TemporaryDirectory(prefix="nbhd-local-") as folder:
        raise SystemExit(asyncio.run(command(Path(folder))))


if __name__ == "__main__":
    main()
