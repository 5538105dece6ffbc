"""JSON Schemas of the records, generated from the structs."""

from copy import deepcopy
from typing import Any, Final

import msgspec

from stream_app.records.catalog import CatalogEntry
from stream_app.records.checkpoint import Checkpoint
from stream_app.records.event import FEWEST_STARS, MOST_STARS, Event
from stream_app.records.policy import PolicyState, PolicyStatistics
from stream_app.records.slate import Slate

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_STRUCTS: Final[dict[str, type[msgspec.Struct]]] = {
    "event": Event,
    "catalog": CatalogEntry,
    "slate": Slate,
    "checkpoint": Checkpoint,
    "policy_statistics": PolicyStatistics,
    "policy_state": PolicyState,
}


def _of_type(kind: str, value: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
        "then": {"properties": {"value": value}, "required": list(required)},
    }


_EVENT_RULES: Final[list[dict[str, Any]]] = [
    _of_type("rating", {"type": "number", "minimum": FEWEST_STARS, "maximum": MOST_STARS}, "value"),
    _of_type("purchase", {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]}),
    {
        "if": {"properties": {"type": {"const": "forget"}}},
        "else": {"properties": {"item_id": {"type": "string"}}, "required": ["item_id"]},
    },
]
"""What depends on the type of an event and so has no place in the struct."""


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return one JSON Schema (2020-12) per record that is JSON: ``event``, ``slate``, ``policy_state`` and so on.

    They say all that decoding asks of a value, but for what no schema can: that ids have at most ``max_id_bytes``
    bytes of UTF-8, that a value has at most ``max_record_bytes``, that an event lies at most ``max_future_ms`` in the
    future, that integers are written as such (``1.0`` is none), and that a number fits into 64 bits (``1e400`` does
    not).
    """
    return {name: _schema(struct) for name, struct in _STRUCTS.items()}


def component_schemas(ref_template: str) -> dict[str, dict[str, Any]]:
    """Return the schemas of all records and of the structs inside them, by name of the struct, for a larger document.

    Parameters
    ----------
    ref_template
        How they refer to each other there, with ``{name}`` for the struct's name.
    """
    return _described(list(_STRUCTS.values()), ref_template)


def _schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    parts = _described([struct], "#/$defs/{name}")
    root = parts.pop(struct.__name__)
    rest = {"$defs": parts} if parts else {}
    return {"$schema": _DIALECT, **root, **rest}


def _described(structs: list[type[msgspec.Struct]], ref_template: str) -> dict[str, dict[str, Any]]:
    _, parts = msgspec.json.schema_components(structs, ref_template=ref_template)
    for name, part in parts.items():
        part["description"] = part["description"].partition("\n")[0].replace("``", "`")
        part["title"] = name
    if Event in structs:
        parts[Event.__name__]["allOf"] = deepcopy(_EVENT_RULES)
    return parts
