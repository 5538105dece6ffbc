"""The records of every topic: structs, decoding and validation in batches, rejects, JSON Schemas."""

from stream_app.records.catalog import CatalogEntry
from stream_app.records.checkpoint import Checkpoint
from stream_app.records.decode import DecodedCatalog, DecodedEvents, decode_catalog, decode_events
from stream_app.records.event import EVENT_TYPES, Event
from stream_app.records.limits import EventLimits
from stream_app.records.reject import (
    REJECT_CODES,
    REJECT_HEADERS,
    KafkaRecord,
    LocalRecord,
    Reject,
    Rejection,
    decode_reject,
    encode_reject,
)
from stream_app.records.schema import json_schemas
from stream_app.records.slate import AsOf, Slate, SlateItem, decode_slate, encode_slate, path_label

__all__ = [
    "EVENT_TYPES",
    "REJECT_CODES",
    "REJECT_HEADERS",
    "AsOf",
    "CatalogEntry",
    "Checkpoint",
    "DecodedCatalog",
    "DecodedEvents",
    "Event",
    "EventLimits",
    "KafkaRecord",
    "LocalRecord",
    "Reject",
    "Rejection",
    "Slate",
    "SlateItem",
    "decode_catalog",
    "decode_events",
    "decode_reject",
    "decode_slate",
    "encode_reject",
    "encode_slate",
    "json_schemas",
    "path_label",
]
