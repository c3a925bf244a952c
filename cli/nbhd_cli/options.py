"""Flags that several commands share, and help that reads like kubectl's.

Nothing here, nor in ``main.py``, loads what talks to the API server: help, usage and most completions must be quick.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from nbhd_cli.errors import WrongUsageError

Function = TypeVar("Function", bound=Callable[..., Any])
Suggest = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]


@dataclass(frozen=True)
class Target:
    """Which API server, and where on it; None is the kubeconfig's own choice."""

    namespace: str | None = None
    everywhere: bool = False
    kubeconfig: str | None = None
    context: str | None = None

    @classmethod
    def of(cls, context: click.Context) -> Target:
        """What the flags say so far."""
        given = context.params
        return cls(
            namespace=given.get("namespace"),
            everywhere=bool(given.get("all_namespaces")),
            kubeconfig=given.get("kubeconfig"),
            context=given.get("context"),
        )


class Command(click.Command):
    """A command whose help is laid out as kubectl's: text, examples, options, usage."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options_metavar = "[options]"
        self.examples = examples

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes all of it."""
        if self.help:
            formatter.write(inspect.cleandoc(self.help) + "\n")
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}".rstrip() + "\n" for line in self.examples.strip().splitlines()))
        self.format_options(ctx, formatter)
        with formatter.section("Usage"):
            formatter.write(f"  {usage(ctx)}\n")


class Group(click.Group):
    """The command of commands, which are listed by what they are for."""

    command_class = Command

    def __init__(self, *args: Any, sections: dict[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order of the sections."""
        return [name for names in self.sections.values() for name in names]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes all of it."""
        formatter.write(inspect.cleandoc(self.help or "") + "\n")
        width = max(map(len, self.commands)) + 2
        for title, names in self.sections.items():
            with formatter.section(title):
                for name in names:
                    formatter.write(f"  {name:<{width}}{self.commands[name].get_short_help_str(100)}\n")
        with formatter.section("Usage"):
            formatter.write(f"  {ctx.command_path} COMMAND [options]\n")
        formatter.write(f'\nUse "{ctx.command_path} COMMAND --help" for more about a command.\n')


def usage(context: click.Context) -> str:
    """How the command is called, with its arguments first."""
    pieces = context.command.collect_usage_pieces(context)
    return " ".join([context.command_path, *pieces[1:], *pieces[:1]])


def target(*, everywhere: bool = False) -> Callable[[Function], Function]:
    """Adds the flags that say where, and hands them over as ``target``; ``everywhere`` allows all namespaces."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            context = click.get_current_context()
            if given.get("namespace") and given.get("all_namespaces"):
                raise click.UsageError("--namespace and --all-namespaces exclude each other")
            where = Target.of(context)
            rest = {name: value for name, value in given.items() if name not in _WHERE}
            return function(*args, target=where, **rest)

        flags = [
            click.option("-n", "--namespace", metavar="NAME", help="Namespace (default: the kubeconfig's)."),
            click.option("--context", metavar="NAME", help="Context of the kubeconfig (default: its current one)."),
            click.option(
                "--kubeconfig",
                metavar="FILE",
                help="Path of the kubeconfig (default: $KUBECONFIG, else ~/.kube/config).",
            ),
        ]
        if everywhere:
            flags.insert(1, click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces."))
        return functools.reduce(lambda wrapped, flag: flag(wrapped), reversed(flags), call)  # type: ignore[return-value]

    return decorate


_WHERE = ("namespace", "all_namespaces", "kubeconfig", "context")


def output(*formats: str) -> Callable[[Function], Function]:
    """Adds ``-o``; the first of ``formats`` is what people read."""
    choices = click.Choice(formats)
    text = f"Output format: {', '.join(formats)} (default: {formats[0]})."
    return click.option("-o", "--output", type=choices, default=formats[0], metavar="FORMAT", help=text)


def selector(function: Function) -> Function:
    """Adds ``-l``."""
    return click.option("-l", "--selector", default="", metavar="LABELS", help="Only Tenants with these labels.")(
        function
    )


def waiting(default: str) -> Callable[[Function], Function]:
    """Adds ``--wait`` and ``--timeout``, whose value arrives in seconds."""

    def decorate(function: Function) -> Function:
        function = click.option("--wait/--no-wait", default=True, help="Wait for the end (default), or do not.")(
            function
        )
        return timeout(default)(function)

    return decorate


def timeout(default: str) -> Callable[[Function], Function]:
    """Adds ``--timeout``, whose value arrives in seconds."""
    return click.option(
        "--timeout",
        default=default,
        metavar="DURATION",
        callback=_seconds,
        help=f"How long to wait, such as 90s or 10m (default: {default}).",
    )


def _seconds(context: click.Context, parameter: click.Parameter, value: str) -> int:
    from nbhd_cli.output import duration

    try:
        return duration(value)
    except WrongUsageError as error:
        raise click.BadParameter(str(error), context, parameter) from None
