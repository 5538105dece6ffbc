"""Tests of following slates, on the real broker."""

from __future__ import annotations

import asyncio
import io
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import typer
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAuthorizationFailedError
from rich.console import Console
from typer.testing import CliRunner

from stream_app.cli import CommandError
from stream_app.cli.watch import render
from stream_app.cli.watch import watch as watch_command
from stream_app.records import decode_slate
from stream_app.watch import CatalogTitles, SlateWatcher, WatchedSlate, WatchError, explain
from tests.stream_app import harness

if TYPE_CHECKING:
    from stream_app.settings import Settings

N_PARTITIONS = 2


@pytest.fixture
def topics(app_settings: Settings) -> Settings:
    """Return settings whose topics are there."""

    async def make() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=app_settings.bootstrap_servers)
        await admin.start()
        names = (app_settings.topic_recommendations, app_settings.topic_catalog)
        await admin.create_topics([NewTopic(name, N_PARTITIONS, 1) for name in names])
        await admin.close()

    asyncio.run(make())
    return app_settings


def slate(number: int, user: str) -> dict[str, Any]:
    """Make a slate of two items."""
    return {
        "slate_id": f"0-{number}",
        "user_id": user,
        "as_of": {"partition": 0, "offset": number},
        "event_time_ms": 1_600_000_000_000,
        "emitted_at_ms": 1_600_000_000_500,
        "policy": "greedy",
        "policy_version": 0,
        "context_categories": ["Dairy"],
        "items": [
            {"item_id": "1", "category": "Bread", "score": 0.5, "propensity": 1.0, "reason": "repeat"},
            {"item_id": "2", "category": "[red]Fruit", "score": 0.25, "propensity": 1.0, "reason": "together:1"},
        ],
    }


async def send(settings: Settings, topic: str, records: dict[str, Any] | list[tuple[str, Any]]) -> None:
    """Write records by key, in one transaction; bytes as they are, None as a tombstone."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, transactional_id=f"{settings.app_id}.test"
    )
    await producer.start()
    try:
        async with producer.transaction():
            for key, value in records.items() if isinstance(records, dict) else records:
                encoded = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
                await producer.send_and_wait(topic, encoded, key=key.encode())
    finally:
        await producer.stop()


async def send_catalog(settings: Settings) -> None:
    """Write a catalogue in which item 1 has a title."""
    entries = {"1": {"item_id": "1", "category": ["Bread"], "title": "Rye bread"}, "3": b"no entry"}
    await send(settings, settings.topic_catalog, entries)


async def take(watcher: SlateWatcher, n_slates: int) -> list[WatchedSlate]:
    """Return the next slates."""
    seen: list[WatchedSlate] = []
    async with asyncio.timeout(120):
        async for watched in watcher.slates():
            seen.append(watched)
            if len(seen) == n_slates:
                break
    return seen


def test_slates_come_as_they_are_committed(topics: Settings) -> None:
    """A watcher misses nothing after it is entered, shows nothing from before, and knows the titles."""

    async def follow() -> list[WatchedSlate]:
        await send_catalog(topics)
        await send(topics, topics.topic_recommendations, {"old": slate(0, "old")})
        await asyncio.to_thread(harness.wait_decided, topics, topics.topic_recommendations)  # until then it is to come
        async with SlateWatcher(topics) as watcher:
            await send(topics, topics.topic_recommendations, {"u1": slate(1, "u1"), "u2": slate(2, "u2")})
            return await take(watcher, 2)

    seen = asyncio.run(follow())
    assert {watched.slate.user_id for watched in seen} == {"u1", "u2"}
    assert all(watched.titles == {"1": "Rye bread"} for watched in seen)


def test_one_user_from_the_beginning(topics: Settings) -> None:
    """With a user and from the beginning, that user's old slates come and no others; what is no slate is counted."""

    async def follow() -> tuple[list[WatchedSlate], int]:
        records = [("u2", slate(1, "u2")), ("u1", slate(2, "u1")), ("u1", b"no slate"), ("u1", None)]
        await send(topics, topics.topic_recommendations, [*records, ("u1", slate(3, "u1"))])
        async with SlateWatcher(topics, user="u1", from_beginning=True) as watcher:
            return await take(watcher, 2), watcher.n_unreadable

    seen, n_unreadable = asyncio.run(follow())
    assert [watched.slate.slate_id for watched in seen] == ["0-2", "0-3"]
    assert n_unreadable == 1


def test_titles_follow_the_catalogue(topics: Settings) -> None:
    """A title that changes or goes while watching changes or goes in the next slates."""

    async def follow() -> list[dict[str, str]]:
        await send_catalog(topics)
        seen = []
        async with SlateWatcher(topics) as watcher:
            for entry in ({"item_id": "1", "category": ["Bread"], "title": "White bread"}, None):
                await send(topics, topics.topic_catalog, {"1": entry})
                wanted = {} if entry is None else {"1": entry["title"]}
                async with asyncio.timeout(120):
                    titles = None
                    while titles != wanted:  # the catalogue's tail is not in step with the slates
                        await send(topics, topics.topic_recommendations, {"u1": slate(1, "u1")})
                        titles = (await take(watcher, 1))[0].titles
                seen.append(titles)
        return seen

    assert asyncio.run(follow()) == [{"1": "White bread"}, {}]


class FailingCatalog(CatalogTitles):
    """Titles whose topic can no longer be read once all that is there was read."""

    async def run(self, consumer: Any) -> None:
        """Fail."""
        del consumer
        raise TopicAuthorizationFailedError


def test_titles_that_can_no_longer_be_read_are_told(topics: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the catalogue's reader ends the slates with its error: titles do not just fail to come."""
    monkeypatch.setattr("stream_app.watch.CatalogTitles", FailingCatalog)

    async def follow() -> None:
        async with SlateWatcher(topics) as watcher:
            await take(watcher, 1)

    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(follow())


def test_a_catalogue_record_of_any_shape_is_passed_over() -> None:
    """Deeply nested or no text at all: the titles of the others are known."""
    titles = CatalogTitles()
    values = [b"\xff", b"[" * 100_000, b'{"x": ' + b"[" * 100_000, b"3", b'{"title": 3}']
    records: Any = [SimpleNamespace(key=b"i1", value=value) for value in (*values, b'{"title": "Milk"}', *values)]
    titles.apply(records)
    assert titles.get("i1") == "Milk"


def test_a_missing_topic_names_the_command(app_settings: Settings) -> None:
    """The error says how to make the topic."""

    async def enter() -> None:
        async with SlateWatcher(app_settings):
            pytest.fail("there is nothing to watch")

    with pytest.raises(WatchError, match="crossaisle topics create"):
        asyncio.run(enter())


def test_a_broker_that_is_away_is_an_error(app_settings: Settings) -> None:
    """The error names the address and what to do."""
    nowhere = app_settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})

    async def enter() -> None:
        async with SlateWatcher(nowhere):
            pytest.fail("there is no broker")

    with pytest.raises(WatchError, match=r"127\.0\.0\.1:1: .*crossaisle broker"):
        asyncio.run(enter())


def run_command(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """Run `crossaisle watch`."""
    for name in ("bootstrap_servers", "app_id", "topic_recommendations", "topic_catalog"):
        monkeypatch.setenv(f"CROSSAISLE_{name.upper()}", str(getattr(settings, name)))
    app = typer.Typer()
    app.command()(watch_command)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_prints_json_lines_with_titles(topics: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--json` prints the records of the topic with titles added, unknown fields kept, and stops at the limit."""
    newer = {**slate(1, "u1"), "added_later": [1]}

    async def prepare() -> None:
        await send_catalog(topics)
        await send(topics, topics.topic_recommendations, [("u1", newer), ("u1", slate(2, "u1"))])

    asyncio.run(prepare())
    result = run_command(topics, monkeypatch, "--json", "--from-beginning", "--limit", "1")
    assert result.exit_code == 0, result.output
    wanted = json.loads(json.dumps(newer))
    wanted["items"][0]["title"] = "Rye bread"
    assert [json.loads(line) for line in result.stdout.splitlines()] == [wanted]


def test_the_command_draws_slates(topics: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """People see the user, the context, titles, categories and reasons."""

    async def prepare() -> None:
        await send_catalog(topics)
        await send(topics, topics.topic_recommendations, {"u1": slate(1, "u1")})

    asyncio.run(prepare())
    result = run_command(topics, monkeypatch, "--from-beginning", "--limit", "1")
    assert result.exit_code == 0, result.output
    for text in ("user u1", "Dairy", "Rye bread", "had before", "item 2", "[red]Fruit", "goes with Rye bread"):
        assert text in result.stdout


@pytest.mark.parametrize("user", ["[/x]", "[red]rich[/red]"])
def test_the_command_names_any_user(topics: Settings, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    """Brackets in an id are text, not colours."""
    asyncio.run(send(topics, topics.topic_recommendations, {user: slate(1, user)}))
    result = run_command(topics, monkeypatch, "--user", user, "--from-beginning", "--limit", "1")
    assert result.exit_code == 0, result.output
    assert f"watching slates of user {user} in topic" in result.stderr


def test_the_command_reports_errors(app_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that is not there ends the command with the remedy."""
    result = run_command(app_settings, monkeypatch)
    assert isinstance(result.exception, CommandError)
    assert "crossaisle topics create" in str(result.exception)


def test_a_slate_without_context_is_drawn(topics: Settings) -> None:
    """No context and no items: still a line that says whose slate it is."""
    del topics
    value = json.dumps({**slate(1, "u1"), "context_categories": [], "items": []}).encode()
    console = Console(file=io.StringIO(), width=100)
    console.print(render(WatchedSlate(decode_slate(value), value, {})))
    assert isinstance(console.file, io.StringIO)
    assert "no category yet" in console.file.getvalue()


def test_a_user_id_cannot_give_orders_to_the_terminal() -> None:
    """Control characters of an id and a title are written out; a narrow terminal shows the end of a category's path."""
    value = json.dumps(slate(1, "u\x1b[31m\n1")).encode()
    watched = WatchedSlate(decode_slate(value), value, {"item-1": "a\x07b"})
    console = Console(file=io.StringIO(), width=60)
    console.print(render(watched, 60))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert r"u\x1b[31m\n1" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("repeat", "had before"),
        ("together:9", "goes with 9"),
        ("together", "together"),
        ("some_new_reason", "some new reason"),
    ],
)
def test_reasons_are_put_into_words(reason: str, words: str) -> None:
    """Known codes become words, unknown ones stay readable."""
    assert explain(reason, {}) == words
