"""What the shell suggests for ``kubectl nbhd``: commands and flags from their definitions, names from the API server.

kubectl asks ``kubectl_complete-nbhd`` on the path (``main``); a shell that completes ``kubectl-nbhd`` itself uses what
``kubectl nbhd completion`` printed. Whatever fails suggests nothing: nobody wants an error in the middle of a line.
https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/#adding-shell-completion
"""

from __future__ import annotations

import asyncio
import sys

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from nbhd_cli.options import Suggest, Target

_NO_FILES = 4
"""What kubectl takes as: suggest no file names."""
_PATIENCE = 5.0
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
    try:
        return asyncio.run(asyncio.wait_for(_list(target, plural), _PATIENCE))
    except Exception:  # noqa: BLE001, RUF100 - see above
        return []


async def _list(target: Target, plural: str) -> list[str]:
    from nbhd_cli.access import connected
    from nbhd_crds.api import Cell, Plan, Tenant

    (kind,) = [kind for kind in (Tenant, Plan, Cell) if kind.plural == plural]
    async with connected(target) as access:
        return [item["metadata"]["name"] for item in await access.raw(kind)]


def main() -> None:
    """Entry point of ``kubectl_complete-nbhd``, which gets the words after ``kubectl nbhd``."""
    from nbhd_cli.main import cli

    for item in suggest(cli, sys.argv[1:]):
        sys.stdout.write(f"{item.value}\t{item.help}\n" if item.help else f"{item.value}\n")
    sys.stdout.write(f":{_NO_FILES}\n")
