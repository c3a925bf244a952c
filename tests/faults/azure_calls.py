"""Every call that the operator makes to Azure, every way in which Azure may fail it, and when it comes.

``test_the_fault_table`` crosses the two. A call of ``nbhd_operator.azure.Azure`` that is not listed fails a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nbhd_local.traffic import Rule, Traffic

Stage = Literal["make", "change", "stop", "start", "remove", "return", "claim", "list"]
# What a tenant lives through to come to a stage, that included; the last two are those of a cell.
LIVES: dict[Stage, tuple[Stage, ...]] = {
    "make": ("make",),
    "change": ("make", "change"),
    "stop": ("make", "stop"),
    "start": ("make", "stop", "start"),
    "remove": ("make", "remove"),
    "return": ("make", "remove", "return"),
}


@dataclass(frozen=True)
class Call:
    """A method of ``Azure``, and the request that it sends; NAME stands for the tenant's or the cell's name."""

    name: str
    method: str
    path: str
    stage: Stage

    def __str__(self) -> str:
        return f"{self.name} ({self.stage})"


@dataclass(frozen=True)
class Fault:
    """One way to fail a request: ``arm`` makes it happen to the next one of a method and path."""

    what: str
    arm: Callable[[Traffic, str, str], Rule]
    believed: bool = False
    """Nobody can see that the answer is not true."""

    def __str__(self) -> str:
        return self.what


_ROLES = r"/secrets/NAME/providers/Microsoft\.Authorization/roleAssignments"
CALLS = [
    Call("get_identity", "GET", "/userAssignedIdentities/NAME$", "make"),
    Call("put_identity", "PUT", "/userAssignedIdentities/NAME$", "make"),
    Call("get_secret", "GET", "^/secrets/NAME/$", "make"),
    Call("set_secret", "PUT", "^/secrets/NAME$", "make"),
    Call("list_role_assignments", "GET", f"{_ROLES}$", "make"),
    Call("put_role_assignment", "PUT", f"{_ROLES}/", "make"),
    Call("get_app", "GET", "/containerApps/NAME$", "make"),
    Call("put_app", "PUT", "/containerApps/NAME$", "make"),
    Call("put_app", "PUT", "/containerApps/NAME$", "change"),
    Call("stop_app", "POST", "/containerApps/NAME/stop$", "stop"),
    Call("start_app", "POST", "/containerApps/NAME/start$", "start"),
    Call("get_app", "GET", "/containerApps/NAME$", "remove"),
    Call("delete_app", "DELETE", "/containerApps/NAME$", "remove"),
    Call("list_role_assignments", "GET", f"{_ROLES}$", "remove"),
    Call("delete_role_assignment", "DELETE", f"{_ROLES}/", "remove"),
    Call("get_secret", "GET", "^/secrets/NAME/$", "remove"),
    Call("delete_secret", "DELETE", "^/secrets/NAME$", "remove"),
    Call("get_identity", "GET", "/userAssignedIdentities/NAME$", "remove"),
    Call("delete_identity", "DELETE", "/userAssignedIdentities/NAME$", "remove"),
    Call("set_secret", "PUT", "^/secrets/NAME$", "return"),
    Call("recover_secret", "POST", "^/deletedsecrets/NAME/recover$", "return"),
]
_TAGS = "/resourceGroups/NAME/providers/Microsoft.Resources/tags/default$"
CELL_CALLS = [
    Call("get_group_tags", "GET", _TAGS, "claim"),
    Call("tag_group", "PATCH", _TAGS, "claim"),
    Call("get_group_tags", "GET", _TAGS, "list"),
    Call("list_apps", "GET", "/resourceGroups/NAME/providers/Microsoft.App/containerApps$", "list"),
    Call("list_identities", "GET", "/resourceGroups/NAME/providers/.*/userAssignedIdentities$", "list"),
    Call("list_environment_usages", "GET", "/managedEnvironments/NAME/usages$", "list"),
    Call("list_secrets", "GET", "^/secrets$", "list"),
    Call("list_subscription_role_assignments", "GET", "^/subscriptions/[^/]+/providers/[^/]+/roleAssignments$", "list"),
]


def _error(status: int, code: str, *, after: str = "", times: int = 1, acted: bool = False) -> Callable[..., Rule]:
    headers = {"Retry-After": after} if after else None

    def arm(traffic: Traffic, method: str, path: str) -> Rule:
        return traffic.fail_next(method, path, status, code, headers=headers, after_commit=acted, times=times)

    return arm


def _cut(*, acted: bool) -> Callable[..., Rule]:
    return lambda traffic, method, path: traffic.reset_next(method, path, after_commit=acted)


def _garbled(body: bytes) -> Callable[..., Rule]:
    return lambda traffic, method, path: traffic.garble_next(method, path, body)


FAULTS = [
    Fault("409, an operation is in progress", _error(409, "ContainerAppOperationInProgress", times=2)),
    Fault("409, a concurrent write", _error(409, "ConflictingConcurrentWriteNotAllowed")),
    Fault("429 with Retry-After", _error(429, "TooManyRequests", after="1")),
    Fault("500", _error(500, "InternalServerError", times=2)),
    Fault("500 after it acted", _error(500, "InternalServerError", acted=True)),
    Fault("503", _error(503, "ServiceUnavailable")),
    Fault("connection cut before it acted", _cut(acted=False)),
    Fault("connection cut after it acted", _cut(acted=True)),
    Fault("malformed answer", _garbled(b"<html>busy</html>")),
    Fault("answer that breaks off", _garbled(b'{"id": "/subscriptions/')),
    Fault("partial answer", _garbled(b"{}")),
]
_LISTS = [
    Fault("list without its items", _garbled(b'{"value": []}'), believed=True),
    Fault("list with an item that says nothing", _garbled(b'{"value": [{}]}')),
]


def faults_of(call: Call) -> list[Fault]:
    """Those that the call of a cell may meet: nothing that is only read is refused for being changed."""
    reads = [fault for fault in FAULTS if not fault.what.startswith("409")]
    return FAULTS if call.method != "GET" else [*reads, *(_LISTS if call.name.startswith("list") else ())]


ROWS = [(call, fault) for call in CALLS for fault in FAULTS]
# Every call and every fault at least once, each call with another fault.
COVERING = [(call, FAULTS[number % len(FAULTS)]) for number, call in enumerate(CALLS)]
