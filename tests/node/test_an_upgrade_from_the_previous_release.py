"""The previous release, from Git, on a real node: subscribers live through the upgrade to this one, and back."""

from __future__ import annotations

import pytest

from nbhd_local import image, release
from nbhd_local.node import Node
from tests.node.running import run_inside

pytestmark = [pytest.mark.all_installs, pytest.mark.timeout(1500), pytest.mark.xdist_group("the installed platform")]


def test_subscribers_live_through_it(possible: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    del possible
    before = release.previous()
    reason = image.missing() or before.missing()
    if reason:
        pytest.skip(f"no previous release here: {reason}")
    archive, name = before.image()
    with Node(images=[archive, image.build()]) as node:
        folder = tmp_path_factory.mktemp("upgraded")
        done = run_inside(node, folder, "from_the_previous_release", NBHD_NODE_PREVIOUS_IMAGE=name)
    print(done.stdout + done.stderr)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
