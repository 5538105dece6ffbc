"""Users whose click probabilities are known, for the simulator: what they pick, what they like, and when that changes.

A user comes by about once a day and picks one thing by themselves: a category by taste, an item in it by style and
appeal. Of a slate they look at each slot, less often the further down, and click what they look at with a probability
that depends on the same taste and style, but not in the same way: appeal, the reason for much of what is bought
anyway, counts less. What they clicked in their last fifteen visits bores them. At every visit a user becomes somebody
else with a probability of one in a hundred: tastes drift, each user's at its own time.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stream_app.synthetic.params import ShopParams
from stream_app.synthetic.shop import Shop, draw_person, softmax

N_USERS = 400
PARAMS = ShopParams(
    n_users=N_USERS, n_items=200, n_departments=5, n_categories=20, new_items=0.0, days=1, n_staples=0.0
)
DRIFT_VISITS = 100
"""Visits between two changes of a user's tastes, in the mean."""
BORED_VISITS = 15
BORED_FACTOR = 0.3
PURCHASE_AFTER_CLICK = 0.33
SLOTS = 10
EXAMINED = 1.0 / (1.0 + 0.15 * np.arange(SLOTS))
"""Probability that a user looks at a slot."""
CATEGORY_CAP = 2
"""Items of one category in the best slate, as the product's rule is."""

Ints = np.ndarray
Floats = np.ndarray


@njit(cache=True, nogil=True)
def best_slates(chances: Floats, categories: Ints, own: Ints, cap: int, examined: Floats) -> Floats:
    """Return the expected clicks of the best slate outside of a category, for each user.

    Parameters
    ----------
    chances
        Shape ``(n, n_items)``.
    categories
        Of the items.
    own
        Category that is left out, shape ``(n,)``.
    """
    out = np.zeros(chances.shape[0])
    taken = np.zeros(categories.max() + 1, np.int64)
    for k in range(chances.shape[0]):
        taken[:] = 0
        taken[own[k]] = cap
        left = chances[k].copy()
        for slot in range(examined.shape[0]):
            best = -1
            for i in range(left.shape[0]):
                if taken[categories[i]] < cap and (best < 0 or left[i] > left[best]):
                    best = i
            out[k] += left[best] * examined[slot]
            taken[categories[best]] += 1
            left[best] = -1.0
    return out


class Crowd:
    """The shop and its users.

    Parameters
    ----------
    seed
        Of everything.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 77])
        self.shop = Shop(PARAMS, np.random.default_rng([seed, 78]))
        self.visits = np.zeros(N_USERS, np.int64)
        self._clicked = np.full((N_USERS, PARAMS.n_items), -(10**9), np.int64)
        self._likes = np.zeros((N_USERS, PARAMS.n_items))
        self._picks = np.zeros((N_USERS, PARAMS.n_items))
        for user in range(N_USERS):
            self._become_new(user)

    def _become_new(self, user: int) -> None:
        shop = self.shop
        person = draw_person(shop, PARAMS, self.rng)
        style = shop.style @ person.style
        z = -2.8 + 0.8 * person.taste[shop.category] + style + 0.3 * shop.appeal
        self._likes[user] = 1.0 / (1.0 + np.exp(-z))
        chances = np.zeros(PARAMS.n_items)
        for category, share in enumerate(softmax(person.taste)):
            members = shop.members[category]
            chances[members] = share * softmax(shop.appeal[members] + style[members])
        self._picks[user] = np.cumsum(chances / chances.sum())

    def visit(self, users: Ints) -> Ints:
        """Let users come by, some of them with new tastes; return the item that each picks by themselves."""
        for user in users[self.rng.random(users.size) < 1.0 / DRIFT_VISITS].tolist():
            self._become_new(user)
        self.visits[users] += 1
        x = self.rng.random(users.size)
        picked: Ints = np.minimum((self._picks[users] <= x[:, None]).sum(axis=1), PARAMS.n_items - 1)
        return picked

    def chances(self, users: Ints) -> Floats:
        """Return how likely users click each item if they look at it, shape ``(n, n_items)``."""
        bored = self.visits[users, None] - self._clicked[users] <= BORED_VISITS
        found: Floats = self._likes[users] * np.where(bored, BORED_FACTOR, 1.0)
        return found

    def clicked(self, user: int, item: int) -> None:
        """Note that a user clicked an item at this visit."""
        self._clicked[user, item] = self.visits[user]

    def best(self, chances: Floats, picked: Ints) -> Floats:
        """Return the expected clicks of each user's best slate, outside of the category of what they picked."""
        return best_slates(chances, self.shop.category, self.shop.category[picked], CATEGORY_CAP, EXAMINED)
