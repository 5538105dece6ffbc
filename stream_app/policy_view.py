"""The policy as one worker knows it: the newest record of policy-state, or what holds before there is one."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import structlog

from operators.policy_context import CELLS, N_CELLS
from operators.policy_posterior import GuardParams, fit, make_shares
from stream_app.decoding import UNREADABLE
from stream_app.records.policy import POLICY_FORMAT_VERSION, PolicyState, decode_policy_state

if TYPE_CHECKING:
    from stream_app.records import KafkaRecord
    from stream_app.settings import Settings

POLICY_STATE_KEY = b"policy"

log = structlog.get_logger()


def guard_of(settings: "Settings") -> GuardParams:
    """Return the guardrails that the settings ask for."""
    return GuardParams(
        min_share=settings.policy_min_share,
        baseline_share=settings.policy_baseline_share,
        fall_back_at=settings.policy_fall_back_at,
    )


class Holding(NamedTuple):
    """What holds at one moment: parts of it that are read one after the other might be of two records.

    Attributes
    ----------
    version
        Of the policy; 0 before the first record, and as long as ``policy`` names an arm.
    shares
        Probability of each arm in each context cell, shape ``(N_CELLS, n_arms)``, float64.
    cell_means
        What a slate of each arm is expected to earn in each context cell, shape ``(N_CELLS, n_arms)``, float64; zeros
        where no record has said so.
    """

    version: int
    shares: np.ndarray
    cell_means: np.ndarray


class PolicyView:
    """Version and shares of the policy; changed by one thread, read by all.

    Parameters
    ----------
    settings
        Arms and guardrails; ``policy``, where it names an arm, is what all users get.

    Attributes
    ----------
    state
        The newest record, or None.
    version_seen
        The largest version of all records, whatever ``policy`` says.
    """

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._names = [arm.name for arm in settings.arms]
        self.version_seen = 0
        self.state: PolicyState | None = None
        self._holding: Holding | None = None

    @property
    def holding(self) -> Holding:
        """The policy as it is now."""
        if self._holding is None:  # computed late: the first time in a process compiles a kernel
            return Holding(0, self.first_shares, np.zeros((N_CELLS, len(self._names))))
        return self._holding

    @cached_property
    def first_shares(self) -> np.ndarray:
        """What the shares are before there is a record."""
        n = len(self._names)
        if self._settings.policy != "learned":
            return np.tile(np.eye(n)[self._settings.arm_number(self._settings.policy)], (N_CELLS, 1))
        return make_shares(fit(np.zeros((n, N_CELLS, 3))), guard_of(self._settings))[0]

    def apply(self, records: "Sequence[KafkaRecord]") -> None:
        """Take over the newest of some policy-state records; one that cannot be read is logged and passed over."""
        for record in records:
            if record.key == POLICY_STATE_KEY and record.value is not None:
                self._take(record.value)

    def _take(self, raw: bytes) -> None:
        try:
            state = decode_policy_state(raw)
        except UNREADABLE as error:
            log.warning("policy_unreadable", error=str(error), remedy="none needed: the policy before it holds")
            return
        if state.format_version != POLICY_FORMAT_VERSION or state.cells != list(CELLS):
            log.warning("policy_of_another_version", remedy="run one version of the worker everywhere")
            return
        self.state = state
        self.version_seen = max(self.version_seen, state.version)
        learned = self._settings.policy == "learned"
        shares = self._shares_of(state) if learned else self.first_shares
        self._holding = Holding(state.version if learned else 0, shares, self._cell_means_of(state))

    def _shares_of(self, state: PolicyState) -> np.ndarray:
        """Return the record's shares for the arms of this worker's settings; an arm that it lacks gets none."""
        known = {arm.name: arm.shares for arm in state.arms if len(arm.shares) == N_CELLS}
        shares = np.array([known.get(name, [0.0] * N_CELLS) for name in self._names]).T
        total = shares.sum(axis=1, keepdims=True)
        if not np.isfinite(shares).all() or (shares < 0).any() or (total <= 0).any():
            return self.first_shares
        return np.ascontiguousarray(shares / total)

    def _cell_means_of(self, state: PolicyState) -> np.ndarray:
        """Return the record's posterior means for the arms of this worker's settings; zeros for what it lacks."""
        known = {arm.name: arm.cell_means for arm in state.arms if len(arm.cell_means) == N_CELLS}
        means = np.array([known.get(name, [0.0] * N_CELLS) for name in self._names], np.float64).T
        return np.ascontiguousarray(means) if np.isfinite(means).all() else np.zeros(means.shape)
