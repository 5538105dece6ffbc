"""What a user task counts of its events; part of its checkpoint."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from stream_app.columns import TYPES

if TYPE_CHECKING:
    from state.arrays import UInt8s

COUNTERS: Final = ("n_events", "n_users", "n_duplicates", "n_late", "n_rejected", "n_slates", "n_forgotten")


class Tally:
    """Counts of one partition since its first event.

    Attributes
    ----------
    counters
        By name, one of :data:`COUNTERS`.
    by_type
        Learned events by their type.
    rejects_by_code
        Rejects by their code.
    """

    def __init__(self) -> None:
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.by_type: dict[str, int] = {}
        self.rejects_by_code: dict[str, int] = {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take the counts of the last commit."""
        for name in self.counters:
            self.counters[name] = int(state.get(name, 0))
        self.by_type = {str(k): int(v) for k, v in state.get("by_type", {}).items()}
        self.rejects_by_code = {str(k): int(v) for k, v in state.get("rejects_by_code", {}).items()}

    def state(self) -> dict[str, Any]:
        """Return the counts as :meth:`restore` takes them."""
        return {**self.counters, "by_type": self.by_type, "rejects_by_code": self.rejects_by_code}

    def note_reject(self, code: str) -> None:
        """Count a record that was rejected."""
        self.counters["n_rejected"] += 1
        self.rejects_by_code[code] = self.rejects_by_code.get(code, 0) + 1

    def note_events(self, types: "UInt8s", n_duplicates: int, n_late: int) -> None:
        """Count learned events by type, shape ``(n,)``, the late ones among them, and the duplicates beside them."""
        self.counters["n_events"] += types.size
        self.counters["n_duplicates"] += n_duplicates
        self.counters["n_late"] += n_late
        for number, n in enumerate(np.bincount(types).tolist()):
            if n:
                self.by_type[TYPES[number]] = self.by_type.get(TYPES[number], 0) + n
