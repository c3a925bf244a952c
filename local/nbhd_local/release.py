"""The release before this one, from Git: its chart, and its image, built by its own code.

``charts/previous-release.json`` names it. An upgrade from it, and back to it, is tried on a real node.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from nbhd_local.tools import ROOT, ToolError, cache_dir, locked

__all__ = ["Release", "ReleaseError", "previous"]

_NAMED = ROOT / "charts" / "previous-release.json"
_BUILD = "from nbhd_local import image; print(image.build(), image.reference())"


class ReleaseError(ToolError):
    """The release's image could not be built; the message is its builder's."""


@dataclass(frozen=True)
class Release:
    """A version, and the commit that it was made from."""

    version: str
    commit: str
    containers: Literal["kept", "replaced"]
    """What the upgrade from it does to the tenants' containers; those that are replaced are so a few at a time."""

    def missing(self) -> str | None:
        """Why it cannot be had here, as one line; None where it can."""
        if shutil.which("git") is None:
            return "git is missing"
        done = subprocess.run(_git("cat-file", "-e", f"{self.commit}^{{tree}}"), capture_output=True, check=False)
        return f"the history here does not reach back to {self.version} ({self.commit})" if done.returncode else None

    def source(self) -> Path:
        """Its checkout, kept below the per-user cache."""
        home = cache_dir() / "releases"
        home.mkdir(parents=True, exist_ok=True)
        folder = home / f"{self.version}-{self.commit[:12]}"
        with locked(home / "lock"):
            if not folder.exists():
                packed = subprocess.run(_git("archive", self.commit), capture_output=True, check=True).stdout
                with tempfile.TemporaryDirectory(dir=home) as private, tarfile.open(fileobj=BytesIO(packed)) as archive:
                    unfinished = Path(private) / "source"
                    archive.extractall(unfinished, filter="data")
                    unfinished.rename(folder)
        return folder

    @property
    def chart(self) -> Path:
        """Its chart."""
        return self.source() / "charts" / "nbhd-united"

    def image(self) -> tuple[Path, str]:
        """An OCI archive with its image, and the image's name. Raises ``ReleaseError``."""
        source = self.source()
        paths = [str(source / name) for name in ("local", "crds")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
        command = [sys.executable, "-c", _BUILD]
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ReleaseError(f"the image of {self.version} could not be built:\n{done.stderr[-2000:]}")
        archive, name = done.stdout.split()
        return Path(archive), name


def previous() -> Release:
    """The release that this one replaces."""
    return Release(**json.loads(_NAMED.read_text()))


def _git(*arguments: str) -> list[str]:
    return ["git", "-C", str(ROOT), *arguments]
