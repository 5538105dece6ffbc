"""The product's own slates as a log: rewards as the partitions count them, weights from the arms' probabilities."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from typer.testing import CliRunner

from operators.ope import Estimator, EvaluationParams, evaluate
from stream_app.cli import CommandError
from stream_app.cli.main import app
from stream_app.ope_log import LogError
from stream_app.ope_topics import Attribution, joined_log, parse_target, read_topics
from stream_app.policy_publish import make_state
from stream_app.records import AsOf, Event, EventLimits, Slate, SlateItem, decode_events, decode_slate, encode_slate
from stream_app.settings import Settings
from tests.stream_app import harness
from tests.stream_app.test_policy_task import react
from tests.stream_app.test_user_stage import ITEMS, NOW_MS, World
from tests.stream_app.test_user_stage import event as record

START_MS = 1_700_000_000_000


class Day:
    """What ten users do with thirty slates each, in a partition and, joined from its records, in the command."""

    def __init__(self) -> None:
        self.world, rng = World(holdout_share=0.3), random.Random(6)  # noqa: S311 - shoppers, not secrets
        self.world.catalogue(ITEMS)
        records = []
        for turn in range(30):
            batch = react(self.world, 100 * turn, rng)
            for process in (batch, batch[:3]):  # some are sent twice
                self.world.users.process(process, NOW_MS)
                records += process
            self.world.commit()
        self.made = {slate.as_of.offset: slate for slate in map(decode_slate, self.world.slates)}
        self.attribution = Attribution(self.world.settings)
        decoded = decode_events(records, now_ms=NOW_MS, limits=EventLimits.of(self.world.settings))
        left = dict(self.made)
        for event, index in zip(decoded.events, decoded.index, strict=True):
            last = records[index] is not records[index - 1]
            self.attribution.learn(event, left.pop(records[index].offset, None) if last else None)


def test_rewards_are_those_of_the_partition() -> None:
    """Number of slates, their rewards and squares per arm, joined from records, equal the partition's statistics."""
    day = Day()
    assert len(day.attribution.slates) == len(day.made)
    for name, arm in day.world.users.policy.statistics().arms.items():
        mine = [earning.reward for earning in day.attribution.slates if earning.slate.policy == name]
        rows = [*arm.final.values(), *(row for rows in arm.open.values() for row in rows)]
        assert len(mine) == sum(row[0] for row in rows)
        assert sum(mine) == pytest.approx(sum(row[1] for row in rows), rel=1e-9)
        assert sum(reward**2 for reward in mine) == pytest.approx(sum(row[2] for row in rows), rel=1e-9)


def test_standing_estimates_are_those_of_the_joined_log() -> None:
    """When all slates can earn nothing more, policy-state says of every arm what the command finds, to nine digits."""
    day = Day()
    later = record(16_000, "somebody", "i1")
    day.world.users.process([later], NOW_MS)
    day.world.commit()
    (event,) = decode_events([later], now_ms=NOW_MS, limits=EventLimits.of(day.world.settings)).events
    day.attribution.learn(event, decode_slate(day.world.slates[-1]))
    state = make_state(day.world.settings, 1, [day.world.users.policy.statistics()])
    assert [arm.arm for arm in state.standing] == [arm.name for arm in day.world.settings.arms]
    for arm in state.standing:
        log = joined_log(day.world.settings, day.attribution, arm.arm, pending=False).log
        assert arm.n == log.n_slates == sum(slate.group == "learned" for slate in day.made.values())
        for found in arm.estimates[:2]:
            wanted = evaluate(log, Estimator(found.estimator), EvaluationParams())
            assert found.value == pytest.approx(wanted.value, rel=1e-9)
            assert (found.lower, found.upper) == pytest.approx((wanted.lower, wanted.upper), rel=1e-9)
            assert found.std_error == pytest.approx(wanted.std_error, rel=1e-9)
            assert arm.effective_n == pytest.approx(wanted.overlap.ess, rel=1e-9)


def slate(n: int, arm: str, propensity: float, group: str = "learned") -> Slate:
    """Return a slate of two items for user ``u`` and the event with offset ``n``."""
    items = [SlateItem(f"i{k}", "a", 0.5, 1.0, "taste") for k in (n, n + 1)]
    return Slate(
        f"0-{n}", f"u{n}", AsOf(0, n), START_MS + n * 1000, 0, arm, 1, [], items,
        policy_propensity=propensity, group=group,
    )  # fmt: skip


def event(n: int, user: int, kind: str, item: str, slate_id: str | None = None) -> Event:
    """Return an event, ``n`` seconds after the start."""
    return Event(f"e{n}-{item}", kind, f"u{user}", START_MS + n * 1000, item, slate_id=slate_id)  # type: ignore[arg-type] # a type


def log_of(arms: list[tuple[str, float, str]], settings: Settings) -> Attribution:
    """Return slates of these arms, propensities and groups; those with even numbers earn a purchase."""
    attribution = Attribution(settings)
    for n, (arm, propensity, group) in enumerate(arms):
        attribution.learn(event(n, n, "purchase", "x"), slate(n, arm, propensity, group))
        if n % 2 == 0:
            attribution.learn(event(n, n, "purchase", f"i{n}", f"0-{n}"), None)
    return attribution


def test_weights_are_ratios_of_probabilities() -> None:
    """A slate weighs what the target gives its arm over what the policy gave it; the holdout is left out."""
    settings = Settings()
    arms = [("a", 0.25, "learned"), ("a", 0.25, "learned"), ("b", 0.75, "learned"), ("b", 1.0, "holdout")]
    log = joined_log(settings, log_of(arms, settings), "a=0.5, b=0.5", pending=True).log
    assert log.propensity.tolist() == [0.25, 0.25, 0.75]
    assert log.target_propensity.tolist() == [0.5, 0.5, 0.5]
    assert log.reward.tolist() == [1.0, 0.0, 1.0]
    found = evaluate(log, Estimator.IPS, EvaluationParams())
    assert found.value == pytest.approx((2.0 + 0.5 / 0.75) / 3)
    assert found.value == pytest.approx(evaluate(log, Estimator.SLATE_IPS, EvaluationParams()).value)


def test_slates_that_can_still_earn_something() -> None:
    """Only slates older than two windows count, unless the others are asked for."""
    settings = Settings(attribution_window_ms=10_000)
    attribution = log_of([("a", 0.5, "learned"), ("b", 0.5, "learned")], settings)
    with pytest.raises(LogError, match="none is older than two attribution windows \\(20 s\\)"):
        joined_log(settings, attribution, "a", pending=False)
    attribution.learn(event(22, 99, "purchase", "x"), None)
    found = joined_log(settings, attribution, "a", pending=False)
    assert found.log.n_slates == 1 + 1
    assert found.notes[-1] == "0 slates are left out because they can still earn something"
    assert joined_log(settings, attribution, "a", pending=True).log.n_slates == 2


FOREIGN = [b"no JSON", b"{}", b"\xff", b'{"x":' + b"[" * 60_000]


def test_records_that_are_no_slates_are_passed_over_and_counted(app_settings: Settings) -> None:
    """What somebody else has written to the topic of slates stops nothing, and a note says how much that was."""
    harness.make_topics(app_settings)
    keyed = json.dumps(
        {"event_id": "e", "type": "purchase", "user_id": "u0", "item_id": "x", "event_time_ms": START_MS}
    )
    harness.send(app_settings, [(b"u0", keyed.encode())], partition=0)
    values = [*FOREIGN, encode_slate(slate(0, "greedy", 0.5)), None]
    harness.send(app_settings, [(b"u0", value) for value in values], topic=app_settings.topic_recommendations)
    attribution = asyncio.run(read_topics(app_settings, NOW_MS))
    found = joined_log(app_settings, attribution, "greedy", pending=True)
    assert found.log.n_slates == 1
    said = f"{len(FOREIGN)} records of {app_settings.topic_recommendations} are passed over: they are no slates"
    assert found.notes[-1] == said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c", "no slate was filled by an arm 'c'; there are a, b"),
        ("a=0.5", "sum to 1"),
        ("a=x,b=1", "sum to 1"),
        ("", "sum"),
    ],
)
def test_targets_that_make_no_sense(text: str, message: str) -> None:
    """An unknown arm and probabilities that are none are errors that say what is wanted."""
    with pytest.raises(LogError, match=message):
        parse_target(text, ["a", "b"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either a LOG, or --topics"),
        (["log.csv", "--topics", "--target", "a"], "either a LOG, or --topics"),
        (["--topics"], "needs a --target"),
        (["log.csv", "--target", "a"], "are for --topics"),
        (["--topics", "--target", "a", "--group-by", "day"], "--group-by is for a LOG"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], message: str) -> None:
    """A log and the topics exclude each other, and each has options of its own."""
    done = CliRunner().invoke(app, ["ope", *arguments])
    assert isinstance(done.exception, CommandError)
    assert message in str(done.exception)
