"""Debian packages to run from a folder of ours: downloaded by apt, unpacked below the cache, never installed.

The node takes its runtime and network plugins from here, ``image`` its image builder. apt brings the packages that this
machine lacks, with their needed dependencies, from the sources that it is configured with, and checks their signatures.
No maintainer script runs; nothing outside the cache changes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nbhd_local.tools import ToolError, cache_dir, locked

__all__ = ["DebianError", "Unpacked", "missing", "sources", "unpacked"]

_DISTRIBUTIONS = {"Debian", "Ubuntu"}
_HOOK = re.compile(r"(Post-Invoke|Pre-Invoke|Pre-Install-Pkgs)")


class DebianError(ToolError):
    """Packages could not be had; the message says what to do."""


@dataclass(frozen=True)
class Unpacked:
    """Packages below ``root``, laid out as in a file system; what this machine has installed is not repeated there."""

    root: Path

    def environment(self, base: Mapping[str, str] = os.environ) -> dict[str, str]:
        """``base`` with the executables and libraries of the packages before those of the machine."""
        folders = [self.root / name for name in ("usr/sbin", "usr/bin", "sbin", "bin")]
        changed = {"PATH": _joined(folders, base.get("PATH", os.defpath))}
        if any(self.root.glob("**/*.so*")):
            changed["LD_LIBRARY_PATH"] = _joined(self._libraries(), base.get("LD_LIBRARY_PATH", ""))
        return {**base, **changed}

    def write_linker_cache(self, file: Path) -> None:
        """Writes a cache for the dynamic linker with the machine's libraries and the packages'.

        For programs that start themselves again without their environment: mount it over ``/etc/ld.so.cache`` in a
        mount namespace of your own.
        """
        configuration = file.with_suffix(".conf")
        lines = [*(str(path) for path in self._libraries() if path.is_dir()), "include /etc/ld.so.conf"]
        configuration.write_text("\n".join(lines) + "\n")
        command = ["/sbin/ldconfig", "-X", "-f", str(configuration), "-C", str(file)]
        subprocess.run(command, check=True, capture_output=True)

    def _libraries(self) -> list[Path]:
        found = [path for name in ("usr/lib", "lib") for path in sorted(self.root.glob(f"{name}/*-linux-gnu*"))]
        return [*found, self.root / "usr/lib", self.root / "lib"]

    def executable(self, name: str) -> Path:
        """The program of that name, from the packages or else from the machine."""
        found = shutil.which(name, path=self.environment()["PATH"])
        if found is None:
            raise DebianError(f"the packages below {self.root} have no program {name}; delete the folder and try again")
        return Path(found)


def missing() -> str | None:
    """Why packages cannot be had on this machine, as one line; None where they can."""
    for name in ("apt-get", "apt-config", "dpkg-deb"):
        if shutil.which(name) is None:
            return f"{name} is missing: this needs a Debian or Ubuntu machine with apt"
    return None


def unpacked(*packages: str) -> Unpacked:
    """The packages with their needed dependencies, from the cache where it has them. Raises ``DebianError``."""
    reason = missing()
    if reason:
        raise DebianError(reason)
    key = hashlib.sha256("\n".join([_release(), *sorted(set(packages))]).encode()).hexdigest()[:16]
    home = cache_dir() / "debian" / f"{min(packages)}-{key}"
    root = home / "root"
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / "lock"):
        if not root.exists():
            _fetch(sorted(set(packages)), home)
    return Unpacked(root)


def sources() -> list[str]:
    """The machine's own sources of its distribution, one ``deb`` line each; others that it may have are left out."""
    home = cache_dir() / "debian" / "sources"
    shown = "$(ORIGIN)|$(CREATED_BY)|deb $(SITE) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", shown]
    for prepare in (None, _update):
        if prepare:
            prepare(home)
        lines = [line.split("|") for line in _run(command, home).stdout.splitlines()]
        found = [line for origin, kind, line in lines if origin in _DISTRIBUTIONS and kind == "Packages"]
        if found:
            return list(dict.fromkeys(found))
    raise DebianError("apt has no package source of Debian or Ubuntu; check that `apt-get update` works")


@contextmanager
def _apt(home: Path) -> Iterator[dict[str, str]]:
    """An environment for apt: this machine's settings and sources, but caches and lists in ``home`` and no hooks.

    The settings go into a private file that is gone afterwards, because they may name a proxy with a password.
    """
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory(prefix="nbhd-apt-") as private:
        settings = [line for line in dump.splitlines() if not _HOOK.search(line)]
        settings += [
            f'Dir::Etc::parts "{private}/none";',
            f'Dir::Etc::main "{private}/none.conf";',
            f'Dir::Cache "{home}/cache";',
            'Debug::NoLocking "true";',  # of the machine's package database, which is only read
            'APT::Sandbox::User "root";',  # the usual one may not look into a home folder
        ]
        (home / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        lists = _lists()
        if lists.exists():
            settings.append(f'Dir::State::lists "{lists}";')
        (Path(private) / "none").mkdir()
        (Path(private) / "apt.conf").write_text("\n".join(settings) + "\n")
        yield {**os.environ, "APT_CONFIG": f"{private}/apt.conf", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


def _fetch(packages: list[str], home: Path) -> None:
    started = time.monotonic()
    _say(f"downloading {', '.join(packages)} and what they need (once; nothing is installed)")
    command = ["apt-get", "install", "--download-only", "--yes", "--no-install-recommends", *packages]
    done = _run(command, home)
    if done.returncode:  # no lists of packages, or old ones that name files which are gone
        _update(home)
        done = _run(command, home)
    if done.returncode:
        raise DebianError(
            f"apt could not download {', '.join(packages)}; check that `apt-get update` works:\n{done.stderr[-800:]}"
        )
    unfinished = home / f"root.{os.getpid()}"
    unfinished.mkdir()
    archives = sorted((home / "cache" / "archives").glob("*.deb"))
    for archive in archives:
        subprocess.run(["dpkg-deb", "--extract", str(archive), str(unfinished)], check=True)
    shutil.rmtree(home / "cache")
    unfinished.replace(home / "root")
    _say(f"unpacked {len(archives)} packages in {time.monotonic() - started:.0f} s")


def _update(home: Path) -> None:
    lists = _lists()
    with locked(lists.with_name("lists.lock")):
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        done = _run(["apt-get", "update"], home)
    if done.returncode:
        raise DebianError(f"`apt-get update` failed; check the machine's package sources:\n{done.stderr[-800:]}")


def _run(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    with _apt(home) as environment:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _lists() -> Path:
    home = cache_dir() / "debian"
    home.mkdir(parents=True, exist_ok=True)
    return home / "lists"


def _release() -> str:
    found = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return found.stdout.strip() + "\n" + Path("/etc/os-release").read_text()


def _joined(folders: list[Path], rest: str) -> str:
    return os.pathsep.join([*(str(folder) for folder in folders if folder.is_dir()), *([rest] if rest else [])])


def _say(text: str) -> None:
    print(f"[debian] {text}", file=sys.stderr, flush=True)
