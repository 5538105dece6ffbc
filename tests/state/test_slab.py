"""A slab hands out each record once, zeroed, and grows without moving what is in use."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state.layout import USER_PAGES
from state.slab import Slab


@given(st.lists(st.integers(1, 40), max_size=30))
def test_slab_hands_out_each_record_once(sizes: list[int]) -> None:
    """No record is in use twice, and freed ones come back zeroed."""
    slab = Slab(USER_PAGES[3], 4)
    used: set[int] = set()
    for size in sizes:
        if len(used) >= size and size % 2:
            back = [used.pop() for _ in range(size)]
            slab.give_back(np.array(back, np.int32))
        else:
            for number in [slab.take()] if size % 3 == 0 else slab.take_many(size).tolist():
                assert number not in used
                assert not slab.records[number]["ids"].any()
                slab.records[number]["ids"] = 1
                used.add(number)
    assert slab.n_used == len(used)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8))
def test_growing_keeps_records_in_their_places(reserves: list[int]) -> None:
    """Whatever is reserved can be taken without growing, and what was written stays where it was."""
    slab = Slab(USER_PAGES[3], 4)
    written: dict[int, int] = {}
    for value, n_more in enumerate(reserves, 1):
        slab.reserve(n_more)
        before = slab.records
        for _ in range(n_more):
            number = slab.take()
            slab.records[number]["ids"] = value
            written[number] = value
        assert slab.records is before
        assert all((slab.records[number]["ids"] == v).all() for number, v in written.items())
    assert slab.n_used == len(written)
    assert slab.n_bytes >= slab.records.nbytes


def test_a_record_given_back_is_the_next_one_taken() -> None:
    """Freed records are used again, last in, first out, so that memory stays where it is warm."""
    slab = Slab(USER_PAGES[3], 8)
    numbers = [slab.take() for _ in range(4)]
    slab.give_back(np.array(numbers[1:3], np.int32))
    assert [slab.take(), slab.take()] == [numbers[2], numbers[1]]
