"""Ports of our services in the local world: picked once, so that a restarted service comes back where it was."""

from __future__ import annotations

import contextlib
import random
import socket
from dataclasses import dataclass, field

# Below the range that Linux gives to outgoing connections and to whoever takes any port: one that is free while
# its service is dead must still be free when it comes back.
_RANGE = range(20000, 32000)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, and that nobody gets by chance.

    Nor by asking here, in whichever process, while this one lives: much may happen before somebody listens on it.
    """
    while True:
        port = random.choice(_RANGE)  # noqa: S311 - any will do
        with socket.socket(socket.AF_UNIX) as mark, socket.socket() as probe, contextlib.suppress(OSError):
            mark.bind(f"\0nbhd-port-{port}")  # an abstract name: it goes with the process
            probe.bind(("127.0.0.1", port))
            mark.detach()
            return port


@dataclass(frozen=True)
class Ports:
    """One port each, on loopback."""

    operator_health: int = field(default_factory=free_port)
    router_health: int = field(default_factory=free_port)
    router: int = field(default_factory=free_port)
    egress: int = field(default_factory=free_port)
    webhooks_health: int = field(default_factory=free_port)
    web: int = field(default_factory=free_port)
