"""What an event is worth to the policy, per type."""

import math

DEFAULT_REWARDS = "view=0.05,click=0.2,favorite=0.4,cart=0.6,purchase=1,rating=0.5,review=0.3,dislike=-0.5"
"""Rewards unless set otherwise: the further a user goes, the more."""
REWARDED = ("impression", "view", "click", "favorite", "cart", "purchase", "rating", "review", "dislike")
LARGEST_REWARD = 100.0
_MIDDLE_STARS = 3.0
_HALF_RANGE_STARS = 2.0


def parse_rewards(text: str) -> dict[str, float]:
    """Return the reward of every type of event that a setting lists; types that it leaves out earn nothing.

    >>> parse_rewards("click=0.2, purchase=1")["purchase"]
    1.0

    Raises
    ------
    ValueError
        A type is unknown, or a reward is no number in ``[-100, 100]``.
    """
    rewards = dict.fromkeys(REWARDED, 0.0)
    for pair in filter(None, (p.strip() for p in text.split(","))):
        kind, _, number = (p.strip() for p in pair.partition("="))
        if kind not in rewards:
            message = f"rewards: unknown type of event {kind!r}; there are {', '.join(REWARDED)}"
            raise ValueError(message)
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not -LARGEST_REWARD <= value <= LARGEST_REWARD:
            message = f"rewards: {kind} must be a number in [-100, 100], got {number!r}"
            raise ValueError(message)
        rewards[kind] = value
    return rewards


def event_reward(kind: str, value: float | None, rewards: dict[str, float]) -> float:
    """Return the reward of one event: that of its type, for a rating times its stars from -1 (one) to 1 (five)."""
    reward = rewards[kind]
    if kind == "rating":
        stars = value if value is not None else _MIDDLE_STARS
        return reward * (stars - _MIDDLE_STARS) / _HALF_RANGE_STARS
    return reward
