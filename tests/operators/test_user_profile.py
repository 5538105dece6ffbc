"""A user's row against a plain Python model of what it must remember."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.arrays import Users
from operators.context import add_context, enter_session
from operators.numeric import FIXED_POINT
from operators.params import MAX_ITEMS
from operators.user_profile import (
    add_category,
    add_item,
    add_recent,
    find_repeats,
    find_slot,
    is_duplicate,
)
from state.layout import (
    FLAG_BITS,
    FLAG_BOUGHT,
    N_DEDUPE,
    N_DELTAS,
    N_RECENT,
    N_REPEATS,
    USER_CONTEXT,
    USER_HEADER,
    USER_ITEMS,
    USER_PAGES,
)
from state.table import RowTable


def users_of(table: RowTable) -> Users:
    """Return the table's arrays as kernels take them, with room for any test."""
    table.reserve_pages(2048)
    chains = [(slab.records, slab.free, slab.n_free) for slab in table.pages]
    return Users(table.headers.records, *(array for chain in chains for array in chain))


def one_user() -> tuple[RowTable, int]:
    """Return a table with one user, and the user's row."""
    table = RowTable(USER_HEADER, USER_PAGES)
    rows, _ = table.ensure(np.array([42], np.uint64), None)
    return table, int(rows[0])


def repeat_place(users: Users, u: int, flags: int) -> tuple[int, int]:
    """Return page record and slot of an item's repeats by its flags, ``(0, 0)`` where it has none."""
    pages = np.full(2 + MAX_ITEMS // N_REPEATS, -1, np.int32)
    find_repeats(users, u, pages)
    place = int(flags) >> FLAG_BITS
    return int(pages[place // N_REPEATS]), place % N_REPEATS


@given(st.lists(st.integers(1, 60), max_size=200))
def test_dedupe_remembers_the_last_32(hashes: list[int]) -> None:
    """An event id is a duplicate if and only if it is among the last 32 distinct ones."""
    table, u = one_user()
    users = users_of(table)
    window: list[int] = []
    for h in hashes:
        assert is_duplicate(users, u, np.uint64(h)) == (h in window)
        if h not in window:
            window = [*window, h][-N_DEDUPE:]


@given(st.lists(st.integers(1, 40), max_size=120))
def test_recent_is_most_recent_first(items: list[int]) -> None:
    """Recent positives are distinct, newest first, at most 20."""
    table, u = one_user()
    header = table.headers.records
    model: list[int] = []
    for item in items:
        add_recent(header[u], item)
        model = [item, *(m for m in model if m != item)][:N_RECENT]
    assert header[u]["recent"][: header[u]["n_recent"]].tolist() == model


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 10**8)), max_size=150))
def test_item_slots_count_every_event(events: list[tuple[int, int]]) -> None:
    """Counts, first and last times of every item are exact while the slots last; late events never move time back."""
    table, u = one_user()
    users = users_of(table)
    counts: dict[int, int] = {}
    times: dict[int, list[int]] = {}
    for item, t_s in events:
        had = add_item(users, u, item, t_s, 1.0, False, 0)
        assert had == (item in counts)
        counts[item] = counts.get(item, 0) + 1
        times.setdefault(item, []).append(t_s)
    header = table.headers.records[u]
    assert header["n_items"] == len(counts)
    for item, count in counts.items():
        page, k = find_slot(users.items, header["heads"][USER_ITEMS], header["n_items"], item)
        slot = users.items[page]
        more, j = repeat_place(users, u, slot["flags"][k])
        assert (more > 0) == (count > 1)
        repeats = users.repeats[more]
        assert max(repeats["count"][j], 1) == count
        first_s, fast = (repeats["first_s"][j], repeats["fast"][j]) if more else (slot["last_s"][k], slot["slow"][k])
        assert first_s == min(times[item])
        assert slot["last_s"][k] == max(times[item])
        assert 0 < fast / FIXED_POINT <= slot["slow"][k] / FIXED_POINT + 0.01 * count
        assert slot["slow"][k] / FIXED_POINT <= count + 0.01 * count


def test_weakest_item_is_evicted() -> None:
    """When all slots are taken, the item with the smallest slow count gives its place."""
    table, u = one_user()
    users = users_of(table)
    for item in range(1, MAX_ITEMS + 1):
        add_item(users, u, item, 1000 * item, 1.0, False, 0)
    add_item(users, u, 9999, 1000 * MAX_ITEMS, 1.0, False, 0)
    header = table.headers.records[u]
    assert header["n_items"] == MAX_ITEMS
    assert find_slot(users.items, header["heads"][USER_ITEMS], header["n_items"], 1)[0] == 0
    assert find_slot(users.items, header["heads"][USER_ITEMS], header["n_items"], 9999)[0] > 0


def test_an_evicted_items_place_among_the_repeats_serves_the_next_one() -> None:
    """Whoever takes the slot of an item that was repeated begins anew, in the same place; no place is taken twice."""
    table, u = one_user()
    users = users_of(table)
    for item in range(1, MAX_ITEMS + 1):
        add_item(users, u, item, 1000 if item == 1 else 10**8, 1.0, False, 0)
    add_item(users, u, 1, 2000, 1.0, True, 0)
    header = table.headers.records[u]
    assert header["n_repeats"] == 1
    for n, item in enumerate((9999, 9999, 2), 1):
        add_item(users, u, item, 10**8 + n, 1.0, False, 0)
        page, k = find_slot(users.items, header["heads"][USER_ITEMS], header["n_items"], item)
        more, j = repeat_place(users, u, users.items[page]["flags"][k])
        wanted = {1: (1, 10**8 + 1), 2: (2, 10**8 + 1), 3: (2, 10**8)}[n]
        assert (users.repeats[more]["count"][j], users.repeats[more]["first_s"][j]) == wanted
        assert not users.items[page]["flags"][k] & FLAG_BOUGHT
        assert header["n_repeats"] == (1 if item == 9999 else 2)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 400)), max_size=120))
def test_repeats_keep_the_last_sessions(events: list[tuple[int, int]]) -> None:
    """The sessions of an item are its newest one and up to seven before it, as distances; far ones are 255."""
    table, u = one_user()
    users = users_of(table)
    sessions: dict[int, list[int]] = {}
    for item, serial in sorted(events, key=lambda event: event[1]):
        table.headers.records[u]["serial"] = serial
        add_item(users, u, item, 1000 + serial, 1.0, False, 0)
        if serial not in sessions.setdefault(item, []):
            sessions[item].insert(0, serial)
    header = table.headers.records[u]
    for item, serials in sessions.items():
        page, k = find_slot(users.items, header["heads"][USER_ITEMS], header["n_items"], item)
        more, j = repeat_place(users, u, users.items[page]["flags"][k])
        deltas = users.repeats[more]["deltas"].reshape(N_REPEATS, N_DELTAS)[j]
        wanted = [min(a - b, 255) for a, b in pairwise(serials)][:N_DELTAS]
        assert deltas.tolist() == wanted + [0] * (N_DELTAS - len(wanted))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 50)), max_size=150))
def test_context_is_the_session(events: list[tuple[int, int]]) -> None:
    """The context holds exactly the distinct items of the present session."""
    table, u = one_user()
    users = users_of(table)
    header = table.headers.records
    model: list[int] = []
    session_before = 0
    for session, item in events:
        enter_session(users, u, np.uint64(session), 1000, 86_400, 3_600)
        if session != session_before:
            model, session_before = [], session
        if item not in model:
            model.append(item)
        add_context(users, u, item, 1000)
        header[u]["n_events"] += 1
        at, ids = int(header[u]["heads"][USER_CONTEXT]), []
        while at > 0:
            ids += users.context[at]["entity"].tolist()
            at = int(users.context[at]["next"])
        assert ids[: header[u]["n_context"]] == model


def test_context_without_sessions_is_the_last_ten() -> None:
    """Without sessions, ten items stay: the latest."""
    table, u = one_user()
    users = users_of(table)
    for k in range(25):
        enter_session(users, u, np.uint64(0), 1000 + k, 86_400, 3_600)
        add_context(users, u, 100 + k, 1000 + k)
        table.headers.records[u]["n_events"] += 1
    header = table.headers.records[u]
    page = users.context[header["heads"][USER_CONTEXT]]
    assert sorted(page["entity"][: header["n_context"]].tolist()) == list(range(115, 125))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 5)), max_size=80))
def test_category_sessions(events: list[tuple[int, int]]) -> None:
    """A category counts every session it occurs in once, as long as sessions follow each other."""
    table, u = one_user()
    users = users_of(table)
    sessions: dict[int, set[int]] = {}
    for session, category in sorted(events):
        table.headers.records[u]["serial"] = session
        add_category(users, u, category, 1000, 1.0)
        sessions.setdefault(category, set()).add(session)
    header = table.headers.records[u]
    for category, seen in sessions.items():
        page, k = find_slot(users.categories, header["heads"][1], header["n_categories"], category)
        assert users.categories[page]["n_sessions"][k] == len(seen)
