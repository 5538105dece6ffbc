"""Writes the pages of docs/reference from the code: `make reference`. A test says when they are stale."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import typer

from stream_app.asyncapi import asyncapi_document
from stream_app.channels import CHANNELS
from stream_app.cli.main import app
from stream_app.doctor.finding import CHECKS
from stream_app.metrics import Metrics
from stream_app.observer import Observation
from stream_app.policy_metrics import ArmReport, policy_metrics
from stream_app.records import REJECT_CODES, REJECT_HEADERS
from stream_app.settings import PREFIX, Settings
from stream_app.web.answer import PROBLEMS
from stream_app.web.openapi import openapi_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOLDER = Path(__file__).parent / "reference"
MADE_BY = "<!-- Written by docs/make_reference.py: do not edit. -->\n"
_BOUNDS = {
    "ge": "at least {}",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "min_length": "at least {} character(s)",
    "max_length": "at most {} characters",
    "pattern": "`{}`",
}
_SETTINGS_HEAD = """\
# Settings

Environment variables, or lines of a `.env` file in the working directory; the environment wins. A wrong value ends
every command with a sentence that names it. `crossaisle doctor` finds misspelt names, too.

"""
_TOPICS_HEAD = """\
# Topics

Made with `crossaisle topics create`, checked with `crossaisle topics check`. The names are settings. For machines there
is the [AsyncAPI 3 document](asyncapi.json), which `crossaisle schema asyncapi` prints with your names in it, and
`crossaisle schema jsonschema` for the values. What the fields mean in detail is on the page [Records](../records.md).

"""
_CODES_HEAD = """\
# Reject codes

A record that cannot be used goes to the topic `rejects`, byte for byte, with headers that say why. What to do about
each code is on the page [Records](../records.md#rejects).

"""
_METRICS_HEAD = """\
# Metrics

`/metrics` of each worker, for Prometheus. Counters are those of the partitions that the worker owns and go on from the
last commit when a partition moves: their sum over all workers is the truth. Lag and rejects of the catalogue are told
by every worker for all: take their maximum. No label holds a user or an item.

"""
_HTTP_HEAD = """\
# HTTP

Each worker's server, on `CROSSAISLE_WEB_HOST` and `CROSSAISLE_WEB_PORT` (127.0.0.1:6066 unless set). Any worker answers
for every user: it asks the one that owns the user. Where others can reach it, it needs `CROSSAISLE_WEB_TOKEN`;
programs send it as `Authorization: Bearer TOKEN`. What goes wrong is answered with a problem (RFC 9457), whose `detail`
ends with the remedy.

"""
PAGES_FOR_PEOPLE = {
    "/": "live throughput, lag, quality, a user's and an item's page, rejects, health",
    "/login": "takes the token once, where one is asked for",
    "/events/stream": "what feeds the page: server-sent events",
    "/openapi.json": "what is below, for machines: OpenAPI 3.1",
}
_COMMANDS_HEAD = """\
# Commands

Every command takes `--help`, exits 0 only when it did its work, and prints errors to stderr. With `--json` it prints
JSON, one document a line, and nothing else to stdout. All of them read the [settings](settings.md).
"""
_FLOWS = {"in": "you write, Crossaisle reads", "out": "Crossaisle writes, you read", "own": "Crossaisle's own"}


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    made = {
        "settings.md": settings_page(),
        "topics.md": topics_page(),
        "reject-codes.md": reject_codes_page(),
        "metrics.md": metrics_page(),
        "http.md": http_page(),
        "commands.md": commands_page(),
    }
    document = json.dumps(asyncapi_document(default_settings()), indent=2, ensure_ascii=False)
    return {**{name: MADE_BY + text for name, text in made.items()}, "asyncapi.json": document + "\n"}


def default_settings() -> Settings:
    """Return the settings of someone who sets nothing, whatever this process's environment says."""
    fields = Settings.model_fields.items()
    return Settings(_env_file=None, **{name: field.get_default(call_default_factory=True) for name, field in fields})


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def settings_page() -> str:
    """Return the page on settings."""
    rows = []
    for name, field in Settings.model_fields.items():
        bounds = [
            text.format(getattr(rule, key))
            for rule in field.metadata
            for key, text in _BOUNDS.items()
            if getattr(rule, key, None) is not None
        ]
        choices = getattr(field.annotation, "__args__", ())
        if choices and all(isinstance(choice, str) for choice in choices):
            bounds.append(", ".join(f"`{choice}`" for choice in choices))
        default = "" if field.default_factory or field.default in (None, "") else f"`{field.default}`"
        default = "user data directory" if field.default_factory else default
        rows.append([f"`{PREFIX}{name.upper()}`", default, "; ".join(bounds), field.description or ""])
    return _SETTINGS_HEAD + table(["Variable", "Default", "Allowed", "Meaning"], rows)


def topics_page() -> str:
    """Return the page on topics, from the AsyncAPI document."""
    document = asyncapi_document(default_settings())
    parts = [_TOPICS_HEAD]
    rows = [
        [f"[`{c['address']}`](#{name.replace('_', '-')})", f"`{c['x-setting']}`", _FLOWS[c["x-flow"]], c["title"]]
        for name, c in document["channels"].items()
    ]
    parts.append(table(["Topic", "Setting", "Who", "What"], rows))
    for channel in CHANNELS:
        found = document["channels"][channel.topic]
        config = found["bindings"]["kafka"].get("topicConfiguration", {})
        anchor = channel.topic.replace("_", "-")
        parts.append(f"\n## {channel.title} {{ #{anchor} }}\n\n{channel.description}\n\n")
        facts = [["Name", f"`{found['address']}`, or what `{found['x-setting']}` says"], ["Who", _FLOWS[channel.flow]]]
        if channel.stage:
            facts.append(["Consumer group", f"`{{app_id}}.{channel.stage}`"])
        for key, value in config.items():
            facts.append([f"`{key}`", f"`{','.join(value) if isinstance(value, list) else value}`"])
        parts.append(table(["", ""], facts))
        parts += [_message(document, message.name) for message in channel.messages]
    return "".join(parts)


def _message(document: Mapping[str, Any], name: str) -> str:
    message = document["components"]["messages"][name]
    key = message["bindings"]["kafka"]["key"]["description"]
    text = f"\n### {message['title']}\n\n{message['summary']} Key: {key}. Value: `{message['contentType']}`.\n\n"
    schema = _resolved(document, message["payload"])
    fields = _fields(document, schema)
    rows = [[f"`{field}`", kind, "yes" if needed else "no", about] for field, kind, needed, about in fields]
    if rows:
        text += table(["Field", "Type", "Needed", "Meaning"], rows)
    if "headers" in message:
        headers = [[f"`{name}`", part["description"]] for name, part in message["headers"]["properties"].items()]
        text += "\n" + table(["Header", "Meaning"], headers)
    for example in message.get("examples", ()):
        shown = json.dumps(example["payload"], indent=2)
        text += f"\n```json\n{shown}\n```\n"
    return text


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    part: Any = document
    for step in schema["$ref"].removeprefix("#/").split("/"):
        part = part[step]
    return dict(part)


def _fields(
    document: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str, bool, str]]:
    """Yield name, type, need and meaning of each field, and of those of objects in it."""
    for name, field in schema.get("properties", {}).items():
        options = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
        part = options[0]
        items = part.get("items", {})
        inner = _resolved(document, items if part.get("type") == "array" else part)
        kind = part.get("type") or ("object" if "$ref" in part else "string")
        if kind == "array":
            kind = f"array of {items.get('type') or 'object'}s"
        if "enum" in part:
            kind = "one of " + ", ".join(f"`{value}`" for value in part["enum"])
        about = field.get("description") or inner.get("description", "").partition(".")[0] + "."
        yield prefix + name, kind, name in schema.get("required", ()), about
        if "$ref" in part or "$ref" in items:
            yield from _fields(document, inner, f"{prefix}{name}{'[]' if 'items' in part else ''}.")


def reject_codes_page() -> str:
    """Return the page on reject codes."""
    codes = table(["Code", "Meaning"], [[f"`{code}`", text] for code, text in REJECT_CODES.items()])
    headers = table(["Header", "Meaning"], [[f"`crossaisle.{name}`", text] for name, text in REJECT_HEADERS.items()])
    return f"{_CODES_HEAD}{codes}\n{headers}"


def metrics_page() -> str:
    """Return the page on metrics, from a collector that has been told of everything it may report."""
    collector = Metrics(
        lambda: {"ready": False, "stages": {}}, lambda: Observation(at_ms=0, lags=(), members=(), replica=())
    ).collector
    collector.set_arms(lambda: [ArmReport("greedy", 0.0, 0.0, 0.0, 0.0)])
    rows = []
    nothing_yet = SimpleNamespace(arms=(), groups=(), standing=())
    for family in [*collector.collect(), *policy_metrics(0, nothing_yet)]:
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ()))
        rows.append([f"`{family.name}{suffix}`", family.type, labels, family.documentation])
    return _METRICS_HEAD + table(["Metric", "Type", "Labels", "Meaning"], sorted(rows))


def http_page() -> str:
    """Return the page on HTTP, from the OpenAPI document of the server."""
    document = openapi_document(default_settings())
    text = _HTTP_HEAD + table(
        ["Page", "For people"], [[f"`{path}`", about] for path, about in PAGES_FOR_PEOPLE.items()]
    )
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            about = f"{operation['summary']}. {operation.get('description', '')}".rstrip()
            text += f"\n## {method.upper()} {path}\n\n{about}\n\n"
            if operation.get("security") == []:
                text += "It asks for no token.\n\n"
            rows = [
                [f"`{p['name']}`", p["in"], "yes" if p.get("required") else "no", p["description"]]
                for p in operation.get("parameters", ())
            ]
            text += table(["Parameter", "In", "Needed", "Meaning"], rows) + "\n" if rows else ""
            answers = [[status, answer["description"]] for status, answer in operation["responses"].items()]
            text += table(["Status", "Answer"], answers)
    for name, schema in document["components"]["schemas"].items():
        fields = _fields(document, schema)
        rows = [[f"`{field}`", kind, about] for field, kind, _, about in fields]
        text += f"\n## {name}\n\n" + table(["Field", "Type", "Meaning"], rows)
    problems = [[f"`{code}`", str(status), about] for code, (status, about) in PROBLEMS.items()]
    return text + "\n## Codes of problems\n\n" + table(["Code", "Status", "Meaning"], problems)


def commands_page() -> str:
    """Return the page on commands, from the command line itself."""
    parts = [_COMMANDS_HEAD]
    for name, command in _commands(typer.main.get_command(app), "crossaisle"):
        text = (command.help or "").strip().replace("\n\n", "\n\n")
        parts.append(f"\n## {name}\n\n{text}\n")
        rows = []
        for param in command.params:
            if getattr(param, "hidden", False) or param.name == "help":
                continue
            if param.param_type_name == "argument":
                rows.append([f"`{param.metavar or param.name.upper()}`", getattr(param, "help", "") or "", ""])
                continue
            names = ", ".join(f"`{option}`" for option in [*param.opts, *param.secondary_opts])
            default = (
                ""
                if param.default is None or param.default is False or callable(param.default)
                else f"`{param.default}`"
            )
            rows.append([names, getattr(param, "help", "") or "", "needed" if param.required else default])
        if rows:
            parts.append("\n" + table(["Argument or option", "Meaning", "Default"], rows))
        if name == "crossaisle doctor":
            checks = [[f"`{check}`", about] for check, about in CHECKS.items()]
            parts.append("\nWhat it looks at, in this order:\n\n" + table(["Check", "Looks at"], checks))
    return "".join(parts)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, part in inner.items():
        if not part.hidden:
            yield from _commands(part, f"{name} {word}")


def _says_nothing(default: Any) -> bool:
    return default is None or default is False or callable(default)


def _main() -> None:
    FOLDER.mkdir(exist_ok=True)
    stale = []
    for name, text in pages().items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            stale.append(name)
    print(f"renewed {', '.join(stale)}" if stale else "all pages are current", file=sys.stderr)


if __name__ == "__main__":
    _main()
