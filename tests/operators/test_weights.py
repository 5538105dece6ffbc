"""Start weights are finite and shared by nobody; the numbering of weights is one of all of them, later ones last."""

import numpy as np

from operators.weights import (
    ACTIVE,
    COLUMN,
    GLOBALS,
    HAD_ONLY,
    N_BEFORE,
    N_BLEND,
    N_COLUMNS,
    N_FIRST,
    N_PLAIN,
    N_RING,
    OF_NEW,
    SQUARE,
    new_globals,
)
from tests.operators.world import no_nan


def test_start_weights_are_finite_and_steps_defined() -> None:
    """Every weight is finite, no information is there, the ring is empty; two calls share nothing."""
    first, second = new_globals(), new_globals()
    assert first.dtype == GLOBALS
    assert no_nan(first["blend"], first["category"])
    assert not first["blend_gram"].any()
    assert not first["category_gram"].any()
    assert first["ring"].shape == (1, N_RING)
    assert first["ring_n"][0] == 0
    first["blend"] += 1
    assert not np.array_equal(first["blend"], second["blend"])


def test_each_plain_feature_has_one_weight_and_at_most_one_of_its_square() -> None:
    """The columns in memory hold all of them."""
    plain, squares = COLUMN[SQUARE == 0], COLUMN[SQUARE == 1]
    assert sorted(plain.tolist()) == list(range(N_PLAIN))
    assert len(set(squares.tolist())) == squares.size
    assert N_PLAIN <= N_COLUMNS
    assert N_COLUMNS % 8 == 0


def test_the_optimiser_works_on_each_weight_that_can_be_other_than_zero() -> None:
    """All of items that the user had; of others all but those of features that these do not have. Each once."""
    had, new = ACTIVE[ACTIVE < N_BLEND], ACTIVE[ACTIVE >= N_BLEND] - N_BLEND
    assert len(set(ACTIVE.tolist())) == ACTIVE.size
    assert set(new.tolist()) == {k for k in range(N_BLEND) if COLUMN[k] not in HAD_ONLY}
    assert set(range(N_FIRST)) <= set(had.tolist())
    assert set(OF_NEW.tolist()) == {k for k in new.tolist() if k < N_BEFORE}
