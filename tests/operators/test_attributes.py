"""Attributes of items: the same number for the same thing everywhere, none for what is not there."""

from hypothesis import given
from hypothesis import strategies as st

from operators.arrays import N_ATTRIBUTE_NUMBERS
from operators.attributes import attribute_numbers, kind_of, tag_numbers
from operators.serving import BRAND, DEPARTMENT, KIND, N_ATTRIBUTES, N_TAGS, PRICE

TEXTS = st.none() | st.text(max_size=20)


@given(st.lists(st.text(min_size=1, max_size=5), max_size=3), TEXTS, st.none() | st.floats(0, 1e12), TEXTS)
def test_numbers_are_in_range(path: list[str], brand: str | None, price: float | None, title: str | None) -> None:
    """Any catalogue entry gives as many numbers as there are attributes, within bounds; 0 where nothing is known."""
    numbers = attribute_numbers(path, brand, price, title)
    assert len(numbers) == N_ATTRIBUTES
    assert all(0 <= n < N_ATTRIBUTE_NUMBERS for n in numbers)
    assert (numbers[PRICE] > 0) == (price is not None and bool(path))
    assert (numbers[DEPARTMENT] > 0) == (len(path) > 1)
    if brand is None or not path:
        assert numbers[BRAND] == 0


@given(st.none() | st.lists(st.text(max_size=8), max_size=8))
def test_tags_fill_their_places(tags: list[str] | None) -> None:
    """Tags come first, each once, zeros after them."""
    numbers = tag_numbers(tags)
    assert len(numbers) == N_TAGS
    used = [n for n in numbers if n]
    assert list(numbers[: len(used)]) == used


def test_case_and_spaces_do_not_matter() -> None:
    """A brand written otherwise is the same brand; in another category it is another one."""
    path = ["FOOD", "MILK"]
    one = attribute_numbers(path, "Happy  Cow", 2.0, "Milk, 1 l")
    assert one == attribute_numbers(path, "HAPPY COW", 2.0, "milk (fresh)")
    other = attribute_numbers(["FOOD", "CHEESE"], "Happy Cow", 2.0, "Milk")
    assert all(one[k] != other[k] for k in (BRAND, PRICE, KIND))
    assert one[DEPARTMENT] == other[DEPARTMENT]


def test_prices_fall_into_bands() -> None:
    """Prices within a fifth share a band; the double does not; nothing and almost nothing are priced, too."""
    band = [attribute_numbers(["A"], None, price, None)[PRICE] for price in (2.0, 2.1, 4.0, 0.0, 0.001)]
    assert band[0] == band[1] != band[2]
    assert band[3] == band[4] > 0


def test_a_title_without_words_has_no_kind() -> None:
    """Only what stands before the first mark counts."""
    assert kind_of(", 1 l") is None
    assert kind_of("Ice: crushed") == "ice"
