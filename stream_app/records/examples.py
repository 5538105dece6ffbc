"""One record of each kind that others write or read, as documents show it; tests hold them to the structs."""

from typing import Any, Final

EVENT: Final[dict[str, Any]] = {
    "event_id": "a7f0-42",
    "type": "purchase",
    "user_id": "household-1228",
    "item_id": "1029743",
    "event_time_ms": 1764000000000,
    "value": 2,
    "session_id": "basket-31198",
    "slate_id": "2-88107",
    "position": 3,
}

CATALOG_ENTRY: Final[dict[str, Any]] = {
    "item_id": "1029743",
    "category": ["GROCERY", "FLUID MILK PRODUCTS"],
    "brand": "Private",
    "price": 2.59,
    "title": "Fluid milk white only, 1 gallon",
    "rating": 4.6,
    "n_sold": 14430,
    "available": True,
    "tags": ["chilled"],
    "embedding": [0.12, -0.4, 0.03],
}

SLATE: Final[dict[str, Any]] = {
    "slate_id": "2-88113",
    "user_id": "household-1228",
    "as_of": {"partition": 2, "offset": 88113},
    "event_time_ms": 1764000000000,
    "emitted_at_ms": 1764000000087,
    "policy": "explore",
    "policy_version": 17,
    "context_categories": ["GROCERY / FLUID MILK PRODUCTS"],
    "items": [
        {
            "item_id": "995242",
            "category": "PRODUCE / TROPICAL FRUIT",
            "score": 0.0312,
            "propensity": 0.8713,
            "reason": "repeat",
        },
        {
            "item_id": "866211",
            "category": "GROCERY / COLD CEREAL",
            "score": 0.0174,
            "propensity": 0.1042,
            "reason": "together:1029743",
        },
    ],
    "policy_propensity": 0.38,
    "group": "learned",
}

BAD_EVENT: Final[dict[str, Any]] = {
    "event_id": "a7f0-43",
    "type": "rating",
    "user_id": "household-1228",
    "item_id": "1029743",
    "event_time_ms": 1764000000000,
    "value": 6,
}
REJECT_HEADER_VALUES: Final[dict[str, str]] = {
    "code": "bad_value",
    "reason": "event 'a7f0-43': the value of a rating must be 1 to 5, got 6.0",
    "topic": "events",
    "partition": "2",
    "offset": "88121",
    "timestamp_ms": "1764000000012",
    "n_cut_bytes": "0",
}
"""What the headers of the reject of :data:`BAD_EVENT` say, without their prefix."""
