"""Slates of a trained user through the real kernel: logged propensities against an independent count and formula."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from numba import njit

from operators.arms import Arm
from operators.draw import draw_keys, greedy_choices, make_choices
from operators.params import SlateParams
from operators.rank import gather, score_all
from operators.slate import pick
from state.memory_store import MemoryPageStore
from stream_app.item_stage import ItemProcessor
from stream_app.replica import Replica
from stream_app.settings import Settings
from stream_app.user_stage import UserProcessor
from tests.operators.chi_square import chi_square_z

if TYPE_CHECKING:
    from state.arrays import Rows

NOW_MS = 1_700_000_000_000


class Record(msgspec.Struct):
    """A record as a consumer hands it over."""

    key: bytes | None
    value: bytes | None
    offset: int = 0
    timestamp: int = NOW_MS


@dataclass
class Context:
    """A user's scored candidates, as the kernel sees them when it fills a slate."""

    users: Any
    u: int
    entities: Any
    work: Any
    n: int
    now_s: int

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return logits, categories, whether the user had it, and whether it may be shown, per candidate."""
        rows = self.work.candidates["row"][: self.n]
        category = self.entities.category[rows]
        where = self.work.category_position[category]
        inside = (where >= 0) & (self.work.category_features[where, 10] > 0)
        may = (self.entities.available[rows] > 0) & ~inside
        return self.work.scored[: self.n].copy(), category, self.work.candidates["had"][: self.n] > 0, may

    def draw(self, choices: Rows, params: SlateParams) -> tuple[np.ndarray, np.ndarray]:
        """Return candidate numbers (-1 where a slot stays empty) and propensities of one slate per choice."""
        out = np.full((choices.size, 10), -1, np.int32)
        propensities = np.zeros((choices.size, 10))
        _pick_all(self.users, self.u, self.entities, self.work, self.n, self.now_s, params, choices, out, propensities)
        return out, propensities


@njit
def _pick_all(users, u, entities, work, n, now_s, params, choices, out, propensities):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - numba infers them
    for k in range(choices.shape[0]):
        pick(users, u, entities, work, n, now_s, params, choices[k], out[k], propensities[k])


@pytest.fixture(scope="module", params=[7, 14, 28], ids=lambda n_aisles: f"{n_aisles} aisles")
def context(request: pytest.FixtureRequest) -> Context:
    """Return the candidates of one of forty users after 1,500 events in a shop of 140 items, four out of stock."""
    settings = Settings()
    replica = Replica(settings)
    users = UserProcessor(settings, 0, 1, 1, MemoryPageStore(), replica)
    items = ItemProcessor(settings, 0, 1, MemoryPageStore())
    catalogue = [
        {"item_id": f"i{k}", "category": ["shop", f"aisle-{k % request.param}"], "available": k % 35 != 0}
        for k in range(140)
    ]
    replica.apply_catalog([Record(str(c["item_id"]).encode(), json.dumps(c).encode()) for c in catalogue])
    rng = random.Random(5)  # noqa: S311 - shoppers, not secrets
    events = []
    for n in range(1500):
        u = n // 5 % 40
        event = {
            "event_id": f"e{n}",
            "type": "purchase",
            "user_id": f"u{u}",
            "item_id": f"i{(u * 7 + rng.randrange(70)) % 140}",
            "event_time_ms": NOW_MS - 10**9 + n * 60_000,
            "session_id": f"s{n // 5}",
        }
        events.append(Record(f"u{u}".encode(), json.dumps(event).encode(), offset=n))
    for start in range(0, 1500, 100):
        users.process(events[start : start + 100], NOW_MS)
        flush = users.flush(NOW_MS)
        users.committed()
        updates = [o for o in flush.outputs if o.topic == settings.topic_item_updates]
        items.process([Record(o.key, o.value) for o in updates], NOW_MS)
        pages = items.flush(NOW_MS).pages
        items.committed()
        replica.apply_items([Record(key, value) for key, value in pages])
    u = int(users.table.index.rows[users.table.index.rows >= 0][0])
    arrays, entities, work = users._users(), replica.entities(), users._work
    now_s = int(users.table.headers.records[u]["last_s"])
    n, _, n_context, _ = gather(arrays, u, entities, users.globals[0], work, now_s, users._learn)
    score_all(arrays, u, entities, users.globals[0], work, n, n_context, now_s)
    return Context(arrays, u, entities, work, n, now_s)


def cap_in_force(context: Context, arm: Arm, size: int = 10) -> int:
    """Return the cap, or twice the even share of the categories that may be shown; no slot is a large one."""
    _, category, _, may = context.arrays()
    return max(arm.category_cap, math.ceil(2 * size / np.unique(category[may]).size)) if arm.category_cap else size


def probabilities(context: Context, arm: Arm, taken: list[int], size: int = 10) -> np.ndarray:
    """Return the probability of each candidate for the slot after those taken, from the rules as they are written."""
    logits, category, had, may = context.arrays()
    if arm.discovery_slots and 2 * (~had[taken]).sum() < size:
        logits[~had] += np.float32(math.log(SlateParams().discovery_worth))
    eligible = may.copy()
    eligible[taken] = False
    cap = cap_in_force(context, arm, size)
    n_taken = Counter(category[taken].tolist())
    eligible &= np.array([n_taken[c] < cap for c in category.tolist()])
    n_new = sum(not had[k] for k in taken)
    if size - len(taken) <= arm.discovery_slots - n_new and (eligible & ~had).any():
        eligible &= ~had
    p = np.zeros(logits.size)
    if not eligible.any():
        return p
    z = (logits[eligible].astype(np.float64) - logits[eligible].max()) / arm.temperature
    p[eligible] = (1 - arm.epsilon) * np.exp(z) / np.exp(z).sum() + arm.epsilon / eligible.sum()
    return p


def choices(arm: Arm, n: int) -> Rows:
    """Return ``n`` choices of an arm, with the keys of ``n`` offsets."""
    keys = draw_keys(0, np.full(n, 42, np.uint64), 0, np.arange(n, dtype=np.uint64))
    return make_choices((arm,), np.zeros(n, np.int32), keys)


ARMS = [
    Arm("explore"),
    Arm("wide", temperature=1.0, epsilon=0.2, discovery_slots=4, category_cap=1),
    Arm("free", temperature=0.3, epsilon=0.0, discovery_slots=0, category_cap=0),
]


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_logged_propensities_are_those_of_the_rules(context: Context, arm: Arm) -> None:
    """Each slot's propensity is the formula's over the set that the rules leave after the slots before it."""
    out, logged = context.draw(choices(arm, 300), SlateParams())
    had = context.arrays()[2]
    assert 0 < had.sum() < context.n
    for slate, propensities in zip(out.tolist(), logged, strict=True):
        n = 10 - slate.count(-1)
        assert len(set(slate[:n])) == n > 5
        assert n == 10 or not probabilities(context, arm, slate[:n]).any()
        for m in range(n):
            p = probabilities(context, arm, slate[:m])
            assert np.isclose(propensities[m], p[slate[m]], rtol=1e-9)
            assert np.isclose(p.sum(), 1.0)
        assert n < 10 or sum(not had[k] for k in slate) >= arm.discovery_slots


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_frequencies_match_the_logged_propensities(context: Context, arm: Arm) -> None:
    """Over 200,000 slates of one context: the first slot, and the next ones given the likeliest ones before them."""
    out, _ = context.draw(choices(arm, 200_000), SlateParams(size=3))
    left = out
    taken: list[int] = []
    while left.shape[0] > 1000 and len(taken) < 3:
        m = len(taken)
        counts = np.bincount(left[:, m], minlength=context.n)
        expected = probabilities(context, arm, taken, size=3) * left.shape[0]
        assert chi_square_z(counts, expected) < 4.0
        assert not counts[expected == 0].any()
        taken.append(int(counts.argmax()))
        left = left[left[:, m] == taken[-1]]
    assert len(taken) >= 2


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_no_category_takes_more_than_the_cap_in_force(context: Context, arm: Arm) -> None:
    """Slates are full however few categories there are; where there are enough of them, the cap is the one set."""
    _, category, _, may = context.arrays()
    out, _ = context.draw(choices(arm, 300), SlateParams())
    assert (out >= 0).all()
    most = max(max(Counter(slate).values()) for slate in category[out].tolist())
    n_categories = np.unique(category[may]).size
    assert most <= cap_in_force(context, arm)
    if arm.category_cap * n_categories >= 20:
        assert most <= arm.category_cap
    elif arm.category_cap:
        assert n_categories < 10 or arm.category_cap == 1
        assert most > arm.category_cap


def test_what_is_new_may_count_more(context: Context) -> None:
    """The more a discovery is worth, the more of them are on a slate; not so of an arm without discovery slots."""
    had = context.arrays()[2]
    numbers = []
    for worth in (0.5, 1.0, 2.0, 10.0):
        params = SlateParams(discovery_worth=worth)
        out, _ = context.draw(greedy_choices(1, params), params)
        numbers.append(sum(not had[k] for k in out[0].tolist()))
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]
    without = [SlateParams(discovery_slots=0, discovery_worth=worth) for worth in (1.0, 10.0)]
    assert (
        context.draw(greedy_choices(1, without[0]), without[0])[0]
        == context.draw(greedy_choices(1, without[1]), without[1])[0]
    ).all()


def test_greedy_is_the_best_of_what_the_rules_leave(context: Context) -> None:
    """Without exploration each slot holds the highest logit that is eligible, with propensity 1."""
    params = SlateParams()
    out, logged = context.draw(greedy_choices(1, params), params)
    arm = Arm("cold", temperature=1e-6, epsilon=0.0)
    for m, at in enumerate(out[0].tolist()):
        assert at == int(np.argmax(probabilities(context, arm, out[0, :m].tolist())))
    assert (logged == 1.0).all()
