"""What a user task does when events come faster than it learns: fewer slates, then smaller ones to choose from.

Level 0 is normal. On level 1 the task commits less often, so that one slate per user stands for more events. On level 2
it commits less often still, and fills slates from fewer popular and fewer category candidates. Every event is learned,
from all candidates, on every level. On both, lists follow before anything is committed (:mod:`operators.ahead`).

A backlog that lasts raises the level by one. A deep one, which takes many seconds to work off whatever is done, raises
it to the top at once: a worker that starts behind a day of events does not first publish slates for each hour of it.
"""

from typing import NamedTuple

import numpy as np

from operators.arrays import Entities
from operators.params import P_LONG

STRETCH = (1, 4, 10)
"""Commit interval of each level, as a multiple of the normal one."""
MAX_LEVEL = len(STRETCH) - 1
FEW_POPULAR = 30
"""Popular candidates on the highest level."""
FEW_FRESH = 15
"""Candidates that most users had for the first time lately, on the highest level."""
FEW_PER_CATEGORY = 3
"""Candidates per category on the highest level."""
FEW_SCANNED = 256
"""Popular items that recall scores by their factors on the highest level."""

CALM, BETWEEN, BEHIND, DEEP = -1, 0, 1, 2


class LoadParams(NamedTuple):
    """When a task counts as behind, and as calm.

    Attributes
    ----------
    behind
        More waiting events than this are a backlog.
    calm
        So many waiting events, or fewer, are none.
    deep
        More waiting events than this are a deep backlog.
    rise_ms
        A backlog that lasts this long without a break raises the level by one, in milliseconds.
    rise_deep_ms
        The same for a deep backlog, which raises it to the top.
    fall_ms
        Calm that lasts this long without a break lowers it by one, in milliseconds.
    """

    behind: int = 2_000
    calm: int = 200
    deep: int = 20_000
    rise_ms: int = 2_000
    rise_deep_ms: int = 200
    fall_ms: int = 3_000


class Load(NamedTuple):
    """The level, and since when the present condition has lasted, in milliseconds since 1970.

    Attributes
    ----------
    since_ms
        A deep backlog is one, too: this goes on when a backlog becomes deep, or is no longer.
    deep_since_ms
        Since when every look has found a deep backlog; without meaning in any other condition.
    """

    level: int = 0
    condition: int = BETWEEN
    since_ms: int = 0
    deep_since_ms: int = 0


def observe(load: Load, n_waiting: int, now_ms: int, params: LoadParams) -> Load:
    """Return the load after one more look at the queue.

    Parameters
    ----------
    n_waiting
        Events of the partition that wait to be read.
    now_ms
        Present time, in milliseconds since 1970; a clock that is set back only makes the present condition last longer.

    Examples
    --------
    >>> params = LoadParams()
    >>> load = observe(Load(), 9_000, 1_000, params)
    >>> observe(load, 9_000, 3_000, params).level
    1
    """
    condition = _condition(n_waiting, params)
    lasts = condition == load.condition or min(condition, load.condition) >= BEHIND
    if not lasts or now_ms < load.since_ms:
        return Load(load.level, condition, now_ms, now_ms)
    deep_since_ms = load.deep_since_ms if condition == load.condition == DEEP else now_ms
    if condition == DEEP and now_ms - deep_since_ms >= params.rise_deep_ms and load.level < MAX_LEVEL:
        return Load(MAX_LEVEL, condition, now_ms, now_ms)
    held_ms = now_ms - load.since_ms
    if condition >= BEHIND and held_ms >= params.rise_ms and load.level < MAX_LEVEL:
        return Load(load.level + 1, condition, now_ms, deep_since_ms)
    if condition == CALM and held_ms >= params.fall_ms and load.level > 0:
        return Load(load.level - 1, condition, now_ms, now_ms)
    return load._replace(condition=condition, deep_since_ms=deep_since_ms)


def _condition(n_waiting: int, params: LoadParams) -> int:
    if n_waiting > params.behind:
        return DEEP if n_waiting > params.deep else BEHIND
    return CALM if n_waiting <= params.calm else BETWEEN


def candidates_at(level: int, entities: Entities) -> Entities:
    """Return the entities that slates are filled from on a level; learning always gets all of them.

    Parameters
    ----------
    entities
        The replica's arrays; they are not changed, and the items a user had or that go with them stay candidates.
    """
    if level < MAX_LEVEL:
        return entities
    scan = _most_popular(entities)
    return entities._replace(
        n_top=np.minimum(entities.n_top, np.int32(FEW_POPULAR)),
        n_fresh_top=np.minimum(entities.n_fresh_top, np.int32(FEW_FRESH)),
        category_n_top=np.minimum(entities.category_n_top, np.int32(FEW_PER_CATEGORY)),
        scan=entities.scan[scan],
        scan_factors=np.ascontiguousarray(entities.scan_factors[:, scan]),
    )


def _most_popular(entities: Entities) -> np.ndarray:
    """Return the places of the most popular items among those that recall scores by their factors, rising."""
    n = entities.scan.shape[0]
    if n <= FEW_SCANNED:
        return np.arange(n)
    popularity = entities.headers["popularity"][entities.scan, P_LONG]
    return np.sort(np.argpartition(-popularity, FEW_SCANNED)[:FEW_SCANNED])
