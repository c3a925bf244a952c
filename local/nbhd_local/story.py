"""Telling a story step by step: each step is timed, prints its evidence, and fails with a sentence."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class StoryError(Exception):
    """A step did not hold; the message says which and why."""


@dataclass
class Story:
    """Steps with their times, printed as they happen."""

    started: float = field(default_factory=time.monotonic)
    steps: list[tuple[str, float]] = field(default_factory=list)
    scene: Callable[[], str] = str
    """What the table says beside each step: the state of the story's hero at its end."""
    scenes: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step; an ``AssertionError`` in it ends the story. Raises ``StoryError``."""
        began = time.monotonic()
        self.tell(f"\n── {len(self.steps) + 1}. {title}")
        try:
            yield
        except AssertionError as problem:
            raise StoryError(f"step {len(self.steps) + 1} ({title}) did not hold: {problem}") from problem
        took = time.monotonic() - began
        self.add(title, took)
        self.tell(f"   ✓ {took:.1f} s")

    def add(self, title: str, took: float) -> None:
        """Notes a step that is over, in seconds."""
        self.steps.append((title, took))
        self.scenes.append(self.scene())

    def check(self, holds: bool, claim: str) -> None:
        """Prints a claim that holds. Raises ``AssertionError`` for one that does not."""
        if not holds:
            raise AssertionError(claim)
        self.tell(f"   · {claim}")

    def show(self, text: str) -> None:
        """Prints evidence, indented."""
        self.tell("\n".join(f"   │ {line}" for line in text.rstrip().splitlines()))

    def tell(self, text: str) -> None:
        """Prints a line at once."""
        print(text, flush=True)

    def table(self) -> None:
        """Prints the times of all steps, and the scene at the end of each."""
        width = max(len(scene) for scene in self.scenes)
        self.tell(f"\n   seconds  {'scene':<{width}}  step")
        for (title, took), scene in zip(self.steps, self.scenes, strict=True):
            self.tell(f"   {took:7.1f}  {scene:<{width}}  {title}")
        self.tell(f"   {time.monotonic() - self.started:7.1f}  in all")

    def fail(self, problem: Exception) -> None:
        """Says what went wrong, on stderr."""
        print(f"\n✗ {problem}", file=sys.stderr, flush=True)
