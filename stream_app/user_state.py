"""What the task of a partition's users holds: rows, weights, counters, scratch space, and the store behind them."""

from typing import TYPE_CHECKING, Any

import msgspec

from operators.arrays import Users, new_accumulators, new_work
from operators.draw import greedy_choices
from operators.load import STRETCH, Load, LoadParams
from operators.params import LearnParams, SlateParams
from operators.weights import new_globals
from state.arrays import Rows
from state.layout import USER_HEADER, USER_PAGES
from state.table import RowTable
from state.updates import COUNTS, GRADIENTS, PAIRS
from stream_app.interval import Interval
from stream_app.learned_pages import (
    CATEGORIES_KEY,
    DISCOVERIES_KEY,
    LATEST_KEY,
    LAYOUTS,
    MEAN_PERCEPTRON_KEY,
    PERCEPTRON_KEY,
    REACTIONS_KEY,
    categories_page,
    discovery_page,
    globals_of,
    latest_page,
    mean_perceptron_page,
    perceptron_page,
    reaction_page,
)
from stream_app.newest import NewestSlates
from stream_app.policy_task import POLICY_KEY, PartitionPolicy
from stream_app.policy_view import PolicyView
from stream_app.quality import OnlineQuality
from stream_app.records import EventLimits
from stream_app.reject_log import RejectLog
from stream_app.relearning import DriftLog, Relearning, RelearnParams
from stream_app.shared_rankers import SharedRankers
from stream_app.tally import Tally

if TYPE_CHECKING:
    from state.store import Store
    from stream_app.replica import Replica
    from stream_app.settings import Settings

MOST_INTERVAL_BYTES = 64 << 20
"""With item updates and rejects of so many bytes, equal pairs counted singly, an interval is committed early."""
_RECORD_BYTES = COUNTS.itemsize + 2 * GRADIENTS.itemsize
_PAIR_BYTES = 2 * PAIRS.itemsize


def users_of(table: RowTable) -> Users:
    """Return the arrays of a table of users as kernels want them; valid until the table grows."""
    chains = [(slab.records, slab.free, slab.n_free) for slab in table.pages]
    return Users(table.headers.records, *(array for chain in chains for array in chain))


class UserState:
    """State of the task of one partition of events.

    Parameters
    ----------
    settings
        Limits of records, slate settings, ``hot_rows``, ``seed`` and topic names.
    partition, n_partitions
        The partition of events it owns, and how many there are.
    n_item_shards
        Partitions of item-updates.
    store
        The local pages of this partition.
    replica
        The worker's read replica; rows of unknown items are added, and under load what was learned.
    policy
        The policy as the worker knows it; what holds before the first record if not given.
    reader
        Number of the thread that the replica is read in, from 0 on.
    rankers
        Of the worker's partitions; of this one alone if not given.
    """

    def __init__(
        self,
        settings: "Settings",
        partition: int,
        n_partitions: int,
        n_item_shards: int,
        store: "Store",
        replica: "Replica",
        policy: PolicyView | None = None,
        reader: int = 0,
        rankers: SharedRankers | None = None,
    ) -> None:
        self._settings = settings
        self.partition, self.n_partitions, self.n_item_shards = partition, n_partitions, n_item_shards
        self._store, self._replica, self._reader = store, replica, reader
        replica.admit(reader)
        self._limits = EventLimits.of(settings)
        self._learn = LearnParams(
            session_gap_s=settings.session_gap_ms // 1000,
            late_s=max(LearnParams().late_s, settings.max_future_ms // 1000),
        )
        self._slate = SlateParams(
            size=settings.slate_size,
            category_cap=settings.category_cap,
            discovery_slots=settings.discovery_slots,
            discovery_worth=settings.discovery_worth,
            shown_limit=settings.shown_limit,
            bought_rest_s=int(settings.exclude_bought_days * 86_400),
        )
        self._greedy = greedy_choices(1, self._slate)[0]
        self.policy = PartitionPolicy(settings, partition, policy or PolicyView(settings))
        self.table = RowTable(USER_HEADER, USER_PAGES, replica)
        self.globals: Rows = new_globals()
        self._rankers = rankers or SharedRankers()
        self._written = self._flushed = self._parts()
        self.quality = OnlineQuality()
        self.relearning = Relearning(self._learn, RelearnParams(n_events=settings.relearn_events))
        self._drifts = DriftLog(partition)
        self._rejects = RejectLog(partition, settings.topic_rejects)
        self.tally = Tally()
        self._interval = Interval()
        self.newest = NewestSlates(settings.web_cached_slates)
        self._work = new_work(replica.n_rows, replica.n_categories)
        self._acc = new_accumulators(replica.n_rows, 1024, 1024)
        self._summed = new_accumulators(replica.n_rows, 1, 1)
        self._newest_s = 0
        self._tick = 0
        self.load = Load()
        n_batch = settings.max_batch_events
        self._load_params = LoadParams(behind=n_batch, calm=n_batch // 10, deep=10 * n_batch)

    @property
    def counters(self) -> dict[str, int]:
        """What the task has counted since its first event, by name: :data:`stream_app.tally.COUNTERS`."""
        return self.tally.counters

    def restore(self, checkpoint: bytes | None) -> None:
        """Take counters and weights from the last commit; rows come from the store when they are needed."""
        self._replica.forget_learned()
        state: dict[str, Any] = msgspec.json.decode(checkpoint)["state"] if checkpoint else {}
        self.tally.restore(state)
        self._newest_s = int(state.get("newest_s", 0))
        self.relearning.restore(state.get("relearning"))
        first, *others, policy = self._store.get_many([*LAYOUTS, POLICY_KEY])
        if first is not None:
            self.globals = globals_of(first, *others)
        self._written = self._flushed = self._parts()
        self.policy.restore(policy)

    @property
    def stretch(self) -> int:
        """Commit interval at present, as a multiple of ``commit_interval_ms``."""
        return STRETCH[self.load.level]

    @property
    def is_full(self) -> bool:
        """Whether the interval's item updates and rejects are large."""
        n_records = sum(int(acc.n[0]) for acc in (self._acc, self._summed))
        n_pairs = sum(int(acc.n_pairs[0]) for acc in (self._acc, self._summed))
        n_bytes = _RECORD_BYTES * n_records + _PAIR_BYTES * n_pairs + self._interval.n_reject_bytes
        return n_bytes >= MOST_INTERVAL_BYTES

    @property
    def store(self) -> "Store":
        """The committed pages of the task."""
        return self._store

    @property
    def replica(self) -> "Replica":
        """The worker's read replica."""
        return self._replica

    def _get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Read pages from the store, without those that the present interval erased."""
        return self._interval.without_gone(keys, self._store.get_many(keys))

    def _users(self) -> Users:
        return users_of(self.table)

    def _make_room(self) -> None:
        """Size scratch space for all rows that the replica has; within its :meth:`~Replica.reading`."""
        if self._work.position.shape[0] < self._replica.n_rows or (
            self._work.category_position.shape[0] < self._replica.n_categories
        ):
            self._work = new_work(self._replica.n_rows, self._replica.n_categories)

    def _parts(self) -> dict[bytes, bytes]:
        """Return the pages that are written only when they have changed."""
        return {
            REACTIONS_KEY: reaction_page(self.globals),
            DISCOVERIES_KEY: discovery_page(self.globals),
            PERCEPTRON_KEY: perceptron_page(self.globals),
            MEAN_PERCEPTRON_KEY: mean_perceptron_page(self.globals),
            LATEST_KEY: latest_page(self.globals),
            CATEGORIES_KEY: categories_page(self.globals),
        }
