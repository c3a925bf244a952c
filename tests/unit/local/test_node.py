"""Where there can be no node, one line says why."""

from __future__ import annotations

import os
import platform

import pytest

from nbhd_local import node


def test_without_root_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    reason = node.missing()
    assert reason is not None
    assert "root" in reason
    with pytest.raises(node.NodeError, match="root"):
        node.prepare()


def test_an_unknown_machine_is_named_as_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert node.missing() == "a node needs Linux on x86_64 or aarch64"
