"""64-bit ids: stable, never the value that means none, categories apart from items, shards even."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state.ids import hash_category, hash_id, hash_ids, item_shard

WORDS = st.text(max_size=40)


@given(WORDS)
def test_an_id_is_64_bits_and_never_none(text: str) -> None:
    """Every string has an id between 1 and 2**64 - 1, the same each time."""
    assert 0 < hash_id(text) < 2**64
    assert hash_id(text) == hash_id(text)


@given(st.lists(WORDS, max_size=20))
def test_ids_in_bulk_are_the_same(texts: list[str]) -> None:
    """Many strings at once get the ids that each gets alone."""
    assert hash_ids(texts, len(texts)).tolist() == [hash_id(text) for text in texts]


def test_ids_do_not_change_between_versions() -> None:
    """Ids are in every stored row: another value would be a break of the state format."""
    assert hash_id("milk") == 0xC90A103E926056DB
    assert hash_category(["shop", "dairy"]) == 0x7F6DEE0866730C51


@given(st.lists(st.text(min_size=1, max_size=10), max_size=4), st.lists(st.text(min_size=1, max_size=10), max_size=4))
def test_paths_have_ids_of_their_own(one: list[str], other: list[str]) -> None:
    """Two paths share an id only if they are equal, however their levels are cut; no item has a path's id."""
    assert (hash_category(one) == hash_category(other)) == (one == other)
    assert hash_category(one) not in {hash_id("/".join(one)), hash_id(str(one)), hash_id("".join(one))}
    assert 0 < hash_category(one) < 2**64


@given(st.integers(0, 2**64 - 1), st.integers(1, 500))
def test_every_id_has_one_shard(row_id: int, n_shards: int) -> None:
    """A shard is one of those there are."""
    assert 0 <= item_shard(np.uint64(row_id), np.uint64(n_shards)) < n_shards


def test_shards_are_even() -> None:
    """Ten thousand items over eight shards: none has more than a fifth above its part."""
    shards = item_shard(hash_ids((f"item-{k}" for k in range(10_000)), 10_000), np.uint64(8))
    assert max(np.bincount(shards.astype(int))) < 1.2 * 10_000 / 8
