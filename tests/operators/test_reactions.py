"""What reactions to slates teach: which of them count, what they change, and that places earn nothing."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import policy_simulator
from operators.rank import score_all
from operators.reactions import AT_PLACES, AT_SHOWN, learn_reaction, reacted_place
from operators.weights import N_REACTED, N_REACTION
from stream_app.learned_pages import GLOBALS_KEY, REACTIONS_KEY
from stream_app.records import Event
from tests.operators.world import N_ITEMS, N_USERS, NOW_MS, START_MS, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.records import Slate


class Readers:
    """Users of a world who buy something by themselves and then react to the slate that answers it."""

    def __init__(self, seed: int, *, named: bool = True) -> None:
        self.world = World()
        self.rng = random.Random(seed)  # noqa: S311 - shoppers, not secrets
        self.named = named
        self.n = self.turn = 0

    def event(self, user: str, item: str, kind: str, slate: Slate | None = None) -> tuple[Event, int]:
        """Return the next event, a quarter of a day after the one before, and its offset."""
        self.n += 1
        named = slate.slate_id if slate is not None and self.named else None
        time_ms = START_MS + self.n * 21_600_000 // 40
        return Event(f"e{self.n}", kind, user, time_ms, item, session_id=f"s{self.turn}", slate_id=named), self.n  # type: ignore[arg-type] # a type

    def round(self, choose: Callable[[Slate], int | None], kind: str = "click") -> list[Slate]:
        """Let every user buy something and click the slot that ``choose`` tells; return the slates."""
        self.turn += 1
        users = [f"u{k}" for k in range(N_USERS)]
        self.world.users.learn([self.event(u, f"i{self.rng.randrange(N_ITEMS)}", "purchase") for u in users])
        slates = self.world.slates(self.world.commit())
        clicks = []
        for slate in slates:
            at = choose(slate)
            if at is not None and at < len(slate.items):
                clicks.append(self.event(slate.user_id, slate.items[at].item_id, kind, slate))
        if clicks:
            self.world.users.learn(clicks)
            self.world.users._interval.latest.clear()
        return slates

    @property
    def weights(self) -> np.ndarray:
        """What was learned from reactions, shape ``(N_REACTION,)``."""
        return np.array(self.world.users.globals[0]["reaction"])


def test_only_first_reactions_to_the_newest_slate_count() -> None:
    """An event counts that names the user's newest slate, earns something, and is the first for its item."""
    readers = Readers(1)
    for _ in range(3):
        older = {slate.user_id: slate for slate in readers.round(lambda _: None)}
    newest = {slate.user_id: slate for slate in readers.round(lambda _: None)}
    users = readers.world.users

    def place(slate: Slate, at: int, kind: str, *, named: bool = True) -> int:
        event, offset = readers.event("u1", slate.items[at].item_id, kind, slate if named else None)
        (columns,) = users._columns([(event, offset)])
        return int(reacted_place(users._users(), int(columns["user"]), columns))

    assert place(newest["u1"], 0, "click") == 0
    assert place(newest["u1"], 0, "click", named=False) == -1
    assert place(newest["u1"], 0, "impression") == -1
    assert place(newest["u1"], 0, "dislike") == -1
    assert all(place(older["u1"], k, "click") == -1 for k in range(len(older["u1"].items)))
    users.learn([readers.event("u1", newest["u1"].items[0].item_id, "click", newest["u1"])])
    assert place(newest["u1"], 0, "purchase") == -1
    assert place(newest["u1"], 1, "purchase") == 1


def test_without_named_slates_nothing_is_learned() -> None:
    """The same history without ``slate_id`` leaves all weights at 0."""
    readers = Readers(2, named=False)
    for _ in range(30):
        readers.round(lambda _: 2)
    assert not readers.weights.any()
    assert not readers.world.users.globals[0]["reaction_gram"].any()


def test_it_foresees_reactions_better_than_the_blend() -> None:
    """Users who take what was not in their slate before: their choices' log-loss is below that of the blend alone."""
    readers = Readers(3)
    world = readers.world
    before: dict[str, set[str]] = {}
    losses: dict[str, list[float]] = {"corrected": [], "blend": []}

    def loss(slate: Slate, place: int, *, corrected: bool) -> float:
        with world.gathered(int(slate.user_id[1:])) as g:
            copied = world.users.globals.copy()
            if not corrected:
                copied["reaction"] = 0.0
            return float(
                learn_reaction(g.users, g.u, g.entities, copied[0], g.work, place, g.n_context, g.now_s, 1.0, 1e5)
            )

    def fresh(slate: Slate) -> int:
        seen = before.get(slate.user_id, set())
        place = next((k for k, item in enumerate(slate.items) if item.item_id not in seen), 0)
        before[slate.user_id] = {item.item_id for item in slate.items}
        losses["corrected"].append(loss(slate, place, corrected=True))
        losses["blend"].append(loss(slate, place, corrected=False))
        return place

    for _ in range(60):
        readers.round(fresh, "purchase")
    later = {name: float(np.nanmean(values[-100:])) for name, values in losses.items()}
    assert later["corrected"] < later["blend"] - 0.1


def test_a_place_earns_nothing() -> None:
    """Users who always take what is on top teach that the top is looked at: a weight that ranks nothing."""
    readers = Readers(4)
    for _ in range(80):
        readers.round(lambda _: 0, "purchase")
    places = readers.weights[AT_PLACES:]
    assert readers.weights.shape == (N_REACTION,)
    assert np.isfinite(readers.weights).all()
    assert places[0] == max(places)
    assert places[0] - places[1] > 0.5


def test_either_kind_stays_as_likely_as_it_was() -> None:
    """Weights that lift new items, and those shown in vain, change the order within a kind, not how likely it is."""
    readers = Readers(5)
    for _ in range(4):
        readers.round(lambda _: None)
    rng = np.random.default_rng(5)
    n_both = n_changed = 0
    for user in range(N_USERS):
        with readers.world.gathered(user) as g:
            learned = readers.world.users.globals.copy()
            scores = []
            for size in (0.0, 1.0):
                learned["reaction"][0] = size * rng.normal(0.0, 0.5, N_REACTION)
                learned["reaction"][0, N_REACTED : 2 * N_REACTED] += 3.0 * size
                learned["reaction"][0, AT_SHOWN : AT_SHOWN + 2] = 2.0 * size
                total = score_all(g.users, g.u, g.entities, learned[0], g.work, g.n, g.n_context, g.now_s)
                scores.append(g.work.scored[: g.n].astype(np.float64))
                assert abs(total - np.logaddexp.reduce(scores[-1])) < 1e-3
            had = g.work.candidates["had"][: g.n].astype(bool)
            for kind in (had, ~had):
                if kind.any():
                    before, after = (np.logaddexp.reduce(one[kind]) for one in scores)
                    assert abs(before - after) < 1e-3
            n_both += had.any() and not had.all()
            n_changed += (np.argsort(scores[0]) != np.argsort(scores[1])).any()
    assert n_both > 0
    assert n_changed > 0


def test_learning_from_its_own_slates_beats_chance() -> None:
    """In a small shop whose slates can hold nothing but new items they do not go on that way once nobody wants them.

    The world in which they did: slates of new items alone, from which nothing was learned of the others, earned half of
    what items drawn by chance earn.
    """
    *_, late = policy_simulator.run(("greedy, reactions learned", 3, 60_000))["rewards"]
    *_, chance = policy_simulator.run(("uniform items", 3, 20_000))["rewards"]
    assert late > 1.2 * chance


def test_a_page_of_their_own() -> None:
    """What reactions taught is written when it has changed, comes back after a crash, and may be missing."""
    readers = Readers(6)
    for _ in range(20):
        readers.round(lambda _: 1)
    world = readers.world
    world.commit()
    written = {key for key, _ in world.users.flush(NOW_MS).pages.singles}
    assert GLOBALS_KEY in written
    assert REACTIONS_KEY not in written
    kept = readers.weights
    assert kept.any()
    world.users.restore(None)
    assert (readers.weights == kept).all()
    raw = world.store.get_many([GLOBALS_KEY])[0]
    world.store._pages = {GLOBALS_KEY: raw}  # as a version before this one left it
    world.users.restore(None)
    assert not readers.weights.any()
    assert (world.users.globals[0]["blend"] != 0).any()
