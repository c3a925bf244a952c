"""``python -m nbhd_local.chart``: writes the generated files of the chart, of ``manifests``, and the snapshots."""

from __future__ import annotations

from pathlib import Path

from nbhd_local.chart import CHART, manifests, readme, schema, snapshots, templates


def main() -> None:
    """Writes all files; the manifests are rendered from the rest."""
    files = templates.render()
    files["values.schema.json"] = schema.merge((CHART / "values.schema.json").read_text())
    write(CHART, files)
    write(CHART, readme.render())
    write(manifests.MANIFESTS, manifests.render())
    write(snapshots.SNAPSHOTS, snapshots.render())


def write(folder: Path, files: dict[str, str]) -> None:
    """Writes files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
