"""The map from ids to rows against a dict, through growth, collisions of slots and removals."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state.idmap import IdMap

IDS = st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=60, unique=True)


@given(IDS, st.data())
def test_id_map_is_a_dict(ids: list[int], data: st.DataObject) -> None:
    """The map finds what was put, nothing else, also after growing and removing."""
    index = IdMap(4)
    for row, key in enumerate(ids[::2]):
        index.put(key, 2 * row)
    index.put_many(np.array(ids[1::2], np.uint64), np.arange(1, len(ids), 2, dtype=np.int32))
    gone = set(data.draw(st.lists(st.sampled_from(ids), unique=True)))
    index.remove_many(np.array(sorted(gone), np.uint64))
    for row, key in enumerate(ids):
        assert index.get(key) == (-1 if key in gone else row)
    assert index.n == len(ids) - len(gone)
    assert index.get_many(np.array(ids, np.uint64)).tolist() == [index.get(key) for key in ids]


@given(st.integers(2, 200), st.integers(0, 2**32 - 1))
def test_keys_that_share_a_slot_are_told_apart(n: int, seed: int) -> None:
    """Keys whose slots are the same are found all the same, and reading an unknown one ends."""
    index = IdMap(16)
    mix = pow(0x9E3779B97F4A7C15, -1, 2**64)  # of all these keys the product with the map's factor is k + (j << 20)
    keys = [((seed << 40 | k) * mix) % 2**64 for k in range(1, n + 1)]
    for row, key in enumerate(keys):
        index.put(key, row)
    assert [index.get(key) for key in keys] == list(range(n))
    assert index.get(((seed << 40) * mix) % 2**64) == -1
    assert index.n == n


@given(st.integers(2, 60), st.integers(0, 30), st.data())
def test_keys_that_share_slots_are_found_when_others_have_gone(n: int, slot: int, data: st.DataObject) -> None:
    """Removals leave no hole before a key that was pushed on, also around the end of the map."""
    index = IdMap(64)
    mix = pow(0x9E3779B97F4A7C15, -1, 2**64)
    places = data.draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))  # homes close to each other and to the end
    keys = [(((k + 1) << 40 | ((slot + at) % 128) << 20) * mix) % 2**64 for k, at in enumerate(places)]
    for row, key in enumerate(keys):
        index.put(key, row)
    left = dict(zip(keys, range(n), strict=True))
    for key in data.draw(st.permutations(keys)):
        index.remove_many(np.array([key, 12345], np.uint64))
        del left[key]
        assert {key: index.get(key) for key in left} == left
        assert index.n == len(left)
    assert (index.rows < 0).all()


@given(IDS)
def test_the_map_stays_half_empty(ids: list[int]) -> None:
    """At least half of the slots stay free, so that a search ends soon; reading changes nothing."""
    index = IdMap(1)
    for row, key in enumerate(ids):
        index.put(key, row)
        assert 2 * index.n <= index.keys.shape[0]
    before = index.keys.tobytes(), index.rows.tobytes()
    assert index.get(0) == -1
    index.get_many(np.arange(1000, dtype=np.uint64))
    assert (index.keys.tobytes(), index.rows.tobytes()) == before
