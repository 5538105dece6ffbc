"""The policy's part of a user task: which arm fills a slate, what slates earn, and the statistics of the partition."""

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.draw import draw_keys, make_choices
from operators.exposure import (
    N_OPEN,
    OTHER_SLATE,
    SHOWN,
    AttributionParams,
    PolicySums,
    attribute_batch,
    expose_batch,
    new_sums,
)
from operators.policy_context import GROUPS, N_CELLS, assign, contexts
from operators.rewards import event_reward, parse_rewards
from operators.standing import Offers
from state.codec import KIND_POLICY, page_key
from state.ids import hash_id
from stream_app.policy_standing import restore_standing, standing_statistics
from stream_app.policy_weights import weighted_sums
from stream_app.processor import Output
from stream_app.records.policy import (
    POLICY_FORMAT_VERSION,
    ArmStatistics,
    PolicyStatistics,
    decode_statistics,
    encode_policy,
)
from stream_app.slates import SlatePolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operators.arms import Arm
    from operators.arrays import Entities, Users
    from state.arrays import Int32s, Rows, UInt8s, UInt64s
    from stream_app.policy_view import PolicyView
    from stream_app.records import Event
    from stream_app.settings import Settings

POLICY_KEY = page_key(0, KIND_POLICY)
_LOWER_HALF = 0xFFFFFFFF
_type, _slate_id = attrgetter("type"), attrgetter("slate_id")


class Assigned(NamedTuple):
    """Which arm fills each slate of a flush, with what probability, and how it draws; arrays of shape ``(n,)``.

    ``offers`` is what they were assigned by.
    """

    arms: "Int32s"
    groups: "UInt8s"
    propensities: np.ndarray
    cells: "UInt8s"
    offsets: "UInt64s"
    choices: "Rows"
    version: int
    offers: Offers


def arm_marks(arms: "tuple[Arm, ...]") -> np.ndarray:
    """Return the lower halves of the hashes of the arms' names, as exposures hold them."""
    return np.array([hash_id(arm.name) & _LOWER_HALF for arm in arms], np.uint32)


class PartitionPolicy:
    """Assigns arms to the slates of one partition and keeps what they earn.

    Parameters
    ----------
    settings
        Arms, rewards, window, groups and seed.
    partition
        The partition of events.
    view
        The policy as this worker knows it, kept up to date by a tail.
    """

    def __init__(self, settings: "Settings", partition: int, view: "PolicyView") -> None:
        self.arms = settings.arms
        self._settings = settings
        self._partition = partition
        self._view = view
        self._rewards = parse_rewards(settings.rewards)
        self._params = AttributionParams(
            window_s=settings.attribution_window_ms // 1000,
            cap=settings.reward_cap,
            half_life_days=settings.policy_half_life_days,
        )
        self._salt = np.uint64(hash_id(settings.holdout_salt))
        fixed = self.arms[0].name if settings.policy == "learned" else settings.policy
        self._holdout_arm = settings.arm_number(settings.holdout_policy or fixed)
        self.sums: PolicySums = new_sums(arm_marks(self.arms), N_CELLS, len(GROUPS))
        self._largest_cap = settings.reward_cap
        self._changed = False

    def restore(self, raw: bytes | None) -> None:
        """Take up the statistics of the last commit; arms that the settings no longer list are left out.

        With another half-life than before, what they hold fades by the new one from their newest slate on. With a lower
        cap, rewards that were counted under the higher one stay as they are.
        """
        self.sums = new_sums(arm_marks(self.arms), N_CELLS, len(GROUPS))
        self._largest_cap = self._params.cap
        self._changed = False
        if raw is None:
            return
        record = decode_statistics(raw)
        self._largest_cap = max(self._params.cap, record.reward_cap)
        sums = self.sums
        as_of_s, cells = weighted_sums(record)
        sums.as_of_s[0], sums.period[0] = as_of_s, record.period
        same_window = record.window_s == self._params.window_s
        for k, arm in enumerate(self.arms):
            known = record.arms.get(arm.name)
            if known is None:
                continue
            sums.cells[k] = cells[arm.name]
            restore_standing(known.standing, sums.standing, k, same_window=same_window)
            for g, group in enumerate(GROUPS):
                sums.final[g, k] = known.final[group]
                if same_window:
                    sums.open[:, g, k] = known.open[group]
                else:
                    sums.final[g, k] += np.sum(known.open[group], axis=0)
        if not same_window:
            sums.period[0] = record.period * record.window_s // self._params.window_s

    def rewards(self, events: "list[Event]") -> np.ndarray:
        """Return what each event is worth, shape ``(n,)``, float32."""
        kinds = list(map(_type, events))
        rewards = np.fromiter(map(self._rewards.__getitem__, kinds), np.float32, len(kinds))
        if "rating" in kinds:
            for k in (k for k, kind in enumerate(kinds) if kind == "rating"):
                rewards[k] = event_reward("rating", events[k].value, self._rewards)
        return rewards

    def slate_marks(self, events: "list[Event]") -> "UInt64s":
        """Return which slate each event names, as :data:`operators.arrays.EVENT` holds it."""
        named = list(map(_slate_id, events))
        if not any(named):
            return np.zeros(len(events), np.uint64)
        return np.fromiter(map(self._slate_mark, named), np.uint64, len(events))

    def _slate_mark(self, slate_id: str | None) -> int:
        if not slate_id:
            return 0
        partition, _, offset = slate_id.partition("-")
        if partition == str(self._partition) and offset.isascii() and offset.isdigit() and len(offset) < 19:  # noqa: PLR2004 - below 2**63
            return int(offset) + 1
        return OTHER_SLATE

    def attribute(self, events: "Rows", skip: "UInt8s", users: "Users") -> None:
        """Give rewards to the slates that earned them."""
        if attribute_batch(events, skip, users, self.sums, self._params):
            self._changed = True

    def assign(self, headers: "Rows", rows: "Int32s", offsets: "UInt64s") -> Assigned:
        """Return the arms of the users' next slates: a function of seed, user, offset and the policy's version."""
        n = rows.size
        users = headers["id"][rows]
        keys = draw_keys(self._settings.seed, users, self._partition, offsets)
        cells = contexts(headers, rows)
        arms, groups, propensities = np.zeros(n, np.int32), np.zeros(n, np.uint8), np.ones(n)
        version, shares, cell_means = self._view.holding
        assign(
            keys, users, cells, version, shares, self._salt, self._settings.holdout_share, self._holdout_arm, arms,
            groups, propensities,
        )  # fmt: skip
        choices = make_choices(self.arms, arms, keys)
        return Assigned(arms, groups, propensities, cells, offsets, choices, version, Offers(shares, cell_means))

    def unlearned_choices(self, users: "UInt64s", offsets: "UInt64s") -> "Rows":
        """Return how slates would be drawn if no reward was known and no user held out, shape ``(n,)``."""
        n = users.size
        keys = draw_keys(self._settings.seed, users, self._partition, offsets)
        arms, groups = np.zeros(n, np.int32), np.zeros(n, np.uint8)
        shares = self._view.first_shares
        assign(keys, users, np.zeros(n, np.uint8), 0, shares, self._salt, 0.0, 0, arms, groups, np.ones(n))
        return make_choices(self.arms, arms, keys)

    def expose(self, users: "Users", rows: "Int32s", slates: "Rows", assigned: Assigned, entities: "Entities") -> None:
        """Keep new slates as pending in their users' pages; each needs a free page."""
        shown = np.zeros(rows.size, SHOWN)
        shown["offset"], shown["cell"], shown["group"] = assigned.offsets, assigned.cells, assigned.groups
        shown["arm"], shown["propensity"] = self.sums.arms[assigned.arms], assigned.propensities
        expose_batch(users, rows, slates, shown, entities, self.sums, self._params, assigned.offers)
        self._changed = self._changed or bool((slates["n"] > 0).any())

    def of_slates(self, assigned: Assigned) -> "Iterator[SlatePolicy]":
        """Yield what the record of each slate says of its policy."""
        names = [arm.name for arm in self.arms]
        columns = zip(assigned.arms.tolist(), assigned.propensities.tolist(), assigned.groups.tolist(), strict=True)
        for arm, propensity, group in columns:
            yield SlatePolicy(names[arm], assigned.version, propensity, GROUPS[group])

    def statistics(self) -> PolicyStatistics:
        """Return all that this partition has observed."""
        sums = self.sums
        arms = {
            arm.name: ArmStatistics(
                cells=sums.cells[k].tolist(),
                final={group: tuple(sums.final[g, k].tolist()) for g, group in enumerate(GROUPS)},
                open={
                    group: [tuple(sums.open[b, g, k].tolist()) for b in range(N_OPEN)] for g, group in enumerate(GROUPS)
                },
                standing=standing_statistics(sums.standing, k),
            )
            for k, arm in enumerate(self.arms)
        }
        return PolicyStatistics(
            format_version=POLICY_FORMAT_VERSION,
            partition=self._partition,
            as_of_s=int(sums.as_of_s[0]),
            half_life_days=self._params.half_life_days,
            window_s=self._params.window_s,
            period=int(sums.period[0]),
            arms=arms,
            reward_cap=self._largest_cap,
        )

    def flush(self) -> tuple[list[Output], list[tuple[bytes, bytes | None]]]:
        """Return the record for the policy agent and the page that keeps the same; nothing if nothing has changed."""
        if not self._changed:
            return [], []
        raw = encode_policy(self.statistics())
        output = Output(self._settings.topic_policy_updates, 0, b"%d" % self._partition, raw)
        return [output], [(POLICY_KEY, raw)]

    def committed(self) -> None:
        """Take note that what :meth:`flush` returned is committed."""
        self._changed = False
