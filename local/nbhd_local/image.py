"""Builds the Dockerfile's image without a container engine, for the node and the tests; ``make image`` for a person.

Before it comes ``debian``, which brings buildah and the packages of a base image; after it the node, which loads the
archive. Everything is kept below the per-user cache by what it was made from, so a build happens once per change. The
build itself has no network: the locked wheels are downloaded before and mounted into it, with a pip.conf as its secret.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nbhd_local import debian
from nbhd_local.tools import ROOT, ToolError, cache_dir, locked

__all__ = ["ImageError", "build", "build_context", "fingerprint", "missing", "reference"]

TARGETS = ("platform", "local")
_REQUIREMENTS = ("requirements.txt", "requirements-build.txt", "requirements-local.txt")
_FILES = ("Dockerfile", ".dockerignore", "pyproject.toml", "local/pyproject.toml", *_REQUIREMENTS)
_PACKAGES = ("crds/nbhd_crds", "operator/nbhd_operator", "webhooks/nbhd_webhooks", "router/nbhd_router", "cli/nbhd_cli")
_BASE_PACKAGES = "python3,python3-venv,ca-certificates,usr-is-merged"
_WHEELS = "/mnt"  # where the build finds them: a folder that every base has and nobody uses
_KEPT = 6  # archives
_STORE_MEGABYTES = 4000  # layers of earlier builds; beyond that they are made anew


class ImageError(ToolError):
    """The image could not be built; the message says what to do."""


def missing() -> str | None:
    """Why no image can be built on this machine, as one line; None where it can."""
    if os.geteuid() != 0:
        return "building an image without a container engine needs root"
    return debian.missing()


def reference(target: str = "platform") -> str:
    """The name of the image in its archive; a change of any source changes the tag. No registry answers to it."""
    return f"localhost/nbhd-united:{fingerprint(target)}"


def build(target: str = "platform") -> Path:
    """An OCI archive with the image of that target of the Dockerfile. Raises ``ImageError`` or ``DebianError``."""
    reason = missing()
    if reason:
        raise ImageError(reason)
    home = _home()
    name = reference(target)
    archive = home / "archives" / f"{name.rpartition('/')[2].replace(':', '-')}.tar"
    archive.parent.mkdir(exist_ok=True)
    with locked(home / "lock"):
        if not archive.exists():
            _build(target, name, archive)
        archive.touch()
        for old in sorted(archive.parent.glob("*.tar"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            old.unlink()
    return archive


def fingerprint(target: str) -> str:
    """Of all that the image is made from. Raises ``ImageError`` for an unknown target."""
    if target not in TARGETS:
        raise ImageError(f"the Dockerfile has no target {target!r}, only {', '.join(TARGETS)}")
    folders = [*_PACKAGES, *(["local/nbhd_local"] if target == "local" else [])]
    paths = [ROOT / name for name in _FILES]
    paths += [path for folder in folders for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    digest = hashlib.sha256(f"{target} {_BASE_PACKAGES}".encode())
    for path in sorted(path for path in paths if path.is_file()):
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build_context(folder: Path, archive: Path, context: Path = ROOT) -> None:
    """Builds the Dockerfile in ``folder`` with ``context`` and writes it to ``archive``; for tests of .dockerignore."""
    with locked(_home() / "lock"), _buildah() as buildah:
        name = "localhost/nbhd-context:latest"
        buildah("build", "--isolation", "chroot", "--file", str(folder / "Dockerfile"), "--tag", name, str(context))
        buildah("push", name, f"oci-archive:{archive}:{name}")


def _build(target: str, name: str, archive: Path) -> None:
    started = time.monotonic()
    base = _base()
    wheels = _wheels(_python(base))
    _say(f"building the image, target {target}")
    home = _home()
    store = home / "store"
    if store.exists() and _megabytes(store) > _STORE_MEGABYTES:
        shutil.rmtree(store)
    base_name = f"localhost/nbhd-base:{base.parent.name}"
    with _buildah() as buildah, tempfile.TemporaryDirectory(prefix="build-", dir=home) as private:
        if base_name not in buildah("images", "--all", "--format", "{{.Name}}:{{.Tag}}").split():
            (Path(private) / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
            (Path(private) / "base.tar").hardlink_to(base)
            buildah("build", "--isolation", "chroot", "--timestamp", "0", "--tag", base_name, private)
        settings = Path(private) / "pip.conf"
        settings.write_text(f"[global]\nno-index = true\nfind-links = {_WHEELS}\n")
        buildah(
            *("build", "--isolation", "chroot", "--layers", "--timestamp", "0", "--target", target, "--tag", name),
            *("--build-arg", f"BASE={base_name}", "--pull-never"),
            *("--secret", f"id=pip.conf,src={settings}", "--volume", f"{wheels}:{_WHEELS}:ro"),
            str(ROOT),
        )
        unfinished = archive.with_suffix(f".{os.getpid()}")
        buildah("push", name, f"oci-archive:{unfinished}:{name}")
    unfinished.replace(archive)
    size = archive.stat().st_size / 1e6
    _say(f"built {name}, {size:.0f} MB compressed, in {time.monotonic() - started:.0f} s")


class _Buildah:
    """buildah from Debian's package, with a store of ours, in private mount and network namespaces."""

    def __init__(self, private: Path) -> None:
        self._unpacked = debian.unpacked("buildah")
        self._policy = self._unpacked.root / "etc/containers/policy.json"
        store = {"driver": _storage_driver(private), "graphroot": _home() / "store", "runroot": private / "run"}
        lines = [f'{name} = "{value}"' for name, value in store.items()]
        (private / "storage.conf").write_text("\n".join(["[storage]", *lines]) + "\n")
        (private / "registries.conf").write_text("")
        self._unpacked.write_linker_cache(private / "ld.so.cache")
        self._environment = self._unpacked.environment() | {
            "CONTAINERS_CONF": str(self._unpacked.root / "usr/share/containers/containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(private / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(private / "registries.conf"),
            "TMPDIR": str(private),
        }
        prepare = 'mount --bind "$0" /etc/ld.so.cache && exec "$@"'
        self._command = ["unshare", "--mount", "--propagation", "private", "--net"]
        self._command += ["sh", "-c", prepare, str(private / "ld.so.cache"), str(self._unpacked.executable("buildah"))]

    def __call__(self, command: str, *arguments: str) -> str:
        trust = ("--signature-policy", str(self._policy)) if command in {"build", "push"} else ()
        done = subprocess.run(
            [*self._command, command, *trust, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ImageError(f"buildah {command} failed:\n{(done.stdout + done.stderr)[-2000:]}")
        return done.stdout


@contextmanager
def _buildah() -> Iterator[_Buildah]:
    with tempfile.TemporaryDirectory(prefix="run-", dir=_home()) as private:
        yield _Buildah(Path(private))


def _storage_driver(private: Path) -> str:
    """overlay where the kernel mounts one here, else vfs, which copies every layer."""
    for name in ("lower", "upper", "work", "merged"):
        (private / name).mkdir()
    options = f"lowerdir={private}/lower,upperdir={private}/upper,workdir={private}/work"
    mount = ["mount", "-t", "overlay", "-o", options, "overlay", str(private / "merged")]
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", *mount], capture_output=True, check=False)
    return "vfs" if done.returncode else "overlay"


def _base() -> Path:
    """The root file system of a base image, made from this machine's Debian or Ubuntu packages."""
    lines = debian.sources()
    suite = lines[0].split()[2]
    key = hashlib.sha256("\n".join([*lines, platform.machine(), _BASE_PACKAGES]).encode()).hexdigest()[:16]
    base = _home() / f"base-{key}" / "base.tar"
    if base.exists():
        return base
    _say("making a base image from Debian packages (once, about a minute)")
    started = time.monotonic()
    base.parent.mkdir(exist_ok=True)
    tool = debian.unpacked("mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="nbhd-base-") as private:
        (Path(private) / "sources.list").write_text("\n".join(lines) + "\n")
        unfinished = Path(private) / "base.tar"
        command = [str(tool.executable("mmdebstrap")), "--mode=root", "--variant=essential", "--quiet"]
        command += ["--dpkgopt=force-unsafe-io", f"--include={_BASE_PACKAGES}", *_proxies()]
        command += [
            f"--hook-dir={tool.root}/usr/share/mmdebstrap/hooks/merged-usr",
            "--aptopt=APT::Install-Recommends 0",
        ]
        command += [suite, str(unfinished), str(Path(private) / "sources.list")]
        environment = {**tool.environment(), "SOURCE_DATE_EPOCH": "0", "TMPDIR": private}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ImageError(f"mmdebstrap failed:\n{(done.stdout + done.stderr)[-2000:]}")
        shutil.move(unfinished, base.with_suffix(".unfinished"))
    base.with_suffix(".unfinished").replace(base)
    _say(f"made the base image in {time.monotonic() - started:.0f} s")
    return base


def _proxies() -> list[str]:
    shown = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in shown.splitlines() if re.match(r"Acquire::https?:", line) and '""' not in line]
    return [f"--aptopt={line.rstrip(';')}" for line in lines]


def _python(base: Path) -> str:
    """The minor version of the base's Python, such as 3.11."""
    with tarfile.open(base) as archive:
        for name in archive.getnames():
            found = re.search(r"usr/bin/python(3\.\d+)$", name)
            if found:
                return found[1]
    raise ImageError(f"{base} has no python3; delete its folder and try again")


def _wheels(python: str) -> Path:
    """The locked wheels for the base's Python, downloaded with this machine's settings for pip."""
    digest = hashlib.sha256(f"{python} {platform.machine()}".encode())
    for name in _REQUIREMENTS:
        digest.update((ROOT / name).read_bytes())
    wheels = _home() / f"wheels-{digest.hexdigest()[:16]}"
    if wheels.exists():
        return wheels
    _say("downloading the locked wheels (once per change of requirements)")
    glibc = int(platform.libc_ver()[1].split(".")[1])
    platforms = [f"manylinux_2_{minor}_{platform.machine()}" for minor in range(glibc, 4, -1)]
    platforms += [f"{name}_{platform.machine()}" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
    with tempfile.TemporaryDirectory(prefix="download-", dir=_home()) as private:
        unfinished = Path(private) / "wheels"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
        command += [word for name in platforms for word in ("--platform", name)]
        for name in _REQUIREMENTS:
            done = subprocess.run(
                [*command, "--dest", str(unfinished), "-r", str(ROOT / name)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise ImageError(f"pip could not download the wheels of {name}:\n{done.stderr[-1500:]}")
        unfinished.rename(wheels)
    return wheels


def _home() -> Path:
    home = cache_dir() / "image"
    home.mkdir(parents=True, exist_ok=True)
    return home


def _megabytes(folder: Path) -> int:
    shown = subprocess.run(["du", "-sm", str(folder)], capture_output=True, text=True, check=False).stdout
    return int(shown.split()[0])


def _say(text: str) -> None:
    print(f"[image] {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Builds the image and says how to use it."""
    try:
        archive = build()
    except ToolError as problem:
        raise SystemExit(f"[image] {problem}") from None
    print(f"""
{reference()}: {archive.stat().st_size / 1e6:.0f} MB compressed
{archive}

Load it into:
  a node       ctr -n k8s.io images import {archive}
  Docker 25    docker load -i {archive}
  Podman       podman load -i {archive}
  a registry   skopeo copy oci-archive:{archive} docker://REGISTRY/nbhd-united:TAG
""")


if __name__ == "__main__":
    main()
