"""What a Cell lives through while calls about it fail: it is claimed, listed, and found to be another's.

A row about the claim has a Cell of its own. Rows about a list follow each other in one Cell, where an orphan comes with
each: it must show in the end, nothing else may ever, and the tenant who lives there must not notice anything.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable

from nbhd_crds.api import CellStatus
from nbhd_local.azure.state import ContainerApp, Identity, ResourceGroup, key
from nbhd_local.waiting import eventually
from nbhd_local.wiring import PLATFORM
from tests.faults.azure_calls import Call, Fault
from tests.faults.azure_platform import Life, settled, stalled

CellCase = Callable[["Home"], Awaitable[None]]
_LOOK = "nbhd.united/look"  # an annotation that means nothing; that it changed has the Cell looked at
_DAY = datetime.timedelta(days=1)
_PATIENCE = 120.0
_OTHERS = "another:00000000-0000-0000-0000-000000000000"


class Home:
    """One Cell, and the tenant who is to live there."""

    def __init__(self, life: Life) -> None:
        self.life, self.platform, self.azure = life, life.platform, life.platform.world.azure
        self.name = life.cell = f"cell-{life.id}"
        self._orphans: dict[str, str] = {}
        self._looks = 0

    async def make_in_azure(self, claim: str | None = None) -> None:
        """The resource group with all that belongs to a cell."""
        self._spec = (await self.azure.add_cell(self.name)).spec()
        if claim:
            self.group.tags["nbhd-claim"] = claim

    async def make(self) -> None:
        """The Cell object."""
        await self.platform.create_cell(self.name, self._spec)

    async def settle(self) -> None:
        """A cell that was listed, with a tenant who is served."""
        await self.make_in_azure()
        await self.make()
        await self.life.pass_through("make")
        await self.until(well)
        self._make_old()

    def _make_old(self) -> None:
        """What the tenant has would be taken for an orphan, if it were one: it is made long ago."""
        subscription, name = self.azure.subscription, self.life.azure_name
        then = datetime.datetime.now(datetime.UTC) - _DAY
        things: list[Identity | ContainerApp] = [*subscription.identities.values(), *subscription.apps.values()]
        for thing in things:
            if thing.name == name:
                thing.created = then
        for role in subscription.assignments.values():
            if role.scope.endswith(f"/secrets/{name}"):
                role.created = then
        for version in self.life.secret.versions.values():
            version.created = then

    async def leave(self) -> None:
        """The tenant goes, and so does what rows have put there."""
        for place in self._orphans.values():
            del self.azure.subscription.identities[place]
        await self.life.end()

    async def look(self) -> None:
        """Has the operator look at the Cell."""
        self._looks += 1
        await self.platform.annotate_cell(self.name, _LOOK, str(self._looks))

    def orphan(self) -> None:
        """Something that belonged to a tenant who is not there any more."""
        number = len(self._orphans)
        spec_id = f"{self.life.id}x{number}"
        tags = {"nbhd-platform": PLATFORM, "nbhd-tenant": spec_id}
        made = datetime.datetime.now(datetime.UTC) - _DAY
        place = key(self.name, f"nbhd-{spec_id}")
        self.azure.subscription.identities[place] = Identity(f"nbhd-{spec_id}", self.name, "eastus2", tags, made)
        self._orphans[f"nbhd-{spec_id}"] = place

    @property
    def group(self) -> ResourceGroup:
        """Its resource group."""
        return self.azure.subscription.groups[self.name]

    def writes(self, ending: str = "") -> list[str]:
        """What was asked to be changed in the resource group, or of the tenant's, so far."""
        ours = (f"/resourcegroups/{self.name}/", f"/{self.life.azure_name}")
        found = [f"{r.method} {r.path}" for r in self.azure.requests if r.is_write]
        return [what for what in found if what.endswith(ending) and any(name in what.lower() for name in ours)]

    @property
    def said(self) -> list[CellStatus]:
        """All that the status has said."""
        return self.platform.told[self.name]

    async def until(self, holds: Callable[[CellStatus], bool]) -> None:
        """Waits for what the status says last."""
        try:
            async with asyncio.timeout(_PATIENCE), self.platform.looked:
                await self.platform.looked.wait_for(lambda: bool(self.said) and holds(self.said[-1]))
        except TimeoutError:
            there = self.said[-1].model_dump_json(exclude_none=True) if self.said else "nothing"
            raise AssertionError(f"waited {_PATIENCE:.0f} s; the Cell says {there}") from None

    def shows_all(self, status: CellStatus) -> bool:
        """True when it was listed and every orphan is shown."""
        return well(status) and {orphan.name for orphan in status.orphans} == set(self._orphans)

    def check_honesty(self) -> None:
        """No status has named an orphan that is none, or called for a person."""
        for status in self.said:
            if wrong := {orphan.name for orphan in status.orphans} - set(self._orphans):
                raise AssertionError(f"orphans that are none: {wrong}")
            if condition(status, "Stalled")[0] == "True":
                raise AssertionError(f"called for a person: {condition(status, 'Stalled')}")

    async def nobody_notices(self, case: Callable[[], Awaitable[None]]) -> None:
        """Runs it, and checks that nothing of the tenant's was written, in Azure or in Kubernetes."""
        before = await self.platform.tenant(self.life.id), self.writes()
        await case()
        after = await self.platform.tenant(self.life.id), self.writes()
        if before != after or not settled("Ready")(after[0]):
            raise AssertionError(f"the tenant was touched: {before} became {after}")


def condition(status: CellStatus, kind: str) -> tuple[str, str]:
    """Status and reason."""
    found = next((one for one in status.conditions if one.type == kind), None)
    return (found.status, found.reason) if found else ("", "")


def well(status: CellStatus) -> bool:
    """True when the last look listed the whole cell."""
    return condition(status, "Ready") == ("True", "Claimed")


def claim_row(call: Call, fault: Fault) -> CellCase:
    """A new Cell, and a tenant who waits for it."""

    async def case(home: Home) -> None:
        await home.make_in_azure()
        rule = fault.arm(home.azure.traffic, call.method, call.path.replace("NAME", home.name))
        refused = 0 if rule.after_commit or call.method == "GET" else rule.times
        await home.make()
        await home.life.pass_through("make")
        await home.until(well)
        claims, writes = home.writes("/tags/default"), home.writes()
        if not rule.spent:
            raise AssertionError("the call did not come")
        if len(claims) != 1 + refused or writes[: len(claims)] != claims:
            raise AssertionError(f"claimed {len(claims)} times, or after something else: {writes}")
        if set(home.group.tags) != {"nbhd-claim"} or not home.group.tags["nbhd-claim"].startswith(f"{PLATFORM}:"):
            raise AssertionError(f"the claim is {home.group.tags}")
        home.check_honesty()
        await home.leave()

    return case


def foreign_row(call: Call, fault: Fault) -> CellCase:
    """A Cell whose resource group is claimed by another platform: nothing at all may be written there."""

    async def case(home: Home) -> None:
        await home.make_in_azure(_OTHERS)
        rule = fault.arm(home.azure.traffic, call.method, call.path.replace("NAME", home.name))
        await home.make()
        tenant = home.life.id
        await home.life.begin()
        await home.until(lambda status: condition(status, "Stalled") == ("True", "CellClaimed"))
        await home.platform.until(tenant, stalled("CellClaimed"))
        if not rule.spent:
            raise AssertionError("the call did not come")
        if home.writes() or home.group.tags != {"nbhd-claim": _OTHERS}:
            raise AssertionError(f"written: {home.writes()}, {home.group.tags}")
        await home.platform.delete(tenant)
        await home.platform.until(tenant, lambda t: t is None)

    return case


def list_row(call: Call, fault: Fault) -> CellCase:
    """A Cell that is looked at again, with one orphan more."""

    async def case(home: Home) -> None:
        async def listing() -> None:
            home.orphan()
            rule = fault.arm(home.azure.traffic, call.method, call.path.replace("NAME", home.name))
            await home.look()
            await eventually(lambda: rule.spent, "the call", 60)
            if fault.believed:  # until the next list
                await home.look()
            await home.until(home.shows_all)

        await home.nobody_notices(listing)
        home.check_honesty()

    return case


async def it_cannot_be_listed(home: Home) -> None:
    """A cell cannot be listed for a while: its status says so, and nobody who lives there notices."""
    await home.settle()

    async def failing() -> None:
        home.orphan()
        path = f"/resourceGroups/{home.name}/providers/Microsoft.App/containerApps$"
        home.azure.traffic.fail_next("GET", path, 503, "ServiceUnavailable", times=4)
        await home.look()
        await home.until(lambda status: condition(status, "Reconciling") == ("True", "ServiceUnavailable"))
        if condition(home.said[-1], "Ready")[0] != "False":
            raise AssertionError("called well what cannot be listed")
        await home.until(home.shows_all)

    await home.nobody_notices(failing)
    home.check_honesty()
    await home.leave()


async def it_may_not_be_listed(home: Home) -> None:
    """The right to list a cell is missing for a while: a person is told, and it goes on with the right."""
    await home.settle()

    async def denied() -> None:
        path = f"/resourceGroups/{home.name}/providers/.*/userAssignedIdentities$"
        home.azure.traffic.fail_next("GET", path, 403, "AuthorizationFailed", times=3)
        await home.look()
        await home.until(lambda status: condition(status, "Stalled") == ("True", "AuthorizationFailed"))
        await home.until(well)

    await home.nobody_notices(denied)
    await home.leave()


async def it_cannot_be_claimed(home: Home) -> None:
    """A cell cannot be claimed for a while: its status says so, and nothing is made there before."""
    await home.make_in_azure()
    path = f"/resourceGroups/{home.name}/providers/Microsoft.Resources/tags/default$"
    home.azure.traffic.fail_next("PATCH", path, 503, "ServiceUnavailable", times=4)
    await home.make()
    making = asyncio.create_task(home.life.pass_through("make"))
    await home.until(lambda status: condition(status, "Reconciling") == ("True", "ServiceUnavailable"))
    if home.writes() != home.writes("/tags/default"):
        raise AssertionError(f"written before the claim was seen: {home.writes()}")
    await making
    await home.until(well)
    home.check_honesty()
    await home.leave()


async def it_has_no_cores_left(home: Home) -> None:
    """A cell has no cores left: whoever cannot be started there is told, and starts once there is room."""
    await home.make_in_azure()
    environments = home.azure.subscription.environments
    environments[key(home.name, home.name)].cores = 0
    await home.make()
    making = asyncio.create_task(home.life.pass_through("make"))
    await home.platform.until(home.life.id, stalled("CoresExhausted"))
    await home.until(lambda status: condition(status, "Schedulable") == ("False", "CoresExhausted"))
    environments[key(home.name, home.name)].cores = 100
    await home.look()
    await home.until(lambda status: condition(status, "Schedulable") == ("True", "Room"))
    await making
    await home.leave()


CELL_CASES: list[CellCase] = [it_cannot_be_listed, it_may_not_be_listed, it_cannot_be_claimed, it_has_no_cores_left]
