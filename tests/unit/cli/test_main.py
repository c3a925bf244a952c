"""``kubectl nbhd``: usage, help, and failures before the server is reached."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import yaml

from nbhd_cli.main import cli, main

COMMANDS = list(cli.commands)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["link"],
        ["new"],
        ["new", "a", "b"],
        ["deprovision"],
        ["list", "--no-such-flag"],
        ["list", "-o", "xml"],
        ["list", "-n", "a", "-A"],
        ["check", "ada", "-A"],
        ["check", "--wake"],
        ["check", "ada", "--wake", "--all"],
        ["check", "--timeout", "soon"],
        ["plan", "--on"],
        ["completion", "tcsh"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert out == ""
    assert "kubectl nbhd" in err
    assert err.startswith("error: ") is bool(argv)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_is_laid_out_as_kubectls(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([name, "--help"])
    out, err = capsys.readouterr()
    assert err == ""
    titles = [line for line in out.splitlines() if line in ("Examples:", "Options:", "Usage:")]
    assert titles == ["Examples:", "Options:", "Usage:"]
    assert f"  kubectl nbhd {name}" in out.partition("Examples:")[2]
    assert out.rstrip().splitlines()[-1].startswith(f"  kubectl nbhd {name}")
    assert "\b" not in out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_right_usage(name: str) -> None:
    command = cli.commands[name]
    lines = [line for line in getattr(command, "examples", "").splitlines() if f"kubectl nbhd {name}" in line]
    assert lines
    for line in lines:
        words = line.partition(f"kubectl nbhd {name}")[2].split(")")[0]
        for end in ("2>", ">", "||"):
            words = words.partition(end)[0]
        command.make_context(name, words.split())  # raises UsageError


def test_every_command_is_in_a_section_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(cli.list_commands(click.Context(cli))) == sorted(COMMANDS)
    main(["--help"])
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert "Exit status: 0 done" in out


def test_without_a_kubeconfig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nothing"
    with pytest.raises(SystemExit) as caught:
        main(["link", "ada", "-n", "tenants", "--kubeconfig", str(missing)])
    assert caught.value.code == 3
    assert capsys.readouterr().err == f"error: kubeconfig {missing}: there is no such file\n"


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A kubeconfig of a server that does not answer."""
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
    return config


@pytest.mark.parametrize(
    "argv",
    [["link", "ada"], ["provision", "ada"], ["list"], ["check"], ["plan"], ["orphans"]],
    ids=lambda argv: argv[0],
)
def test_a_server_that_does_not_answer(argv: list[str], nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*argv, "--kubeconfig", str(nowhere)])
    assert caught.value.code == 3
    assert capsys.readouterr().err.startswith("error: cannot reach the server")


def test_a_context_that_is_not_there(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["list", "--kubeconfig", str(nowhere), "--context", "y"])
    assert caught.value.code == 3
    assert capsys.readouterr().err.startswith(f"error: kubeconfig {nowhere}: ")
