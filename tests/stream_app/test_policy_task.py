"""The policy's part of a user task, in memory: statistics in the same commit as the state, whatever crashes."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import numpy as np
import pytest

from operators.policy_context import N_CELLS
from operators.standing import SLATES, WR, W
from stream_app.policy_publish import encode_state, make_state
from stream_app.policy_task import POLICY_KEY
from stream_app.policy_view import PolicyView
from stream_app.records import decode_slate
from stream_app.records.policy import (
    PolicyState,
    decode_policy_state,
    decode_statistics,
    encode_policy,
)
from stream_app.settings import Settings
from tests.stream_app.test_user_stage import ITEMS, NOW_MS, Record, World, event


def react(world: World, n: int, rng: random.Random) -> list[Record]:
    """Return what ten users do next: something new, or something with a slate that they have."""
    newest = {slate.user_id: slate for slate in map(decode_slate, world.slates)}
    records = []
    for k in range(10):
        user = f"u{k}"
        slate = newest.get(user)
        kind = rng.choice(["impression", "click", "purchase", "view", "dislike", "click"])
        if slate is not None and rng.random() < 0.7:
            position = rng.randrange(len(slate.items))
            named: dict[str, Any] = {"slate_id": slate.slate_id} if rng.random() < 0.5 else {}
            records.append(event(n + k, user, slate.items[position].item_id, kind, position=position, **named))
        else:
            records.append(event(n + k, user, f"i{rng.randrange(30)}"))
    return records


def live(crash_every: int) -> World:
    """Let ten users live for thirty commits; every ``crash_every``-th one is first lost in the middle."""
    world, rng = World(holdout_share=0.3), random.Random(6)  # noqa: S311 - shoppers, not secrets
    world.catalogue(ITEMS)
    for turn in range(30):
        records = react(world, 100 * turn, rng)
        if turn % crash_every == crash_every - 1:
            world.users.process(records[:7], NOW_MS)
            world.users.flush(NOW_MS)  # the transaction never committed
            world.open()
        world.users.process(records, NOW_MS)
        world.users.process(records[:3], NOW_MS)  # sent twice
        world.commit()
    return world


@pytest.mark.parametrize("crash_every", [3, 1])
def test_crashes_change_no_statistics(crash_every: int) -> None:
    """Statistics, pending slates and slates equal those of an uninterrupted run, byte for byte."""
    straight, crashed = live(100), live(crash_every)
    assert straight.user_store._pages == crashed.user_store._pages
    assert straight.slates == crashed.slates
    found = decode_statistics(straight.user_store.get_many([POLICY_KEY])[0] or b"")
    slates = [decode_slate(raw) for raw in straight.slates]
    for name, arm in found.arms.items():
        for group in arm.final:
            n = arm.final[group][0] + sum(row[0] for row in arm.open[group])
            assert n == sum(s.policy == name and s.group == group for s in slates)
    assert sum(row[1] for arm in found.arms.values() for rows in arm.open.values() for row in rows) > 1.0
    learned = [s for s in slates if s.group == "learned"]
    for name, arm in found.arms.items():
        assert arm.standing is not None
        total = np.sum([arm.standing.final, *arm.standing.open], axis=0)
        assert total[SLATES] == len(learned)
        assert total[W] == pytest.approx(sum(1 / s.policy_propensity for s in learned if s.policy == name))
        assert total[WR] > 0


def test_the_update_is_the_page() -> None:
    """What goes to the policy agent is what the partition keeps, in the same commit; nothing when nothing happened."""
    world = World()
    world.catalogue(ITEMS)
    world.users.process([event(k, f"u{k % 3}", f"i{k}") for k in range(12)], NOW_MS)
    world.commit()
    world.users.process([event(20, "u1", "i20")], NOW_MS)
    flush = world.commit()
    (update,) = [o for o in flush.outputs if o.topic == world.settings.topic_policy_updates]
    assert (update.key, update.partition) == (b"0", 0)
    assert update.value == world.user_store.get_many([POLICY_KEY])[0]
    quiet = world.users.flush(NOW_MS)
    assert not [o for o in quiet.outputs if o.topic == world.settings.topic_policy_updates]


def test_arms_may_come_and_go() -> None:
    """With other arms than before, those that are left keep their statistics; a new one starts with none."""
    world = live(100)
    before = world.users.policy.statistics().arms
    world.settings = world.settings.model_copy(update={"policy_arms": "greedy:temperature=0,epsilon=0; fresh"})
    world.open()
    after = world.users.policy.statistics().arms
    assert set(after) == {"greedy", "fresh"}
    assert after["greedy"] == before["greedy"]
    assert not np.any(after["fresh"].cells)
    assert after["fresh"].standing is not None
    assert not np.any([after["fresh"].standing.final, *after["fresh"].standing.open])
    world.users.process(react(world, 16_000, random.Random(1)), NOW_MS)  # noqa: S311 - shoppers, not secrets
    world.commit()


def test_a_lowered_cap_stays_the_bound_of_what_was_counted() -> None:
    """Rewards from before were held by the higher cap: statistics and policy go on saying that one."""
    world = live(100)
    for cap, bound in ((0.5, 3.0), (4.0, 4.0), (0.5, 4.0)):
        world.settings = world.settings.model_copy(update={"reward_cap": cap})
        world.open()
        world.users.process([event(16_000 + int(10 * cap + bound), "u1", "i1")], NOW_MS)
        world.commit()
        found = world.users.policy.statistics()
        assert found.reward_cap == bound
        assert make_state(world.settings, 1, [found]).reward_cap == bound
        before = msgspec.structs.replace(found, reward_cap=0.0)
        assert make_state(world.settings, 1, [before]).reward_cap == cap


def test_another_window_closes_all_periods() -> None:
    """Periods of another length are final at once: nothing is counted in the wrong one."""
    world = live(100)
    before = world.users.policy.statistics()
    world.settings = world.settings.model_copy(update={"attribution_window_ms": 3_600_000})
    world.open()
    after = world.users.policy.statistics()
    assert after.period == before.period * 24
    for name, arm in after.arms.items():
        for group in arm.final:
            wanted = np.sum([before.arms[name].final[group], *before.arms[name].open[group]], axis=0)
            np.testing.assert_allclose(arm.final[group], wanted)
            assert not np.any(arm.open[group])
        was, now = before.arms[name].standing, arm.standing
        assert was is not None
        assert now is not None
        np.testing.assert_allclose(now.final, np.sum([was.final, *was.open], axis=0))
        assert not np.any(now.open)
        assert now.since == was.since


@pytest.mark.parametrize("version", ["earlier", "later"])
def test_statistics_of_another_version(version: str) -> None:
    """Without standing sums, or with other ones, these begin anew; all else is taken up, and added up by the agent."""
    world = live(100)
    raw = world.user_store.get_many([POLICY_KEY])[0] or b""
    page = json.loads(raw)
    for arm in page["arms"].values():
        if version == "earlier":
            del arm["standing"]
        else:
            arm["standing"]["final"].append(1.0)
    other = json.dumps(page).encode()
    world.user_store.write([(POLICY_KEY, other)], position=1, checkpoint=None)
    world.open()
    before = decode_statistics(raw).arms
    after = decode_statistics(encode_policy(world.users.policy.statistics())).arms
    for name, arm in after.items():
        assert (arm.cells, arm.final, arm.open) == (before[name].cells, before[name].final, before[name].open)
        assert arm.standing is not None
        assert not np.any([arm.standing.since, *arm.standing.final])
    published = decode_policy_state(encode_state(world.settings, 1, [other]))
    assert [(arm.n, arm.estimates) for arm in published.standing] == [(0, [])] * len(world.settings.arms)
    assert sum(group.n_pending for group in published.groups) == len(world.slates)
    world.users.process(react(world, 16_000, random.Random(1)), NOW_MS)  # noqa: S311 - shoppers, not secrets
    world.commit()
    sums = world.users.policy.sums.standing
    assert all(sums.since > 16_000)
    assert 0 < sums.open[:, 0, SLATES].sum() <= 10


HALF_LIFE_DAYS = 5.0


def months() -> World:
    """Let ten users come once a day for a hundred days, some of them with a click on what they were shown."""
    world = World(policy_half_life_days=HALF_LIFE_DAYS, holdout_share=0.3)
    world.catalogue(ITEMS)
    for day in range(100):
        visit(world, day)
    return world


def visit(world: World, day: int) -> None:
    """Let ten users come on a day, and every third one click on the slate that answers."""
    now_ms = NOW_MS + (day - 200) * 86_400_000
    first = len(world.slates)
    world.users.process(
        [event(100 * day + k, f"u{k}", f"i{k + day % 20}", event_time_ms=now_ms) for k in range(10)], NOW_MS
    )
    world.commit()
    shown = [decode_slate(raw) for raw in world.slates[first:]]
    for k, s in enumerate(shown[::3]):
        named: dict[str, Any] = {"slate_id": s.slate_id, "position": 0, "event_time_ms": now_ms}
        world.users.process([event(100 * day + 50 + k, s.user_id, s.items[0].item_id, "click", **named)], NOW_MS)
    world.commit()


def weighed(world: World, half_life_days: float = HALF_LIFE_DAYS) -> dict[str, float]:
    """Return the number of each arm's slates, each weighed by its age against the newest one."""
    slates = [decode_slate(raw) for raw in world.slates]
    newest_ms = max(s.event_time_ms for s in slates)
    weights = [2.0 ** ((s.event_time_ms - newest_ms) / 86_400_000 / half_life_days) for s in slates]
    return {
        arm.name: sum(w for s, w in zip(slates, weights, strict=True) if s.policy == arm.name)
        for arm in world.settings.arms
    }


def published(world: World, *raws: bytes) -> dict[str, float]:
    """Return the arms' numbers of slates in the policy that follows from statistics."""
    return {arm.name: arm.n for arm in decode_policy_state(encode_state(world.settings, 1, raws)).arms}


def as_of(raw: bytes, days: float) -> bytes:
    """Return statistics as an earlier version left them: as of a time before that of the newest slate."""
    page = json.loads(raw)
    page["as_of_s"] -= round(days * 86_400)
    for arm in page["arms"].values():
        arm["cells"] = (np.array(arm["cells"]) * 2.0 ** (days / page["half_life_days"])).tolist()
    return json.dumps(page).encode()


def test_months_of_slates_count_by_their_age() -> None:
    """What the agent publishes of a partition is the number of its slates, each weighed by its age: no slate over 1."""
    world = months()
    raw = world.user_store.get_many([POLICY_KEY])[0] or b""
    found = published(world, raw)
    assert found == pytest.approx(weighed(world), rel=1e-9)
    assert sum(found.values()) < 20 * 1.1 * HALF_LIFE_DAYS / np.log(2)
    later = published(world, raw, as_of(raw.replace(b'"partition":0', b'"partition":1'), 0.0))
    assert later == pytest.approx({name: 2 * n for name, n in found.items()}, rel=1e-9)


@pytest.mark.parametrize("days", [0.5, 60.0])
def test_statistics_of_an_earlier_time(days: float) -> None:
    """Those that an earlier version left count by the newest period, and exactly from the next slate on."""
    world = months()
    raw = world.user_store.get_many([POLICY_KEY])[0] or b""
    old = as_of(raw, days)
    wanted, found = weighed(world), published(world, old)
    a_window = 2.0 ** (1 / HALF_LIFE_DAYS)
    assert all(wanted[name] * (1 - 1e-9) <= n <= wanted[name] * a_window for name, n in found.items())
    world.user_store.write([(POLICY_KEY, old)], position=1, checkpoint=world.checkpoints[0])
    world.open()
    assert published(world, encode_policy(world.users.policy.statistics())) == pytest.approx(found, rel=1e-9)
    visit(world, 100)
    raw = world.user_store.get_many([POLICY_KEY])[0] or b""
    assert published(world, raw) == pytest.approx(weighed(world), rel=1e-9)


@pytest.mark.parametrize("days", [0.0, 60.0])
def test_another_half_life_holds_from_the_restart_on(days: float) -> None:
    """What was observed before counts by the half-life of its time, and fades by the new one from then on."""
    world = months()
    before = weighed(world)
    old = as_of(world.user_store.get_many([POLICY_KEY])[0] or b"", days)
    world.user_store.write([(POLICY_KEY, old)], position=1, checkpoint=world.checkpoints[0])
    world.settings = world.settings.model_copy(update={"policy_half_life_days": 1.0})
    world.open()
    n_slates = len(world.slates)
    visit(world, 100)
    world.slates = world.slates[n_slates:]
    wanted = {name: n + before[name] / 2 for name, n in weighed(world, 1.0).items()}
    a_window = 1.0 if days == 0.0 else 2.0 ** (1 / HALF_LIFE_DAYS)
    found = published(world, world.user_store.get_many([POLICY_KEY])[0] or b"")
    assert all(wanted[name] / 2 <= n <= a_window * wanted[name] * (1 + 1e-9) for name, n in found.items())
    if days == 0.0:
        assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "of_holdout"),
    [
        ({"policy": "learned"}, "greedy"),
        ({"policy": "explore"}, "explore"),
        ({"policy": "explore", "holdout_policy": "greedy"}, "greedy"),
    ],
)
def test_an_arm_for_everybody_is_for_the_holdout_too(settings: dict[str, Any], of_holdout: str) -> None:
    """Unless the holdout has one of its own; where arms are learned it has the baseline."""
    world = World(holdout_share=0.5, **settings)
    world.catalogue(ITEMS)
    world.users.process([event(k, f"u{k}", f"i{k % 25}") for k in range(80)], NOW_MS)
    world.commit()
    arms: dict[str, set[str]] = {"learned": set(), "holdout": set()}
    for slate in map(decode_slate, world.slates):
        arms[slate.group].add(slate.policy)
    assert arms["holdout"] == {of_holdout}
    if settings["policy"] != "learned":
        assert arms["learned"] == {settings["policy"]}


def test_the_model_is_what_was_known_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slate is judged by the posterior that was published before it was made, whatever is published afterwards."""
    world = World(holdout_share=0.0)
    world.catalogue(ITEMS)
    view = world.users.policy._view
    world.users.process([event(k, f"u{k % 3}", f"i{k}") for k in range(12)], NOW_MS)
    world.commit()
    for model in (0.25, 0.75):
        means = np.full((N_CELLS, len(world.settings.arms)), model)
        monkeypatch.setattr(view, "_holding", view.holding._replace(cell_means=means))
        world.users.process([event(k, f"u{k}", f"i{k}") for k in range(int(100 * model), int(100 * model) + 5)], NOW_MS)
        world.commit()
    pages = world.users.table.pages[4].records
    assert set(pages["model"][pages["n"] > 0]) - {0.0} == {0.25, 0.75}


def test_a_forgotten_user_earns_nothing_any_more() -> None:
    """Pending slates go with the user; what they earned stays in the sums."""
    world = live(100)
    before = world.users.policy.statistics()
    newest = {slate.user_id: slate for slate in map(decode_slate, world.slates)}["u3"]
    learned = world.users.counters["n_events"]
    world.users.process([event(16_000, "u3", None, "forget")], NOW_MS)
    item = newest.items[0].item_id
    world.users.process([event(16_001, "u3", item, slate_id=newest.slate_id)], NOW_MS)
    assert (world.users.counters["n_forgotten"], world.users.counters["n_events"]) == (1, learned + 1)
    assert world.users.policy.statistics() == before


@pytest.mark.parametrize("slate_id", ["1-5", "0-", "0-x", "0--1", "0-99999999999999999999", "mine", "0-٣"])
def test_slates_of_others(slate_id: str) -> None:
    """An event that names a slate of another partition, or none of ours, is learned and earns nothing."""
    world = live(100)
    before = world.users.policy.statistics()
    newest = {slate.user_id: slate for slate in map(decode_slate, world.slates)}["u3"]
    item = newest.items[0].item_id
    learned = world.users.counters["n_events"]
    world.users.process([event(16_000, "u3", item, "purchase", slate_id=slate_id)], NOW_MS)
    assert world.users.counters["n_events"] == learned + 1
    assert world.users.policy.statistics() == before


def state(version: int, shares: dict[str, float]) -> PolicyState:
    """Return a policy with these shares in all cells."""
    made = make_state(Settings(), version, [])
    fields = json.loads(encode_policy(made))
    for arm in fields["arms"]:
        arm["shares"] = [shares[arm["name"]]] * len(fields["cells"])
        arm["cell_means"] = np.linspace(0.0, 1.0, N_CELLS).tolist()
    return decode_policy_state(json.dumps(fields).encode())


def test_the_view_follows_the_newest_policy() -> None:
    """Shares are by name; what cannot be read is passed over; an arm of one's own setting overrules all."""
    view = PolicyView(Settings())
    start = view.holding.shares
    np.testing.assert_allclose(start.sum(axis=1), 1.0)
    raw = encode_policy(state(7, {"greedy": 0.25, "explore": 0.25, "discover": 0.5}))
    view.apply([Record(b"policy", raw), Record(b"policy", b"{}"), Record(b"other", raw), Record(b"policy", None)])
    assert view.holding.version == 7
    np.testing.assert_allclose(view.holding.shares[0], [0.25, 0.25, 0.5])
    np.testing.assert_allclose(view.holding.cell_means[:, 2], np.linspace(0.0, 1.0, N_CELLS))
    some = PolicyView(Settings(policy_arms="new; discover; greedy"))
    some.apply([Record(b"policy", raw)])
    np.testing.assert_allclose(some.holding.shares[0], [0, 2 / 3, 1 / 3])
    np.testing.assert_allclose(some.holding.cell_means[-1], [0.0, 1.0, 1.0])
    fixed = PolicyView(Settings(policy="explore"))
    fixed.apply([Record(b"policy", raw)])
    assert (fixed.holding.version, fixed.version_seen) == (0, 7)
    np.testing.assert_allclose(fixed.holding.shares[0], [0, 1, 0])
    earlier = json.loads(raw)
    del earlier["standing"]
    for arm in earlier["arms"]:
        del arm["cell_means"]
    view.apply([Record(b"policy", json.dumps(earlier).encode())])
    assert view.holding.version == 7
    assert not view.holding.cell_means.any()
    for value in (b'{"x":' + b"[" * 60_000, b'{"format_version": "\xff"}'):
        view.apply([Record(b"policy", value)])
    assert view.holding.version == 7
    for arm in earlier["arms"]:
        arm["shares"].pop()
    view.apply([Record(b"policy", json.dumps(earlier).encode())])
    np.testing.assert_allclose(view.holding.shares, start)
    broken = encode_policy(state(8, {"greedy": 0.0, "explore": 0.0, "discover": 0.0}))
    view.apply([Record(b"policy", broken)])
    np.testing.assert_allclose(view.holding.shares, start)
