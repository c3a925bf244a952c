"""What `make generate` writes into the chart is what is committed."""

from __future__ import annotations

from nbhd_local.chart import CHART, schema, templates


def test_templates_from_the_api_are_fresh() -> None:
    for name, text in templates.render().items():
        assert (CHART / name).read_text() == text, f"{name} is stale: run `make generate`"


def test_definitions_of_the_schema_are_fresh() -> None:
    text = (CHART / "values.schema.json").read_text()
    assert schema.merge(text) == text, "values.schema.json is stale: run `make generate`"
