"""What content vectors say of a taste: the numbers that a plain computation gives, and none for who has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings

from operators.arrays import N_ATTRIBUTE_NUMBERS, N_CONTENT
from operators.features import FEATURES, fill_features
from operators.numeric import decay
from operators.params import AFFINITY_PRIOR, CONTENT_TABLES, CONTENT_VALUES, SLOW_DAYS
from state.layout import FLAG_DISLIKED, N_USER_SLOTS
from tests.operators.world import HISTORIES, N_ITEMS, Gathered, Step, World, is_clear, no_nan, shoppers

NEAR, DIRECTION = 51, 52


def embedded_world(history: list[Step], *, dims: int = 6) -> World:
    """Return a world whose items have content vectors, every fifth one of another length, every seventh none."""
    world = World()
    rng = np.random.default_rng(3)
    for item in range(N_ITEMS):
        vector = rng.normal(size=dims if item % 5 else dims + 3).tolist()
        world.catalogue([item], **({"embedding": vector} if item % 7 else {}))
    world.live(history)
    return world


def counts_of(found: Gathered) -> np.ndarray:
    """Return the user's slow counts per value of each byte, shape ``(CONTENT_TABLES, CONTENT_VALUES)``."""
    header, serving = found.users.headers[found.u], found.entities.serving
    counts = np.zeros((CONTENT_TABLES, CONTENT_VALUES))
    at, left = int(header["heads"][0]), int(header["n_items"])
    while at > 0 and left > 0:
        page = found.users.items[at]
        for k in range(min(N_USER_SLOTS, left)):
            row = int(page["entity"][k])
            known = row > 0 and found.entities.category[row] >= 0 and serving["embedded"][row]
            if known and not page["flags"][k] & FLAG_DISLIKED:
                passed = found.now_s - float(page["last_s"][k])
                slow = page["slow"][k] / 256 * decay(passed, SLOW_DAYS)
                counts[np.arange(CONTENT_TABLES), serving["signature"][row]] += slow
        left, at = left - N_USER_SLOTS, int(page["next"])
    return counts


def affinities(counts: np.ndarray, totals: np.ndarray, signature: np.ndarray) -> tuple[float, float]:
    """Return both affinities of a signature, as the documentation defines them."""
    by_value, by_bit = totals[:N_CONTENT].reshape(CONTENT_TABLES, CONTENT_VALUES), totals[N_CONTENT:].reshape(-1, 8)
    taken, everybody = counts[0].sum(), by_value[0].sum()
    near = direction = 0.0
    for t, value in enumerate(signature.tolist()):
        share = (by_value[t, value] + 0.1) / (everybody + 0.1 * CONTENT_VALUES)
        near += math.log((counts[t, value] + AFFINITY_PRIOR * share) / ((taken + AFFINITY_PRIOR) * share))
        for b in range(8):
            has = value >> b & 1
            alike = [v for v in range(CONTENT_VALUES) if v >> b & 1 == has]
            share = (by_bit[t, b] + 1.0) / (everybody + 2.0)
            share = share if has else 1.0 - share
            total = (taken + AFFINITY_PRIOR) * share
            direction += math.log((counts[t, alike].sum() + AFFINITY_PRIOR * share) / total)
    return near / CONTENT_TABLES, direction / CONTENT_TABLES


@settings(max_examples=40)
@given(HISTORIES)
def test_affinities_are_what_they_say(history: list[Step]) -> None:
    """Both features of a new item are those of a plain computation; others have 0; nothing is left behind."""
    world = embedded_world([*history, *shoppers(16, 2)])
    work = world.new_work()
    for user in world.known_users():
        with world.gathered(user, work) as found:
            assert is_clear_of_content(found)
            every = np.arange(found.n, dtype=np.int32)
            fill_features(found.users, found.u, found.entities, work, every, found.n_context, found.now_s)
            x = work.features[: found.n].copy()
            counts = counts_of(found)
            totals = found.entities.attribute_totals[N_ATTRIBUTE_NUMBERS:].copy()
            for k, row in enumerate(found.rows):
                line = found.entities.serving[row]
                new = line["embedded"] and not work.candidates["had"][k]
                wanted = affinities(counts, totals, line["signature"]) if new else (0.0, 0.0)
                assert x[k, [NEAR, DIRECTION]] == pytest.approx(wanted, rel=1e-3, abs=1e-3)
            assert no_nan(x)
        assert is_clear(work)
    assert FEATURES.index("content, near") < FEATURES.index("content, direction")


def is_clear_of_content(found: Gathered) -> bool:
    """Tell whether the counts of signatures are clear."""
    return not found.work.attribute_counts[N_ATTRIBUTE_NUMBERS:].any()
