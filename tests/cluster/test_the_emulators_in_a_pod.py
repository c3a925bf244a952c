"""``nbhd-local serve``, as the chart starts it with ``local.enabled``: settings, certificates, whom Entra believes."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import os
import secrets
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import WorkloadIdentityCredential
from azure.mgmt.appcontainers.aio import ContainerAppsAPIClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from nbhd_crds.api.policies import SERVICES_NAMESPACE
from nbhd_local.cluster import Cluster
from nbhd_local.ports import free_port
from nbhd_local.services import Service

TENANT, CLIENT, SUBSCRIPTION = (f"10ca1000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))
AUDIENCE = "api://AzureADTokenExchange"


@dataclass
class Emulated:
    """Where the emulators answer, and the CA that they show."""

    arm: str
    entra: str
    stripe: str
    stripe_key: str
    ca: Path


@pytest_asyncio.fixture
async def emulated(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Emulated]:
    """The process with what the chart would give it, on loopback."""
    certificate, key = authority(tmp_path)
    names = ("ARM", "ENTRA", "VAULT", "STRIPE", "STRIPE_PAGES", "TELEGRAM", "TELEGRAM_PAGE", "HEALTH")
    ports = {name: free_port() for name in names}
    stripe_key = f"sk_test_{secrets.token_urlsafe(24)}"
    environment = {
        **{f"NBHD_LOCAL_{name}_LISTEN": f"0.0.0.0:{port}" for name, port in ports.items() if name != "HEALTH"},
        "NBHD_HEALTH_LISTEN": f"127.0.0.1:{ports['HEALTH']}",
        "KUBECONFIG": str(cluster.kubeconfig),
        "NBHD_LOCAL_HOST": "127.0.0.1",
        "NBHD_LOCAL_CA_CERT": str(certificate),
        "NBHD_LOCAL_CA_KEY": str(key),
        "NBHD_LOCAL_FOLDER": str(tmp_path / "state"),
        "NBHD_LOCAL_STRIPE_WEBHOOK_URL": "http://127.0.0.1:9/stripe/webhook",
        "NBHD_LOCAL_AZURE_SUBJECT": f"system:serviceaccount:{SERVICES_NAMESPACE}:operator",
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_KEY_VAULT_NAME": "local",
        "STRIPE_PRICE_BASIC": "price_localbasic",
        "STRIPE_PRICE_PLUS": "price_localplus",
        "TELEGRAM_BOT_USERNAME": "nbhd_local_bot",
        "TELEGRAM_BOT_TOKEN": f"7000001:{secrets.token_urlsafe(27)[:35]}",
        "STRIPE_TEST_SECRET_KEY": stripe_key,
        "STRIPE_WEBHOOK_SECRETS": f"whsec_{secrets.token_hex(24)}",
    }
    ready = f"http://127.0.0.1:{ports['HEALTH']}/readyz"
    service = Service("local", "nbhd_local", environment, ready, tmp_path / "local.log", arguments=("serve",))
    try:
        await service.start()
        url = "https://127.0.0.1:{}".format
        yield Emulated(url(ports["ARM"]), url(ports["ENTRA"]), url(ports["STRIPE"]), stripe_key, certificate)
    finally:
        await service.stop()


def authority(folder: Path) -> tuple[Path, Path]:
    """A CA as Helm's ``genCA`` makes it: an RSA key in PKCS #1, which is named by a SHA-256 digest."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nbhd-local")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now.replace(year=2040))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(hashlib.sha256(name.public_bytes()).digest()[:20]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(private)
    return folder / "tls.crt", folder / "tls.key"


async def apps(cluster: Cluster, emulated: Emulated, account: str, folder: Path, audience: str = AUDIENCE) -> int:
    """How many container apps a ServiceAccount sees with a token of its own."""
    token = await asyncio.to_thread(
        cluster.kubectl, "-n", SERVICES_NAMESPACE, "create", "token", account, f"--audience={audience}"
    )
    file = folder / "token"
    file.write_text(token.strip())
    credential = WorkloadIdentityCredential(
        tenant_id=TENANT,
        client_id=CLIENT,
        token_file_path=str(file),
        authority=emulated.entra,
        disable_instance_discovery=True,
        connection_verify=str(emulated.ca),
    )
    scope = "https://management.azure.com/.default"
    client = ContainerAppsAPIClient(
        credential,
        SUBSCRIPTION,
        base_url=emulated.arm,
        credential_scopes=[scope],
        connection_verify=str(emulated.ca),
        retry_total=0,
    )
    async with credential, client:
        return len([app async for app in client.container_apps.list_by_resource_group("local")])


async def test_entra_believes_the_operators_own_token_and_no_other(
    cluster: Cluster, emulated: Emulated, tmp_path: Path
) -> None:
    assert await apps(cluster, emulated, "operator", tmp_path) == 0
    for account, audience in (("router", AUDIENCE), ("operator", "https://kubernetes.default.svc")):
        with pytest.raises(ClientAuthenticationError, match="700213"):
            await apps(cluster, emulated, account, tmp_path, audience)


async def test_the_prices_have_the_ids_that_the_platform_was_told(emulated: Emulated) -> None:
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=emulated.ca))
    headers = {"Authorization": f"Bearer {emulated.stripe_key}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        for price, cents in (("price_localbasic", 500), ("price_localplus", 1500)):
            async with session.get(f"{emulated.stripe}/v1/prices/{price}") as answer:
                assert (await answer.json())["unit_amount"] == cents


def test_a_missing_setting_stops_it_with_one_line() -> None:
    environment = {"PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "nbhd_local", "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("NBHD_LOCAL_HOST: is required")
    assert done.stderr.count("\n") == 1
