"""How features and weights are numbered, and the record of what a partition learns of ranking."""

import numpy as np

from state.arrays import Rows
from state.layout import N_SLATE

N_PLAIN = 55
"""Features of the blend that are no squares of others."""
N_PLAIN_BEFORE = 54
"""The first so many of them, without the co-occurrence with the latest items, which came later."""
N_REACTED = 51
"""The first so many of them, which reactions correct: all but those of content vectors and of new items."""
_SQUARED = np.array([*range(11), 13, *range(16, 21), 22, *range(24, 34), 35, *range(42, 51)])
COLUMN = np.array([*range(N_REACTED), *_SQUARED, 51, 52, 53, 51, 52, 54, 54])
"""Which feature each weight of the blend is for."""
SQUARE = np.array([*(0,) * N_REACTED, *(1,) * _SQUARED.size, 0, 0, 0, 1, 1, 0, 1])
"""Whether it is for the feature's square: those that take many values have two weights."""
N_FIRST = N_REACTED + _SQUARED.size
"""The first so many weights of a head, which a partition's first page holds: all but those of :data:`N_REACTED` on."""
N_BEFORE = N_FIRST + 5
"""The first so many, of before the co-occurrence with the latest items was a feature: its weights have another page."""
N_COLUMNS = 56
"""Columns of the features in memory: the plain ones, and zeros up to a multiple of eight."""
N_LOGS, N_LOGS_HAD = 7, 11
"""Logarithms among the features of every candidate, and of one that the user had besides."""
N_BLEND = COLUMN.size
"""Weights of the blend, per head."""
HAD_ONLY = np.array([0, 1, *range(16, 21), *range(23, 28), *range(32, 36), 36, 37, 38, 41, 47, 48])
"""Features that are 0 for items that the user never had; those of content vectors and new items are so for others."""
_ACTIVE = [*range(N_FIRST), *(N_BLEND + k for k in range(N_FIRST) if COLUMN[k] not in HAD_ONLY)]
N_FIRST_ACTIVE = len(_ACTIVE)
N_BEFORE_ACTIVE = N_FIRST_ACTIVE + N_BEFORE - N_FIRST
ACTIVE = np.array(
    [
        *_ACTIVE,
        *range(N_BLEND + N_FIRST, N_BLEND + N_BEFORE),
        *range(N_BEFORE, N_BLEND),
        *range(N_BLEND + N_BEFORE, 2 * N_BLEND),
    ]
)
"""The weights that can be other than 0, numbered through both heads: what the optimiser works on.

Those of later features come last, so that the matrix of before there were any is the beginning of the matrix.
"""
OF_NEW = ACTIVE[(ACTIVE >= N_BLEND) & (ACTIVE < N_BLEND + N_BEFORE)] - N_BLEND
"""Weights of items that the user never had which :mod:`operators.discovery` corrects: all but those that came last."""
N_DISCOVERY = OF_NEW.size + 1
"""Weights of that correction: those, and one of the blend's logit."""
N_HIDDEN = 32
"""Hidden units of :mod:`operators.perceptron`."""
N_NETWORK = N_PLAIN + 2
"""Rows of its weights: those of the plain features, and two more."""
N_CATEGORY_VECTORS = 256
"""Vectors of its output that categories are hashed to: with more categories some share one."""
OF_ONE, OF_NONE, OF_HAD = 21, N_PLAIN, N_PLAIN + 1
"""Rows of them: of the feature that is always 1, of the column that is 0, and of an item that the user had."""
_NETWORK_SEED = 7
N_REACTION_PLACES = N_SLATE
N_REACTION = 2 * N_REACTED + 2 + N_REACTION_PLACES
"""Weights of :mod:`operators.reactions`: both heads without squares, slates in a row, places."""
N_CATEGORY = 16
"""Features of the category model."""
N_RING = 128
"""Recent positives kept as a source of negatives."""

GLOBALS = np.dtype(
    [
        ("blend", "<f4", (2, N_BLEND)),
        ("blend_gram", "<f4", (ACTIVE.size * (ACTIVE.size + 1) // 2,)),
        ("blend_pending", "<f4", (ACTIVE.size + 1,)),
        ("category", "<f4", (N_CATEGORY,)),
        ("category_gram", "<f4", (N_CATEGORY * (N_CATEGORY + 1) // 2,)),
        ("category_pending", "<f4", (N_CATEGORY + 1,)),
        ("ring", "<u8", (N_RING,)),
        ("ring_n", "<u4"),
        ("draws", "<u8"),
        ("reaction", "<f4", (N_REACTION,)),
        ("reaction_gram", "<f4", (N_REACTION * (N_REACTION + 1) // 2,)),
        ("reaction_pending", "<f4", (N_REACTION + 1,)),
        ("discovery", "<f4", (N_DISCOVERY,)),
        ("discovery_gram", "<f4", (N_DISCOVERY * (N_DISCOVERY + 1) // 2,)),
        ("discovery_pending", "<f4", (N_DISCOVERY + 1,)),
        ("network", "<f4", (N_NETWORK, N_HIDDEN)),
        ("network_sq", "<f4", (N_NETWORK, N_HIDDEN)),
        ("network_out", "<f4", (2, N_HIDDEN)),
        ("network_out_sq", "<f4", (2, N_HIDDEN)),
        ("network_n", "<u4"),
        ("network_gate", "<f4", (2,)),
        ("network_category", "<f4", (N_CATEGORY_VECTORS, N_HIDDEN)),
        ("network_category_sq", "<f4", (N_CATEGORY_VECTORS,)),
        ("mean_network", "<f4", (N_NETWORK, N_HIDDEN)),
        ("mean_network_out", "<f4", (2, N_HIDDEN)),
    ]
)
"""What a partition learns for all of its users: weights of both heads, of the category model, recent positives, what
reactions to slates taught, what first times did (``discovery``), the perceptron with the mean squares of its
gradients (``network``), what categories add to its output, and the mean of its weights over time: the fields of these
five are pages of their own."""


def new_globals() -> Rows:
    """Return the start values: some weight on one's own slow counts, on popularity and on co-occurrence.

    The perceptron's hidden units are drawn, always the same ones; its outputs have no weight yet.
    """
    out = np.zeros(1, GLOBALS)
    blend = out["blend"][0]
    blend[0, 0] = 0.3
    blend[:, [4, 6, 7]] = 0.3
    blend[:, 2] = 0.2
    out["category"][0, 2] = 0.3
    out["category"][0, 7] = 0.3
    out["category"][0, 8] = 0.3
    drawn = np.random.default_rng(_NETWORK_SEED).standard_normal((N_NETWORK, N_HIDDEN)) / np.sqrt(N_PLAIN)
    drawn[[OF_ONE, OF_NONE]] = 0.0
    out["network"] = drawn
    out["network_gate"][0, 0] = 1.0
    out["mean_network"] = out["network"]
    return out
