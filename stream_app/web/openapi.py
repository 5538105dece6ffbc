"""The OpenAPI document of the worker's HTTP server, made from the structs that it answers with."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec

from stream_app.web.answer import PROBLEMS, Problem, Recommendations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.settings import Settings

_REF: Final = "#/components/schemas/{name}"
_OBJECT: Final = {"type": "object"}


def openapi_document(settings: Settings) -> dict[str, Any]:
    """Return the document, OpenAPI 3.1.

    Parameters
    ----------
    settings
        The longest id, and whether a token is asked for.
    """
    _, schemas = msgspec.json.schema_components((Recommendations, Problem), ref_template=_REF)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Crossaisle",
            "version": version("crossaisle"),
            "summary": "Newest slates, health and metrics of a worker.",
            "description": "Any worker answers for every user: it asks the worker that owns the user.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(settings),
        "components": {"schemas": schemas},
    }
    if settings.web_token is not None:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _paths(settings: Settings) -> dict[str, Any]:
    problems = ["no_token", "wrong_host"]
    user, item = _id("user_id", "A user.", settings), _id("item_id", "An item.", settings)
    return {
        "/recommendations/{user_id}": {
            "get": {
                "operationId": "recommendations",
                "summary": "What to show a user now",
                "description": "The newest slate, from the worker that owns the user. With `fallback=popular` the "
                "answer is the most popular items where there is no slate. A slate from the topic (`source` is "
                "`published`) stays as it was published until the user's next event: an item that was withdrawn or "
                "became unavailable since is still in it, so check what is available when you show it.",
                "parameters": [
                    user,
                    {
                        "name": "fallback",
                        "in": "query",
                        "description": "What to answer where there is no slate.",
                        "schema": {"type": "string", "enum": ["popular"]},
                    },
                    {
                        "name": "exclude",
                        "in": "query",
                        "description": "Categories that the fallback leaves out, with all below them; paths are joined "
                        "by ' / '. May be repeated.",
                        "schema": {"type": "array", "maxItems": 64, "items": {"type": "string", "minLength": 1}},
                    },
                ],
                "responses": {
                    "200": _json("A slate.", {"$ref": _REF.format(name="Recommendations")}),
                    **_problems(
                        ["bad_request", "unknown_user", "no_slate", "nothing_popular", "not_ready", "busy", *problems]
                    ),
                },
            }
        },
        "/users/{user_id}": {
            "get": {
                "operationId": "user",
                "summary": "What is known of a user",
                "parameters": [user],
                "responses": {
                    "200": _json("Items, categories and the last slate.", _OBJECT),
                    **_problems(["bad_request", "unknown_user", "not_ready", "busy", *problems]),
                },
            }
        },
        "/items/{item_id}": {
            "get": {
                "operationId": "item",
                "summary": "What is known of an item",
                "parameters": [item],
                "responses": {
                    "200": _json(
                        "Counts, popularities and neighbours. `popularity` holds the events of the item, each of which "
                        "counts half after 3, 14 and 90 days, as of `as_of_ms`: when the newest event of all items "
                        "happened. `trend` is `rising`, `falling`, or null where it is not clear.",
                        _OBJECT,
                    ),
                    **_problems(["bad_request", "unknown_item", "not_ready", "busy", *problems]),
                },
            }
        },
        "/state": {
            "get": {
                "operationId": "state",
                "summary": "What the page at / shows",
                "responses": {
                    "200": _json(
                        "Lag, throughput, quality and workers. `at_ms` is when Kafka answered last: all but the "
                        "workers is from then. `kafka_answers` is false where that is more than five seconds before "
                        "`now_ms`.",
                        _OBJECT,
                    ),
                    **_problems(["not_ready", *problems]),
                },
            }
        },
        "/events/stream": {
            "get": {
                "operationId": "stream",
                "summary": "What the page at / shows, as it changes",
                "description": "Server-sent events without end: `history` once, `state` every second (every other "
                "one while Kafka does not answer; `health` in its place until Kafka has answered once), `slates` and "
                "`rejects` as they come.",
                "responses": {
                    "200": {
                        "description": "Events whose data is JSON.",
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    },
                    **_problems(["busy", *problems]),
                },
            }
        },
        "/health/live": {"get": _health("live", "Whether the event loop turns", {"200": _json("It does.", _OBJECT)})},
        "/health/ready": {
            "get": _health(
                "ready",
                "Whether all tasks run",
                {"200": _json("They do.", _OBJECT), "503": _json("What is missing.", _OBJECT)},
            )
        },
        "/metrics": {
            "get": _health(
                "metrics",
                "Metrics for Prometheus",
                {
                    "200": {
                        "description": "Text or OpenMetrics.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    }
                },
            )
        },
    }


def _id(name: str, text: str, settings: Settings) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": f"{text} At most {settings.max_id_bytes} bytes of UTF-8.",
        "schema": {"type": "string", "minLength": 1, "maxLength": settings.max_id_bytes},
    }


def _health(operation: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"operationId": operation, "summary": summary, "security": [], "responses": responses}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problems(codes: Sequence[str]) -> dict[str, Any]:
    by_status: dict[str, list[str]] = {}
    for code in codes:
        by_status.setdefault(str(PROBLEMS[code][0]), []).append(code)
    found: dict[str, Any] = {
        status: {
            "description": " ".join(f"`{code}`: {PROBLEMS[code][1]}" for code in sorted(those)),
            "content": {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}},
        }
        for status, those in sorted(by_status.items())
    }
    if "400" in found:  # what is no HTTP never reaches a handler
        found["400"]["description"] += " Plain text where the request line has more than 8 KB."
        found["400"]["content"]["text/plain"] = {"schema": {"type": "string"}}
    return found
