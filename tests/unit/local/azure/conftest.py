"""The real Azure SDKs, pointed at an emulated subscription over TLS."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import WorkloadIdentityCredential
from azure.keyvault.secrets.aio import SecretClient
from azure.mgmt.appcontainers.aio import ContainerAppsAPIClient
from azure.mgmt.authorization.v2022_04_01.aio import AuthorizationManagementClient
from azure.mgmt.authorization.v2022_04_01.models import RoleAssignmentCreateParameters
from azure.mgmt.msi.v2024_11_30.aio import ManagedServiceIdentityClient

from nbhd_local.azure import AzureWorld, Delays
from nbhd_local.azure.role_assignments import SECRETS_USER, role_definition_id
from nbhd_local.ca import Authority

QUICK = Delays(
    app=0.02, role_propagation=0.0, container_start=0.01, ready_lag=0.01, revision_timeout=5, secret_transition=0.0
)


@dataclass
class Azure:
    """A world and the SDK clients of its operator."""

    world: AzureWorld
    session: aiohttp.ClientSession
    transport: AioHttpTransport
    credential: WorkloadIdentityCredential
    apps: Any  # ContainerAppsAPIClient; bodies are plain objects here, which its overloads do not know
    identities: Any  # ManagedServiceIdentityClient, likewise
    roles: AuthorizationManagementClient
    secrets: SecretClient

    async def token(self) -> str:
        """A token for ARM."""
        return (await self.credential.get_token("https://management.azure.com/.default")).token

    async def arm(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        """A bare ARM call, for what no SDK would send."""
        headers = {"Authorization": f"Bearer {await self.token()}"}
        async with self.session.request(method, self.world.arm_url + path, headers=headers, **kwargs) as answer:
            return answer.status, await answer.json(content_type=None)

    async def identity(self, name: str) -> Any:
        """Creates a user-assigned identity."""
        return await self.identities.user_assigned_identities.create_or_update(
            self.world.resource_group, name, {"location": self.world.location}
        )

    def secret_scope(self, name: str) -> str:
        """The ARM scope of one vault secret."""
        return f"{self.world.vault.resource_id}/secrets/{name}"

    async def grant(self, scope: str, principal_id: str, role: str = SECRETS_USER) -> Any:
        """Assigns a role."""
        parameters = RoleAssignmentCreateParameters(
            role_definition_id=role_definition_id(self.world.subscription, role),
            principal_id=principal_id,
            principal_type="ServicePrincipal",
        )
        return await self.roles.role_assignments.create(scope, str(uuid.uuid4()), parameters)

    async def tenant(self, name: str, value: str = "{}") -> tuple[Any, str]:
        """An identity, a secret and the right to read it; returns the identity and the secret's versioned URL."""
        identity = await self.identity(name)
        secret = await self.secrets.set_secret(name, value)
        await self.grant(self.secret_scope(name), identity.principal_id)
        assert secret.id is not None
        return identity, secret.id

    def body(self, **changes: Any) -> dict[str, Any]:
        """The smallest container app; ``changes`` replace members of ``properties``."""
        return {
            "location": self.world.location,
            "properties": {
                "environmentId": self.world.environment_id,
                "configuration": {"ingress": {"external": True, "targetPort": 8787}},
                "template": {"containers": [{"name": "openclaw", "image": "example.test/app:1"}]},
                **changes,
            },
        }

    async def put(self, name: str, body: dict[str, Any]) -> Any:
        """Creates or updates an app and waits until that succeeded."""
        poller = await self.apps.container_apps.begin_create_or_update(self.world.resource_group, name, body)
        return await poller.result()

    async def app(self, name: str) -> Any:
        """The app as it is now."""
        return await self.apps.container_apps.get(self.world.resource_group, name)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"))


Connect = Callable[[AzureWorld], contextlib.AbstractAsyncContextManager[Azure]]


@pytest.fixture
def connect(authority: Authority, tmp_path: Path) -> Connect:
    """Builds the operator's SDK clients for a running world."""

    @contextlib.asynccontextmanager
    async def clients(world: AzureWorld) -> AsyncIterator[Azure]:
        environment = world.credentials_env(tmp_path)
        connector = aiohttp.TCPConnector(ssl=authority.client_context())
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            transport = AioHttpTransport(session=session, session_owner=False)
            common: dict[str, Any] = {"transport": transport}
            credential = WorkloadIdentityCredential(
                tenant_id=environment["AZURE_TENANT_ID"],
                client_id=environment["AZURE_CLIENT_ID"],
                token_file_path=environment["AZURE_FEDERATED_TOKEN_FILE"],
                authority=environment["AZURE_AUTHORITY_HOST"],
                disable_instance_discovery=True,
                **common,
            )
            common |= {"retry_total": 0}
            arm: dict[str, Any] = {"base_url": world.arm_url, **common}
            yield Azure(
                world,
                session,
                transport,
                credential,
                ContainerAppsAPIClient(
                    credential, world.subscription_id, api_version="2026-07-01", polling_interval=0.01, **arm
                ),
                ManagedServiceIdentityClient(credential, world.subscription_id, **arm),
                AuthorizationManagementClient(credential, world.subscription_id, **arm),
                SecretClient(world.vault_url, credential, verify_challenge_resource=False, **common),
            )

    return clients


@pytest.fixture
async def azure(authority: Authority, connect: Connect) -> AsyncIterator[Azure]:
    """A quick world in which nothing runs, and its clients."""
    async with AzureWorld(authority, delays=QUICK, run_containers=False) as world, connect(world) as clients:
        yield clients
