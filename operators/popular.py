"""The most popular items over all and per category, and the newest, kept up to date in a replica as rows change."""

import math

import numpy as np

from operators.arrays import Entities
from operators.numeric import DAY_S
from operators.params import (
    N_CATEGORY_NEW,
    N_CATEGORY_TOP,
    N_GLOBAL_TOP,
    NEW_EVENTS,
    P_FIRST_LONG,
    P_FIRST_SHORT,
    P_MIDDLE,
    POPULARITY_DAYS,
)
from state.arrays import Floats, Int32s, Row
from state.kernel import inner_kernel, kernel
from state.layout import KIND_ITEM


@kernel
def popularity_key(entities: Entities, row: int, which: int) -> float:
    """Return a number by which popularities as of different times compare: ``log2(popularity) + t / half-life``."""
    header = entities.headers[row]
    return math.log2(header.popularity[which] + 1e-9) + header.t_s / (DAY_S * POPULARITY_DAYS[which])


@inner_kernel
def _offer(rows: Int32s, keys: Floats, n: int, size: int, row: int, key: float) -> int:
    """Put a row where it belongs in a list sorted by falling key; return the list's new length."""
    at = -1
    for k in range(n):
        if rows[k] == row:
            at = k
            break
    if at < 0:
        if n < size:
            at = n
            n += 1
        elif key > keys[n - 1]:
            at = n - 1
        else:
            return n
    rows[at] = row
    keys[at] = key
    while at > 0 and keys[at] > keys[at - 1]:
        rows[at], rows[at - 1] = rows[at - 1], rows[at]
        keys[at], keys[at - 1] = keys[at - 1], keys[at]
        at -= 1
    while at < n - 1 and keys[at] < keys[at + 1]:
        rows[at], rows[at + 1] = rows[at + 1], rows[at]
        keys[at], keys[at + 1] = keys[at + 1], keys[at]
        at += 1
    return n


@inner_kernel
def _withdraw(rows: Int32s, keys: Floats, n: int, row: int) -> int:
    for k in range(n):
        if rows[k] == row:
            for j in range(k, n - 1):
                rows[j], keys[j] = rows[j + 1], keys[j + 1]
            return n - 1
    return n


@kernel
def update_top(entities: Entities, changed: Int32s) -> None:
    """Bring the top lists up to date with changed entity rows; items without a category or not available go out.

    Parameters
    ----------
    changed
        Entity rows, shape ``(n,)``; categories among them are passed over.
    """
    for k in range(changed.shape[0]):
        row = changed[k]
        category = entities.category[row]
        if entities.headers[row].kind != KIND_ITEM or category < 0:
            continue
        if entities.headers[row].n >= NEW_EVENTS or not entities.available[row]:
            _withdraw_new(entities.newest[category], row)
        tops, keys = entities.category_top[category], entities.category_top_key[category]
        n = entities.category_n_top[category]
        if entities.available[row] and entities.headers[row].n > 0:
            key = popularity_key(entities, row, P_FIRST_LONG)
            entities.category_n_top[category] = _offer(tops, keys, n, N_CATEGORY_TOP, row, key)
            key = popularity_key(entities, row, P_MIDDLE)
            entities.n_top[0] = _offer(entities.top, entities.top_key, entities.n_top[0], N_GLOBAL_TOP, row, key)
            key = popularity_key(entities, row, P_FIRST_SHORT)
            entities.n_fresh_top[0] = _offer(
                entities.fresh_top, entities.fresh_top_key, entities.n_fresh_top[0], N_GLOBAL_TOP, row, key
            )
        else:
            entities.category_n_top[category] = _withdraw(tops, keys, n, row)
            _withdraw_global(entities, row)


@kernel
def list_new(entities: Entities, rows: Int32s, listed_s: np.ndarray) -> None:
    """Put items that are available and have few events among the newest of their categories.

    Parameters
    ----------
    rows, listed_s
        Entity rows, and when the items were listed, in seconds since 2000, 0 where that is not known, shape ``(n,)``.
    """
    for k in range(rows.shape[0]):
        row = rows[k]
        category = entities.category[row]
        if category >= 0 and entities.available[row] and entities.headers[row].n < NEW_EVENTS and listed_s[k] > 0:
            newest = entities.newest[category]
            newest.n = _offer(newest.rows, newest.listed_s, newest.n, N_CATEGORY_NEW, row, float(listed_s[k]))


@inner_kernel
def _withdraw_new(newest: Row, row: int) -> None:
    newest.n = _withdraw(newest.rows, newest.listed_s, newest.n, row)


@inner_kernel
def _withdraw_global(entities: Entities, row: int) -> None:
    entities.n_top[0] = _withdraw(entities.top, entities.top_key, entities.n_top[0], row)
    entities.n_fresh_top[0] = _withdraw(entities.fresh_top, entities.fresh_top_key, entities.n_fresh_top[0], row)


@kernel
def withdraw_from_category(entities: Entities, row: int, category: int) -> None:
    """Take an item out of the lists before its category changes."""
    n = entities.category_n_top[category]
    entities.category_n_top[category] = _withdraw(
        entities.category_top[category], entities.category_top_key[category], n, row
    )
    _withdraw_new(entities.newest[category], row)
    _withdraw_global(entities, row)
