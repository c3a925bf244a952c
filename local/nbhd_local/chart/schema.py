"""The part of ``values.schema.json`` that comes from the API: what a Plan and a Cell may say.

The rest of the file is written by hand; ``merge`` puts the two definitions into it.
"""

from __future__ import annotations

import json
from typing import Any

from nbhd_crds.api.schema import crds

Schema = dict[str, Any]


def merge(text: str) -> str:
    """The schema's text with up-to-date ``$defs``."""
    schema: Schema = json.loads(text)
    schema["$defs"] = {"plan": definition("Plan", optional={"image"}), "cell": definition("Cell")}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def definition(kind: str, optional: frozenset[str] | set[str] = frozenset()) -> Schema:
    """JSON schema of a kind's spec that refuses unknown fields."""
    (crd,) = (one for one in crds() if one["spec"]["names"]["kind"] == kind)
    (version,) = crd["spec"]["versions"]
    schema = _closed(version["schema"]["openAPIV3Schema"]["properties"]["spec"])
    required = [name for name in schema.get("required", []) if name not in optional]
    return {**schema, "required": required}


def _closed(schema: Schema) -> Schema:
    kept = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key != "default"}
    if "properties" in kept:
        kept["properties"] = {name: _closed(one) for name, one in kept["properties"].items()}
        kept["additionalProperties"] = False
    if "items" in kept:
        kept["items"] = _closed(kept["items"])
    return kept
