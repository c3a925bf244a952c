"""Image archives: what a container runtime reads in them, and the same bytes for the same input."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

from nbhd_local.oci import write_archive


def read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None
    return member.read()


def test_an_archive_names_its_image_and_every_blob_is_what_its_digest_says(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    path = write_archive(tmp_path / "image.tar", "localhost/pause:1", {"bin/pause": program}, ["/bin/pause"])

    with tarfile.open(path) as archive:

        def blob(descriptor: dict[str, Any]) -> bytes:
            content = read(archive, "blobs/" + descriptor["digest"].replace(":", "/"))
            assert descriptor["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
            assert descriptor["size"] == len(content)
            return content

        (listed,) = json.loads(read(archive, "index.json"))["manifests"]
        manifest = json.loads(blob(listed))
        config = json.loads(blob(manifest["config"]))
        (layer,) = manifest["layers"]
        blob(layer)
    assert listed["annotations"]["io.containerd.image.name"] == "localhost/pause:1"
    assert config["config"]["Entrypoint"] == ["/bin/pause"]
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    first, second = (
        write_archive(tmp_path / name, "localhost/pause:1", {"pause": program}, ["/pause"]).read_bytes()
        for name in ("a.tar", "b.tar")
    )
    assert first == second
