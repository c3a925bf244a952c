"""The built image and its file system, for the tests beside this file; what cannot be built here is skipped aloud."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nbhd_local import image

_PATH = "/opt/nbhd/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Image:
    """An image as its archive describes it, with its layers unpacked into ``root``; their sizes in bytes."""

    archive: Path
    config: dict[str, Any]
    root: Path
    layers: list[int]

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs the command as a container would: the image's user, no network, a read-only root, a writable /tmp."""
        mounts = f"""set -e
            mount --bind {self.root} {self.root}
            mount -o remount,bind,ro,nosuid {self.root}
            mount -t proc proc {self.root}/proc
            mount -t tmpfs -o mode=1777 tmpfs {self.root}/tmp
            mount -t tmpfs -o mode=0755,uid=65532,gid=65532 tmpfs {self.root}/var/lib/nbhd
            cd {self.root}
            exec chroot --userspec=65532:65532 --groups= {self.root} /usr/bin/env -i "$@"
        """
        variables = dict(entry.split("=", 1) for entry in self.config["config"]["Env"]) | dict(env or {})
        assignments = [f"{name}={value}" for name, value in variables.items()]
        return subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--net", "sh", "-c", mounts, "sh", *assignments, *command],
            capture_output=True,
            text=True,
            check=False,
        )

    def python(self, program: str) -> str:
        """What the program prints, run by the image's Python."""
        done = self.run("python", "-c", program)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def files(self) -> list[str]:
        """All paths, relative to the root."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


def opened(archive: Path, folder: Path) -> Image:
    """The one image of an OCI archive, unpacked into ``folder``."""
    with tarfile.open(archive) as outer:

        def blob(descriptor: Mapping[str, Any]) -> Any:
            found = outer.extractfile("blobs/" + descriptor["digest"].replace(":", "/"))
            assert found
            return found

        index = outer.extractfile("index.json")
        assert index
        manifest = json.load(blob(json.load(index)["manifests"][0]))
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=blob(layer)) as inner:
                assert not [name for name in inner.getnames() if Path(name).name.startswith(".wh.")]
            unpack = ["tar", "--extract", "--gzip", "--same-permissions", "--numeric-owner", "--directory", str(folder)]
            subprocess.run(unpack, input=blob(layer).read(), check=True)
        return Image(archive, json.load(blob(manifest["config"])), folder, [one["size"] for one in manifest["layers"]])


def _image(target: str, factory: pytest.TempPathFactory) -> Iterator[Image]:
    reason = image.missing()
    if reason:
        pytest.skip(reason)
    folder = factory.mktemp(target)
    folder.chmod(0o755)
    yield opened(image.build(target), folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image that is deployed."""
    yield from _image("platform", tmp_path_factory)


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image with the offline world."""
    yield from _image("local", tmp_path_factory)
