"""Makes an events and a catalogue file from the MovieLens 100K ratings.

The data lies inside the PyPI package ``recbole``. Its times are of 1997 and 1998, before those that an event may have,
so they are moved by twenty years of 365 days. A user rates many films in one second: their order is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stream_app.dataset.files import Contents
from stream_app.dataset.order import drawn_order
from stream_app.dataset.wheels import Wheel, read_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

WHEELS: Final = (Wheel("recbole", "1.2.1", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"),)

_FOLDER = "recbole/dataset_example/ml-100k/ml-100k"
_USER, _ITEM, _STARS, _TIME_S = "user_id:token", "item_id:token", "rating:float", "timestamp:float"
_TITLE, _YEAR, _GENRES = "movie_title:token_seq", "release_year:token", "class:token_seq"
_MOVED_MS = 20 * 365 * 86_400_000
_UNKNOWN = "unknown"


def read_movielens(wheels: Sequence[Path], *, seed: int = 0, limit: int | None = None) -> Contents:
    """Return the ratings and all films.

    Parameters
    ----------
    wheels
        The file of `WHEELS`.
    seed
        Seed of the order of a user's ratings of the same second, at least 0.
    limit
        Only so many ratings, the earliest; all of them if None.

    Raises
    ------
    DatasetError
        The wheel holds other data.
    """
    (wheel,) = wheels
    columns = {_USER: pa.int64(), _ITEM: pa.int64(), _STARS: pa.float64(), _TIME_S: pa.float64()}
    ratings = read_table(wheel, f"{_FOLDER}.inter", columns, delimiter="\t")
    order = drawn_order(seed, ratings[_TIME_S].to_numpy(), ratings[_USER].to_numpy())
    ratings = ratings.take(pa.array(order)).slice(0, limit)
    columns = {_ITEM: pa.int64(), _TITLE: pa.string(), _YEAR: pa.string(), _GENRES: pa.string()}
    films = read_table(wheel, f"{_FOLDER}.item", columns, delimiter="\t")
    return Contents(
        events=_events(ratings),
        catalog=list(_catalog(films)),
        n_events=ratings.num_rows,
        n_users=len(pc.unique(ratings[_USER])),
        n_items=len(pc.unique(ratings[_ITEM])),
        readme="movielens.md",
        counts={},
        seed=seed,
        limit=limit,
    )


def _events(ratings: pa.Table) -> Iterator[dict[str, Any]]:
    time_ms = (ratings[_TIME_S].to_numpy() * 1_000).astype(np.int64) + _MOVED_MS
    columns = (ratings[name].to_pylist() for name in (_USER, _ITEM, _STARS))
    for number, (user, item, stars, at_ms) in enumerate(zip(*columns, time_ms.tolist(), strict=True), 1):
        yield {
            "event_id": f"ml-{number:06d}",
            "type": "rating",
            "user_id": str(user),
            "item_id": str(item),
            "event_time_ms": at_ms,
            "value": stars,
        }


def _catalog(films: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the films by id. The first of the genres stands for the category: a film has one place in the catalogue."""
    for film in films.sort_by(_ITEM).to_pylist():
        genres = [genre for genre in film[_GENRES].split() if genre != _UNKNOWN]
        yield {
            "item_id": str(film[_ITEM]),
            "category": genres[:1],
            "title": make_title(film[_TITLE], film[_YEAR]),
            "tags": genres,
        }


def make_title(title: str, year: str) -> str:
    """Return title and year as MovieLens writes them; a year that is none is left out.

    Examples
    --------
    >>> make_title("Toy Story", "1995")
    'Toy Story (1995)'
    >>> make_title("Land Before Time III (1995)", "V")
    'Land Before Time III (1995)'
    """
    return f"{title} ({year})" if year.isdigit() else title
