"""What a build can see: the allow list of .dockerignore, asked of the builder with files planted that must stay out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nbhd_local import image, tools
from tests.image.conftest import opened

pytestmark = pytest.mark.timeout(1500)

PLANTED = [
    ".env",
    ".git/config",
    ".venv/bin/python",
    "id_rsa",
    "kubeconfig",
    "docs/notes.md",
    "crds/.env",
    "crds/nbhd_crds/.env",
    "crds/nbhd_crds/.env.py.bak",
    "crds/nbhd_crds/tls.key",
    "crds/nbhd_crds/client/ca.pem",
    "crds/nbhd_crds/client/__pycache__/watch.cpython-311.pyc",
    "operator/nbhd_operator/credentials.json",
    "router/nbhd_router/spool.db",
    "webhooks/nbhd_webhooks/keys.yaml",
    "local/cluster/main.go",
    "local/nbhd_local/world.log",
    "tests/test_x.py",
    "requirements-dev.txt",
]
WANTED = [
    "cli/nbhd_cli/main.py",
    "crds/nbhd_crds/__init__.py",
    "crds/nbhd_crds/client/watch.py",
    "crds/nbhd_crds/py.typed",
    "local/nbhd_local/main.py",
    "local/nbhd_local/telegram/chat.html",
    "local/pyproject.toml",
    "operator/nbhd_operator/resources/vault.py",
    "pyproject.toml",
    "requirements-build.txt",
    "requirements-local.txt",
    "requirements.txt",
    "router/nbhd_router/main.py",
    "webhooks/nbhd_webhooks/main.py",
    "webhooks/nbhd_webhooks/style.css",
]


def test_no_secret_and_nothing_unneeded_reaches_a_build(tmp_path: Path) -> None:
    reason = image.missing()
    if reason:
        pytest.skip(reason)
    context, folder, seen = tmp_path / "context", tmp_path / "file", tmp_path / "seen"
    for name in [*PLANTED, *WANTED]:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(name)
    shutil.copy(tools.ROOT / ".dockerignore", context)
    folder.mkdir()
    seen.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /context/\n")
    image.build_context(folder, tmp_path / "context.tar", context)
    found = opened(tmp_path / "context.tar", seen).files()
    assert [name.removeprefix("context/") for name in found if (seen / name).is_file()] == WANTED


def test_every_file_of_the_packages_is_let_in_or_known_to_be_unneeded() -> None:
    text = (tools.ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in text if line.startswith("!")]
    for folder in ("crds", "operator", "webhooks", "router", "cli", "local/nbhd_local"):
        files = [
            path for path in (tools.ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        ]
        for path in files:
            relative = path.relative_to(tools.ROOT)
            named = any(path.match(line) and len(relative.parts) == len(Path(line).parts) for line in allowed)
            assert named, f".dockerignore keeps out {relative}"
