"""One node for all tests in here, with a small image; where there can be none, they are skipped with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nbhd_local import node as nodes
from nbhd_local import oci, tools
from nbhd_local.node import Node
from tests.node.pods import IMAGE


@pytest.fixture(scope="session")
def possible() -> None:
    """Skips with the reason where there can be no node."""
    reason = nodes.missing()
    if reason:
        pytest.skip(f"no node here: {reason}")


@pytest.fixture(scope="session")
def probe_image(possible: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archive of an image with nothing but one static program."""
    del possible
    program = tools.ensure_go_tool("probe", Path(__file__).parent / "probe")
    return oci.write_archive(tmp_path_factory.mktemp("image") / "probe.tar", IMAGE, {"probe": program}, ["/probe"])


@pytest.fixture(scope="session")
def node(probe_image: Path) -> Iterator[Node]:
    """A running node that has the probe's image."""
    with Node() as running:
        running.load(probe_image)
        yield running
