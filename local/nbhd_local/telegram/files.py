"""Files known to the bot, by ``file_id``; paths are the bot's own and look sequential, as the real ones do."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

DOWNLOAD_LIMIT = 20 * 1024 * 1024


@dataclass(frozen=True)
class StoredFile:
    """``path`` is what getFile returns and ``/file/bot<token>/`` serves."""

    id: str
    unique_id: str
    path: str
    name: str
    content_type: str
    data: bytes = field(repr=False)

    def wire(self) -> dict[str, Any]:
        """The members that every kind of file has."""
        return {"file_id": self.id, "file_unique_id": self.unique_id, "file_size": len(self.data)}


class FileStore:
    """All files of one bot."""

    def __init__(self) -> None:
        self._by_id: dict[str, StoredFile] = {}
        self._by_path: dict[str, StoredFile] = {}
        self._counts: dict[str, int] = {}

    def add(self, folder: str, name: str, content_type: str, data: bytes) -> StoredFile:
        """Stores a file; ``folder`` is ``documents`` or ``photos``."""
        number = self._counts[folder] = self._counts.get(folder, 0) + 1
        stored = StoredFile(
            f"BQACAg{secrets.token_urlsafe(36)}",
            hashlib.sha256(data).hexdigest()[:15],
            f"{folder}/file_{number}{PurePosixPath(name).suffix}",
            name,
            content_type,
            data,
        )
        self._by_id[stored.id] = self._by_path[stored.path] = stored
        return stored

    def by_id(self, file_id: str) -> StoredFile | None:
        return self._by_id.get(file_id)

    def by_path(self, path: str) -> StoredFile | None:
        return self._by_path.get(path)
