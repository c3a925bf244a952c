"""Counters of the router, in Prometheus' text form on the health listener. No label ever holds a chat or a secret."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Metrics:
    """Counts by name and labels."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def count(self, name: str, **labels: str) -> None:
        """Adds one to ``nbhd_router_<name>_total``."""
        self._counts[name, tuple(sorted(labels.items()))] += 1

    def value(self, name: str, **labels: str) -> int:
        """What was counted so far."""
        return self._counts[name, tuple(sorted(labels.items()))]

    def render(self, gauges: Mapping[str, float]) -> str:
        """All counters, and ``gauges`` as they are now."""
        lines = [f"nbhd_router_{name} {value}" for name, value in gauges.items()]
        for (name, labels), value in sorted(self._counts.items()):
            inner = ",".join(f'{key}="{text}"' for key, text in labels)
            lines.append(f"nbhd_router_{name}_total{{{inner}}} {value}")
        return "\n".join(lines) + "\n"
