"""A simulated audience for tests of the closed loop: it reads slates, looks at them, buys from some, and waits."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stream_app.records import Slate, decode_slate
from stream_app.records.policy import PolicyState, PolicyStatistics, decode_policy_state, decode_statistics
from tests.stream_app import harness

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.settings import Settings
    from tests.stream_app.shop import Shop

N_PENDING = 4
"""Slates of a user that can still earn something, as the documentation says."""


class Audience:
    """Users who buy something, look at the slate that answers it, and buy its first item if they like its policy.

    Parameters
    ----------
    market
        Makes the events.
    likes
        Told the name of the arm that filled a slate.
    keep_alive
        Called while waiting; restarts workers, or fails.
    """

    def __init__(
        self, settings: Settings, market: Shop, likes: Callable[[str], bool], keep_alive: Callable[[], object]
    ) -> None:
        self._settings, self._market, self._likes, self._keep_alive = settings, market, likes, keep_alive
        self._round = 0

    def newest(self) -> dict[str, Slate]:
        """Return the newest committed slate of every user."""
        found: dict[str, Slate] = {}
        for record in harness.read_committed(self._settings, self._settings.topic_recommendations):
            slate = decode_slate(record.value)
            found[slate.user_id] = slate
        return found

    def _answers(self, sent: list[tuple[bytes, bytes]]) -> dict[str, Slate]:
        """Send events, the last of each user making a slate, and return the slates that answer those."""
        harness.send(self._settings, sent)
        wanted = {}
        last = {key: json.loads(value)["event_id"] for key, value in sent}
        for record in harness.read_committed(self._settings, self._settings.topic_events):
            if record.key in last and json.loads(record.value)["event_id"] == last[record.key]:
                wanted[record.key.decode()] = f"{record.partition}-{record.offset}"
        found: dict[str, Slate] = {}

        def answered() -> bool:
            self._keep_alive()
            found.update(self.newest())
            return all(user in found and found[user].slate_id == slate_id for user, slate_id in wanted.items())

        harness.wait_for(answered, "slates that answer all events", 300.0)
        return {user: found[user] for user in wanted}

    def round(self, users: list[str]) -> list[Slate]:
        """Let every user buy something, look at the slate, and perhaps buy from it; return what they looked at."""
        self._round += 1
        visit = [
            self._market.event(user, f"item-{(7 * n + self._round) % 60}", session_id=f"{user}-{self._round}")
            for n, user in enumerate(users)
        ]
        slates = self._answers(visit)
        looks: list[tuple[bytes, bytes]] = []
        buys: list[tuple[bytes, bytes]] = []
        for user, slate in slates.items():
            named = {"slate_id": slate.slate_id, "session_id": f"{user}-{self._round}"}
            for position, item in enumerate(slate.items[:3]):
                looks.append(self._market.event(user, item.item_id, "impression", position=position, **named))
            if self._likes(slate.policy):
                buys.append(self._market.event(user, slate.items[0].item_id, "purchase", position=0, **named))
        harness.send(self._settings, looks)
        if buys:
            self._answers(buys)
        return list(slates.values())


@dataclass
class _Pending:
    slate: Slate
    t_s: int
    seen_s: int = 0
    done: set[tuple[str, str]] = field(default_factory=set)
    earned: float = 0.0


def earned(settings: Settings, rewards: dict[str, float], users: list[str]) -> dict[str, tuple[int, float, float]]:
    """Count, from the committed events and slates alone, what the slates of these users have earned.

    It holds where each of their events was sent after the slate that answers the event before it.

    Returns
    -------
    dict
        By arm: number of slates, sum of rewards, sum of squares.
    """
    made = {(s.as_of.partition, s.as_of.offset): s for s in _slates(settings)}
    pending: dict[str, list[_Pending]] = defaultdict(list)
    every: list[_Pending] = []
    window_s = settings.attribution_window_ms // 1000
    for record in harness.read_committed(settings, settings.topic_events):
        event = json.loads(record.value)
        user, t_s = event["user_id"], event["event_time_ms"] // 1000
        if user not in users:
            continue
        _attribute(pending[user], event, t_s, rewards, window_s, settings.reward_cap)
        slate = made.get((record.partition, record.offset))
        if slate is not None:
            every.append(_Pending(slate, t_s))
            pending[user] = [*pending[user], every[-1]][-N_PENDING:]
    out: dict[str, tuple[int, float, float]] = {}
    for p in every:
        n, total, square = out.get(p.slate.policy, (0, 0.0, 0.0))
        out[p.slate.policy] = (n + 1, total + p.earned, square + p.earned**2)
    return out


def _attribute(
    pending: list[_Pending], event: dict[str, Any], t_s: int, rewards: dict[str, float], window_s: int, cap: float
) -> None:
    best: tuple[int, _Pending] | None = None
    for p in pending:
        named = event.get("slate_id")
        if (named and named != p.slate.slate_id) or event["item_id"] not in {i.item_id for i in p.slate.items}:
            continue
        touch = max(p.t_s, p.seen_s)
        in_time = t_s - touch <= window_s and t_s - p.t_s <= 2 * window_s
        if (event["type"] == "impression" or in_time) and (best is None or touch >= best[0]):
            best = touch, p
    if best is None or (event["item_id"], event["type"]) in best[1].done:
        return
    p = best[1]
    p.done.add((event["item_id"], event["type"]))
    if event["type"] == "impression":
        p.seen_s = t_s
    p.earned = min(max(p.earned + rewards[event["type"]], -cap), cap)


def _slates(settings: Settings) -> list[Slate]:
    return [decode_slate(r.value) for r in harness.read_committed(settings, settings.topic_recommendations)]


def statistics(settings: Settings) -> dict[int, PolicyStatistics]:
    """Return the newest committed statistics of every partition."""
    records = harness.read_committed(settings, settings.topic_policy_updates)
    return {int(r.key): decode_statistics(r.value) for r in records}


def totals(settings: Settings) -> dict[str, tuple[float, float, float]]:
    """Return number of slates, sum of rewards and sum of squares per arm, over all partitions and groups."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for record in statistics(settings).values():
        for name, arm in record.arms.items():
            for group in arm.final:
                for row in (arm.final[group], *arm.open[group]):
                    for k in range(3):
                        sums[name][k] += row[k]
    return {name: (n, total, square) for name, (n, total, square) in sums.items()}


def policy(settings: Settings) -> PolicyState | None:
    """Return the newest policy that was published, read with a plain Kafka client."""
    records = asyncio.run(_read(settings))
    return decode_policy_state(records[-1]) if records else None


async def _read(settings: Settings) -> list[bytes]:
    from stream_app.inspect import read_latest  # noqa: PLC0415

    return [record.value async for record in read_latest(settings, settings.topic_policy_state)]
