"""Tests of docs/records.md: it names every field, code and header, and its examples work."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from operators.slate import REASON_CATEGORY, REASON_POPULAR, REASON_REPEAT, REASON_TASTE, REASON_TOGETHER
from state.layout import N_DEDUPE
from stream_app.records import (
    EVENT_TYPES,
    REJECT_CODES,
    REJECT_HEADERS,
    CatalogEntry,
    Event,
    EventLimits,
    decode_catalog,
    decode_events,
    decode_slate,
    json_schemas,
)
from stream_app.records.event import LAST_POSITION
from stream_app.records.reject import MAX_ORIGINAL_BYTES
from stream_app.slates import REASONS
from tests.stream_app.records.samples import NOW_MS, FakeRecord

PAGE = Path(__file__, "../../../../docs/records.md").resolve().read_text(encoding="utf-8")
SECTIONS = {part.split("`", 2)[1]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}


def tables(topic: str) -> dict[str, dict[str, list[str]]]:
    """Return the tables of a section by their first heading: first cell, without backticks, to the other cells."""
    out: dict[str, dict[str, list[str]]] = {}
    for block in re.findall(r"(?:^\|.*\n)+", SECTIONS[topic], flags=re.MULTILINE):
        head, _, *rows = (
            [cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in block.splitlines()
        )
        out[head[0]] = {row[0].strip("`"): row[1:] for row in rows}
    return out


def example(topic: str) -> dict[str, Any]:
    """Return the JSON example of a section."""
    found = re.search(r"```json\n(.*?)```", SECTIONS[topic], flags=re.DOTALL)
    assert found
    parsed: dict[str, Any] = json.loads(found[1])
    return parsed


def field_names(schema: dict[str, Any], root: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the fields of a schema and of the objects in it, in the page's notation."""
    out = []
    for name, part in schema["properties"].items():
        out.append(prefix + name)
        target, mark = (part["items"], "[].") if part.get("type") == "array" else (part, ".")
        if "$ref" in target:
            nested = root["$defs"][target["$ref"].rpartition("/")[2]]
            out += field_names(nested, root, prefix + name + mark)
    return out


@pytest.mark.parametrize(
    ("topic", "record"), [("events", "event"), ("catalog", "catalog"), ("recommendations", "slate")]
)
def test_every_field_is_described(topic: str, record: str) -> None:
    """The table of each topic has the fields of its struct, all of them and in their order, each with a meaning."""
    schema = json_schemas()[record]
    rows = tables(topic)["Field"]
    wanted = field_names(schema, schema)
    assert list(rows) == wanted
    assert all(row[-1].endswith(".") for row in rows.values())


@pytest.mark.parametrize(("topic", "record"), [("events", "event"), ("catalog", "catalog")])
def test_types_and_needs_are_the_schemas(topic: str, record: str) -> None:
    """The columns "Type" and "Needed" say what the schema says; a field that some types need is neither yes nor no."""
    rows, schema = tables(topic)["Field"], json_schemas()[record]
    assert {name for name, row in rows.items() if row[1] == "yes"} == set(schema["required"])
    for name, field in schema["properties"].items():
        part = field.get("anyOf", [field])[0]
        kind = part.get("type", "string")
        plural = f"array of {part['items']['type']}s" if kind == "array" else kind
        assert rows[name][0] == plural, name


def test_every_type_code_header_and_reason_is_described() -> None:
    """What a program may meet is on the page in the words of the code: types, codes, headers and reasons."""
    assert tuple(tables("events")["Type"]) == EVENT_TYPES
    rejects = tables("rejects")
    assert {code: row[0] for code, row in rejects["Code"].items()} == REJECT_CODES
    assert {name: row[0] for name, row in rejects["Header"].items()} == {
        f"crossaisle.{name}": meaning for name, meaning in REJECT_HEADERS.items()
    }
    order = (REASON_REPEAT, REASON_TOGETHER, REASON_TASTE, REASON_CATEGORY, REASON_POPULAR)
    named = [name.removesuffix(":ITEM") for name in tables("recommendations")["Reason"]]
    assert named == [REASONS[reason] for reason in order]
    assert len(named) == len(REASONS)


def test_numbers_on_the_page_are_the_defaults() -> None:
    """Limits in the text are those of the code."""
    limits = EventLimits()
    assert f"at most {limits.max_id_bytes} bytes of UTF-8" in PAGE.replace("\n  ", " ")
    assert f"at most {limits.max_record_bytes:,} bytes" in PAGE
    assert limits.max_future_ms == 3_600_000
    assert "an hour from now" in SECTIONS["events"]
    assert f"last {N_DEDUPE} events" in SECTIONS["events"]
    assert f"{LAST_POSITION:,}" in SECTIONS["events"]
    assert f"more than {MAX_ORIGINAL_BYTES:,} bytes" in SECTIONS["rejects"]


def test_examples_work() -> None:
    """Each example decodes, and shows every field that there is."""
    event, entry, slate = example("events"), example("catalog"), example("recommendations")
    (decoded,) = decode_events(
        [FakeRecord(json.dumps(event).encode(), event["user_id"].encode())], now_ms=NOW_MS, limits=EventLimits()
    ).events
    assert event == {name: getattr(decoded, name) for name in Event.__struct_fields__}
    record = FakeRecord(json.dumps(entry).encode(), entry["item_id"].encode())
    ((_, taken),) = decode_catalog([record], limits=EventLimits()).entries
    assert entry == {name: getattr(taken, name) for name in CatalogEntry.__struct_fields__}
    assert msgspec.to_builtins(decode_slate(json.dumps(slate).encode())) == slate


def test_example_of_a_reject_is_what_comes_out() -> None:
    """The value of the example is rejected with the code and the sentence that the page shows."""
    section = SECTIONS["rejects"]
    shown = dict(re.findall(r"(crossaisle\.\w+) {2,}(.*)", section))
    value, key = re.search(r"^value +(.*)", section, re.MULTILINE), re.search(r"^key +(.*)", section, re.MULTILINE)
    assert value
    assert key
    record = FakeRecord(value[1].encode(), key[1].encode())
    (rejection,) = decode_events([record], now_ms=NOW_MS, limits=EventLimits()).rejections
    assert (shown["crossaisle.code"], shown["crossaisle.reason"]) == (rejection.code, rejection.reason)
    assert list(shown) == [f"crossaisle.{name}" for name in REJECT_HEADERS]
