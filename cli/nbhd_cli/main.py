"""``kubectl nbhd``: what a platform operator does by hand. The commands and their flags; other modules do the work.

A client of Kubernetes objects only: what a person may do here is what RBAC lets them do with kubectl.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from nbhd_cli.complete import VARIABLE, names, script
from nbhd_cli.errors import INTERRUPTED, USAGE, CommandError
from nbhd_cli.options import Command, Group, Target, output, selector, target, timeout, waiting

if TYPE_CHECKING:
    from nbhd_cli.access import Access

R = TypeVar("R")
SYSTEM_NAMESPACE = "nbhd-system"


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    sections={
        "Look": ("list", "check", "plan", "orphans"),
        "Change": ("new", "provision", "deprovision", "link"),
        "Shell": ("completion",),
    },
)
def cli() -> None:
    """Private AI assistants on Kubernetes: their tenants, plans and cells.

    Exit status: 0 done, 1 done and there is something to look at,
    2 wrong usage, 3 failed or refused, 4 not finished in time.
    """


@cli.command(
    "list",
    cls=Command,
    short_help="Tenants by state",
    examples="""
# All tenants of the namespace, those that need a person last
kubectl nbhd list

# Tenants of all namespaces that are not served although they pay
kubectl nbhd list --all-namespaces --state provisioning,stalled

# Names only, for a script
kubectl nbhd list --state ready --output name
""",
)
@click.option(
    "--state",
    "states",
    default="",
    metavar="STATES",
    shell_complete=lambda *_: _states(),
    help="Only Tenants in these states, with commas between them.",
)
@selector
@output("table", "wide", "json", "yaml", "name")
@target(everywhere=True)
def list_(states: str, selector: str, output: str, target: Target) -> None:
    """List Tenants by their state.

    Unknown       the operator has not looked at it
    Pending       no payment yet
    AwaitingLink  paid, no chat connected yet
    Provisioning  being made or changed
    Ready         the assistant answers
    Suspended     stopped until billing is in order, or by a person
    Ended         the subscription has ended
    Deleting      on its way out
    Stalled       waits for a person: kubectl nbhd check says what to do
    """
    from nbhd_cli import listing

    _run(target, lambda access: listing.show(access, states=states, selector=selector, output=output, now=_now()))


@cli.command(
    cls=Command,
    short_help="What is wrong, and what to do about it",
    examples="""
# Everything in the namespace: tenants, plans and cells
kubectl nbhd check

# One tenant, and whether its container takes messages right now
kubectl nbhd check ada --wake

# In a script: 1 if something is wrong
kubectl nbhd check --all-namespaces --output json > findings.json || alert findings.json
""",
)
@click.argument("tenants", nargs=-1, metavar="[TENANT...]", shell_complete=names("tenants"))
@click.option("--wake", is_flag=True, help="Ask the containers of the named Tenants; this wakes those that sleep.")
@click.option("--all", "all_", is_flag=True, help="With --wake: of all Tenants that are Ready.")
@timeout("5m")
@selector
@output("table", "json", "yaml")
@target(everywhere=True)
def check(
    tenants: tuple[str, ...], wake: bool, all_: bool, timeout: int, selector: str, output: str, target: Target
) -> int:
    """Say what is wrong with Tenants, Plans and Cells, and what a person can do about it.

    What waits for a subscriber is not wrong. Exits with 1 if something is.

    A container that sleeps is not disturbed: that it answered once, and what Azure says of it since, is known. With
    --wake the operator sends it one request on the path that messages take, which costs as much as a short message.
    """
    from nbhd_cli import check

    _one_namespace(tenants, target)
    if not wake:
        return _run(target, lambda access: check.show(access, tenants, selector=selector, output=output, now=_now()))
    if bool(tenants or selector) == all_:
        raise click.UsageError("--wake costs money for each Tenant that sleeps: name them, or say --all")
    return _run(
        target,
        lambda access: check.wake(access, tenants, selector=selector, timeout=timeout, output=output, now=_now()),
    )


@cli.command(
    cls=Command,
    short_help="What would change, and how far a Plan has reached its tenants",
    examples="""
# Rollout of all plans, and what is due for tenants
kubectl nbhd plan

# One plan and its tenants, or one tenant
kubectl nbhd plan plan/basic
kubectl nbhd plan ada

# See what a new image would change before it changes anything
kubectl nbhd plan plan/basic --on
kubectl edit plan basic
kubectl nbhd plan plan/basic
kubectl nbhd plan plan/basic --off
""",
)
@click.argument(
    "objects", nargs=-1, metavar="[TENANT | plan/NAME]...", shell_complete=names("tenants", prefixed="plans")
)
@click.option("--on/--off", "on", default=None, help="Only plan from now on for these objects; or manage them again.")
@output("table", "json", "yaml")
@target(everywhere=True)
def plan(objects: tuple[str, ...], on: bool | None, output: str, target: Target) -> int | None:
    """Show what is due in Azure and is not being changed, and how far Plans have reached their Tenants.

    Changes are held back by the reconcile policy "plan", which is switched here, or because they wait for their turn in
    a rollout. Exits with 1 if something is due.
    """
    from nbhd_cli import plan

    _one_namespace(objects, target)
    if on is None:
        return _run(target, lambda access: plan.show(access, objects, output=output))
    if not objects:
        raise click.UsageError("name the Tenants, or plan/NAME, to switch")
    return _run(target, lambda access: plan.switch(access, objects, on=on))


@cli.command(
    cls=Command,
    short_help="What in Azure belongs to no tenant",
    examples="""
# Orphans of all cells
kubectl nbhd orphans

# Have two of them removed
kubectl nbhd orphans --remove nbhd-3f5a9c2e --remove nbhd-9b1d4477
""",
)
@click.argument("cells", nargs=-1, metavar="[CELL...]", shell_complete=names("cells"))
@click.option("--remove", "removed", multiple=True, metavar="NAME", help="Azure name of an orphan to remove.")
@output("table", "json", "yaml")
@target(everywhere=True)
def orphans(cells: tuple[str, ...], removed: tuple[str, ...], output: str, target: Target) -> int | None:
    """Show what the operator found in Cells that belongs to no Tenant, and have it removed.

    Nothing is removed unless a person names it here; the request ends by itself after an hour. Exits with 1 if there
    are orphans.
    """
    from nbhd_cli import orphans

    _one_namespace(cells, target)
    if removed:
        return _run(target, lambda access: orphans.remove(access, cells, removed, now=_now()))
    return _run(target, lambda access: orphans.show(access, cells, output=output, now=_now()))


def _tenant(function: Callable[..., object]) -> Callable[..., object]:
    """What a new Tenant is made of."""
    for option in (
        click.option("--complimentary", is_flag=True, help="Service without payment."),
        click.option(
            "--cell", metavar="NAME", shell_complete=names("cells"), help="Cell (default: the operator's choice)."
        ),
        click.option("--plan", metavar="NAME", shell_complete=names("plans"), help="Plan (default: the only one)."),
        click.argument("name", metavar="NAME"),
    ):
        function = option(function)
    return function


@cli.command(
    cls=Command,
    short_help="Print the manifest of a new tenant",
    examples="""
# For Git
kubectl nbhd new ada --plan basic --complimentary > tenants/ada.yaml
""",
)
@_tenant
@click.option("-n", "--namespace", metavar="NAME", help="Namespace to write into it (default: none).")
@output("yaml", "json")
def new(name: str, plan: str | None, cell: str | None, complimentary: bool, namespace: str | None, output: str) -> None:
    """Print the manifest of a new Tenant that no Stripe customer stands behind, with an identity of its own.

    Print it once and keep it: the identity is what finds everything again in Azure, in a rebuilt cluster, too.
    """
    from nbhd_cli.new import manifest
    from nbhd_cli.output import document

    made = manifest(name, namespace=namespace, plan=plan, cell=cell, complimentary=complimentary)
    sys.stdout.write(document(made, output))


@cli.command(
    cls=Command,
    short_help="Create a tenant and wait until it is ready for linking",
    examples="""
# A colleague, for free
kubectl nbhd provision ada --plan basic --complimentary

# Wait for one that exists
kubectl nbhd provision ada --timeout 20m
""",
)
@_tenant
@waiting("15m")
@target()
def provision(
    name: str, plan: str | None, cell: str | None, complimentary: bool, wait: bool, timeout: int, target: Target
) -> int:
    """Create a Tenant that no Stripe customer stands behind, unless it exists, and wait until nothing is under way.

    Subscribers need no such command: their Tenant comes with their payment. Exits with 1 if it waits for a person.
    """
    from nbhd_cli.new import manifest
    from nbhd_cli.provision import provision

    wanted = manifest(name, plan=plan, cell=cell, complimentary=complimentary)
    return _run(target, lambda access: provision(access, wanted, timeout=timeout if wait else None))


@cli.command(
    cls=Command,
    short_help="Delete tenants and everything that they have in Azure",
    examples="""
# End a complimentary one
kubectl nbhd deprovision ada

# Although Stripe goes on charging for it
kubectl nbhd deprovision bob --force
""",
)
@click.argument("tenants", nargs=-1, required=True, metavar="TENANT...", shell_complete=names("tenants"))
@click.option("--force", is_flag=True, help="Delete even a Tenant that is being paid for.")
@waiting("30m")
@target()
def deprovision(tenants: tuple[str, ...], force: bool, wait: bool, timeout: int, target: Target) -> None:
    """Delete Tenants, and wait until everything that they have in Azure is gone: assistant, credentials, data.

    A Tenant that is being paid for is refused, as the API server refuses it to everybody, so that no pruning pipeline
    ends a subscription: the subscriber would go on paying. End the subscription in Stripe instead, and the operator
    removes everything after the plan's retention. --force sets the annotation nbhd.united/allow-delete first.

    To stop service and keep all data: kubectl patch tenant NAME --type merge --patch '{"spec":{"suspended":true}}'
    """
    from nbhd_cli.provision import deprovision

    _run(target, lambda access: deprovision(access, tenants, force=force, timeout=timeout if wait else None))


@cli.command(
    cls=Command,
    short_help="Make the link that connects a Telegram chat",
    examples="""
# Link and QR code in the terminal
kubectl nbhd link ada

# The link alone
kubectl nbhd link ada --no-qr 2>/dev/null
""",
)
@click.argument("tenant", metavar="TENANT", shell_complete=names("tenants"))
@click.option("--qr/--no-qr", default=None, help="Draw the QR code, or not (default: on a terminal).")
@click.option(
    "--system-namespace",
    default=SYSTEM_NAMESPACE,
    metavar="NAME",
    help=f"Namespace of the services (default: {SYSTEM_NAMESPACE}).",
)
@output("link", "json", "yaml")
@target()
def link(tenant: str, qr: bool | None, system_namespace: str, output: str, target: Target) -> None:
    """Print a t.me link that connects a Telegram account to a Tenant, valid for 15 minutes.

    The key is read from the Secret nbhd-link-keys, so whoever may read that may connect chats.
    """
    from nbhd_cli.link import link

    draw = sys.stderr.isatty() if qr is None else qr
    _run(target, lambda access: link(access, tenant, system=system_namespace, output=output, qr=draw, now=_now()))


@cli.command(
    cls=Command,
    short_help="Print the script that completes kubectl-nbhd in a shell",
    examples="""
# bash, in this session
source <(kubectl nbhd completion bash)

# fish, for good
kubectl nbhd completion fish > ~/.config/fish/completions/kubectl-nbhd.fish
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="bash|zsh|fish")
def completion(shell: str) -> None:
    """Print the script that completes "kubectl-nbhd" in a shell, names of objects included.

    For "kubectl nbhd", with a space, no script is needed but kubectl's own: kubectl asks the program
    kubectl_complete-nbhd, which is installed beside this one. See: kubectl completion --help
    """
    sys.stdout.write(script(cli, shell))


def _one_namespace(named: tuple[str, ...], target: Target) -> None:
    if named and target.everywhere:
        raise click.UsageError("objects are named in one namespace: leave --all-namespaces away")


def _states() -> list[click.shell_completion.CompletionItem[str]]:
    from nbhd_cli.states import STATES

    return [click.shell_completion.CompletionItem(state.lower()) for state in STATES]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _run(target: Target, work: Callable[[Access], Awaitable[R]]) -> R:
    from nbhd_cli.access import connected

    async def run() -> R:
        async with connected(target) as access:
            return await work(access)

    return asyncio.run(run())


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``kubectl-nbhd``. ``errors.py`` has the exit statuses."""
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries log is not for the person at the terminal
    try:
        status = cli.main(args=argv, prog_name="kubectl nbhd", complete_var=VARIABLE, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(error.format_message() + "\n")
        raise SystemExit(USAGE) from None
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "kubectl nbhd"
        sys.stderr.write(f"error: {error.format_message()}\nSee '{path} --help' for usage.\n")
        raise SystemExit(USAGE) from None
    except CommandError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.status) from None
    except (click.Abort, KeyboardInterrupt):
        raise SystemExit(INTERRUPTED) from None
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
