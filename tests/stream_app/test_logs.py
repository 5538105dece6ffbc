"""Logs: one line of JSON with keys where no terminal reads them, words where one does, libraries from warnings on."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import TYPE_CHECKING

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, NotEnoughReplicasError, TopicAuthorizationFailedError

from stream_app.logs import LibraryFilter, configure_logging, hush_clients
from stream_app.settings import Settings
from stream_app.topics import TopicError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, level, failed = root.handlers, root.level, threading.excepthook
    yield
    root.handlers, root.level, threading.excepthook = handlers, level, failed
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


def test_without_a_terminal_a_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours and those of libraries alike: event, level, time in UTC, keys."""
    configure_logging(Settings())
    structlog.get_logger("x").info("task_opened", partition=3)
    logging.getLogger("aiokafka").warning("broker %s is gone", 1)
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["level"], ours["partition"]) == ("task_opened", "info", 3)
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["level"]) == ("broker 1 is gone", "warning")


def test_an_error_is_one_line_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever collects logs line by line gets it whole."""
    configure_logging(Settings(json_logs=True))
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        structlog.get_logger("x").error("task_failed", exc_info=error)
    (line,) = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]


def test_a_thread_that_fails_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's own report of it would be the only text among lines of JSON."""
    configure_logging(Settings(json_logs=True))
    thread = threading.Thread(target=lambda: 1 / 0, name="reader")
    thread.start()
    thread.join()
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["event"], told["thread"]) == ("thread_failed", "reader")
    assert "ZeroDivisionError" in told["exception"]


def test_of_clients_that_are_closed_only_what_is_critical_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that stops says so; that its connections then break off is no error of anybody's."""
    configure_logging(Settings(json_logs=True))
    hush_clients()
    logging.getLogger("aiokafka.consumer.fetcher").error("Failed fetch messages from 1")
    structlog.get_logger("x").error("task_failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "task_failed"


def test_what_is_asked_for_is_written_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Set to false, JSON goes even where no terminal reads."""
    configure_logging(Settings(json_logs=False))
    structlog.get_logger("x").info("task_opened", partition=3)
    written = capsys.readouterr().err
    assert not written.startswith("{")
    assert "task_opened" in written


def test_the_chatter_of_libraries_and_of_commits_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing per event or per commit at the usual level."""
    configure_logging(Settings())
    logging.getLogger("aiokafka.consumer").info("fetched")
    logging.getLogger("aiohttp.access").info("GET /users/ann")
    structlog.get_logger("stream_app.task").debug("task_committed", n_pages=3)
    assert capsys.readouterr().err == ""


def test_a_library_that_repeats_itself_is_heard_once_in_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    """A broker that is away fills no disk: the next line of its kind tells how many were held back."""
    configure_logging(Settings())
    library = logging.getLogger("aiokafka")
    for _ in range(500):
        library.error("Unable connect to node with id %s: %s", 1, OSError("refused"))
    library.error("Unable to update metadata from %s", [1])
    structlog.get_logger("x").warning("broker_lost")
    structlog.get_logger("x").warning("broker_lost")
    heard = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert heard == [
        "Unable connect to node with id 1: refused",
        "Unable to update metadata from [1]",
        "broker_lost",
        "broker_lost",
    ]


def test_what_was_held_back_is_counted() -> None:
    """After a minute the same is told again, with how often it came meanwhile."""
    heard = LibraryFilter()

    def line(at_s: float) -> logging.LogRecord:
        record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, "no node %s", (7,), None)
        record.created = at_s
        return record

    passed = [record for record in map(line, (0.0, 1.0, 59.0, 61.0, 62.0)) if heard.filter(record)]
    assert [record.getMessage() for record in passed] == ["no node 7", "no node 7 (and 2 times since it was last told)"]


def test_a_verification_that_is_repeated_is_not_taken_for_missing_replicas(capsys: pytest.CaptureFixture[str]) -> None:
    """Kafka has one name for both; the line says how to tell them apart."""
    configure_logging(Settings(json_logs=True))
    text = "Got error produce response on topic-partition %s, retrying. Error: %s"
    logging.getLogger("aiokafka.producer.sender").warning(text, TopicPartition("t", 7), NotEnoughReplicasError)
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)["event"]
    assert "partition=7" in event
    assert "NotEnoughReplicasError'> (now and then: records and offsets were verified" in event


def test_what_says_all_by_itself_has_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Missing topics and rights are one sentence; a task that was cancelled, and a future left behind, are no news."""
    configure_logging(Settings(json_logs=True))
    crash, futures = logging.getLogger("mode.services"), logging.getLogger("asyncio")

    def fail(log: logging.Logger, event: str, error: BaseException, cause: BaseException | None = None) -> None:
        try:
            raise error from cause
        except type(error):
            log.exception(event)

    refused = TopicAuthorizationFailedError("events")
    fail(crash, "Crashed", TopicError("topic events: does not exist; make it"))
    fail(crash, "Also crashed", KafkaError("Unexpected error during batch delivery"), refused)
    fail(crash, "Cancelled", asyncio.CancelledError())
    fail(futures, "Future exception was never retrieved", refused)
    fail(crash, "A defect", ZeroDivisionError())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["Crashed", "Also crashed", "A defect"]
    assert [("exception" in line) for line in lines] == [False, False, True]
