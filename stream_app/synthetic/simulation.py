"""Opens a synthetic shop for all its days and notes what its users do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from stream_app.synthetic.shop import Person, Shop, category_path, draw_person, pick, softmax

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_app.synthetic.params import ShopParams

Integers = npt.NDArray[np.signedinteger[Any]]

START_MS: Final = 1_704_067_200_000
"""2024-01-01 UTC, in milliseconds since 1970 UTC."""
DAY_MS: Final = 86_400_000
_DEED: Final = np.dtype([("user", "<i4"), ("item", "<i4"), ("time_ms", "<i8"), ("visit", "<i4"), ("stars", "i1")])
"""As `Deeds`: 21 bytes an event, since there may be many."""
_COMPANION_PULL = 6.0
_EVENT_GAP_MS = 20_000


@dataclass(slots=True)
class Deeds:
    """What happened, in order of time.

    Attributes
    ----------
    user, item
        Their numbers.
    time_ms
        Event time, milliseconds since 1970 UTC.
    visit
        Number of the visit among all of them.
    stars
        1 to 5 where items are rated, else 0.
    """

    user: Integers
    item: Integers
    time_ms: Integers
    visit: Integers
    stars: Integers


class Simulation:
    """A shop with its users, opened for all its days.

    Parameters
    ----------
    params
        What shop to make.

    Raises
    ------
    SyntheticError
        A parameter is out of range.
    """

    def __init__(self, params: ShopParams) -> None:
        params.check()
        self.params = params
        self.shop = Shop(params, np.random.default_rng([params.seed, 0]))
        self.before: list[Person] = []
        self.after: list[Person | None] = []
        self._n_visits = 0

    def run(self, on_progress: Callable[[int, int], None] | None = None) -> Deeds:
        """Return all deeds of all users.

        Parameters
        ----------
        on_progress
            Called with the users done and the users there are.
        """
        lives = []
        for user in range(self.params.n_users):
            rng = np.random.default_rng([self.params.seed, 1, user])
            lives.append(np.array(self._live(user, rng), _DEED))
            if on_progress is not None:
                on_progress(user + 1, self.params.n_users)
        deeds = np.concatenate(lives)
        lives.clear()
        deeds = deeds[np.argsort(deeds["time_ms"], kind="stable")]
        return Deeds(*(deeds[name] for name in _DEED.names or ()))

    def _live(self, user: int, rng: np.random.Generator) -> list[tuple[int, int, int, int, int]]:
        params = self.params
        person = draw_person(self.shop, params, rng)
        self.before.append(person)
        changed = params.drift_day is not None and rng.random() < params.drift_users
        later = draw_person(self.shop, params, rng) if changed else None
        self.after.append(later)
        rate = params.visits_per_day * float(np.exp(rng.normal(0, 0.7)))
        day = float(rng.exponential(1 / rate))
        bought = dict.fromkeys(person.staples.tolist(), -1e9)
        last_in: dict[int, int] = {}
        had: set[int] = set()
        out: list[tuple[int, int, int, int, int]] = []
        while day < params.days:
            if later is not None and params.drift_day is not None and day >= params.drift_day:
                person, later = later, None
                bought = dict.fromkeys(person.staples.tolist(), -1e9)
                last_in.clear()
            for k, item in enumerate(self._visit(person, day, bought, last_in, had, rng)):
                time_ms = START_MS + int(day * DAY_MS) + k * _EVENT_GAP_MS
                out.append((user, item, time_ms, self._n_visits, self._stars(person, item, rng)))
            self._n_visits += 1
            day += float(rng.exponential(1 / rate))
        return out

    def _visit(
        self,
        person: Person,
        day: float,
        bought: dict[int, float],
        last_in: dict[int, int],
        had: set[int],
        rng: np.random.Generator,
    ) -> list[int]:
        params, shop = self.params, self.shop
        size = 1 + int(rng.poisson(params.basket - 1))
        due = [
            item
            for item, cycle in zip(person.staples.tolist(), person.cycle_days.tolist(), strict=True)
            if day - bought[item] > cycle * rng.uniform(0.8, 1.2)
        ]
        basket = due[: max(size - 1, 1)]
        logits = person.taste + shop.season_of(day)
        while len(basket) < size:
            if basket and rng.random() < 0.5:  # noqa: PLR2004 - every other choice looks at what is in the basket
                boosted = logits.copy()
                boosted[shop.companion[shop.category[np.array(basket)]]] += np.log(_COMPANION_PULL)
                chances = softmax(boosted)
            else:
                chances = softmax(logits)
            category = int(np.searchsorted(np.cumsum(chances)[:-1], rng.random(), side="right"))
            loyal = rng.random() < params.loyalty and category in last_in
            item = last_in[category] if loyal else pick(shop, category, person.style, day, rng, had)
            if item < 0 or item in basket:
                size -= 1
                continue
            basket.append(item)
            last_in[category] = item
            if not params.again:
                had.add(item)
        for item in basket:
            if item in bought:
                bought[item] = day
        order = rng.permutation(len(basket))
        return [basket[k] for k in order]

    def _stars(self, person: Person, item: int, rng: np.random.Generator) -> int:
        if not self.params.ratings:
            return 0
        liking = float(self.shop.style[item] @ person.style) + 0.3 * float(self.shop.appeal[item])
        return int(np.clip(np.rint(3.4 + liking + rng.normal(0, 0.6)), 1, 5))

    def truth(self) -> dict[str, Any]:
        """Return what was drawn of the shop as a whole, ready for JSON."""
        shop = self.shop
        return {
            "params": asdict(self.params),
            "categories": [
                {
                    "path": category_path(shop, k),
                    "companion": category_path(shop, int(shop.companion[k])),
                    "peak_day": round(float(shop.peak_day[k]), 1),
                    "season": round(float(shop.season[k]), 3),
                }
                for k in range(self.params.n_categories)
            ],
            "new_items": {f"i{k}": int(shop.birth[k]) for k in np.flatnonzero(shop.birth > 0).tolist()},
        }

    def true_items(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what was drawn of each item, ready for JSON; appeal is a log, all is rounded to a hundredth."""
        for k in range(self.params.n_items):
            style = np.round(self.shop.style[k], 2).tolist()
            yield f"i{k}", {"style": style, "appeal": round(float(self.shop.appeal[k]), 2)}

    def true_users(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what was drawn of each user, ready for JSON; tastes are logs, rounded to a hundredth."""
        for k, (person, later) in enumerate(zip(self.before, self.after, strict=True)):
            yield f"u{k}", {**_told(person), "after_drift": _told(later) if later is not None else None}


def _told(person: Person) -> dict[str, Any]:
    return {
        "taste": np.round(person.taste, 2).tolist(),
        "style": np.round(person.style, 2).tolist(),
        "staples": [
            {"item_id": f"i{item}", "cycle_days": round(days, 1)}
            for item, days in zip(person.staples.tolist(), person.cycle_days.tolist(), strict=True)
        ],
    }
