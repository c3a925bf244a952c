"""``docs/kubectl-nbhd.md`` tells what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nbhd_cli import errors
from nbhd_cli.main import cli

TEXT = (Path(__file__).parents[3] / "docs" / "kubectl-nbhd.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
LINES = [line for block in BLOCKS for line in block.splitlines() if line.startswith("kubectl nbhd ")]


@pytest.mark.parametrize("line", LINES)
def test_each_example_is_right_usage(line: str) -> None:
    words = line.partition("#")[0].partition(">")[0].split()[2:]
    if "--help" in words:
        words.remove("--help")
    if words:
        cli.commands[words[0]].make_context(words[0], words[1:])  # raises UsageError


def test_each_command_is_in_the_table() -> None:
    rows = re.findall(r"^\| `([a-z]+)(?: (--[^|]+))?` \|", TEXT, re.MULTILINE)
    assert {name for name, _ in rows} == set(cli.commands)
    for name, flags in rows:
        known = {
            flag for parameter in cli.commands[name].params for flag in (*parameter.opts, *parameter.secondary_opts)
        }
        assert set(re.findall(r"--[a-z-]+", flags)) <= known, name


def test_each_exit_status_is_in_the_table() -> None:
    rows = [int(status) for status in re.findall(r"^\| (\d) \|", TEXT, re.MULTILINE)]
    assert rows == [0, errors.FOUND, errors.USAGE, errors.FAILED, errors.LATE]
