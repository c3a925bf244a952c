"""The container's entrypoint: configuration first, then the channel; exits as OpenClaw does.

Status 78 means a configuration that OpenClaw refuses, 0 a clean end after SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import sys

from nbhd_local.openclaw.settings import ConfigError, load

_EX_CONFIG = 78


def main() -> None:
    """Runs until SIGTERM."""
    try:
        settings = load(os.environ)
    except ConfigError as error:
        print(f"Invalid config: {error}", file=sys.stderr, flush=True)
        raise SystemExit(_EX_CONFIG) from None
    from nbhd_local.openclaw.channel import run

    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
