"""What the Faust and the Quix Streams contestants recommend with: River's matrix factorisation, 100 candidates."""

from collections import Counter
from collections.abc import Callable
from heapq import nlargest

from river.reco import BiasedMF

N_CANDIDATES = 100
N_SLATE = 10
N_HISTORY = 20
_REFRESH_EVERY = 1_000


class RiverRecommender:
    """River ``BiasedMF(32)`` over the most popular items; what a user had lately is left out."""

    def __init__(self) -> None:
        self._model = BiasedMF(n_factors=32, seed=0)
        self._counts: Counter[str] = Counter()
        self._candidates: list[str] = []
        self._n = 0

    def learn(self, user: str, item: str) -> None:
        """Learn a positive event and count the item."""
        self._model.learn_one(user=user, item=item, y=1.0)
        self._counts[item] += 1
        if self._n % _REFRESH_EVERY == 0 or len(self._candidates) < N_CANDIDATES:
            self._candidates = [name for name, _ in self._counts.most_common(N_CANDIDATES)]
        self._n += 1

    def slate(self, user: str, history: list[str]) -> list[tuple[float, str]]:
        """Score all candidates and return the best ten, best first."""
        predict: Callable[[str, str], float] = self._model.predict_one
        had = set(history)
        return nlargest(N_SLATE, ((predict(user, item), item) for item in self._candidates if item not in had))
