"""Starts a program that cannot outlive its parent: ``python -m nbhd_local.child PARENT_PID PROGRAM [ARG …]``.

Linux ends the program when its parent dies, however it dies, so that nothing of the local world is left behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def command(*program: str) -> Sequence[str]:
    """The command line that starts ``program`` tied to this process."""
    return [sys.executable, "-m", "nbhd_local.child", str(os.getpid()), *program]


def main() -> None:
    """Ties this process to its parent and becomes the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the tie was made
        raise SystemExit(1)
    os.execvp(program[0], program)  # noqa: S606 - replacing this process is the point


if __name__ == "__main__":
    main()
