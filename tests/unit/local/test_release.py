"""The previous release: what it says where there is no history, and that what is there is a whole checkout."""

from __future__ import annotations

import pytest

from nbhd_local import release
from nbhd_local.release import Release


def test_a_history_that_does_not_reach_back_is_named() -> None:
    assert Release("0.0.1", "0" * 40, "kept").missing() == f"the history here does not reach back to 0.0.1 ({'0' * 40})"


def test_without_git_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert release.previous().missing() == "git is missing"


def test_the_previous_release_brings_its_chart_and_its_own_image_builder() -> None:
    found = release.previous()
    if reason := found.missing():
        pytest.skip(reason)
    assert f"version: {found.version}\n" in (found.chart / "Chart.yaml").read_text()
    assert (found.source() / "local" / "nbhd_local" / "image.py").exists()
