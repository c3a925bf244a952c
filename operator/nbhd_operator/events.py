"""Kubernetes Events: what ``kubectl describe`` shows, written only when something changed for a person.

Whoever wrote a status tells the recorder; ``changes`` and ``rollout_changes`` say what of it is worth an Event. Posting
is beside the point of every look: it is bounded, never waited for, and a failure is only logged.
https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api import Condition, PlanStatus, TenantStatus
from nbhd_crds.api.meta import API_VERSION, KubernetesObject
from nbhd_crds.client import micro_time
from nbhd_operator.metrics import Metrics
from nbhd_operator.reasons import DRIFTED, PLANNED
from nbhd_operator.throttle import Bucket

log = logging.getLogger(__name__)

CONTROLLER = "nbhd.united/operator"
_NOTE = 1024  # bytes
_WAITING = 200
_RATE, _BURST = 5.0, 100.0  # Events a second, of all Tenants
_TENANT_RATE, _TENANT_BURST = 1 / 300, 10.0
_REMEMBERED = 4096  # Tenants; a rate that was forgotten begins anew
_LAST_WORDS = 2.0  # seconds for what still waits at the end


@dataclass(frozen=True)
class Change:
    """What happened, as ``kubectl describe`` shows it."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str
    action: str = "Reconcile"


def changes(before: TenantStatus, after: TenantStatus) -> list[Change]:
    """What a person should see between two statuses: another phase, another reason why one is needed, another plan."""
    return [*_moves(before, after), *_plans(before, after)]


def _moves(before: TenantStatus, after: TenantStatus) -> list[Change]:
    stalled = _stalled(before, after)
    if stalled is not None:
        return stalled
    if after.phase is None or after.phase == before.phase:
        return []
    why = _condition(after, "Reconciling")
    return [Change("Normal", after.phase, why.message if why else "")]


def _plans(before: TenantStatus, after: TenantStatus) -> list[Change]:
    now, was = _condition(after, "UpToDate"), _condition(before, "UpToDate")
    if now is None or now.reason not in (PLANNED, DRIFTED):
        return []
    if was is not None and (was.reason, before.planned) == (now.reason, after.planned):
        return []
    paths = ", ".join(path for one in after.planned for path in one.paths)
    kind: Literal["Normal", "Warning"] = "Warning" if now.reason == DRIFTED else "Normal"
    return [Change(kind, now.reason, f"{now.message} ({paths})" if paths else now.message, "Plan")]


def rollout_changes(before: PlanStatus, after: PlanStatus) -> list[Change]:
    """What a person should see between two statuses of a Plan: its rollout begins, ends or stops."""
    stalled = _stalled(before, after)
    if stalled is not None:
        return stalled
    now, was = _condition(after, "Reconciling"), _condition(before, "Reconciling")
    if now is None or was is None or now.reason == was.reason:
        return []
    return [Change("Normal", now.reason, now.message, "RollOut")]


def _stalled(before: TenantStatus | PlanStatus, after: TenantStatus | PlanStatus) -> list[Change] | None:
    """None if nobody is needed."""
    now, was = _condition(after, "Stalled"), _condition(before, "Stalled")
    if now is None or now.status != "True":
        return None
    same = was is not None and (was.status, was.reason) == (now.status, now.reason)
    return [] if same else [Change("Warning", now.reason, now.message)]


def drifted(kind: str, paths: Sequence[str]) -> Change:
    """Somebody else changed what the Tenant has in Azure, and it is put back; no paths: it is gone or was stopped."""
    what = f"changed ({', '.join(paths)})" if paths else "removed, started or stopped"
    return Change("Warning", "Drifted", f"{_WORDS[kind]} was {what} by somebody else and is put back.", "Repair")


def _condition(status: TenantStatus | PlanStatus, kind: str) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type == kind), None)


_WORDS = {
    "containerApp": "The container app",
    "identity": "The identity",
    "secret": "The secret",
    "roleAssignment": "The role assignment",
}

Post = Callable[[str, Any], Awaitable[None]]


def poster(api: client.ApiClient) -> Post:
    """Posts to the API server."""
    events = client.EventsV1Api(api)

    async def post(namespace: str, body: Any) -> None:
        await events.create_namespaced_event(namespace, body, _request_timeout=10.0)

    return post


class Recorder:
    """Takes changes at any time, and posts them one after the other while ``run`` runs."""

    def __init__(
        self, post: Post, instance: str, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._post, self._instance, self._counts, self._clock = post, instance, metrics.events, clock
        self._waiting: asyncio.Queue[tuple[KubernetesObject, Change, datetime.datetime]] = asyncio.Queue(_WAITING)
        self._all = Bucket(_RATE, _BURST, clock)
        self._each: OrderedDict[str, Bucket] = OrderedDict()

    def record(self, about: KubernetesObject, change: Change) -> None:
        """Will be posted, unless there are too many about this object or of all of them."""
        if not self._bucket(about.metadata.uid).take():
            self._counts.labels("suppressed").inc()
            return
        try:
            self._waiting.put_nowait((about, change, datetime.datetime.now(datetime.UTC)))
        except asyncio.QueueFull:
            self._counts.labels("suppressed").inc()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.post_next()

    async def post_next(self) -> None:
        """Waits for a change and posts it."""
        about, change, moment = await self._waiting.get()
        try:
            await asyncio.sleep(self._all.reserve())
            await self._post(about.metadata.namespace, self._body(about, change, moment))
            self._counts.labels("posted").inc()
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._counts.labels("failed").inc()
            extra = {"error": type(error).__name__, "status": getattr(error, "status", None)}
            log.warning("event not posted", extra=extra | {"reason": change.reason})
        finally:
            self._waiting.task_done()

    async def drain(self) -> None:
        """Returns when nothing waits any more, or after two seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._waiting.join(), _LAST_WORDS)

    def _bucket(self, uid: str) -> Bucket:
        bucket = self._each.pop(uid, None) or Bucket(_TENANT_RATE, _TENANT_BURST, self._clock)
        self._each[uid] = bucket
        if len(self._each) > _REMEMBERED:
            self._each.popitem(last=False)
        return bucket

    def _body(self, about: KubernetesObject, change: Change, moment: datetime.datetime) -> Any:
        meta = about.metadata
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{meta.name[:200]}.{secrets.token_hex(8)}", "namespace": meta.namespace},
            "eventTime": micro_time(moment),
            "type": change.type,
            "reason": change.reason,
            "note": change.note.encode()[:_NOTE].decode(errors="ignore"),
            "action": change.action,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": about.kind,
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
            },
        }
