"""Health in words: every trouble has a sentence that says where and what to do, the worst first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from stream_app import runtime
from stream_app.members import Member
from stream_app.observer import Observation
from stream_app.partition_lag import PartitionLag
from stream_app.web.health import _PHASES, health_words

NOW_MS = 1_700_000_000_000
WORKER = {"address": "a:1", "answers": True, "ready": True, "owns": {"user": [0, 1]}, "phase": "running", "stages": {}}


def observation(*, lag_s: float = 0.1, owned: frozenset[int] = frozenset({0, 1}), **fields: Any) -> Observation:
    """Return what the broker said of two partitions of each stage."""
    known = {"end": 9, "committed": 5, "lag_events": 4, **fields}
    lags = [
        PartitionLag(stage=stage, group="g", topic="t", partition=p, lag_s=lag_s, **known)
        for stage in ("user", "item")
        for p in (0, 1)
    ]
    members = [Member(stage, "a:1", owned) for stage in ("user", "item")]
    return Observation(NOW_MS - 900, tuple(lags), tuple(members))


def test_all_is_well() -> None:
    """One sentence when there is nothing to say."""
    assert health_words(observation(), [WORKER], NOW_MS) == {
        "level": "good",
        "words": ["Everything is learned as it comes in."],
    }


def test_a_shop_that_nothing_has_come_into_is_told_what_to_do() -> None:
    """Who has just started a worker is told what comes next."""
    found = health_words(observation(end=0, lag_events=0, lag_s=0.0), [WORKER], NOW_MS)
    assert found["level"] == "good"
    assert "nothing has come in yet: produce events" in found["words"][0]


def test_a_partition_that_is_behind_warns() -> None:
    """How many events wait, where, and for how long."""
    found = health_words(observation(lag_s=42.0), [WORKER], NOW_MS)
    assert found["level"] == "warn"
    assert found["words"][0] == "8 events wait in partitions 0, 1, the oldest for 42 s."


def test_a_worker_that_hangs_is_named_first() -> None:
    """It is bad, and comes before what only warns."""
    hangs = {"address": "b:2", "answers": False, "owns": {"user": [1]}}
    found = health_words(observation(lag_s=42.0), [WORKER, hangs], NOW_MS)
    assert found["level"] == "bad"
    assert found["words"][0].startswith("Worker b:2 does not answer, and owns partition 1 of the events.")


def test_partitions_without_a_worker_say_how_to_start_one() -> None:
    """Some of them, or all."""
    some = health_words(observation(owned=frozenset({0})), [WORKER], NOW_MS)
    assert some["words"][0] == "Partition 1 of the events has no worker: start one with crossaisle worker."
    every = health_words(observation(owned=frozenset()), [WORKER], NOW_MS)
    assert every["words"][0].startswith("All partitions of the events have no worker")


def test_a_worker_that_restores_says_how_long() -> None:
    """What is left, and an estimate."""
    tasks: list[dict[str, Any]] = [{"restore": {"n_left": 1500, "left_s": 12.2}}, {"restore": None}]
    restoring = {**WORKER, "ready": False, "stages": {"user": {"tasks": tasks}}}
    found = health_words(observation(), [restoring], NOW_MS)
    assert found["words"] == ["Worker a:1 is not ready: it restores 1,500 records, about 12 s left."]
    tasks[0] = {"restore": {"n_left": 0, "left_s": None}}
    assert health_words(observation(), [restoring], NOW_MS)["words"][0].endswith("it takes over its partitions.")
    compiling = {**WORKER, "ready": False, "phase": "compiling kernels"}
    assert "it compiles its kernels" in health_words(observation(), [compiling], NOW_MS)["words"][0]


def test_who_opens_the_page_of_the_first_worker_early_is_not_told_to_start_one() -> None:
    """Partitions without a worker are no trouble while one is about to take them."""
    starting = {**WORKER, "ready": False, "phase": "compiling kernels"}
    found = health_words(observation(owned=frozenset()), [starting], NOW_MS)
    assert (found["level"], len(found["words"])) == ("warn", 1)


def test_a_worker_with_old_items_says_so() -> None:
    """How old they are."""
    (lag, *_) = observation(lag_s=17.0).lags
    stale = observation()._replace(replica=(lag,))
    found = health_words(stale, [WORKER], NOW_MS)
    assert found == {
        "level": "warn",
        "words": ["This worker ranks with items as they were 17 s ago: it needs more CPU."],
    }


def test_a_broker_that_never_answered_is_named() -> None:
    """Before the first observation there is nothing to show, but something to say."""
    found = health_words(None, [WORKER], NOW_MS)
    assert found["level"] == "bad"
    assert found["words"][0].startswith("Kafka does not answer (since this worker started). Check the broker")


def test_a_broker_that_answers_but_does_not_tell_is_not_called_silent() -> None:
    """The words are those of the problem, which has its remedy."""
    for observed in (None, observation()):
        found = health_words(observed, [WORKER], NOW_MS + 60_000, "topic 'events' does not exist: make it")
        assert found["level"] == "bad"
        assert "): topic 'events' does not exist: make it." in found["words"][0]
        assert "does not answer" not in found["words"][0]


def test_a_silent_broker_and_a_recreated_topic_are_bad() -> None:
    """Old numbers are called old, and a problem of the offsets is passed on."""
    old = health_words(observation(lag_s=42.0), [WORKER], NOW_MS + 60_000)
    assert old["level"] == "bad"
    assert old["words"][0].startswith(
        "Kafka does not answer (since 2023-11-14 22:13:19 UTC). What is shown is from then."
    )
    assert len(old["words"]) == 1  # what waited then, may not wait now
    assert "beyond" in health_words(observation(problem="lies beyond the end"), [WORKER], NOW_MS)["words"][0]


def test_each_phase_of_a_start_has_words() -> None:
    """What a worker calls its phases is what the page has sentences for."""
    phases = set(re.findall(r'self\._phase = "([^"]+)"', Path(runtime.__file__).read_text()))
    assert len(phases) > 3
    for phase in phases - {"running"}:
        starting = {**WORKER, "ready": False, "phase": phase}
        words = " ".join(health_words(observation(), [starting], NOW_MS)["words"])
        assert _PHASES[phase] in words
