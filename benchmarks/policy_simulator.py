"""The closed loop against other policies, on users whose click probabilities are known: regret curves.

    python -m benchmarks.policy_simulator --out FOLDER [--seeds 10] [--visits 80000] [--only NAME]

A synthetic shop and users (:mod:`benchmarks.policy_crowd`) who come by in turn. A visit is one organic purchase; the
real user stage, item stage and replica, in memory, answer with a slate; the user clicks each of its items with a known
probability. Clicks, a third of them followed by a purchase, go back as events. Reward is the sum of the true click
probabilities of what was shown, so no luck is in it; regret is what is missing to the best slate that the rules allow.

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
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from benchmarks.defaults import DefaultSettings
from benchmarks.offline import record
from benchmarks.policy_crowd import EXAMINED, N_USERS, PURCHASE_AFTER_CLICK, Crowd
from operators.policy_posterior import fit
from state.memory_store import MemoryPageStore
from stream_app.item_stage import ItemProcessor
from stream_app.policy_publish import make_state
from stream_app.policy_view import POLICY_STATE_KEY, PolicyView
from stream_app.records import Event, Slate, decode_slate
from stream_app.records.policy import encode_policy
from stream_app.replica import Replica
from stream_app.settings import Settings
from stream_app.synthetic.shop import category_path
from stream_app.user_stage import UserProcessor

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.records.event import EventType
    from stream_app.records.policy import PolicyState

BATCH = 200
"""Users who come by between two commits."""
PUBLISH_EVERY = 2
START_MS = 1_700_000_000_000
VISIT_MS = 86_400_000 // N_USERS
"""Everybody comes by about once a day."""
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
    shares: np.ndarray = np.eye(n_arms)[best] * (1 - epsilon) + epsilon / n_arms
    return shares


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


class Loop:
    """Both stages, the replica and the policy, in memory, and a crowd."""

    def __init__(self, contestant: Contestant, seed: int) -> None:
        self.crowd = Crowd(seed)
        self.settings = DefaultSettings(seed=seed, holdout_share=0.0, **contestant.settings)
        self.contestant = contestant
        self.view = contestant.view(self.settings)
        self.replica = Replica(self.settings)
        self.users = UserProcessor(self.settings, 0, 1, 1, MemoryPageStore(), self.replica, self.view)
        self.items = ItemProcessor(self.settings, 0, 1, MemoryPageStore())
        self.users.restore(None)
        self.items.restore(None)
        shop = self.crowd.shop
        entries = [(f"i{k}", category_path(shop, int(c))) for k, c in enumerate(shop.category)]
        catalogue = [
            record("catalog", k, item.encode(), msgspec.json.encode({"item_id": item, "category": path}))
            for k, (item, path) in enumerate(entries)
        ]
        self.replica.apply_catalog(catalogue)
        self.queue: list[tuple[Event, int]] = []
        self.n_events = self.n_reactions = 0
        self.version = 0

    def event(
        self,
        user: int,
        item: int,
        kind: EventType,
        now_ms: int,
        slate_id: str | None = None,
        position: int | None = None,
    ) -> None:
        """Put an event in the queue."""
        self.n_events += 1
        event = Event(
            event_id=f"e{self.n_events}", type=kind, user_id=f"u{user}", item_id=f"i{item}", event_time_ms=now_ms,
            session_id=f"v{user}-{self.crowd.visits[user]}", slate_id=slate_id, position=position,
        )  # fmt: skip
        self.queue.append((event, self.n_events))

    def learn(self, now_ms: int) -> list[Slate]:
        """Learn what is in the queue, commit, bring the replica up to date, and return the slates."""
        self.users.learn(self.queue)
        self.queue = []
        flush = self.users.flush(now_ms)
        self.users.committed()
        updates = [o for o in flush.outputs if o.topic == self.settings.topic_item_updates]
        self.items.process([record("updates", 0, o.key, o.value) for o in updates], now_ms)
        pages = self.items.flush(now_ms).pages
        self.items.committed()
        self.replica.apply_pages(pages)
        topic = self.settings.topic_recommendations
        return [decode_slate(o.value) for o in flush.outputs if o.topic == topic and o.value is not None]

    def react(self) -> None:
        """Learn reactions; users look at their next slate when they come again, so none is made for them."""
        self.users.learn(self.queue)
        self.queue = []
        self.users._interval.latest.clear()  # noqa: SLF001 - the slates that a flush would fill

    def publish(self) -> None:
        """Do what the policy agent does."""
        self.version += 1
        if isinstance(self.view, GreedyArms):
            self.view.sums = self.users.policy.sums.cells
        state = make_state(self.settings, self.version, [self.users.policy.statistics()])
        self.view.apply([record("policy", self.version, POLICY_STATE_KEY, encode_policy(state))])

    def batch(self, number: int) -> tuple[float, float, Counter[str]]:
        """Let a batch of users come by; return reward, regret, and how many slates each arm filled."""
        crowd = self.crowd
        now_ms = START_MS + number * BATCH * VISIT_MS
        visitors = crowd.rng.choice(N_USERS, BATCH, replace=False)
        picked = crowd.visit(visitors)
        for user, item in zip(visitors.tolist(), picked.tolist(), strict=True):
            self.event(user, item, "purchase", now_ms)
        slates = {slate.user_id: slate for slate in self.learn(now_ms)}
        chances = crowd.chances(visitors)
        reward = 0.0
        arms: Counter[str] = Counter()
        for k, user in enumerate(visitors.tolist()):
            slate = slates.get(f"u{user}")
            if slate is None:
                continue
            arms[slate.policy] += 1
            shown = np.array([int(item.item_id[1:]) for item in slate.items])
            clicks = chances[k, shown] * EXAMINED[: shown.size]
            reward += float(clicks.sum())
            for position in np.flatnonzero(crowd.rng.random(shown.size) < clicks).tolist():
                item = int(shown[position])
                crowd.clicked(user, item)
                bought = crowd.rng.random() < PURCHASE_AFTER_CLICK
                self.n_reactions += 1 + bought
                if self.contestant.reactions:
                    self.event(user, item, "click", now_ms + 1000, slate.slate_id, position)
                    if bought:
                        self.event(user, item, "purchase", now_ms + 2000, slate.slate_id, position)
        self.react()
        if number % PUBLISH_EVERY == 0:
            self.publish()
        return reward, float(crowd.best(chances, picked).sum()) - reward, arms


def run(job: tuple[str, int, int]) -> dict[str, Any]:
    """Run one contestant with one seed; return its curve of mean rewards and regrets."""
    name, seed, n_visits = job
    started = time.thread_time()
    loop = Loop(CONTESTANTS[name], seed)
    n_batches = n_visits // BATCH
    rewards, regrets = np.zeros(n_batches), np.zeros(n_batches)
    arms: Counter[str] = Counter()
    for number in range(n_batches):
        rewards[number], regrets[number], filled = loop.batch(number)
        arms += filled
    points = [part.mean() / BATCH for part in np.array_split(rewards, N_POINTS) if part.size]
    lost = (np.cumsum(regrets)[np.linspace(0, n_batches - 1, N_POINTS).astype(int)]).tolist()
    return {
        "contestant": name, "seed": seed, "n_visits": n_batches * BATCH,
        "n_interactions": n_batches * BATCH + loop.n_reactions,
        "reward": rewards.sum() / n_batches / BATCH, "best": (rewards + regrets).sum() / n_batches / BATCH,
        "rewards": points, "regrets": lost, "arms": arms, "took_s": round(time.thread_time() - started, 1),
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
    parser.add_argument("--visits", type=int, default=80_000)
    parser.add_argument("--only", action="append", choices=CONTESTANTS, help="contestant; may be repeated")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    names = options.only or list(CONTESTANTS)
    jobs = [(name, seed, options.visits) for seed in range(options.seeds) for name in names]
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
