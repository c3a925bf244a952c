"""The tenant's Key Vault secret: one bundle of derived credentials. It depends on nothing; values never pass ARM.

The app refers to one *version* of it, so what a revision holds is known. Deleting is soft for as long as the vault
keeps deleted secrets: a subscriber who returns gets the old one recovered and a new version on top.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nbhd_crds import identity as derive
from nbhd_crds.api import Tenant
from nbhd_crds.identity import Keyring
from nbhd_operator.errors import Disabled, NotFound, SoftDeleted
from nbhd_operator.resources.base import NEW, Body, Bundle, Seen, State, Task, present
from nbhd_operator.settings import Platform

if TYPE_CHECKING:
    from nbhd_operator.azure import Azure


class Secret:
    """A secret in the cell's vault."""

    kind = "secret"
    depends_on: tuple[str, ...] = ()

    def name(self, task: Task) -> str:
        """Same as everything of the tenant."""
        return task.name

    def want(self, task: Task, seen: Seen) -> Body:  # noqa: ARG002 - same shape for every kind
        """The bundle, and whose it is."""
        if task.bundle is None:
            raise LookupError("no credentials were derived for this task")
        return {"value": task.bundle.text, "tags": task.tags, "enabled": True}

    async def observe(self, azure: Azure, task: Task, seen: Seen) -> State | None:  # noqa: ARG002
        """The newest version; a soft-deleted secret counts as absent, one that was disabled as different."""
        try:
            return State(await azure.get_secret(task.place, self.name(task)))
        except NotFound:
            return None
        except Disabled:
            return State({"enabled": False})

    async def apply(self, azure: Azure, task: Task, want: Body) -> State | None:
        """Sets a new version. A deleted secret is recovered instead, and may turn out to be as it should."""
        name = self.name(task)
        try:
            return State(await azure.set_secret(task.place, name, want["value"], want["tags"]))
        except SoftDeleted:
            await azure.recover_secret(task.place, name)
            return None

    def imagine(self, task: Task, want: Body, state: State | None) -> State:  # noqa: ARG002 - same shape for every kind
        """A new version."""
        return State({**want, "id": f"{task.place.vault_url}/secrets/{self.name(task)}/{NEW}"})

    async def remove(self, azure: Azure, task: Task, state: State) -> None:  # noqa: ARG002
        """Deletes softly."""
        await azure.delete_secret(task.place, self.name(task))


def version_url(seen: Seen) -> str:
    """URL of the version that was seen."""
    return str(present(seen, Secret.kind)["id"])


def bundle(tenant: Tenant, platform: Platform, rings: dict[str, Keyring]) -> Bundle:
    """The tenant's credentials under the current keys of ``rings`` (bot, webhook, gateway, model)."""
    spec_id, version = tenant.spec.id, tenant.spec.credentials.version

    def derived() -> str:
        values = {
            "TELEGRAM_BOT_TOKEN": derive.bot_token(rings["bot"], platform.bot_id, platform.id, spec_id, version),
            "TG_WEBHOOK_SECRET": rings["webhook"].derive(platform.id, spec_id, version),
            "OPENCLAW_GATEWAY_TOKEN": rings["gateway"].derive(platform.id, spec_id, version),
            "LLM_API_KEY": rings["model"].derive(platform.id, spec_id, version),
        }
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    return Bundle(version, {purpose: ring.current for purpose, ring in rings.items()}, derived)
