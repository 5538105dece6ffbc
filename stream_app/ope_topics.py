"""The product's own slates as a log for off-policy evaluation: slates joined with what they earned, from the topics.

A slate is one choice: of the arm that filled it. The slate's record says with what probability the arm was chosen
(``policy_propensity``, exact: it is a function of the shares that held), and a target policy chooses arms with other
probabilities, so the ratio of the two is the slate's weight, whatever the arms do with their slots. Rewards are
attributed by the rules of :mod:`operators.exposure`, from the events in their order, so the joined log holds what the
partitions counted. Users of the holdout have no choice of arm and are left out.
"""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from operators.ope import slate_log
from operators.policy_context import GROUPS
from operators.rewards import event_reward, parse_rewards
from state.layout import N_DEDUPE, N_EXPOSURES
from stream_app.decoding import decode_or_none
from stream_app.inspect import read_latest
from stream_app.ope_log import FileLog, LogError
from stream_app.records import EventLimits, decode_events, decode_slate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_app.records import Event, Slate
    from stream_app.settings import Settings

_SUM_TOLERANCE: Final = 1e-9
_DECODED_AT_ONCE: Final = 1_000


@dataclass(slots=True)
class Earning:
    """A slate and what it has earned.

    Attributes
    ----------
    slate
        As it was published.
    made_s
        Time of the user's newest event when it was made, in seconds since 1970.
    seen_s
        Time of the newest impression, 0 without one.
    reward
        Earned so far, within the cap.
    done
        Slots (by item) and types of event that have been rewarded.
    """

    slate: Slate
    made_s: int
    seen_s: int = 0
    reward: float = 0.0
    done: set[tuple[str, str]] = field(default_factory=set)


@dataclass(slots=True)
class _User:
    last_s: int = 0
    pending: deque[Earning] = field(default_factory=lambda: deque(maxlen=N_EXPOSURES))
    recent: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def is_duplicate(self, event_id: str) -> bool:
        if event_id in self.recent:
            return True
        self.recent[event_id] = None
        if len(self.recent) > N_DEDUPE:
            self.recent.popitem(last=False)
        return False


class Attribution:
    """Gives rewards to slates, event by event, as the partitions do.

    Parameters
    ----------
    settings
        Rewards, window and cap.

    Attributes
    ----------
    slates
        All slates so far, in the order in which they were made.
    newest_s
        Time of the newest event, in seconds since 1970.
    n_foreign
        Records among the slates that are none: somebody else has written them.
    """

    def __init__(self, settings: Settings) -> None:
        self._rewards = parse_rewards(settings.rewards)
        self._window_s = settings.attribution_window_ms // 1000
        self._cap = settings.reward_cap
        self._users: defaultdict[str, _User] = defaultdict(_User)
        self.slates: list[Earning] = []
        self.newest_s = 0
        self.n_foreign = 0

    def learn(self, event: Event, made: Slate | None) -> None:
        """Take up an event of a partition, in its order, and the slate that answers it, if there is one."""
        if event.type == "forget":
            self._users.pop(event.user_id, None)
            return
        user = self._users[event.user_id]
        if not user.is_duplicate(event.event_id):
            t_s = event.event_time_ms // 1000
            self._attribute(user, event, t_s)
            user.last_s = max(user.last_s, t_s)
            self.newest_s = max(self.newest_s, t_s)
        if made is not None and made.items:
            self.slates.append(Earning(made, user.last_s))
            user.pending.append(self.slates[-1])

    def _attribute(self, user: _User, event: Event, t_s: int) -> None:
        best: tuple[int, int] | None = None
        found: Earning | None = None
        for earning in user.pending:
            age = t_s - earning.made_s
            if age < 0 or (event.slate_id and event.slate_id != earning.slate.slate_id):
                continue
            if not any(item.item_id == event.item_id for item in earning.slate.items):
                continue
            touch = earning.seen_s if earning.made_s < earning.seen_s <= t_s else earning.made_s
            if age > 2 * self._window_s or (event.type != "impression" and t_s - touch > self._window_s):
                continue
            if best is None or (touch, earning.slate.as_of.offset) > best:
                best, found = (touch, earning.slate.as_of.offset), earning
        if found is None or event.item_id is None:
            return
        if event.type == "impression":
            found.seen_s = max(found.seen_s, t_s)
        if (event.item_id, event.type) in found.done:
            return
        found.done.add((event.item_id, event.type))
        # In float32, as a user's pages hold it: so what is counted here is what the partitions count, to the last bit.
        reward = found.reward + float(np.float32(event_reward(event.type, event.value, self._rewards)))
        found.reward = float(np.float32(min(max(reward, -self._cap), self._cap)))

    def is_closed(self, earning: Earning) -> bool:
        """Tell whether a slate can earn nothing more: two windows have passed, by the newest event."""
        return self.newest_s - earning.made_s > 2 * self._window_s


def parse_target(text: str, arms: Iterable[str]) -> dict[str, float]:
    """Return the probability of each arm under a target policy.

    >>> parse_target("explore", ["greedy", "explore"])
    {'explore': 1.0}
    >>> parse_target("greedy=0.25, explore=0.75", ["greedy", "explore"])
    {'greedy': 0.25, 'explore': 0.75}

    Raises
    ------
    LogError
        An arm is unknown, or the probabilities do not sum to 1.
    """
    known = list(arms)
    out: dict[str, float] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, number = (p.strip() for p in part.partition("="))
        if name not in known:
            message = f"--target: no slate was filled by an arm {name!r}; there are {', '.join(known)}"
            raise LogError(message)
        try:
            out[name] = float(number) if equals else 1.0
        except ValueError:
            out[name] = math.nan
    if not out or not all(0.0 <= p <= 1.0 for p in out.values()) or abs(sum(out.values()) - 1.0) > _SUM_TOLERANCE:
        message = f"--target: wanted an arm, or ARM=P,ARM=P with probabilities that sum to 1, got {text!r}"
        raise LogError(message)
    return out


def joined_log(settings: Settings, attribution: Attribution, target: str, *, pending: bool) -> FileLog:
    """Return the slates as a log of one choice each.

    Parameters
    ----------
    target
        See :func:`parse_target`.
    pending
        Whether slates count that can still earn something.

    Raises
    ------
    LogError
        The target names an unknown arm, or no slate is left.
    """
    free = [earning for earning in attribution.slates if earning.slate.group == GROUPS[0]]
    rows = [earning for earning in free if pending or attribution.is_closed(earning)]
    where = settings.topic_recommendations
    if not rows:
        message = (
            f"{where}: no slate to evaluate: {len(attribution.slates):,} have an event, {len(free):,} of them are not "
            "of the holdout, and none is older than two attribution windows "
            f"({2 * settings.attribution_window_ms // 1000:,} s); wait, or count what has come so far with --pending"
        )
        raise LogError(message)
    shares = parse_target(target, sorted({earning.slate.policy for earning in free}))
    log = slate_log(
        slate=np.arange(len(rows)),
        position=np.zeros(len(rows)),
        propensity=[earning.slate.policy_propensity for earning in rows],
        target_propensity=[shares.get(earning.slate.policy, 0.0) for earning in rows],
        reward=[earning.reward for earning in rows],
    )
    notes = [f"{len(attribution.slates) - len(free):,} slates of the holdout are left out"]
    if not pending:
        notes.append(f"{len(free) - len(rows):,} slates are left out because they can still earn something")
    if attribution.n_foreign:
        notes.append(f"{attribution.n_foreign:,} records of {where} are passed over: they are no slates")
    return FileLog(Path(where), log, np.arange(len(rows)), None, None, notes)


async def read_topics(settings: Settings, now_ms: int) -> Attribution:
    """Read the topics of slates and events from their beginning to their present end, and attribute rewards.

    Raises
    ------
    stream_app.inspect.UnknownIdError
        A topic does not exist.
    aiokafka.errors.KafkaError
        The broker does not answer.
    """
    made: dict[tuple[int, int], Slate] = {}
    attribution = Attribution(settings)
    async for record in read_latest(settings, settings.topic_recommendations):
        slate = decode_or_none(decode_slate, record.value)
        if slate is not None:
            made[slate.as_of.partition, slate.as_of.offset] = slate
        elif record.value is not None:
            attribution.n_foreign += 1
    records = []
    async for record in read_latest(settings, settings.topic_events):
        records.append(record)
        if len(records) >= _DECODED_AT_ONCE:
            _learn(attribution, records, made, settings, now_ms)
            records = []
    _learn(attribution, records, made, settings, now_ms)
    return attribution


def _learn(
    attribution: Attribution,
    records: list[object],
    made: Mapping[tuple[int, int], Slate],
    settings: Settings,
    now_ms: int,
) -> None:
    decoded = decode_events(records, now_ms=now_ms, limits=EventLimits.of(settings))  # type: ignore[arg-type]  # as aiokafka returns them
    for event, index in zip(decoded.events, decoded.index, strict=True):
        record = records[index]
        attribution.learn(event, made.get((record.partition, record.offset)))  # type: ignore[attr-defined]  # as above
