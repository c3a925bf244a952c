"""``kubectl nbhd list``: which Tenants, in which order, with which columns."""

from __future__ import annotations

import pytest

from nbhd_cli.errors import WrongUsageError
from nbhd_cli.listing import rows
from nbhd_cli.states import STATES, chosen, order, state
from nbhd_crds.identity import account_code
from tests.unit.cli.make import DIGEST, NOW, ago, condition, tenant


def test_those_that_need_a_person_come_last() -> None:
    given = [
        tenant("a", phase="Stalled"),
        tenant("d", phase="Ready"),
        tenant("b", phase="Ready"),
        tenant("c", phase=None),
    ]
    assert [one.metadata.name for one in sorted(given, key=order)] == ["c", "b", "d", "a"]


def test_a_tenant_is_deleting_as_soon_as_it_was_asked_for() -> None:
    assert state(tenant(metadata={"deletionTimestamp": ago(seconds=1)})) == "Deleting"


def test_states_may_be_written_in_any_case() -> None:
    assert chosen("ready, AWAITINGLINK,") == {"Ready", "AwaitingLink"}
    assert chosen("") == frozenset()
    assert chosen(",".join(STATES)) == set(STATES)


def test_a_state_that_is_none() -> None:
    with pytest.raises(WrongUsageError, match='"happy" is no state; they are Unknown, Pending'):
        chosen("ready,happy")


def test_the_columns() -> None:
    text = rows([tenant("ada", condition("Reconciling", "False", "Serving"))], NOW, namespaces=False, wide=False)
    header, line = text.splitlines()
    assert header.split() == ["NAME", "PHASE", "PLAN", "CELL", "REASON", "AGE"]
    assert line.split() == ["ada", "Ready", "basic", "east", "Serving", "5h"]


def test_the_columns_of_a_tenant_that_nobody_looked_at() -> None:
    fresh = tenant("ada", phase=None, status={"plan": None, "cell": None})
    line = rows([fresh], NOW, namespaces=True, wide=False).splitlines()[1]
    assert line.split() == ["tenants", "ada", "Unknown", "<none>", "<none>", "<none>", "5h"]


def test_wide_shows_what_support_asks_for() -> None:
    runtime = {
        "image": f"registry.example/openclaw@{DIGEST}",
        "cpu": "1",
        "memory": "2Gi",
        "cooldown": "60s",
        "model": "anthropic/claude-sonnet-4-5",
    }
    served = tenant(
        spec={"telegram": {"chatId": 4242, "userId": 4242, "generation": 1}},
        status={"runtime": runtime, "endpoint": "https://app.example"},
    )
    header, line = rows([served], NOW, namespaces=False, wide=True).splitlines()
    assert header.split()[-4:] == ["ACCOUNT", "LINKED", "ENDPOINT", "IMAGE"]
    assert line.split()[-4:] == [account_code(served.spec.id), "yes", "https://app.example", "a1b2a1b2a1b2"]
    assert "4242" not in line
