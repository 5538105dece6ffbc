"""What ``crossaisle policy`` shows of the standing estimates."""

from __future__ import annotations

import asyncio
import io

import msgspec
import pytest
from rich.console import Console

from stream_app.cli.policy import _show
from stream_app.policy_publish import make_state
from stream_app.policy_report import NoPolicyError, policy_rows, read_policy
from stream_app.records.policy import EstimateState, GroupState, PolicyState, StandingState
from stream_app.settings import Settings
from tests.stream_app import harness


def state(*standing: StandingState) -> PolicyState:
    """Return the policy of the start with these estimates."""
    made = make_state(Settings(), 1, [])
    fields = {name: getattr(made, name) for name in made.__struct_fields__}
    return PolicyState(**{**fields, "standing": list(standing)})


ESTIMATES = [EstimateState("ips", 0.25, 0.2, 0.3, 0.02), EstimateState("snips", 0.5)]
GREEDY = StandingState("greedy", 900, 123.4, 1.1, ESTIMATES, ["low_ess"], poor_overlap=True)


def test_a_row_per_arm_and_estimator() -> None:
    """Each estimate is a row with its interval, and with what its arm's slates are worth; none before there is one."""
    rows = [row for row in policy_rows(state(GREEDY), 0.05) if row["kind"] == "ope"]
    assert [(row["arm"], row["estimator"], row["value"], row["low"]) for row in rows] == [
        ("greedy", "ips", 0.25, 0.2),
        ("greedy", "snips", 0.5, None),
    ]
    assert all((row["n"], row["effective_n"], row["poor_overlap"]) == (900, 123.4, True) for row in rows)
    assert [row for row in policy_rows(make_state(Settings(), 1, []), 0.05) if row["kind"] == "ope"] == []


def test_the_table_has_them() -> None:
    """People see value, interval and warnings; the table is left out before there is an estimate."""
    texts = []
    for each in (state(GREEDY), state()):
        console = Console(file=io.StringIO(), width=140)
        _show(console, policy_rows(each, 0.05))
        texts.append(console.file.getvalue())  # type: ignore[attr-defined] # a StringIO
    assert "If it filled all slates" in texts[0]
    assert "0.2500  [0.2000, 0.3000]" in texts[0]
    assert "low_ess" in texts[0]
    assert "If it filled all slates" not in texts[1]


def test_a_group_of_which_nothing_is_known_says_so() -> None:
    """Before a slate can earn nothing more there is no mean; a narrow terminal loses no digit."""
    console = Console(file=io.StringIO(), width=60)
    _show(console, policy_rows(state(), 0.05))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "not known yet" in " ".join(text.split())
    assert "…" not in text


@pytest.mark.parametrize("width", [40, 60, 79, 80, 89, 90])
def test_no_word_is_broken(width: int) -> None:
    """However narrow the terminal is, names and numbers stay whole; brackets in them are text."""
    counted = GroupState("learned", "[/x]", 100_000, 100, 2.0, 0.25, 0, 0.0)
    made = state(msgspec.structs.replace(GREEDY, arm="[/x]", n=1_234_567, warnings=["low_ess", "few_matches"]))
    fields = {name: getattr(made, name) for name in made.__struct_fields__}
    rows = policy_rows(PolicyState(**{**fields, "groups": [counted]}), 0.05)
    console = Console(file=io.StringIO(), width=width)
    _show(console, rows)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    words = {word for line in lines for word in line.split()}
    assert max(map(len, lines)) <= width
    wanted = (
        "recent slates reward of a P(worse) share role baseline estimator worth warnings low_ess, few_matches pending"
    )
    assert {*wanted.split(), "greedy", "[/x]", "1,234,567", "100,000", "0.2500", "[0.2000,", "learned"} <= words


def test_a_policy_that_cannot_be_read_is_an_error_with_a_remedy(app_settings: Settings) -> None:
    """As one that is not there yet: neither is a traceback."""
    harness.make_topics(app_settings)
    with pytest.raises(NoPolicyError, match="crossaisle worker"):
        asyncio.run(read_policy(app_settings))
    harness.send(app_settings, [(b"policy", b'{"x":' + b"[" * 60_000)], topic=app_settings.topic_policy_state)
    with pytest.raises(NoPolicyError, match="with the version that wrote it"):
        asyncio.run(read_policy(app_settings))


def test_an_interval_holds_after_the_cap_is_lowered() -> None:
    """Rewards counted under a higher cap keep its bounds; where that cap is not known there is no interval."""
    group = GroupState("learned", "greedy", 100, 100, 2.0, 0.25, 0, 0.0)
    intervals = {}
    for cap in (1.0, 2.1, 3.0):
        made = state()
        fields = {name: getattr(made, name) for name in made.__struct_fields__}
        rows = policy_rows(PolicyState(**{**fields, "reward_cap": cap, "groups": [group]}), 0.05)
        (row,) = [row for row in rows if row["kind"] == "group_arm"]
        (difference,) = [row for row in rows if row["kind"] == "difference"]
        intervals[cap] = row["low"], row["high"], difference["low"], difference["high"]
        console = Console(file=io.StringIO(), width=140)
        _show(console, rows)
        assert isinstance(console.file, io.StringIO)
        assert ("2.0000  interval not known" in console.file.getvalue()) == (row["low"] is None)
    assert intervals[1.0] == (None, None, None, None)
    assert None not in intervals[2.1] + intervals[3.0]
    low, high, _, _ = intervals[3.0]
    assert low < 2.0 < high < 3.0
