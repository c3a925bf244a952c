"""``kubectl nbhd``: usage, and failures before the server is reached."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nbhd_cli.main import main


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["link"], ["new"], ["new", "a", "b"]])
def test_wrong_usage_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: kubectl nbhd" in capsys.readouterr().err


def test_without_a_kubeconfig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nothing"
    with pytest.raises(SystemExit) as caught:
        main(["link", "ada", "-n", "tenants", "--kubeconfig", str(missing)])
    assert caught.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: kubeconfig {missing}: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("argv", [["link", "ada"], ["new", "ada", "--apply"]])
def test_a_server_that_does_not_answer(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    config.write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit) as caught:
        main([*argv, "--kubeconfig", str(config)])
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("error: cannot reach the server")
