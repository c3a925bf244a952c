"""Errors in Stripe's envelope.

Raised by the parameter readers and the resources, turned into a response by `api`.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from nbhd_local.traffic import AnsweredError


class StripeError(AnsweredError):
    """One refused request: an HTTP status and the members of Stripe's ``error`` object."""

    def __init__(
        self,
        message: str,
        *,
        status: int = HTTPStatus.BAD_REQUEST,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = int(status)
        self.kind = kind
        self.code = code
        self.param = param

    def envelope(self) -> dict[str, Any]:
        """The response body."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        if self.param is not None:
            error["param"] = self.param
        return {"error": error}

    def response(self) -> web.Response:
        """The HTTP answer."""
        return web.json_response(self.envelope(), status=self.status)


def injected(status: int, code: str, headers: Mapping[str, str]) -> StripeError:  # noqa: ARG001 - Stripe's has none
    """The error of a fault that a test asked for."""
    return StripeError("Injected fault.", status=status, kind="api_error", code=code)


def missing(noun: str, object_id: str, *, param: str = "id", in_path: bool = True) -> StripeError:
    """``resource_missing``: 404 for the object that the path names, 400 for one that a parameter names."""
    return StripeError(
        f"No such {noun}: '{object_id}'",
        status=HTTPStatus.NOT_FOUND if in_path else HTTPStatus.BAD_REQUEST,
        code="resource_missing",
        param=param,
    )
