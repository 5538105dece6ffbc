"""Rewards per type of event."""

import pytest

from operators.rewards import DEFAULT_REWARDS, event_reward, parse_rewards
from stream_app.columns import TYPES
from stream_app.settings import Settings


def test_every_type_has_a_reward() -> None:
    """The further a user goes the more; what is left out earns nothing."""
    rewards = parse_rewards(DEFAULT_REWARDS)
    assert list(rewards) == list(TYPES)
    assert 0 == rewards["impression"] < rewards["view"] < rewards["click"] < rewards["favorite"] < rewards["cart"]
    assert rewards["cart"] < rewards["purchase"]
    assert rewards["dislike"] < 0
    assert parse_rewards("click=2")["view"] == 0


def test_ratings_are_centred() -> None:
    """Three stars earn nothing, five the whole reward, one its negative."""
    rewards = parse_rewards("rating=0.5")
    assert [event_reward("rating", stars, rewards) for stars in (1, 3, 5, None)] == [-0.5, 0.0, 0.5, 0.0]


@pytest.mark.parametrize("text", ["kiss=1", "click=much", "click=nan", "click=1000"])
def test_wrong_rewards_are_refused(text: str) -> None:
    """The error says what was wanted; settings refuse them as well."""
    with pytest.raises(ValueError, match="rewards: "):
        parse_rewards(text)
    with pytest.raises(ValueError, match="rewards: "):
        Settings(rewards=text)
