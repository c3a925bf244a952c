"""The router as a whole while the API server is away: it takes updates in, answers for itself, and keeps them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
from pathlib import Path

import pytest
import yaml

from nbhd_crds.settings import read
from nbhd_local.waiting import eventually
from nbhd_router.main import run
from nbhd_router.settings import RouterSettings

from .conftest import ALICE, Kit, message
from .test_settings import GOOD

SECRET = "first-secret-value"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def kubeconfig(folder: Path) -> Path:
    """Of a server that nobody is."""
    path = folder / "kubeconfig"
    cluster, user = {"server": "http://127.0.0.1:9"}, {"token": "x"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": cluster}],
        "users": [{"name": "a", "user": user}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    path.write_text(yaml.safe_dump(document))
    return path


async def test_without_an_api_server_updates_are_kept(
    kit: Kit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kit.api.answer = lambda _: (200, {"ok": True, "result": {"id": kit.bot, "is_bot": True}})
    public, egress, health = (f"127.0.0.1:{free_port()}" for _ in range(3))
    spool = tmp_path / "router.sqlite"
    environment = GOOD | {
        "TELEGRAM_BOT_TOKEN": kit.token,
        "TELEGRAM_API_URL": kit.api.url,
        "NBHD_LISTEN": public,
        "NBHD_EGRESS_LISTEN": egress,
        "NBHD_HEALTH_LISTEN": health,
        "NBHD_SPOOL_PATH": str(spool),
        "KUBECONFIG": str(kubeconfig(tmp_path)),
    }
    router = asyncio.create_task(run(read(RouterSettings, environment)))
    await eventually(lambda: caplog.text.count("watch interrupted") > 0 or router.done(), "a try", every=0.01)
    async with kit.session.get(f"http://{health}/healthz") as answer:
        assert answer.status == 200
    async with kit.session.get(f"http://{health}/readyz") as answer:
        assert (answer.status, await answer.text()) == (503, "the list of Tenants is not complete yet")
    headers = {"X-Telegram-Bot-Api-Secret-Token": SECRET}
    for update_id in (1, 2, 1):
        body = message(update_id, ALICE)
        async with kit.session.post(f"http://{public}/telegram/webhook", json=body, headers=headers) as answer:
            assert (answer.status, await answer.text()) == (200, "")
    async with kit.session.post(f"http://{egress}/{kit.alice_id}/bot1:x/getMe") as answer:
        assert (answer.status, (await answer.json())["error_code"]) == (503, 503)
    router.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await router
    with sqlite3.connect(spool) as sql:
        rows = sql.execute("SELECT update_id, outcome, body FROM updates ORDER BY seq").fetchall()
    sql.close()
    assert [(update_id, outcome) for update_id, outcome, _ in rows] == [(1, None), (2, None)]
    assert json.loads(rows[0][2]) == message(1, ALICE)
    assert kit.api.said(ALICE) == []
    assert "Traceback" not in caplog.text
