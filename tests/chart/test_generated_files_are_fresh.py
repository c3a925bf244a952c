"""What `make generate` writes into the chart and the manifests is what is committed; every value is explained."""

from __future__ import annotations

import yaml

from nbhd_local.chart import CHART, manifests, readme, schema, snapshots, templates
from tests.chart.test_values import leaves


def test_templates_from_the_api_are_fresh() -> None:
    for name, text in templates.render().items():
        assert (CHART / name).read_text() == text, f"{name} is stale: run `make generate`"


def test_definitions_of_the_schema_are_fresh() -> None:
    text = (CHART / "values.schema.json").read_text()
    assert schema.merge(text) == text, "values.schema.json is stale: run `make generate`"


def test_manifests_are_fresh() -> None:
    for name, text in manifests.render().items():
        assert (manifests.MANIFESTS / name).read_text() == text, f"manifests/{name} is stale: run `make generate`"


def test_the_readme_is_fresh_and_explains_every_object() -> None:
    for name, text in readme.render().items():
        assert (CHART / name).read_text() == text, f"{name} is stale: run `make generate`"


def test_the_readme_explains_every_value() -> None:
    text = (CHART / "values.yaml").read_text()
    explained = {path for path, _ in readme.commented(text)}
    for path, _ in leaves(yaml.safe_load(text)):
        assert any(path[: len(part)] == part for part in explained), f"{'.'.join(path)} has no comment in values.yaml"


def test_snapshots_are_what_the_chart_renders() -> None:
    rendered = snapshots.render()
    for name, text in rendered.items():
        assert (snapshots.SNAPSHOTS / name).read_text() == text, f"{name} changed: run `make generate` and review it"
    assert {path.name for path in snapshots.SNAPSHOTS.iterdir()} == set(rendered)
