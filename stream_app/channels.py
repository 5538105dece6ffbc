"""What each topic is for and what stands in it: the source of the AsyncAPI document and of the topics' reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from state.layout import STATE_FORMAT_VERSION
from stream_app.records.examples import BAD_EVENT, CATALOG_ENTRY, EVENT, REJECT_HEADER_VALUES, SLATE
from stream_app.records.reject import PREFIX, REJECT_CODES, REJECT_HEADERS

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"
_TEXT: Final = {"type": "string"}
_BYTES: Final = {"type": "string", "format": "binary"}
_ID_BYTES: Final = "an id's plain bytes in UTF-8"


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of record of a topic.

    Attributes
    ----------
    name
        Its name in the document.
    summary
        What it is, in a sentence.
    key
        What the record's key is.
    key_types
        JSON types of the key's text; null where there is none.
    payload
        Schema of its value.
    content_type
        How its value is encoded.
    headers
        Schema of its headers, or None where there are none.
    example
        Headers (or None) and value of an example, or None.
    """

    name: str
    summary: str
    key: str
    payload: Mapping[str, Any]
    content_type: str = JSON
    headers: Mapping[str, Any] | None = None
    example: tuple[Mapping[str, Any] | None, Any] | None = None
    key_types: tuple[Literal["string", "null"], ...] = ("string",)


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic, as the document describes it.

    Attributes
    ----------
    topic
        Which setting names it: ``events`` for ``CROSSAISLE_TOPIC_EVENTS``.
    flow
        Whether others write it (``in``), read it (``out``), or only Crossaisle does both (``own``).
    title, description
        What it is for.
    messages
        Kinds of records in it.
    stage
        Name of the consumer group that reads it, after the app id; empty where it is read without a group.
    """

    topic: str
    flow: Literal["in", "out", "own"]
    title: str
    description: str
    messages: tuple[Message, ...]
    stage: str = ""


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _headers(values: Mapping[str, str]) -> dict[str, str]:
    return {PREFIX + name: value for name, value in values.items()}


_REJECT_HEADERS: Final = {
    "type": "object",
    "properties": {
        PREFIX + name: {
            **_TEXT,
            "description": text,
            **({"enum": sorted(REJECT_CODES)} if name == "code" else {}),
        }
        for name, text in REJECT_HEADERS.items()
    },
    "required": [PREFIX + name for name in REJECT_HEADERS],
}

_CHECKPOINT: Final = Message(
    "checkpoint",
    "Where a task stands; in the same transaction as its state.",
    "a zero byte and the word `checkpoint`",
    _ref("Checkpoint"),
)

_STATISTICS: Final = Message(
    "policyStatistics", "Statistics of one partition.", "the partition's number in digits", _ref("PolicyStatistics")
)


def _page(name: str, whose: str) -> Message:
    form = f"in the bytes of state format {STATE_FORMAT_VERSION}"
    summary = f"A header or a page of one row, {form}; a null value erases it. {whose}"
    return Message(name, summary, "the row's 64-bit id, kind and page number", _BYTES, BINARY)


CHANNELS: Final = (
    Channel(
        "events",
        "in",
        "Behaviour events",
        "What users do. Each record is learned once, the moment it arrives; one that cannot be used goes to the "
        "rejects.",
        (Message("event", "One thing a user did.", f"`user_id`: {_ID_BYTES}", _ref("Event"), example=(None, EVENT)),),
        stage="user",
    ),
    Channel(
        "catalog",
        "in",
        "Catalogue",
        "What there is to recommend. The newest entry of an item holds, and says all of it.",
        (
            Message(
                "catalogEntry",
                "One item.",
                f"`item_id`: {_ID_BYTES}",
                _ref("CatalogEntry"),
                example=(None, CATALOG_ENTRY),
            ),
            Message(
                "catalogTombstone", "Takes an item out of the catalogue.", f"`item_id`: {_ID_BYTES}", {"type": "null"}
            ),
        ),
    ),
    Channel(
        "recommendations",
        "out",
        "Slates",
        "What to show next. Readers of committed records see every slate exactly once; others drop repeats by "
        "`slate_id`.",
        (
            Message(
                "slate",
                "An ordered list of recommendations for one user.",
                f"`user_id`: {_ID_BYTES}",
                _ref("Slate"),
                example=(None, SLATE),
            ),
        ),
    ),
    Channel(
        "rejects",
        "out",
        "Rejects",
        "Records of the events and the catalogue that could not be used, byte for byte, and why.",
        (
            Message(
                "reject",
                "The original record's key, value and headers, then headers that say where it was and why it is here.",
                "as it was in the original record",
                _BYTES,
                BINARY,
                _REJECT_HEADERS,
                (_headers(REJECT_HEADER_VALUES), BAD_EVENT),
                key_types=("string", "null"),
            ),
        ),
    ),
    Channel(
        "item_updates",
        "own",
        "Updates to items",
        "What user tasks learned about items: sums over an interval, without user ids.",
        (
            Message(
                "itemUpdate",
                "Summed gradients and counts of one user task, one interval and one item shard, or a part of them: "
                "what takes more than 500 KB is cut into several records, by entities.",
                "none: the partition is the item shard",
                _BYTES,
                BINARY,
                key_types=("null",),
            ),
        ),
        stage="item",
    ),
    Channel(
        "item_state",
        "own",
        "Items",
        "Rows of items and categories: changelog of the item stage, and what every worker's replica follows.",
        (_page("itemPage", "Items have one writer: the task of their shard."), _CHECKPOINT),
    ),
    Channel(
        "user_state",
        "own",
        "Users",
        "Rows of users: changelog of the user stage.",
        (_page("userPage", "Users have one writer: the task of their partition."), _CHECKPOINT),
    ),
    Channel(
        "policy_updates",
        "own",
        "Policy statistics",
        "What each partition of events has observed of the arms, cumulative: the newest record of a partition holds.",
        (_STATISTICS,),
        stage="policy",
    ),
    Channel(
        "policy_table",
        "own",
        "Policy table",
        "Changelog of the policy agent's table: the newest statistics of each partition.",
        (_STATISTICS,),
    ),
    Channel(
        "policy_state",
        "own",
        "Policy",
        "The policy that all workers follow: shares of the arms, what they earn, and rewards per group.",
        (Message("policyState", "The policy.", "the word `policy`", _ref("PolicyState")),),
    ),
)
"""Every topic, those for others first."""
