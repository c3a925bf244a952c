"""What the shell suggests, with and without an API server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import click
import pytest

from nbhd_cli import complete
from nbhd_cli.complete import script, suggest
from nbhd_cli.main import cli, main
from nbhd_cli.options import Target


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """Names instead of an API server; collects where they were asked for."""
    asked: list[Target] = []
    found = {"tenants": ["ada", "adele", "bob"], "plans": ["basic"], "cells": ["east"]}

    def fetch(target: Target, plural: str) -> list[str]:
        asked.append(target)
        return found[plural]

    monkeypatch.setattr(complete, "_fetch", fetch)
    return asked


def values(*words: str) -> list[str]:
    return [item.value for item in suggest(cli, list(words))]


def test_commands() -> None:
    assert values("") == ["list", "check", "plan", "orphans", "new", "provision", "deprovision", "link", "completion"]
    assert values("pr") == ["provision"]


def test_flags_and_their_values() -> None:
    assert "--selector" in values("list", "--")
    assert values("list", "--output", "j") == ["json"]
    assert "ready" in values("list", "--state", "re")
    assert values("completion", "") == ["bash", "zsh", "fish"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["link", "ad"], ["ada", "adele"]),
        (["check", "ada", "ad"], ["adele"]),
        (["deprovision", "ada", "bob", ""], ["adele"]),
        (["plan", ""], ["ada", "adele", "bob", "plan/basic"]),
        (["plan", "plan/"], ["plan/basic"]),
        (["orphans", ""], ["east"]),
        (["provision", "eve", "--plan", ""], ["basic"]),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("fetched")
def test_names(words: list[str], expected: list[str]) -> None:
    assert values(*words) == expected


def test_names_come_from_where_the_flags_say(fetched: list[Target]) -> None:
    assert values("link", "-n", "elsewhere", "--context", "prod", "--kubeconfig", "/k", "b") == ["bob"]
    assert fetched == [Target(namespace="elsewhere", context="prod", kubeconfig="/k")]


def test_without_an_api_server_nothing_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert values("link", "--kubeconfig", str(tmp_path / "none"), "") == []
    assert capfd.readouterr() == ("", "")


def test_what_kubectl_reads(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["kubectl_complete-nbhd", "or"])
    complete.main()
    assert capsys.readouterr().out == "orphans\tWhat in Azure belongs to no tenant\n:4\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    text = script(cli, shell)
    assert "kubectl-nbhd" in text
    assert f"_KUBECTL_NBHD_COMPLETE={shell}_complete" in text


def test_what_the_script_of_bash_reads(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"_KUBECTL_NBHD_COMPLETE": "bash_complete", "COMP_WORDS": "kubectl-nbhd or", "COMP_CWORD": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().out == "plain,orphans\n"


def test_bash_takes_the_script() -> None:
    check = "complete -p kubectl-nbhd"
    done = subprocess.run(["bash", "-c", f"{script(cli, 'bash')}\n{check}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().endswith("kubectl-nbhd")


def test_every_command_that_takes_names_suggests_them() -> None:
    plain = {"new": "name", "provision": "name", "completion": "shell"}
    for name, command in cli.commands.items():
        for parameter in command.params:
            if isinstance(parameter, click.Argument) and plain.get(name) != parameter.name:
                assert parameter._custom_shell_complete is not None, f"{name} {parameter.name}"
