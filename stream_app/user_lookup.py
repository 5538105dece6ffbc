"""One user of a running task, looked up without changing anything: a slate made on request, and what is known of them.

Reads the committed pages of the task's store into a table of its own, so that neither rows in memory nor what the
user has been shown change. Called in the task's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from state.codec import KIND_HEADER, page_key
from state.ids import hash_id
from state.layout import EPOCH_2000_S, USER_HEADER, USER_PAGES
from state.table import RowTable
from stream_app.inspect import user_report
from stream_app.slates import context_names, slate_items
from stream_app.user_state import users_of
from stream_app.web.answer import Recommendations
from stream_app.web.items import ReplicaNames

if TYPE_CHECKING:
    from stream_app.user_stage import UserProcessor


def knows_user(processor: UserProcessor, user_id: str) -> bool:
    """Return whether the task has committed state of a user."""
    return processor.store.get_many([page_key(hash_id(user_id), KIND_HEADER)])[0] is not None


def load_user(processor: UserProcessor, user_id: str) -> RowTable | None:
    """Return a table that holds this user only, in row 1, or None if the task has no committed state of them."""
    if not knows_user(processor, user_id):
        return None
    table = RowTable(USER_HEADER, USER_PAGES, processor.replica)
    table.ensure(np.array([hash_id(user_id)], np.uint64), processor.store.get_many)
    return table


def fresh_slate(processor: UserProcessor, user_id: str, now_ms: int) -> Recommendations | None:
    """Fill a slate from a user's committed row and today's items, or return None if the task does not know the user.

    Its ``items`` are empty when nothing may be recommended.
    """
    table = load_user(processor, user_id)
    if table is None:
        return None
    rows = table.index.get_many(np.array([hash_id(user_id)], np.uint64))
    replica = processor.replica
    slate = processor.fill_greedily(users_of(table), rows)[0]
    last_s = int(table.headers.records["last_s"][int(rows[0])])
    return Recommendations(
        source="computed",
        user_id=user_id,
        policy="greedy",
        policy_version=0,
        emitted_at_ms=now_ms,
        items=slate_items(slate, replica),
        context_categories=context_names(slate, replica),
        event_time_ms=(last_s + EPOCH_2000_S) * 1_000,
    )


def describe_user(processor: UserProcessor, user_id: str) -> dict[str, Any] | None:
    """Return what the committed state holds of a user, as ``crossaisle inspect user`` does; None if nothing."""
    table = load_user(processor, user_id)
    if table is None:
        return None
    row = int(table.index.get(hash_id(user_id)))
    return user_report(user_id, table, row, ReplicaNames(processor.replica))
