"""Azure's error envelope: ``{"error": {"code", "message", "innererror"?}}``, shared by ARM and Key Vault.

Rules raise ``AzureError``; the HTTP edges (``arm.py``, ``vault.py``) turn it into an answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from nbhd_local.traffic import AnsweredError


class AzureError(AnsweredError):
    """A refusal with the status, code and message that the service would answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        inner: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.inner = inner
        self.headers = dict(headers or {})

    def envelope(self) -> dict[str, object]:
        """The ``error`` member of the answer's body."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.inner:
            error["innererror"] = {"code": self.inner}
        return error

    def response(self) -> web.Response:
        """The HTTP answer. ``x-ms-error-code`` repeats the code, as ARM does."""
        headers = {"x-ms-error-code": self.code, **self.headers}
        return web.json_response({"error": self.envelope()}, status=self.status, headers=headers)


def injected(status: int, code: str, headers: Mapping[str, str]) -> AzureError:
    """The error of a fault that a test asked for."""
    return AzureError(status, code, "Injected fault.", headers=headers)


def resource_not_found(kind: str, name: str, group: str) -> AzureError:
    """The resource is absent (its resource group is there, else the code is ``ResourceGroupNotFound``)."""
    return AzureError(
        404, "ResourceNotFound", f"The Resource '{kind}/{name}' under resource group '{group}' was not found."
    )
