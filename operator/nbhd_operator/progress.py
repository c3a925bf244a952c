"""Whether the operator gets on with its work: what ``/healthz`` answers. Pure but for the clock behind the queue.

An API server or an Azure that is away is no reason to be started again, so only our own standing still counts: a worker
that never comes back, or keys that wait while no look is finished. A loop that is stuck as a whole answers no probe.
"""

from __future__ import annotations

PATIENCE = 600.0
"""Seconds. A look is bounded by its requests' timeouts and by how long Azure may tell us to hold back: minutes."""


def stuck(*, longest_run: float, longest_wait: float, since_look: float, patience: float = PATIENCE) -> str | None:
    """What stands still, or None; all in seconds."""
    if longest_run > patience:
        return f"a worker is at one Tenant for {longest_run:.0f} s"
    if longest_wait > patience and since_look > patience:
        return f"Tenants wait for {longest_wait:.0f} s and no look was finished for {since_look:.0f} s"
    return None
