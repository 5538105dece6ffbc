"""JSON Schemas of the records, generated from the structs."""

from typing import Any

import msgspec

from stream_app.records.catalog import CatalogEntry
from stream_app.records.checkpoint import Checkpoint
from stream_app.records.event import Event
from stream_app.records.slate import Slate

_STRUCTS: dict[str, type[msgspec.Struct]] = {
    "event": Event,
    "catalog": CatalogEntry,
    "slate": Slate,
    "checkpoint": Checkpoint,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return one JSON Schema (2020-12) per record: ``event``, ``catalog``, ``slate``, ``checkpoint``."""
    return {
        name: {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(struct)}
        for name, struct in _STRUCTS.items()
    }
