"""Ports of our services in the local world: picked once, so that a restarted service comes back where it was."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
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
