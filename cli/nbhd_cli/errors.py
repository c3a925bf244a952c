"""What goes wrong in a command, in words for the person who gave it."""

from __future__ import annotations


class CommandError(Exception):
    """The command cannot be done; the text says why and is shown as it is."""
