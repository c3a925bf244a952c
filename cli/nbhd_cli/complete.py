"""What the shell suggests for ``kubectl nbhd``: commands and flags from their definitions, names from the API server.

kubectl asks ``kubectl_complete-nbhd`` on the path (``main``); a shell that completes ``kubectl-nbhd`` itself uses what
``kubectl nbhd completion`` printed. Whatever fails suggests nothing: nobody wants an error in the middle of a line.
https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/#adding-shell-completion
"""

from __future__ import annotations

import subprocess
import sys

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from nbhd_cli.options import Suggest, Target

_NO_FILES = 4
"""What kubectl takes as: suggest no file names."""
_PATIENCE = 3  # seconds
_GROUP = "nbhd.united"
VARIABLE = "_KUBECTL_NBHD_COMPLETE"
"""By this environment variable a shell's script asks the program itself."""


def suggest(command: click.Command, words: list[str]) -> list[CompletionItem[str]]:
    """What may stand for the last of ``words``, which follow ``kubectl nbhd``."""
    *before, incomplete = words or [""]
    return ShellComplete(command, {}, "kubectl nbhd", VARIABLE).get_completions(before, incomplete)


def script(command: click.Command, shell: str) -> str:
    """The shell's function that completes ``kubectl-nbhd``."""
    kind = get_completion_class(shell)
    if kind is None:
        raise LookupError(shell)
    return kind(command, {}, "kubectl-nbhd", VARIABLE).source() + "\n"


def names(plural: str, *, prefixed: str = "") -> Suggest:
    """Names of the API server's objects; those of the kind ``prefixed`` are written with it, as in ``plan/NAME``."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        given = context.params.get(parameter.name or "") or ()
        taken = set(given) if parameter.nargs == -1 else set()
        found = _fetch(Target.of(context), plural)
        if prefixed:
            found += [f"plan/{name}" for name in _fetch(Target.of(context), prefixed)]
        return [CompletionItem(name) for name in found if name.startswith(incomplete) and name not in taken]

    return complete


def _fetch(target: Target, plural: str) -> list[str]:
    """Asks kubectl, which answers in a tenth of the time that it takes to load a client of our own."""
    flags = {"namespace": target.namespace, "context": target.context, "kubeconfig": target.kubeconfig}
    command = ["kubectl", "get", f"{plural}.{_GROUP}", "--output=name", f"--request-timeout={_PATIENCE}s"]
    command += [f"--{name}={value}" for name, value in flags.items() if value]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and kubectl is whose plugin we are
            command, capture_output=True, text=True, timeout=2 * _PATIENCE, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.rpartition("/")[2] for line in done.stdout.splitlines()]


def main() -> None:
    """Entry point of ``kubectl_complete-nbhd``, which gets the words after ``kubectl nbhd``."""
    from nbhd_cli.main import cli

    for item in suggest(cli, sys.argv[1:]):
        sys.stdout.write(f"{item.value}\t{item.help}\n" if item.help else f"{item.value}\n")
    sys.stdout.write(f":{_NO_FILES}\n")
