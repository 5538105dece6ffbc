"""The closed loop against other policies, on users whose click probabilities are known: regret curves.

    python -m benchmarks.policy_simulator --out FOLDER [--seeds 10] [--interactions 200000] [--only NAME]

A synthetic shop (:mod:`stream_app.synthetic`), and users who come by in turn. A visit is one organic purchase (they
pick something by their taste); the real user stage, item stage and replica, in memory, answer with a slate; the user
clicks each of its items with a known probability: by taste, style and appeal, less the further down, and less if they
clicked the same item lately. Clicks, a third of them followed by a purchase, go back as events. Half of the users get
new tastes three times during a run. Reward is the sum of the true click probabilities of what was shown, so no luck is
in it; regret is what is missing to the best slate that the rules allow.

Contestants:

- ``closed loop``: the product's defaults; arms by Thompson sampling, reactions learned.
- ``greedy, reactions learned``: always the best of the same blend.
- ``greedy, organic only``: as above, but its own slates' reactions are not learned from.
- ``epsilon-greedy arms``, ``LinUCB arms``, ``uniform arms``: the same arms and statistics, shared out otherwise.
- ``uniform items``: any item that the rules allow.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from benchmarks.offline import record
from operators.policy_posterior import fit
from state.store import MemoryPageStore
from stream_app.item_stage import ItemProcessor
from stream_app.policy_publish import make_state
from stream_app.policy_view import POLICY_STATE_KEY, PolicyView
from stream_app.records import decode_slate
from stream_app.records.policy import encode_policy
from stream_app.replica import Replica
from stream_app.settings import Settings
from stream_app.synthetic.params import ShopParams
from stream_app.synthetic.shop import Shop, category_path, draw_person, pick
from stream_app.user_stage import UserProcessor

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.records.policy import PolicyState

N_USERS = 400
PARAMS = ShopParams(n_users=N_USERS, n_items=600, n_departments=6, n_categories=30, new_items=0.0, days=1)
BATCH = 100
N_DRIFTS = 3
DRIFT_SHARE = 0.5
BORED_VISITS = 15
BORED_FACTOR = 0.3
PURCHASE_AFTER_CLICK = 0.33
PUBLISH_EVERY = 5
START_MS = 1_700_000_000_000
VISIT_MS = 30_000
N_POINTS = 40
UCB_WIDTH = 2.0
EPSILON = 0.1


class GreedyArms(PolicyView):
    """The arm with the highest mean in each cell, and any arm in a tenth of the slates."""

    def _shares_of(self, state: PolicyState) -> np.ndarray:
        del state
        return _best_of(self.sums, 0.0, EPSILON)

    sums: np.ndarray


class UcbArms(GreedyArms):
    """The arm with the highest upper bound in each cell (LinUCB over the features of the cells)."""

    def _shares_of(self, state: PolicyState) -> np.ndarray:
        del state
        return _best_of(self.sums, UCB_WIDTH, 0.0)


class UniformArms(GreedyArms):
    """All arms alike."""

    def _shares_of(self, state: PolicyState) -> np.ndarray:
        del state
        return np.full((self.sums.shape[1], self.sums.shape[0]), 1.0 / self.sums.shape[0])


def _best_of(sums: np.ndarray, width: float, epsilon: float) -> np.ndarray:
    posterior = fit(sums)
    best = (posterior.mean + width * posterior.deviation).argmax(axis=0)
    n_arms = sums.shape[0]
    return np.eye(n_arms)[best] * (1 - epsilon) + epsilon / n_arms


@dataclass(frozen=True)
class Contestant:
    """One way to fill slates: settings, who shares out the arms, and whether reactions are learned."""

    settings: dict[str, Any]
    view: Callable[[Settings], PolicyView] = PolicyView
    reactions: bool = True


CONTESTANTS = {
    "closed loop": Contestant({}),
    "greedy, organic only": Contestant({"policy": "greedy"}, reactions=False),
    "greedy, reactions learned": Contestant({"policy": "greedy"}),
    "epsilon-greedy arms": Contestant({}, GreedyArms),
    "LinUCB arms": Contestant({}, UcbArms),
    "uniform arms": Contestant({}, UniformArms),
    "uniform items": Contestant({"policy": "any", "policy_arms": "any:temperature=0,epsilon=1"}),
}


class Crowd:
    """The shop and its users: what they pick, and how likely they click."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 77])
        self.shop = Shop(PARAMS, np.random.default_rng([seed, 78]))
        self.people = [draw_person(self.shop, PARAMS, self.rng) for _ in range(N_USERS)]
        self.visits = np.zeros(N_USERS, np.int64)
        self.clicked = np.full((N_USERS, PARAMS.n_items), -(10**9), np.int64)
        self.likes = np.array([self._likes(user) for user in range(N_USERS)])
        self.examined = 1.0 / (1.0 + 0.15 * np.arange(10))

    def _likes(self, user: int) -> np.ndarray:
        person, shop = self.people[user], self.shop
        z = -2.8 + 0.8 * person.taste[shop.category] + shop.style @ person.style + 0.3 * shop.appeal
        out: np.ndarray = 1.0 / (1.0 + np.exp(-z))
        return out

    def drift(self) -> None:
        """Give half of the users new tastes."""
        for user in np.flatnonzero(self.rng.random(N_USERS) < DRIFT_SHARE).tolist():
            self.people[user] = draw_person(self.shop, PARAMS, self.rng)
            self.likes[user] = self._likes(user)

    def visit(self, user: int) -> int:
        """Let a user come by; return the item that they pick by themselves."""
        self.visits[user] += 1
        person = self.people[user]
        chances = np.exp(person.taste - person.taste.max())
        category = int(np.searchsorted(np.cumsum(chances / chances.sum())[:-1], self.rng.random(), side="right"))
        return pick(self.shop, category, person.style, 0.0, self.rng, None)

    def chances(self, user: int) -> np.ndarray:
        """Return how likely the user clicks each item if they look at it."""
        bored = self.visits[user] - self.clicked[user] <= BORED_VISITS
        return self.likes[user] * np.where(bored, BORED_FACTOR, 1.0)

    def best(self, user: int, category: int, cap: int) -> float:
        """Return the expected clicks of the best slate outside of a category."""
        chances = self.chances(user)
        taken: dict[int, int] = {category: cap}
        total, slot = 0.0, 0
        for item in np.argsort(-chances)[: 12 * cap * 10].tolist():
            of = int(self.shop.category[item])
            if taken.get(of, 0) < cap:
                taken[of] = taken.get(of, 0) + 1
                total += chances[item] * self.examined[slot]
                slot += 1
                if slot == self.examined.size:
                    break
        return float(total)


class Loop:
    """Both stages, the replica and the policy, in memory, and a crowd."""

    def __init__(self, contestant: Contestant, seed: int) -> None:
        self.crowd = Crowd(seed)
        self.settings = Settings(seed=seed, holdout_share=0.0, **contestant.settings)
        self.contestant = contestant
        self.view = contestant.view(self.settings)
        self.replica = Replica(self.settings)
        self.users = UserProcessor(self.settings, 0, 1, 1, MemoryPageStore(), self.replica, self.view)
        self.items = ItemProcessor(self.settings, 0, 1, MemoryPageStore())
        self.users.restore(None)
        self.items.restore(None)
        shop = self.crowd.shop
        entries = [{"item_id": f"i{k}", "category": category_path(shop, int(c))} for k, c in enumerate(shop.category)]
        catalogue = [record("catalog", k, e["item_id"].encode(), msgspec.json.encode(e)) for k, e in enumerate(entries)]
        self.replica.apply_catalog(catalogue)
        self.n_events = 0
        self.version = 0

    def event(self, user: int, item: int, kind: str, now_ms: int, **fields: Any) -> Any:
        """Return an event record."""
        self.n_events += 1
        value = {
            "event_id": f"e{self.n_events}", "type": kind, "user_id": f"u{user}", "item_id": f"i{item}",
            "event_time_ms": now_ms, "session_id": f"v{user}-{self.crowd.visits[user]}", **fields,
        }  # fmt: skip
        return record("events", self.n_events, b"u%d" % user, msgspec.json.encode(value))

    def learn(self, events: list[Any], now_ms: int) -> list[Any]:
        """Learn events, commit, bring the replica up to date, and return the slates."""
        self.users.process(events, now_ms)
        flush = self.users.flush(now_ms)
        self.users.committed()
        updates = [o for o in flush.outputs if o.topic == self.settings.topic_item_updates]
        self.items.process([record("updates", 0, o.key, o.value) for o in updates], now_ms)
        pages = self.items.flush(now_ms).pages
        self.items.committed()
        self.replica.apply_pages(pages)
        return [decode_slate(o.value) for o in flush.outputs if o.topic == self.settings.topic_recommendations]

    def publish(self) -> None:
        """Do what the policy agent does."""
        self.version += 1
        if isinstance(self.view, GreedyArms):
            self.view.sums = self.users.policy.sums.cells
        state = make_state(self.settings, self.version, [self.users.policy.statistics()])
        self.view.apply([record("policy", self.version, POLICY_STATE_KEY, encode_policy(state))])

    def batch(self, number: int) -> tuple[float, float, dict[str, int]]:
        """Let a batch of users come by; return reward, regret, and how many slates each arm filled."""
        crowd, cap = self.crowd, 2
        now_ms = START_MS + number * BATCH * VISIT_MS
        visitors = crowd.rng.choice(N_USERS, BATCH, replace=False).tolist()
        picked = {user: crowd.visit(user) for user in visitors}
        organic = [self.event(user, item, "purchase", now_ms) for user, item in picked.items()]
        slates = {slate.user_id: slate for slate in self.learn(organic, now_ms)}
        reward, best = 0.0, 0.0
        arms: dict[str, int] = {}
        reactions = []
        for user, organic_item in picked.items():
            best += crowd.best(user, int(crowd.shop.category[organic_item]), cap)
            slate = slates.get(f"u{user}")
            if slate is None:
                continue
            arms[slate.policy] = arms.get(slate.policy, 0) + 1
            shown = np.array([int(item.item_id[1:]) for item in slate.items])
            chances = crowd.chances(user)[shown] * crowd.examined[: shown.size]
            reward += float(chances.sum())
            for position in np.flatnonzero(crowd.rng.random(shown.size) < chances).tolist():
                item = int(shown[position])
                crowd.clicked[user, item] = crowd.visits[user]
                of = {"slate_id": slate.slate_id, "position": position}
                reactions.append(self.event(user, item, "click", now_ms + 1000, **of))
                if crowd.rng.random() < PURCHASE_AFTER_CLICK:
                    reactions.append(self.event(user, item, "purchase", now_ms + 2000, **of))
        if self.contestant.reactions and reactions:
            self.users.process(reactions, now_ms + 3000)
            self.users._latest.clear()  # noqa: SLF001 - they look at the next slate when they come again
        if number % PUBLISH_EVERY == 0:
            self.publish()
        return reward, best - reward, arms


def run(job: tuple[str, int, int]) -> dict[str, Any]:
    """Run one contestant with one seed; return its curve of mean rewards and regrets."""
    name, seed, n_interactions = job
    started = time.monotonic()
    loop = Loop(CONTESTANTS[name], seed)
    n_batches = n_interactions // BATCH
    drifts = {n_batches * (k + 1) // (N_DRIFTS + 1) for k in range(N_DRIFTS)}
    rewards, regrets = np.zeros(n_batches), np.zeros(n_batches)
    arms: dict[str, int] = {}
    for number in range(n_batches):
        if number in drifts:
            loop.crowd.drift()
        rewards[number], regrets[number], filled = loop.batch(number)
        arms = {arm: arms.get(arm, 0) + filled.get(arm, 0) for arm in {*arms, *filled}}
    points = [part.mean() / BATCH for part in np.array_split(rewards, N_POINTS)]
    lost = (np.cumsum(regrets)[np.linspace(0, n_batches - 1, N_POINTS).astype(int)]).tolist()
    return {
        "contestant": name, "seed": seed, "n_interactions": n_batches * BATCH,
        "reward": rewards.sum() / n_batches / BATCH,
        "rewards": points, "regrets": lost, "arms": arms, "took_s": round(time.monotonic() - started, 1),
    }  # fmt: skip


def gains(results: list[dict[str, Any]], of: str, over: str) -> tuple[float, float, float]:
    """Return the mean relative gain of a contestant over another, paired by seed, and its 95 % interval (Student)."""
    from scipy.stats import t  # noqa: PLC0415

    by = {(r["contestant"], r["seed"]): r["reward"] for r in results}
    seeds = sorted({seed for _, seed in by if (of, seed) in by and (over, seed) in by})
    found = [by[of, seed] / by[over, seed] - 1 for seed in seeds]
    if len(found) < 2:  # noqa: PLR2004
        return found[0], float("nan"), float("nan")
    half = t.ppf(0.975, len(found) - 1) * statistics.stdev(found) / len(found) ** 0.5
    mean = statistics.mean(found)
    return mean, mean - half, mean + half


def main() -> None:
    """Run all contestants and seeds, print a table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for policy.json")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--interactions", type=int, default=200_000)
    parser.add_argument("--only", action="append", choices=CONTESTANTS, help="contestant; may be repeated")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    names = options.only or list(CONTESTANTS)
    jobs = [(name, seed, options.interactions) for seed in range(options.seeds) for name in names]
    results = []
    with ProcessPoolExecutor(options.processes) as pool:
        for result in pool.map(partial(run), jobs):
            results.append(result)
            print(f"{result['contestant']:28} seed {result['seed']}  reward {result['reward']:.4f}  {result['arms']}  "
                  f"{result['took_s']} s", flush=True)  # fmt: skip
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / "policy.json").write_text(json.dumps(results))
    for name in names:
        if name != names[0]:
            mean, low, high = gains(results, names[0], name)
            print(f"{names[0]} over {name}: {mean:+.1%}  [{low:+.1%}, {high:+.1%}]")


if __name__ == "__main__":
    main()
