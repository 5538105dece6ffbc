"""River's factorizations as baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from stream_app.evaluation.baselines.factorized import biased_mf, funk_mf
from stream_app.evaluation.history import Before, UserHistory
from stream_app.records import Event
from tests.stream_app.evaluation.files_of import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.evaluation.baselines.factorized import RiverFactors


BEFORE = Before(
    item=0,
    category=0,
    context=(),
    context_categories=frozenset(),
    had=False,
    had_category=False,
    n_events=0,
    n_item_events=0,
)


def rating(number: int, user: str, item: int, stars: float) -> Event:
    """Return a rating."""
    return msgspec.convert(event(number, user, f"i{item}", type="rating", value=stars), Event)


def trained(model: RiverFactors) -> RiverFactors:
    """Let a model learn what ten users think of nine items."""
    for k in range(200):
        user, item = k % 10, k * 7 % 9
        model.learn(rating(k, f"u{user}", item, 1.0 + (user + item) % 5), item, UserHistory())
    return model


@pytest.mark.parametrize("make", [biased_mf, funk_mf])
def test_who_is_asked_about_changes_no_prediction(make: Callable[[int], RiverFactors]) -> None:
    """Users whom the model does not know get the popular items, and nothing is drawn for them."""
    asked, other = trained(make(3)), trained(make(3))
    ranked = list(asked.rank("new", UserHistory(), BEFORE, 0))
    assert sorted(ranked) == list(range(9))
    later = rating(300, "later", 2, 4.0)
    for model in (asked, other):
        model.learn(later, 2, UserHistory())
    for user in ("u1", "later"):
        about = rating(301, user, 4, 3.0)
        assert asked.stars(about, 4) == other.stars(about, 4)
