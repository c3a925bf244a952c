"""What goes wrong in a command, in words for the person who gave it, and the exit status that a script sees."""

from __future__ import annotations

from typing import ClassVar

FOUND = 1
"""Done, and there is something to look at, as with ``kubectl diff``."""
USAGE = 2
FAILED = 3
LATE = 4
INTERRUPTED = 130


class CommandError(Exception):
    """The command cannot be done; the text says why and is shown as it is."""

    status: ClassVar[int] = FAILED


class WrongUsageError(CommandError):
    """What was given can mean nothing."""

    status = USAGE


class LateError(CommandError):
    """What was waited for did not happen in time; it may still."""

    status = LATE
