"""Arms as a setting lists them."""

import pytest
from pydantic import ValidationError

from operators.arms import Arm, parse_arms
from stream_app.settings import Settings


def test_what_is_left_out_has_defaults() -> None:
    """An arm takes slots and cap from the settings, temperature and epsilon from the defaults."""
    arms = parse_arms("base: temperature=0, epsilon=0 ; more:discovery_slots=4,category_cap=1", 3, 5)
    assert arms == (Arm("base", 0.0, 0.0, 3, 5), Arm("more", 0.05, 0.005, 4, 1))
    assert parse_arms("alone", 3, 5) == (Arm("alone", 0.05, 0.005, 3, 5),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1 to 16 arms, got 0"),
        ("a;a", "must differ"),
        ("a:heat=1", "unknown field 'heat'"),
        ("a:temperature=warm", "must be a number, got 'warm'"),
        ("a:temperature=-1", r"in \[0, 100\], got -1"),
        ("a:temperature=nan", "must be a number, got 'nan'"),
        ("a:epsilon=1.5", r"in \[0, 1\], got 1.5"),
        ("a:discovery_slots=2.5", "whole number"),
        ("a b:epsilon=1", "wanted a name"),
        (";".join(f"a{k}" for k in range(17)), "got 17"),
    ],
)
def test_wrong_arms_are_refused(text: str, message: str) -> None:
    """The error names the arm, the field, what arrived and what was wanted; settings refuse them as well."""
    with pytest.raises(ValueError, match=message):
        parse_arms(text, 2, 2)
    with pytest.raises(ValidationError, match=message):
        Settings(policy_arms=text)


def test_the_policy_must_be_an_arm() -> None:
    """Another name is refused with the names that there are."""
    with pytest.raises(ValidationError, match="no arm 'magic'; there are greedy, explore, discover"):
        Settings(policy="magic")
