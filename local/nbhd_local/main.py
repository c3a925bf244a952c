"""``nbhd-local demo`` tells the story and exits; ``nbhd-local up`` leaves the same world running to try."""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
import time
from pathlib import Path

from nbhd_local import demo, tools, world
from nbhd_local.cluster import ClusterError
from nbhd_local.services import ServiceError
from nbhd_local.story import Story, StoryError


async def _demo(folder: Path) -> int:
    story = Story()
    try:
        story.tell(
            "Starting a Kubernetes API server, emulators of Azure, Stripe and Telegram, and our three services …"
        )
        async with world.running(folder) as everything:
            story.steps.append(("everything starts", time.monotonic() - story.started))
            await demo.tell(story, everything)
            story.table()
    except (StoryError, ServiceError, ClusterError) as problem:
        story.fail(problem)
        return 1
    story.tell("\nEvery step held. `make up` leaves the same world running for you to try.")
    return 0


async def _up(folder: Path) -> int:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop.set)
    print("Starting …", flush=True)
    async with world.running(folder) as everything:
        kubectl = tools.kubectl()
        print(
            f"""
Everything runs, on this machine only:

  the website      {everything.frontend_url}/
  Telegram         {everything.telegram.web_url}/chat/1001   (you are the person with chat 1001)
  kubectl          export KUBECONFIG={everything.cluster.kubeconfig}
                   alias kubectl={kubectl}
                   kubectl -n {everything.namespace} get tenants -w

What to try: choose a plan on the website, pay on the page that opens, and follow the welcome page's link: open its
`?start=…` part in the Telegram page. Confirm, write something, and watch the Tenant meanwhile.
Logs: {folder}/*.log. Stop with Ctrl-C.
""",
            flush=True,
        )
        await stop.wait()
        print("Stopping …", flush=True)
    return 0


def main() -> None:
    """Parses the command line and runs the world."""
    parser = argparse.ArgumentParser(prog="nbhd-local", description=__doc__)
    parser.add_argument("command", choices=["demo", "up"])
    command = {"demo": _demo, "up": _up}[parser.parse_args().command]
    with tempfile.TemporaryDirectory(prefix="nbhd-local-") as folder:
        raise SystemExit(asyncio.run(command(Path(folder))))


if __name__ == "__main__":
    main()
