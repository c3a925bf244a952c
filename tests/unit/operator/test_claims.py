"""Two that claim the same thing."""

from __future__ import annotations

import pytest

from nbhd_operator.claims import Claim, cell_owner, chat_owner, claim_of, claim_text, id_owner
from tests.unit.operator import make
from tests.unit.operator.make import at

OLD = make.tenant("old", telegram=make.telegram(), meta={"creationTimestamp": at(-5)})
YOUNG = make.tenant("young", telegram=make.telegram(), meta={"creationTimestamp": at(-1)})


def test_an_id_belongs_to_the_oldest() -> None:
    assert id_owner(OLD, [YOUNG]) is id_owner(YOUNG, [OLD]) is OLD
    assert id_owner(OLD, []) is OLD


def test_among_tenants_of_the_same_second_the_uid_decides() -> None:
    one, two = (make.tenant(name, meta={"creationTimestamp": at(0), "uid": name}) for name in ("a", "b"))
    assert id_owner(one, [two]) is id_owner(two, [one]) is one


def test_a_chat_belongs_to_the_oldest_claim() -> None:
    assert chat_owner(OLD, [YOUNG]) is chat_owner(YOUNG, [OLD]) is OLD


def test_a_chat_that_is_served_already_stays_where_it_is() -> None:
    serving = make.tenant(
        "serving", telegram=make.telegram(), meta={"creationTimestamp": at(-1)}, status={"chatId": 42}
    )
    assert chat_owner(OLD, [serving]) is chat_owner(serving, [OLD]) is serving


def test_who_has_ended_or_is_being_deleted_claims_nothing() -> None:
    ended = make.tenant(
        "ended",
        telegram=make.telegram(),
        meta={"creationTimestamp": at(-9)},
        status={"chatId": 42, "entitlement": {"state": "Ended", "reason": "Canceled"}},
    )
    leaving = make.tenant("leaving", telegram=make.telegram(), meta={"deletionTimestamp": at(0)})
    assert chat_owner(YOUNG, [ended, leaving]) is chat_owner(ended, [YOUNG, leaving]) is YOUNG
    assert chat_owner(ended, [leaving]) is ended


def test_a_resource_group_belongs_to_the_oldest_cell() -> None:
    old, young = (
        cell.model_copy(update={"metadata": cell.metadata.model_copy(update={"creation_timestamp": at(day)})})
        for cell, day in ((make.cell("z"), -2), (make.cell("a"), -1))
    )
    assert cell_owner(old, [young]) is cell_owner(young, [old]) is old


@pytest.mark.parametrize(
    ("found", "given_up", "meaning"),
    [
        ("nbhd:us", None, Claim.OURS),
        ("nbhd:us", "nbhd:us", Claim.OURS),
        (None, None, Claim.FREE),
        ("", None, Claim.FREE),
        ("nbhd:former", "nbhd:former", Claim.FREE),
        ("nbhd:former", None, Claim.FORMER),
        ("nbhd:former", "nbhd:another", Claim.FORMER),
        ("contoso:x", None, Claim.FOREIGN),
        ("contoso:x", "contoso:x", Claim.FREE),
        ("garbage", None, Claim.FOREIGN),
    ],
)
def test_what_a_claim_means(found: str | None, given_up: str | None, meaning: Claim) -> None:
    assert claim_of(found, claim_text("nbhd", "us"), given_up) is meaning
