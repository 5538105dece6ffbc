"""Worlds of a few slates, all of them listed: the value of a policy is a sum, and logs are drawn from a table."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.ope import SlateLog, slate_log

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

N_CONTEXTS = 3
N_SLOTS = 3


@dataclass(frozen=True)
class World:
    """All slates of every context, with what happens at each slot.

    All arrays have the shape ``(n_contexts, n_slates, n_slots)``: the probability of the slot given those above it,
    under both policies; its expected reward; a model's opinion of it, and that opinion's mean under the target.
    """

    logging: Floats
    target: Floats
    reward: Floats
    q_logged: Floats
    q_target: Floats

    @property
    def value(self) -> float:
        """What the target policy earns per slate."""
        return float(np.sum(self.target.prod(2) * self.reward.sum(2)) / len(self.target))

    def draw(self, rng: np.random.Generator, n_slates: int) -> SlateLog:
        """Return a log of the logging policy."""
        context = rng.integers(0, len(self.logging), n_slates)
        joint = np.cumsum(self.logging.prod(2), axis=1)
        joint[:, -1] = 1.0
        at = rng.random(n_slates)
        shown = np.zeros(n_slates, np.int64)
        for c, sums in enumerate(joint):
            shown[context == c] = np.searchsorted(sums, at[context == c])
        n_slots = self.logging.shape[2]
        picked = [table[context, shown].ravel() for table in (self.logging, self.target, self.q_logged, self.q_target)]
        reward = rng.random(n_slates * n_slots) < self.reward[context, shown].ravel()
        return slate_log(
            np.repeat(np.arange(n_slates), n_slots),
            np.tile(np.arange(n_slots), n_slates),
            picked[0],
            picked[1],
            reward,
            q_logged=picked[2],
            q_target=picked[3],
        )


def independent_world(seed: int = 0, n_items: int = 5, n_slots: int = N_SLOTS, apart: float = 1.0) -> World:
    """Return a world where slots are filled independently, and a slot's reward depends on its own item.

    Parameters
    ----------
    seed, n_items, n_slots
        Of the tables.
    apart
        How far the policies are from each other; 0 makes them equal.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(0.0, 0.7, (N_CONTEXTS, n_slots, n_items))
    logging = _softmax(base)
    target = _softmax(base + apart * rng.normal(0.0, 1.0, base.shape))
    reward = rng.uniform(0.05, 0.5, base.shape)
    model = reward * rng.uniform(0.5, 1.5, base.shape)
    slates = np.array(list(itertools.product(range(n_items), repeat=n_slots)))
    slots = np.arange(n_slots)

    def of_slates(table: Floats) -> Floats:
        return np.stack([one[slots, slates] for one in table])

    expected = np.broadcast_to((target * model).sum(2)[:, None, :], (N_CONTEXTS, len(slates), n_slots))
    return World(of_slates(logging), of_slates(target), of_slates(reward), of_slates(model), np.array(expected))


def cascade_world(seed: int = 0, n_items: int = 6, apart: float = 0.6) -> World:
    """Return a world of Plackett-Luce slates whose users stop at the first item they like.

    The model of each slot counts the slots below it too, under the target policy, with an error of up to 40 %.
    """
    rng = np.random.default_rng(seed)
    base = rng.normal(0.0, 0.5, (N_CONTEXTS, n_items))
    liked = rng.uniform(0.1, 0.5, (N_CONTEXTS, n_items))
    weights = np.exp(base), np.exp(base + apart * rng.normal(0.0, 1.0, base.shape))
    slates = np.array(list(itertools.permutations(range(n_items), N_SLOTS)))
    tables = [np.zeros((N_CONTEXTS, len(slates), N_SLOTS)) for _ in range(5)]
    error = rng.uniform(0.6, 1.4, (N_CONTEXTS, n_items))
    for c in range(N_CONTEXTS):
        for s, slate in enumerate(slates.tolist()):
            for k, item in enumerate(slate):
                above = slate[:k]
                for table, weight in zip(tables, weights, strict=False):
                    table[c, s, k] = weight[c, item] / (weight[c].sum() - weight[c, above].sum())
                tables[2][c, s, k] = liked[c, item] * np.prod(1.0 - liked[c, above])
                tables[3][c, s, k] = error[c, item] * _to_go(liked[c], weights[1][c], [*above, item])
                tables[4][c, s, k] = sum(
                    weights[1][c, other]
                    / (weights[1][c].sum() - weights[1][c, above].sum())
                    * error[c, other]
                    * _to_go(liked[c], weights[1][c], [*above, other])
                    for other in range(n_items)
                    if other not in above
                )
    return World(*tables)


def _to_go(liked: Floats, weight: Floats, shown: list[int]) -> float:
    """Return the expected reward of the last shown slot and of those below it, under the target policy."""
    now = float(liked[shown[-1]] * np.prod(1.0 - liked[shown[:-1]]))
    if len(shown) == N_SLOTS:
        return now
    left = [item for item in range(len(liked)) if item not in shown]
    total = sum(weight[item] for item in left)
    return now + sum(float(weight[item] / total) * _to_go(liked, weight, [*shown, item]) for item in left)


def _softmax(logits: Floats) -> Floats:
    weights = np.exp(logits)
    return np.asarray(weights / weights.sum(-1, keepdims=True))
