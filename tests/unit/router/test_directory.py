"""Which chat belongs to whom, also while Tenants change or contradict each other."""

from __future__ import annotations

import pytest

from nbhd_crds.api.tenant import Tenant
from nbhd_router.directory import Directory, State, TenantView, route, view

from .conftest import ALICE, ALICE_ID, BOB, BOB_ID, tenant

URL = "https://container.example"


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (tenant(ALICE_ID, ALICE, endpoint=URL), State.READY),
        (tenant(ALICE_ID, ALICE, endpoint=URL, state="Grace"), State.READY),
        (tenant(ALICE_ID, ALICE), State.PREPARING),
        (tenant(ALICE_ID, ALICE, endpoint=URL, served=False), State.PREPARING),
        (tenant(ALICE_ID, ALICE, state=None), State.PREPARING),
        (tenant(ALICE_ID, ALICE, endpoint=URL, state="Pending"), State.AWAITING_PAYMENT),
        (tenant(ALICE_ID, ALICE, endpoint=URL, state="Suspended"), State.SUSPENDED),
        (tenant(ALICE_ID, ALICE, endpoint=URL, state="Ended"), State.ENDED),
        (tenant(ALICE_ID, ALICE, endpoint=URL, deleting=True), State.ENDED),
        (
            tenant(ALICE_ID, ALICE, conditions=[{"type": "Stalled", "status": "True", "reason": "ChatTaken"}]),
            State.STALLED,
        ),
        (
            tenant(ALICE_ID, ALICE, conditions=[{"type": "Stalled", "status": "False", "reason": "AsExpected"}]),
            State.PREPARING,
        ),
    ],
)
def test_the_state_of_one_tenant(found: TenantView, state: State) -> None:
    assert route(ALICE, [found], fresh=True).state is state
    assert route(ALICE, [found], fresh=False).state is state  # what is known is used, however old


def test_nobody_is_believed_only_while_the_index_is_fresh() -> None:
    assert route(ALICE, [], fresh=True).state is State.NOT_LINKED
    assert route(ALICE, [], fresh=False).state is State.UNKNOWN


def test_of_two_claims_the_operator_chooses() -> None:
    mine = tenant(ALICE_ID, ALICE, endpoint=URL)
    other = tenant(BOB_ID, ALICE, endpoint=URL, served=False)
    assert route(ALICE, [other, mine], fresh=True).spec_id == ALICE_ID
    undecided = tenant(ALICE_ID, ALICE, endpoint=URL, served=False)
    assert route(ALICE, [other, undecided], fresh=True).state is State.PREPARING
    contradicting = tenant(BOB_ID, ALICE, endpoint=URL)
    found = route(ALICE, [contradicting, mine], fresh=True)
    assert (found.state, found.spec_id, found.endpoint) == (State.PREPARING, "", "")


def test_the_index_follows_relinking_and_deletion() -> None:
    told: list[int] = []
    directory = Directory(changed=told.append)
    directory.set(tenant(ALICE_ID, ALICE, endpoint=URL))
    directory.set(tenant(ALICE_ID, BOB, endpoint=URL, resource_version=2))
    assert directory.route(ALICE).state is State.NOT_LINKED
    assert directory.route(BOB).state is State.READY
    directory.set(tenant(ALICE_ID, ALICE, endpoint=URL))  # a watch that lags behind
    assert directory.route(BOB).state is State.READY
    directory.delete(tenant(ALICE_ID, BOB))
    directory.delete(tenant(ALICE_ID, BOB))
    assert directory.route(BOB).state is State.NOT_LINKED
    assert directory.tenant(ALICE_ID) is None
    assert len(directory) == 0
    assert told == [ALICE, *told[1:3], BOB]
    assert set(told[1:3]) == {ALICE, BOB}


def test_one_identity_belongs_to_one_object() -> None:
    directory = Directory()
    directory.set(tenant(ALICE_ID, ALICE, uid="old"))
    directory.set(tenant(ALICE_ID, None, uid="new"))
    found = directory.tenant(ALICE_ID)
    assert found is not None
    assert found.metadata.uid == "old"
    directory.set(
        tenant(
            ALICE_ID,
            None,
            uid="new",
            resource_version=2,
            conditions=[{"type": "Stalled", "status": "True", "reason": "IdInUse"}],
        )
    )
    directory.set(tenant(ALICE_ID, None, uid="old", resource_version=2))
    found = directory.tenant(ALICE_ID)
    assert found is not None
    assert found.metadata.uid == "old"
    directory.set(tenant(ALICE_ID, None, uid="third"))
    assert directory.tenant(ALICE_ID) is None


def test_a_chat_is_served_to_one_tenant_only() -> None:
    directory = Directory()
    mine = tenant(ALICE_ID, ALICE)
    directory.set(mine)
    assert directory.served_chat(mine) == ALICE
    assert directory.served_chat(tenant(BOB_ID, BOB, served=False)) is None
    other = tenant(BOB_ID, ALICE)
    directory.set(other)
    assert directory.served_chat(mine) is None
    assert directory.served_chat(other) is None


def test_the_clients_object_gives_the_same_view() -> None:
    raw = {
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "12"},
        "spec": {"id": ALICE_ID, "telegram": {"chatId": 5, "userId": 5, "generation": 2}},
        "status": {
            "chatId": 5,
            "endpoint": URL,
            "entitlement": {"state": "Active", "reason": "Paid"},
            "credentials": {"version": 1, "botKey": "a", "webhookKey": "b"},
        },
    }
    found = view(Tenant.parse(raw))
    assert (found.generation, found.chat, found.entitled, found.metadata.resource_version) == (2, 5, True, "12")
    assert view(Tenant.parse({"metadata": {}, "spec": {"id": ALICE_ID}})).chat is None
