"""Arms: the policies that fill slates, each with a name and the few numbers that make it."""

import math
from typing import NamedTuple

MAX_ARMS = 16


class Arm(NamedTuple):
    """One policy.

    Attributes
    ----------
    name
        How slates, statistics and tables call it.
    temperature
        Of the Plackett-Luce draw over the blend's logits; 0 takes the best.
    epsilon
        Share of draws that are uniform over what is eligible, in [0, 1].
    discovery_slots
        Slots kept for items that the user never had.
    category_cap
        Items of one category at the most, more where categories are few (:mod:`operators.cap`); 0 is no cap.
    """

    name: str
    temperature: float = 0.05
    epsilon: float = 0.005
    discovery_slots: int = 2
    category_cap: int = 2


def parse_arms(text: str, discovery_slots: int, category_cap: int) -> tuple[Arm, ...]:
    """Return the arms that a setting lists.

    Parameters
    ----------
    text
        Arms separated by semicolons, each a name, a colon, and ``field=number`` pairs separated by commas; what is
        left out is temperature 0.05, epsilon 0.005, and the two parameters below. The first one is the baseline.

        >>> parse_arms("greedy:temperature=0,epsilon=0;more:discovery_slots=4", 2, 2)[1]
        Arm(name='more', temperature=0.05, epsilon=0.005, discovery_slots=4, category_cap=2)

    Raises
    ------
    ValueError
        The text lists no arm, one twice, too many, or one with an unknown or impossible field.
    """
    arms = [_parse_arm(part.strip(), discovery_slots, category_cap) for part in text.split(";") if part.strip()]
    names = [arm.name for arm in arms]
    if not 1 <= len(arms) <= MAX_ARMS:
        msg = f"policy arms: wanted 1 to {MAX_ARMS} arms, got {len(arms)}"
        raise ValueError(msg)
    if len(set(names)) < len(names):
        msg = f"policy arms: the names must differ, got {', '.join(names)}"
        raise ValueError(msg)
    return tuple(arms)


def _parse_arm(text: str, discovery_slots: int, category_cap: int) -> Arm:
    name, _, rest = text.partition(":")
    name = name.strip()
    if not name or not all(c.isalnum() or c in "-_." for c in name):
        msg = f"policy arm {text!r}: wanted a name of letters, digits, '-', '_' and '.', then ':', got {name!r}"
        raise ValueError(msg)
    values: dict[str, float] = {**Arm._field_defaults, "discovery_slots": discovery_slots, "category_cap": category_cap}
    for pair in filter(None, (p.strip() for p in rest.split(","))):
        field, _, number = (p.strip() for p in pair.partition("="))
        if field not in Arm._fields[1:]:
            msg = f"policy arm {name}: unknown field {field!r}; there are {', '.join(Arm._fields[1:])}"
            raise ValueError(msg)
        try:
            values[field] = float(number)
        except ValueError:
            values[field] = math.nan
        if not math.isfinite(values[field]):
            msg = f"policy arm {name}: {field} must be a number, got {number!r}"
            raise ValueError(msg)
    arm = Arm(
        name,
        values["temperature"],
        values["epsilon"],
        int(values["discovery_slots"]),
        int(values["category_cap"]),
    )
    _check(arm, values)
    return arm


def _check(arm: Arm, values: dict[str, float]) -> None:
    bounds = {"temperature": 100.0, "epsilon": 1.0, "discovery_slots": 10.0, "category_cap": 10.0}
    for field, most in bounds.items():
        value = getattr(arm, field)
        if not 0.0 <= value <= most or value != values.get(field, value):
            whole = "a whole number " if isinstance(value, int) else ""
            msg = f"policy arm {arm.name}: {field} must be {whole}in [0, {most:g}], got {values.get(field, value):g}"
            raise ValueError(msg)
