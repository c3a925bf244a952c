"""``kubectl nbhd``: what a platform operator does by hand. Parses arguments; ``link.py`` and ``new.py`` do the work.

A client of Kubernetes objects only: what a person may do here is what RBAC lets them do with kubectl.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from nbhd_cli import link, new
from nbhd_cli.errors import CommandError
from nbhd_crds.api.policies import SERVICES_NAMESPACE
from nbhd_crds.client import connect


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="kubectl nbhd", description="Private AI assistants on Kubernetes: tenants.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-n", "--namespace", help="namespace of the Tenant (default: the kubeconfig's)")
    common.add_argument("--kubeconfig", help="path of the kubeconfig (default: $KUBECONFIG, else ~/.kube/config)")

    text = "print a t.me link that connects a Telegram account to a Tenant, valid for 15 minutes"
    linking = commands.add_parser("link", parents=[common], help=text, description=text)
    linking.add_argument("tenant", metavar="TENANT", help="name of the Tenant")
    linking.add_argument(
        "--system-namespace", default=SERVICES_NAMESPACE, help="namespace of the services (default: %(default)s)"
    )
    linking.set_defaults(run=_link)

    text = "print the manifest of a new Tenant that no Stripe customer stands behind"
    making = commands.add_parser("new", parents=[common], help=text, description=text)
    making.add_argument("name", metavar="NAME", help="name of the Tenant")
    making.add_argument("--plan", help="name of the Plan (default: none; a Tenant needs one to be provisioned)")
    making.add_argument("--complimentary", action="store_true", help="service without payment")
    making.add_argument("--apply", action="store_true", help="create it instead of printing the manifest")
    making.set_defaults(run=_new)
    return top


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``kubectl-nbhd``. Exit status: 0 done, 1 refused or failed, 2 wrong usage."""
    arguments = parser().parse_args(argv)
    try:
        asyncio.run(arguments.run(arguments))
    except CommandError as error:
        _fail(str(error))
    except ApiException as error:
        _fail(f"the server answered {error.status} {error.reason}")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        _fail(f"cannot reach the server: {type(error).__name__}")


def _fail(text: str) -> None:
    sys.stderr.write(f"error: {text}\n")
    raise SystemExit(1)


def _kubeconfig(arguments: argparse.Namespace) -> Path:
    return Path(arguments.kubeconfig or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")


def _namespace(arguments: argparse.Namespace, kubeconfig: Path) -> str:
    if arguments.namespace:
        return str(arguments.namespace)
    _, active = config.list_kube_config_contexts(  # type: ignore[no-untyped-call] # untyped upstream
        config_file=str(kubeconfig)
    )
    return str(active["context"].get("namespace") or "default")


async def _connect(kubeconfig: Path) -> client.ApiClient:
    try:
        return await connect(kubeconfig)
    except config.ConfigException as error:
        raise CommandError(f"kubeconfig {kubeconfig}: {error}") from None


async def _link(arguments: argparse.Namespace) -> None:
    kubeconfig = _kubeconfig(arguments)
    api = await _connect(kubeconfig)
    try:
        await link.link(api, _namespace(arguments, kubeconfig), arguments.tenant, system=arguments.system_namespace)
    finally:
        await api.close()  # type: ignore[no-untyped-call] # untyped upstream


async def _new(arguments: argparse.Namespace) -> None:
    document = new.manifest(arguments.name, plan=arguments.plan, complimentary=arguments.complimentary)
    if not arguments.apply:
        sys.stdout.write(new.render(document, arguments.namespace))
        return
    kubeconfig = _kubeconfig(arguments)
    api = await _connect(kubeconfig)
    try:
        await new.create(api, _namespace(arguments, kubeconfig), document)
    finally:
        await api.close()  # type: ignore[no-untyped-call] # untyped upstream


if __name__ == "__main__":
    main()
