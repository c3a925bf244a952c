"""What the services' metrics share: a registry for each process object, and labels that cannot grow without bound.

Each service declares its own in its ``metrics.py``; ``health.py`` serves them. No label ever holds a chat, a tenant or
a secret: a label's values come from our own code, or pass through ``Words``.
"""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

_WORD = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_./ -]{0,63}$")

# Without this there is one more series for each counter, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call] # untyped upstream


def registry() -> CollectorRegistry:
    """A registry of its own, with CPU, memory and file descriptors of this process."""
    found = CollectorRegistry()
    ProcessCollector(registry=found)
    return found


class Words:
    """Label values that others choose, such as another system's error codes: short words, and not too many."""

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, word: str) -> str:
        """The word itself while there is room for it, else ``Other``."""
        if word in self._known:
            return word
        if not _WORD.match(word) or len(self._known) >= self._most:
            return "Other"
        self._known.add(word)
        return word
