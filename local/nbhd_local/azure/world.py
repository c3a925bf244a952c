"""``AzureWorld``: Entra, ARM, a key vault and running container apps in one process, for tests and the demo.

The real SDKs talk to it unmodified; ``credentials_env`` is all that a service needs besides the URLs.
"""

from __future__ import annotations

import contextlib
import datetime
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp.web

from nbhd_crds.clock import Clock
from nbhd_local import web
from nbhd_local.azure import arm, cell, identities, role_assignments
from nbhd_local.azure.cell import Cell
from nbhd_local.azure.container_apps import ContainerApps, NoRuntime
from nbhd_local.azure.entra import Entra, Workload
from nbhd_local.azure.errors import injected
from nbhd_local.azure.limits import Limits, Meter
from nbhd_local.azure.role_assignments import ACR_PULL, Access
from nbhd_local.azure.runtime import ContainerRuntime
from nbhd_local.azure.state import Age, Delays, Environment, Identity, ResourceGroup, RoleAssignment, Subscription, key
from nbhd_local.azure.vault import Vault
from nbhd_local.azure.vault_store import SecretStore
from nbhd_local.ca import Authority
from nbhd_local.traffic import Hold, Request, Traffic

_SUBSCRIPTION_ID = "5b0e7a1c-0000-4000-8000-6e6268640001"
_TENANT_ID = "5b0e7a1c-0000-4000-8000-6e6268640002"


class AzureWorld:
    """A subscription with one cell: resource group, environment, vault, registry and pull identity.

    ``images`` maps an image reference to the command that stands for it (default: the OpenClaw stand-in).
    ``workload`` is the ServiceAccount that the operator's identity trusts (default: one token of our own).
    ``run_containers=False`` makes revisions ready without running anything; with ``healthy=True`` they all say that
    they are well, so that thousands cost nothing. ``clock`` tells dates and decides what takes minutes to months
    (cooldown, soft delete); ``delays`` are seconds of the machine. ``limits`` makes Azure throttle its caller;
    ``operations_readable=False`` is for a caller whose roles end at the resource group.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        clock: Clock | None = None,
        delays: Delays | None = None,
        subscription_id: str = _SUBSCRIPTION_ID,
        tenant_id: str = _TENANT_ID,
        resource_group: str = "nbhd-cell-1",
        location: str = "eastus2",
        vault_name: str = "nbhd-cell-1",
        environment_name: str = "nbhd-cell-1",
        registry_server: str = "registry.local",
        images: Mapping[str, Sequence[str]] | None = None,
        run_containers: bool = True,
        healthy: bool = False,
        purge_protection: bool = True,
        limits: Limits | None = None,
        operations_readable: bool = True,
        log_dir: Path | None = None,
        pull_identity: str = "nbhd-pull",
        client_id: str | None = None,
        workload: Workload | None = None,
        host: str = web.LOOPBACK,
        arm_port: int = 0,
        authority_port: int = 0,
        vault_port: int = 0,
    ) -> None:
        self.delays = delays or Delays()
        self.subscription_id, self.tenant_id = subscription_id, tenant_id
        self.resource_group, self.location = resource_group, location
        self.vault_name, self.environment_name, self.registry_server = vault_name, environment_name, registry_server
        self.arm_url = self.authority_url = self.vault_url = ""
        self._clock = clock or Clock()
        self.traffic = Traffic(self._clock, injected, latency=self.delays.answer)
        self._meter = Meter(limits)
        self._operations_readable = operations_readable
        self._stuck: dict[str, Hold] = {}
        self.runtime: ContainerRuntime | None = None
        self._authority, self._images = authority, images or {}
        self._run_containers, self._healthy, self._log_dir = run_containers, healthy, log_dir
        self._host = host
        self._ports = {"arm": arm_port, "entra": authority_port, "vault": vault_port}
        self._stack = contextlib.AsyncExitStack()
        self._seed(pull_identity, purge_protection=purge_protection)
        self._client = self.entra.register_client(self.operator_principal_id, workload, client_id)

    def _seed(self, pull_identity: str, *, purge_protection: bool) -> None:
        group = self.resource_group
        self.subscription = Subscription(self.subscription_id, self.tenant_id)
        registry = self.registry_server.partition(".")[0]
        self.registry_id = (
            f"{self.subscription.group_id(group)}/providers/Microsoft.ContainerRegistry/registries/{registry}"
        )
        self.entra = Entra(self.tenant_id)
        self.operator_principal_id = str(uuid.uuid4())
        self._access = Access(self.subscription, self.delays)
        self._purge_protection = purge_protection
        self.vaults: list[Vault] = []
        self.environment_id, self.pull_identity_id, self.vault = self._seed_cell(
            group, self.environment_name, self.vault_name, pull_identity
        )

    def _seed_cell(self, group: str, environment_name: str, vault_name: str, pull_name: str) -> tuple[str, str, Vault]:
        """Ids of environment and pull identity, and the vault, which is not served yet."""
        subscription, now = self.subscription, self._clock()
        subscription.groups[group.lower()] = ResourceGroup(group, self.location)
        domain = f"{environment_name}.{self.location}.azurecontainerapps.io"
        environment = Environment(environment_name, group, self.location, domain)
        subscription.environments[key(group, environment_name)] = environment
        pull = Identity(pull_name, group, self.location, {}, now)
        subscription.identities[key(group, pull.name)] = pull
        long_ago = now - datetime.timedelta(days=1)
        grant = RoleAssignment(
            str(uuid.uuid4()),
            self.registry_id,
            ACR_PULL,
            pull.principal_id,
            "ServicePrincipal",
            long_ago,
            age=Age(86_400),
        )
        subscription.assignments[grant.name] = grant
        vault = Vault(
            f"{subscription.group_id(group)}/providers/Microsoft.KeyVault/vaults/{vault_name}",
            self.operator_principal_id,
            SecretStore(self._clock, self.delays, purge_protection=self._purge_protection),
            self._access,
            self.entra,
            self.traffic,
            self._meter,
        )
        self.vaults.append(vault)
        pull_id = subscription.identity_id(pull).replace("/resourcegroups/", "/resourceGroups/")
        return subscription.environment_id(environment), pull_id, vault

    @property
    def cell(self) -> Cell:
        """The cell that every world has."""
        return Cell(
            self.resource_group,
            self.environment_id,
            self.pull_identity_id,
            self.vault_name,
            self.vault_url,
            self.location,
        )

    async def add_cell(self, name: str) -> Cell:
        """One more, with a resource group, an environment and a vault of this name; for a world that runs."""
        environment_id, pull_id, vault = self._seed_cell(name, name, name, "nbhd-pull")
        tls = self._authority.server_context()
        vault.url = await self._stack.enter_async_context(web.serve(vault.application(), tls=tls, host=self._host))
        return Cell(name, environment_id, pull_id, name, vault.url, self.location)

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            apps = ContainerApps(
                self.subscription,
                await self._start_runtime(stack),
                self._read_as,
                self._clock,
                self.delays,
                self._operations_readable,
                self._stuck,
            )
            stack.push_async_callback(apps.aclose)
            routes = [
                *apps.routes(),
                *cell.routes(self.subscription, apps.runtime.running),
                *identities.routes(self.subscription, self._clock),
                *role_assignments.routes(self.subscription, self._clock, self.delays, self._has_vault),
            ]
            resource_manager = arm.application(
                self.subscription,
                self.entra,
                self.traffic,
                routes,
                operator=self.operator_principal_id,
                base_url=lambda: self.arm_url,
                meter=self._meter,
            )
            tls = self._authority.server_context()
            for name, app in (
                ("entra", self.entra.application(self.traffic)),
                ("vault", self.vault.application()),
                ("arm", resource_manager),
            ):
                url = await stack.enter_async_context(web.serve(app, tls=tls, port=self._ports[name], host=self._host))
                match name:
                    case "entra":
                        self.entra.url = self.authority_url = url
                    case "vault":
                        self.vault.url = self.vault_url = url
                    case _:
                        self.arm_url = url
            stack.callback(self.traffic.release_all)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start_runtime(self, stack: contextlib.AsyncExitStack) -> ContainerRuntime | NoRuntime:
        if not self._run_containers:
            domain = next(iter(self.subscription.environments.values())).default_domain
            return NoRuntime(domain, await self._answer_for_all(stack) if self._healthy else "")
        if self._log_dir is None:
            self._log_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nbhd-replica-logs-")))
        self._log_dir.mkdir(parents=True, exist_ok=True)
        self.runtime = ContainerRuntime(
            self.subscription,
            self._access,
            self._read_as,
            self._authority,
            self._log_dir,
            host=self._host,
            clock=self._clock,
            delays=self.delays,
            registry=(self.registry_server, self.registry_id),
            images=self._images,
        )
        stack.push_async_callback(self.runtime.aclose)
        return self.runtime

    async def _answer_for_all(self, stack: contextlib.AsyncExitStack) -> str:
        async def well(_: aiohttp.web.Request) -> aiohttp.web.Response:
            return aiohttp.web.Response(text="ok")

        app = aiohttp.web.Application()
        app.router.add_get("/healthz", well)
        url = await stack.enter_async_context(web.serve(app, tls=self._authority.server_context(), host=self._host))
        return url.removeprefix("https://")

    def _has_vault(self, resource_id: str) -> bool:
        return any(resource_id.lower() == vault.resource_id.lower() for vault in self.vaults)

    def _read_as(self, principal_id: str, url: str) -> str:
        vault = next((one for one in self.vaults if one.url and url.lower().startswith(one.url.lower())), self.vault)
        return vault.read_as(principal_id, url)

    def credentials_env(self, folder: Path) -> dict[str, str]:
        """Writes the federated token below ``folder`` and returns what azure-identity reads from the environment."""
        token = folder / "azure-federated-token"
        token.touch(mode=0o600)
        token.write_text(self._client.assertion)
        return {
            "AZURE_TENANT_ID": self.tenant_id,
            "AZURE_CLIENT_ID": self._client.client_id,
            "AZURE_AUTHORITY_HOST": self.authority_url,
            "AZURE_FEDERATED_TOKEN_FILE": str(token),
        }

    def stick(self, app_name: str) -> Hold:
        """The next change of the app stays in progress until the hold is released."""
        self._stuck[app_name] = hold = Hold()
        return hold

    @property
    def client_id(self) -> str:
        """Client id of the operator's own identity."""
        return self._client.client_id

    @property
    def writes(self) -> int:
        """How many changes were asked of ARM and the vault so far, refused ones included."""
        return self.traffic.writes

    @property
    def requests(self) -> Sequence[Request]:
        """The requests so far (the newest 100,000), oldest first."""
        return list(self.traffic.log)

    def inventory(self) -> dict[str, dict[str, Any]]:
        """All that exists, by kind and name, without any secret's value."""
        subscription, stores = self.subscription, [vault.store for vault in self.vaults]
        return {
            "apps": {
                app.name: {
                    "tags": dict(app.body.get("tags") or {}),
                    "provisioningState": app.provisioning_state,
                    "latestRevision": app.latest_revision,
                    "latestReadyRevision": app.latest_ready_revision,
                    "fqdn": app.fqdn,
                    "identities": sorted((app.body.get("identity") or {}).get("userAssignedIdentities") or {}),
                }
                for app in subscription.apps.values()
            },
            "identities": {
                identity.name: {"tags": dict(identity.tags), "principalId": identity.principal_id}
                for identity in subscription.identities.values()
            },
            "roleAssignments": {
                held.name: {"scope": held.scope, "principalId": held.principal_id, "role": held.role_id}
                for held in subscription.assignments.values()
            },
            "secrets": {
                secret.name: {"versions": list(secret.versions), "tags": dict(secret.latest.tags)}
                for store in stores
                for secret in store.active()
            },
            "deletedSecrets": {
                secret.name: {"versions": list(secret.versions)} for store in stores for secret in store.deleted()
            },
        }
