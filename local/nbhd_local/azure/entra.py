"""The Entra token endpoint: exchanges a federated token for an access token that is bound to one audience.

Before it comes the credential of azure-identity, after it ARM and Key Vault, which check signature, audience and
expiry of what was issued here.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web

from nbhd_local.azure.errors import AzureError
from nbhd_local.traffic import Traffic

ARM_AUDIENCE = "https://management.azure.com"
VAULT_AUDIENCE = "https://vault.azure.net"
_ARM_ALIASES = frozenset({ARM_AUDIENCE, "https://management.core.windows.net"})
_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OPENID_SCOPES = frozenset({"openid", "profile", "offline_access"})  # some clients always ask for them
_LIFETIME = 3599
_EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"


class TokenRefused(Exception):  # noqa: N818 - the OAuth term
    """A bearer token that an API does not accept; ``reason`` is one of missing, invalid, expired, audience."""

    def __init__(self, reason: str, audience: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.audience = audience


@dataclass(frozen=True)
class Workload:
    """A Kubernetes ServiceAccount whose tokens are accepted: a federated credential.

    ``subject`` is ``system:serviceaccount:NAMESPACE:NAME``, ``keys`` the cluster's JWKS (``/openid/v1/jwks``).
    """

    subject: str
    keys: dict[str, Any]

    def accepts(self, token: str) -> bool:
        """True for a token of this ServiceAccount that is meant for Entra, signed by the cluster and not expired."""
        try:
            signer = jwt.get_unverified_header(token).get("kid")
            (key,) = [key for key in jwt.PyJWKSet.from_dict(self.keys).keys if key.key_id == signer]
            jwt.decode(token, key, audience=_EXCHANGE_AUDIENCE, subject=self.subject)
        except (jwt.PyJWTError, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Client:
    """An application (the operator's managed identity) with one federated credential."""

    client_id: str
    principal_id: str
    assertion: str = field(repr=False)
    workload: Workload | None = None

    def accepts(self, assertion: str) -> bool:
        """Whether this is the application's own federated token."""
        if self.workload is not None:
            return self.workload.accepts(assertion)
        return hmac.compare_digest(assertion.encode(), self.assertion.encode())


class Entra:
    """Issues and verifies tokens for one Entra tenant.

    Lifetimes are counted on the machine's clock, as the clients' token caches do.
    """

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.url = ""
        self._key = secrets.token_bytes(32)
        self._clients: dict[str, Client] = {}

    def register_client(
        self, principal_id: str, workload: Workload | None = None, client_id: str | None = None
    ) -> Client:
        """Adds an application whose workload presents the returned assertion, or its own ServiceAccount's token."""
        client_id = client_id or str(uuid.uuid4())
        assertion = self._sign({"iss": "https://kubernetes.default.svc", "sub": client_id, "jti": str(uuid.uuid4())})
        client = Client(client_id, principal_id, assertion, workload)
        self._clients[client_id] = client
        return client

    def issue(self, principal_id: str, audience: str, client_id: str = "") -> str:
        """An access token for a principal, as if it had authenticated."""
        now = int(time.time())
        claims = {"aud": audience, "iss": f"https://sts.windows.net/{self.tenant_id}/", "tid": self.tenant_id}
        return self._sign(
            {**claims, "oid": principal_id, "appid": client_id, "iat": now, "nbf": now, "exp": now + _LIFETIME}
        )

    def verify(self, authorization: str | None, audience: str) -> str:
        """Returns the caller's principal id; raises ``TokenRefused``."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise TokenRefused("missing")
        claims = self._claims(token)
        if claims["exp"] <= time.time():
            raise TokenRefused("expired")
        if claims["aud"] != audience:
            raise TokenRefused("audience", str(claims["aud"]))
        return str(claims["oid"])

    def application(self, traffic: Traffic) -> web.Application:
        """The authority's HTTP surface."""
        app = web.Application(middlewares=[traffic.middleware("entra")])
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._token)
        app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self._discovery)
        return app

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        if request.match_info["tenant"].lower() != self.tenant_id:
            return _refuse(400, "invalid_request", 90002, "Tenant not found.")
        if fields.get("grant_type") != "client_credentials":
            return _refuse(400, "unsupported_grant_type", 70003, "The grant type is not supported.")
        client = self._clients.get(fields.get("client_id", ""))
        if client is None:
            return _refuse(400, "unauthorized_client", 700016, "The application was not found in the directory.")
        if fields.get("client_assertion_type") != _JWT_BEARER:
            return _refuse(401, "invalid_client", 7000216, "'client_assertion' is required for this grant type.")
        if not client.accepts(fields.get("client_assertion", "").strip()):
            return _refuse(401, "invalid_client", 700213, "No matching federated identity record was found.")
        scopes = [scope for scope in fields.get("scope", "").split() if scope not in _OPENID_SCOPES]
        if len(scopes) != 1 or not scopes[0].endswith("/.default"):
            return _refuse(400, "invalid_scope", 1002012, "The scope must end with '/.default'.")
        resource = scopes[0].removesuffix("/.default").rstrip("/")
        audience = ARM_AUDIENCE if resource in _ARM_ALIASES else resource
        if audience not in {ARM_AUDIENCE, VAULT_AUDIENCE}:
            return _refuse(400, "invalid_resource", 500011, "The resource principal was not found in the tenant.")
        token = self.issue(client.principal_id, audience, client.client_id)
        return web.json_response(
            {"token_type": "Bearer", "expires_in": _LIFETIME, "ext_expires_in": _LIFETIME, "access_token": token}
        )

    async def _discovery(self, request: web.Request) -> web.Response:
        tenant = request.match_info["tenant"]
        return web.json_response(
            {
                "issuer": f"{self.url}/{tenant}/v2.0",
                "authorization_endpoint": f"{self.url}/{tenant}/oauth2/v2.0/authorize",
                "token_endpoint": f"{self.url}/{tenant}/oauth2/v2.0/token",
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            }
        )

    def _sign(self, claims: dict[str, Any]) -> str:
        head = _encode(json.dumps({"typ": "JWT", "alg": "HS256"}).encode())
        body = _encode(json.dumps(claims).encode())
        return f"{head}.{body}.{_encode(hmac.digest(self._key, f'{head}.{body}'.encode(), 'sha256'))}"

    def _claims(self, token: str) -> dict[str, Any]:
        signed, _, signature = token.rpartition(".")
        expected = _encode(hmac.digest(self._key, signed.encode(), "sha256"))
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise TokenRefused("invalid")
        try:
            claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
        except (ValueError, binascii.Error) as error:
            raise TokenRefused("invalid") from error
        if "aud" not in claims:  # a federated assertion is signed with the same key, but is no access token
            raise TokenRefused("invalid")
        return claims


def arm_refusal(refused: TokenRefused) -> AzureError:
    """ARM's 401 for each reason."""
    code, text = {
        "missing": ("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."),
        "invalid": ("InvalidAuthenticationToken", "The access token is invalid."),
        "expired": ("ExpiredAuthenticationToken", "The access token expiry UTC time has passed."),
        "audience": (
            "InvalidAuthenticationTokenAudience",
            f"The access token has been obtained for wrong audience or resource '{refused.audience}'.",
        ),
    }[refused.reason]
    challenge = (
        f'Bearer authorization_uri="https://login.windows.net/", error="invalid_token", error_description="{code}"'
    )
    return AzureError(401, code, text, headers={"WWW-Authenticate": challenge})


def _refuse(status: int, error: str, number: int, text: str) -> web.Response:
    return web.json_response(
        {"error": error, "error_description": f"AADSTS{number}: {text}", "error_codes": [number]}, status=status
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
