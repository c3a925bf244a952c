"""``python -m nbhd_local.chart``: writes the generated files of the chart."""

from __future__ import annotations

from nbhd_local.chart import CHART, schema, templates


def main() -> None:
    """Writes all files."""
    files = templates.render()
    files["values.schema.json"] = schema.merge((CHART / "values.schema.json").read_text())
    for name, text in files.items():
        path = CHART / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
