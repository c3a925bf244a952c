"""One-layer container images without a registry or an engine, for programs that need nothing but themselves.

The node's sandbox is one; its archive goes to ``Node.load`` or to the node's start.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_TYPE = "application/vnd.oci.image"


def write_archive(path: Path, reference: str, files: Mapping[str, Path], entrypoint: Sequence[str]) -> Path:
    """Writes an OCI image archive with the given files (path inside → source); the same input gives the same bytes."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for name, source in sorted(files.items()):
            _add(archive, name.lstrip("/"), source.read_bytes(), mode=0o755)
    blobs: dict[str, bytes] = {}

    def blob(kind: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": f"{_TYPE}.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    layers = [blob("layer.v1.tar", layer.getvalue())]
    machine = {"architecture": _MACHINES[platform.machine()], "os": "linux"}
    rootfs = {"type": "layers", "diff_ids": [one["digest"] for one in layers]}
    config = blob("config.v1+json", _json({**machine, "config": {"Entrypoint": list(entrypoint)}, "rootfs": rootfs}))
    manifest = {"schemaVersion": 2, "mediaType": f"{_TYPE}.manifest.v1+json", "config": config, "layers": layers}
    listed = blob("manifest.v1+json", _json(manifest))
    listed |= {"platform": machine, "annotations": {"io.containerd.image.name": reference}}
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with tarfile.open(temporary, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": [listed]}))
        for digest, content in blobs.items():
            _add(archive, f"blobs/sha256/{digest}", content)
    temporary.replace(path)
    return path


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
