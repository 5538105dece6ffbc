"""The AsyncAPI document: valid by the official schema, complete, and its examples are what the code does."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest
from pydantic import SecretStr

from stream_app.asyncapi import asyncapi_document
from stream_app.channels import CHANNELS
from stream_app.records import EventLimits, decode_events, decode_slate
from stream_app.records.examples import BAD_EVENT, CATALOG_ENTRY, EVENT, REJECT_HEADER_VALUES, SLATE
from stream_app.records.schema import json_schemas
from stream_app.settings import Settings
from stream_app.topics import topic_specs
from tests.stream_app.records.samples import NOW_MS, FakeRecord
from tests.stream_app.records.test_records_page import example
from tests.stream_app.test_user_stage import ITEMS, Record, World, event

if TYPE_CHECKING:
    from collections.abc import Iterator

OFFICIAL = Path(__file__).with_name("asyncapi_schema") / "3.0.0.json.gz"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the document of a shop with names of its own."""
    return asyncapi_document(
        Settings(app_id="shop-7", topic_events="shop-7.clicks", bootstrap_servers="kafka-1:9092, kafka-2:9092")
    )


@pytest.fixture(scope="module")
def official() -> jsonschema.Draft7Validator:
    """Return the validator of AsyncAPI 3.0.0 documents."""
    return jsonschema.Draft7Validator(json.loads(gzip.decompress(OFFICIAL.read_bytes())))


def references(part: Any) -> Iterator[str]:
    """Yield every ``$ref`` in a document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_valid_by_the_official_schema(document: dict[str, Any], official: jsonschema.Draft7Validator) -> None:
    """The document is valid, and one with a misspelt field is not."""
    assert [error.message for error in official.iter_errors(document)] == []
    assert not official.is_valid({**document, "chanels": {}})


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """Each ``$ref`` names a part of the document."""
    found = set(references(document))
    assert found
    for reference in found:
        part: Any = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]


def test_every_topic_is_there_under_its_name(document: dict[str, Any]) -> None:
    """The channels are the topics of the settings, with the names and the configuration that they are made with."""
    settings = Settings(app_id="shop-7", topic_events="shop-7.clicks")
    assert {f"topic_{name}" for name in document["channels"]} == {
        name for name in Settings.model_fields if name.startswith("topic_")
    }
    assert {channel["address"] for channel in document["channels"].values()} == {s.name for s in topic_specs(settings)}
    assert document["channels"]["events"]["address"] == "shop-7.clicks"
    state = document["channels"]["user_state"]["bindings"]["kafka"]["topicConfiguration"]
    assert state["cleanup.policy"] == ["compact"]
    assert {server["host"] for server in document["servers"].values()} == {"kafka-1:9092", "kafka-2:9092"}


def test_operations_take_the_applications_side(document: dict[str, Any]) -> None:
    """What others write is received with the group that reads it; what they read is sent."""
    operations = document["operations"]
    assert operations["receiveEvents"]["bindings"]["kafka"]["groupId"]["enum"] == ["shop-7.user"]
    assert {"sendRecommendations", "sendRejects", "receiveCatalog"} <= set(operations)
    assert "sendEvents" not in operations


@pytest.mark.parametrize(
    ("record", "shown"), [("event", EVENT), ("catalog", CATALOG_ENTRY), ("slate", SLATE), ("event", BAD_EVENT)]
)
def test_examples_are_judged_by_their_schemas(record: str, shown: dict[str, Any]) -> None:
    """Good examples are valid, and the bad event is not."""
    validator = jsonschema.Draft202012Validator(json_schemas()[record])
    assert validator.is_valid(shown) is (shown is not BAD_EVENT)


def test_examples_are_those_of_the_records_page() -> None:
    """docs/records.md and the document show the same records."""
    assert example("events") == EVENT
    assert example("catalog") == CATALOG_ENTRY
    assert example("recommendations") == SLATE == msgspec.to_builtins(decode_slate(json.dumps(SLATE).encode()))


def test_example_of_a_reject_is_what_decoding_says() -> None:
    """Code and sentence in the example's headers are those that the bad event gets."""
    record = FakeRecord(json.dumps(BAD_EVENT).encode(), BAD_EVENT["user_id"].encode())
    (rejection,) = decode_events([record], now_ms=NOW_MS, limits=EventLimits()).rejections
    assert rejection.code == REJECT_HEADER_VALUES["code"]
    assert rejection.reason == REJECT_HEADER_VALUES["reason"]


def test_keys_are_those_of_records_really_sent() -> None:
    """What the processors send has a key where the document says so, and the one that it says."""
    world = World()
    world.catalogue(ITEMS)
    bad = [Record(None, b"?"), Record(b"odd", b"?")]
    world.users.process([event(1, "ann", "i1"), event(2, "bob", "i2"), *bad], NOW_MS)
    sent = world.users.flush(NOW_MS).outputs
    document = asyncapi_document(world.settings)
    channels = {channel["address"]: channel for channel in document["channels"].values()}
    keys: dict[str, list[str | None]] = {}
    for output in sent:
        (name,) = channels[output.topic]["messages"]
        schema = document["components"]["messages"][name]["bindings"]["kafka"]["key"]
        key = None if output.key is None else output.key.decode()
        jsonschema.validate(key, schema)
        keys.setdefault(name, []).append(key)
    assert keys == {
        "slate": ["ann", "bob"],
        "itemUpdate": [None],
        "reject": [None, "odd"],
        "policyStatistics": ["0"],
    }
    (update,) = (message for channel in CHANNELS for message in channel.messages if message.name == "itemUpdate")
    assert update.key.startswith("none: ")


def test_nothing_secret_is_in_it() -> None:
    """User name and password stay out."""
    settings = Settings(
        security_protocol="SASL_SSL",
        sasl_username="the-user",
        sasl_password=SecretStr("the-password"),
    )
    text = json.dumps(asyncapi_document(settings))
    assert "the-user" not in text
    assert "the-password" not in text
    assert json.loads(text)["servers"]["broker-1"]["protocol"] == "kafka-secure"


def test_message_names_are_unique() -> None:
    """A name stands for one kind of record, wherever it occurs."""
    named: dict[str, Any] = {}
    for channel in CHANNELS:
        for message in channel.messages:
            assert named.setdefault(message.name, message) is message


def test_commands_print_documents(tmp_path: Path) -> None:
    """`crossaisle schema` prints JSON and nothing else, without a broker; an unknown topic is an error."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stream_app.cli.main", "schema", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)

    assert json.loads(run("asyncapi").stdout)["asyncapi"] == "3.0.0"
    assert len(run("asyncapi", "--json").stdout.splitlines()) == 1
    assert json.loads(run("jsonschema").stdout) == json_schemas()
    assert json.loads(run("jsonschema", "--topic", "recommendations").stdout) == json_schemas()["slate"]
    wrong = run("jsonschema", "--topic", "slates")
    assert wrong.returncode != 0
    assert "events" in wrong.stderr
