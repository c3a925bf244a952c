"""A strict JSON Schema of a container app, derived from the models of the public SDK.

The service refuses unknown fields, wrong types and unknown enum values with 400, and the SDK checks none of them, so
a typing error in a body must not pass here. Enum values compare without case, as the service's do.
"""

from __future__ import annotations

import datetime
import enum
import functools
import re
import types
import typing
from collections.abc import MutableMapping
from typing import Any, Optional, Union

import jsonschema
from azure.mgmt.appcontainers import models

from nbhd_local.azure.errors import AzureError
from nbhd_local.azure.state import JSON

_NAMES = {"_models": models, "datetime": datetime, "Optional": Optional, "Union": Union, "Any": Any}
_SCALARS: dict[object, JSON] = {
    str: {"type": ["string", "null"]},
    bool: {"type": ["boolean", "null"]},
    int: {"type": ["integer", "null"]},
    float: {"type": ["number", "null"]},
    datetime.datetime: {"type": ["string", "null"]},
}

# The service's integers are 32-bit fields: 60.0 is none, unlike for JSON Schema.
_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]  # jsonschema's stubs lack it
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _checker, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def check(body: JSON) -> None:
    """Raises 400 ``InvalidRequestContent`` for the first thing that the models do not know."""
    error = jsonschema.exceptions.best_match(_validator().iter_errors(body))
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path) or "the body"
        text = f"The request content was invalid and could not be deserialized: path '{where}': {_brief(error)}"
        raise AzureError(400, "InvalidRequestContent", text)


@functools.cache
def _validator() -> jsonschema.protocols.Validator:
    definitions: dict[str, JSON] = {}
    root = _schema_of(models.ContainerApp, definitions)
    validator: jsonschema.protocols.Validator = _Validator({**root, "$defs": definitions})
    return validator


def _schema_of(kind: Any, definitions: dict[str, JSON]) -> JSON:
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in {Union, types.UnionType}:
        return _schema_of_union([arg for arg in args if arg is not type(None)], definitions)
    if origin is list:
        return {"type": ["array", "null"], "items": _schema_of(args[0], definitions)}
    if origin is dict:
        return {"type": ["object", "null"], "additionalProperties": _schema_of(args[1], definitions)}
    if isinstance(kind, type) and issubclass(kind, MutableMapping):  # what the SDK's models are
        return _schema_of_model(kind, definitions)
    return {}


def _schema_of_union(options: list[Any], definitions: dict[str, JSON]) -> JSON:
    enums = [option for option in options if isinstance(option, type) and issubclass(option, enum.Enum)]
    if enums:
        values = "|".join(re.escape(str(member.value)) for member in enums[0])
        return {"type": ["string", "null"], "pattern": f"^(?i:{values})$"}
    return _schema_of(options[0], definitions)


def _schema_of_model(model: Any, definitions: dict[str, JSON]) -> JSON:
    name = model.__name__
    if name not in definitions:
        definitions[name] = {}  # models may refer to themselves
        hints = typing.get_type_hints(model, _NAMES)
        model.__new__(model)  # fills the wire names
        fields = model._attr_to_rest_field  # noqa: SLF001 - the only place where the wire names are
        definitions[name] = {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {f._rest_name: _schema_of(hints[attr], definitions) for attr, f in fields.items()},  # noqa: SLF001
        }
    return {"$ref": f"#/$defs/{name}"}


def _brief(error: jsonschema.ValidationError) -> str:
    if error.validator == "additionalProperties":
        return error.message
    if error.validator == "pattern":
        return "The value is not one of the known ones."
    return f"The value must be of type {error.validator_value}."
