"""``.env.example`` names every setting of every service, and nothing else."""

from __future__ import annotations

import re

from nbhd_local import tools
from nbhd_operator.settings import OperatorSettings
from nbhd_router.settings import RouterSettings
from nbhd_webhooks.settings import WebhooksSettings


def test_settings_are_documented() -> None:
    text = (tools.ROOT / ".env.example").read_text()
    documented = re.findall(r"^([A-Z_]+)=", text, re.MULTILINE)
    assert len(documented) == len(set(documented))
    services = (OperatorSettings, RouterSettings, WebhooksSettings)
    known = {str(field.validation_alias) for service in services for field in service.model_fields.values()}
    assert set(documented) == known


def test_every_setting_has_its_line() -> None:
    for line in (tools.ROOT / ".env.example").read_text().splitlines():
        if re.match("^[A-Z]", line):
            assert "#" in line or line.split("=", 1)[1], line
