"""``crossaisle schema``: prints what the topics hold, for machines."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

app = typer.Typer(help="Print the AsyncAPI document or the JSON Schemas of the records.", no_args_is_help=True)


class JsonTopic(StrEnum):
    """The topics whose values are JSON of one form."""

    EVENTS = "events"
    CATALOG = "catalog"
    RECOMMENDATIONS = "recommendations"


_RECORDS = {JsonTopic.EVENTS: "event", JsonTopic.CATALOG: "catalog", JsonTopic.RECOMMENDATIONS: "slate"}


@app.command()
def asyncapi(
    *,
    json_lines: Annotated[bool, typer.Option("--json", help="Print it on one line.")] = False,
) -> None:
    """Print the AsyncAPI 3 document of all topics, with the names that the settings give them."""
    from stream_app.asyncapi import asyncapi_document
    from stream_app.settings import Settings

    _print(asyncapi_document(Settings()), on_one_line=json_lines)


@app.command()
def jsonschema(
    topic: Annotated[JsonTopic | None, typer.Option(help="Values of this topic; all records if not given.")] = None,
    *,
    json_lines: Annotated[bool, typer.Option("--json", help="Print it on one line.")] = False,
) -> None:
    """Print the JSON Schema (2020-12) of a topic's values, or an object with those of all records by name."""
    from stream_app.records import json_schemas

    schemas = json_schemas()
    _print(schemas if topic is None else schemas[_RECORDS[topic]], on_one_line=json_lines)


def _print(document: Mapping[str, Any], *, on_one_line: bool) -> None:
    import json

    typer.echo(json.dumps(document, indent=None if on_one_line else 2, ensure_ascii=False))
