"""The head that predicts stars: what it makes of few ratings, of attributes, and of forgotten users."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stream_app.evaluation.ratings import RatingMeasures
from stream_app.evaluation.stars import FIRST_GUESS, StarsHead
from stream_app.evaluation.table import ratings_rows
from stream_app.records import Event, LocalRecord
from stream_app.replica import Replica
from stream_app.settings import Settings
from tests.stream_app.evaluation.files_of import event

N_ITEMS = 40


def head() -> StarsHead:
    """Return a head over a catalogue whose items have one of two tags, in turn; nobody has learned anything."""
    replica = Replica(Settings())
    entries: list[dict[str, Any]] = [
        {"item_id": f"i{k}", "category": ["films"], "tags": [("calm", "loud")[k % 2]]} for k in range(N_ITEMS)
    ]
    replica.apply_catalog([LocalRecord(e["item_id"].encode(), msgspec.json.encode(e)) for e in entries])
    return StarsHead(replica)


def rating(number: int, user: str, item: str, stars: float) -> Event:
    """Return a rating."""
    return msgspec.convert(event(number, user, item, type="rating", value=stars), Event)


def test_the_first_ratings() -> None:
    """The first one is a guess; an item or a user with few ratings is near the mean of all."""
    found = head()
    assert found.predict_and_learn(rating(0, "u", "i1", 5)) == FIRST_GUESS
    for k in range(40):
        found.predict_and_learn(rating(k, f"v{k}", f"i{k}", 2 + 2 * (k // 2 % 2)))
    assert found.predict_and_learn(rating(50, "new", "unknown", 3)) == pytest.approx(3.0, abs=0.3)


def test_what_a_user_likes_of_a_kind() -> None:
    """Users who rate loud films high and calm ones low are foreseen to do so with a film that is new to them."""
    found = head()
    for k in range(1_500):
        item = k * 7 % (N_ITEMS - 2)
        likes_loud = k % 3 == 0
        found.predict_and_learn(rating(k, f"u{k % 9}", f"i{item}", 5 if (item % 2 == 1) == likes_loud else 1))
    calm, loud = f"i{N_ITEMS - 2}", f"i{N_ITEMS - 1}"
    assert found.predict_and_learn(rating(2_000, "u0", loud, 5)) > 4.0
    assert found.predict_and_learn(rating(2_001, "u0", calm, 1)) < 2.0
    assert found.predict_and_learn(rating(2_002, "u1", calm, 5)) > 4.0


def test_a_forgotten_user_begins_anew() -> None:
    """After forget a user is foreseen as one who was never there."""
    found = head()
    for k in range(60):
        found.predict_and_learn(rating(k, "hard", f"i{k % N_ITEMS}", 1))
        found.predict_and_learn(rating(k, f"u{k}", f"i{k % N_ITEMS}", 4))
    before = found._raters["hard"]
    found.forget("hard")
    assert before.offset.shrunk < -1.0
    forgotten = found.predict_and_learn(rating(100, "hard", "i1", 4))
    found.forget("hard")
    assert forgotten > 2.0
    assert found.predict_and_learn(rating(100, "never seen", "i1", 4)) == pytest.approx(forgotten, abs=0.2)


def test_what_is_undefined_has_no_value() -> None:
    """Where all ratings are liked, or none is, there is no ROC AUC; where none is, no recall."""
    liked, disliked = RatingMeasures(), RatingMeasures()
    for k in range(40):
        liked.add(f"u{k}", 5.0, 4.5)
        disliked.add(f"u{k}", 1.0, 2.0)
    found = liked.summary()
    assert found is not None
    assert (found["roc_auc"], found["recall"], found["precision"], found["f1"]) == (None, 1.0, 1.0, 1.0)
    found = disliked.summary()
    assert found is not None
    assert (found["roc_auc"], found["recall"], found["precision"], found["f1"]) == (None, None, None, None)
    assert found["accuracy"] == 1.0
    result = {"models": {"m": {"ratings": found}}}
    assert ratings_rows(result)[0][-4:] == ["-", "-", "-", "-"]
