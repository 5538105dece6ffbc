"""The user stage's state and operators: events of one partition in; slates, item updates and rejects out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from operators.arrays import Users, new_accumulators, new_globals, new_work
from operators.draw import CHOICE, greedy_choices
from operators.interval import clear, summed_updates, with_room
from operators.learn import (
    DUPLICATE,
    LEARNED_LATE,
    PAGES_PER_EVENT,
    PAIRS_PER_EVENT,
    RECORDS_PER_EVENT,
    learn_batch,
)
from operators.lists import LISTS
from operators.load import STRETCH, Load, LoadParams, candidates_at, observe
from operators.numeric import start_users
from operators.params import LearnParams, SlateParams
from operators.rank import SLATE, fill_slates
from state.arrays import Int32s, Rows, UInt8s, UInt64s
from state.ids import hash_id
from state.layout import USER_HEADER, USER_PAGES
from state.table import RowTable
from state.updates import encode_update
from stream_app.columns import event_columns, user_hashes
from stream_app.interval import Interval
from stream_app.learned_pages import (
    CONTENT_KEY,
    DISCOVERIES_KEY,
    GLOBALS_KEY,
    REACTIONS_KEY,
    content_page,
    discovery_page,
    first_page,
    globals_of,
    reaction_page,
)
from stream_app.newest import NewestSlates
from stream_app.policy_task import POLICY_KEY, PartitionPolicy
from stream_app.policy_view import PolicyView
from stream_app.pools import pooled_runs
from stream_app.processor import Flush, Output
from stream_app.quality import OnlineQuality
from stream_app.records import Event, EventLimits, decode_events, encode_reject
from stream_app.relearning import DriftLog, Relearning, RelearnParams
from stream_app.slates import FilledSlate, build_slate, unpack
from stream_app.tally import Tally

if TYPE_CHECKING:
    from state.store import Store
    from stream_app.records import KafkaRecord
    from stream_app.replica import Replica
    from stream_app.settings import Settings

NOTHING_WANTED = np.zeros(0, np.uint8)
NO_LISTS = np.zeros(0, LISTS)
NO_DRAWS = np.zeros(0, CHOICE)
_SLATES_AT_ONCE = 32
"""Slates that are filled before changes of the replica may come in between."""


def users_of(table: RowTable) -> Users:
    """Return the arrays of a table of users as kernels want them; valid until the table grows."""
    chains = [(slab.records, slab.free, slab.n_free) for slab in table.pages]
    return Users(table.headers.records, *(array for chain in chains for array in chain))


class UserProcessor:
    """Learns from the events of one partition and publishes slates for its users.

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
        The worker's read replica; read here, and rows of unknown items are added.
    reader
        Number of the thread that it is read in, from 0 on.
    policy
        The policy as the worker knows it; what holds before the first record if not given.
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
    ) -> None:
        self._settings = settings
        self.partition, self.n_partitions, self.n_item_shards = partition, n_partitions, n_item_shards
        self._store, self._replica, self._reader = store, replica, reader
        replica.admit(reader)
        self._limits = EventLimits.of(settings)
        self._learn = LearnParams(session_gap_s=settings.session_gap_ms // 1000)
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
        self._written = self._flushed = self._parts()
        self.quality = OnlineQuality()
        self.relearning = Relearning(self._learn, RelearnParams(n_events=settings.relearn_events))
        self._drifts = DriftLog(partition)
        self.tally = Tally()
        self._interval = Interval()
        self.newest = NewestSlates(settings.web_cached_slates)
        self._work = new_work(replica.n_rows, replica.n_categories)
        self._acc = new_accumulators(replica.n_rows, 1024, 1024)
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
        state: dict[str, Any] = msgspec.json.decode(checkpoint)["state"] if checkpoint else {}
        self.tally.restore(state)
        self._newest_s = int(state.get("newest_s", 0))
        self.relearning.restore(state.get("relearning"))
        keys = [GLOBALS_KEY, REACTIONS_KEY, CONTENT_KEY, DISCOVERIES_KEY, POLICY_KEY]
        first, reactions, content, discoveries, policy = self._store.get_many(keys)
        if first is not None:
            self.globals = globals_of(first, reactions, content, discoveries)
        self._written = self._flushed = self._parts()
        self.policy.restore(policy)

    @property
    def stretch(self) -> int:
        """Commit interval at present, as a multiple of ``commit_interval_ms``."""
        return STRETCH[self.load.level]

    def process(self, records: "Sequence[KafkaRecord]", now_ms: int, n_waiting: int = 0) -> None:
        """Decode, validate and learn a batch of events; results wait for :meth:`flush`."""
        self.load = observe(self.load, n_waiting, now_ms, self._load_params)
        decoded = decode_events(records, now_ms=now_ms, limits=self._limits)
        for rejection in decoded.rejections:
            key, value, headers = encode_reject(records[rejection.index], rejection)
            self._interval.rejects.append(Output(self._settings.topic_rejects, self.partition, key, value, headers))
            self.tally.note_reject(rejection.code)
        run: list[tuple[Event, int]] = []
        for event, index in zip(decoded.events, decoded.index, strict=True):
            if event.type == "forget":
                self.learn(run)
                run = []
                self.forget(event)
            else:
                run.append((event, records[index].offset))
        self.learn(run)
        self._drifts.tell(self.quality)

    def _get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Read pages from the store, without those that the present interval erased."""
        return self._interval.without_gone(keys, self._store.get_many(keys))

    def learn(self, run: list[tuple[Event, int]], wanted: UInt8s = NOTHING_WANTED) -> Rows:
        """Learn events that are decoded already, and are no ``forget``; results wait for :meth:`flush`.

        Parameters
        ----------
        run
            Events and their offsets, in order.
        wanted
            Shape ``(len(run),)``: 1 where an evaluation wants lists from before that event; empty in a worker.

        Returns
        -------
        Rows
            Shape of ``wanted``, dtype :data:`operators.lists.LISTS`, filled where they were wanted.
        """
        lists = np.zeros(wanted.size, LISTS) if wanted.size else NO_LISTS
        if not run:
            return lists
        events = self._columns(run)
        n = events.size
        self.table.reserve_pages(PAGES_PER_EVENT * n)
        self._acc = with_room(self._acc, self._replica.n_rows, RECORDS_PER_EVENT * n, PAIRS_PER_EVENT * n)
        # An interval's decayed sums are as of the newest event ever: sums as of a late one would outgrow float32.
        self._newest_s = max(self._newest_s, int(events["t_s"].max()))
        as_of_s = self._interval.as_of_s = self._interval.as_of_s or self._newest_s
        shown = self._shown_hits(events)
        status, losses, aucs = np.zeros(n, np.uint8), np.zeros(n, np.float32), np.zeros(n, np.float32)
        offsets = np.fromiter((offset for _, offset in run), np.uint64, n)
        draws = self._draws(offsets, events) if wanted.size else NO_DRAWS
        headers = self._replica.table.headers.records
        for block, part, pool in pooled_runs(offsets, headers, self._settings.seed, self.partition):
            params = self.relearning.enter(block, self.globals[0])
            with self._replica.reading(self._reader) as entities:
                self._make_room()
                learn_batch(
                    events[part], as_of_s, self._users(), entities, self.globals[0], pool, self._work, self._acc,
                    params, status[part], losses[part], aucs[part], self._slate, self._greedy, draws[part],
                    wanted[part], lists[part],
                )  # fmt: skip
            self._watch(events[part], status[part], losses[part], shown[part], aucs[part])
        self.policy.attribute(events, (status == DUPLICATE).astype(np.uint8), self._users())
        self._count(run, events, status)
        return lists

    def _watch(self, events: Rows, status: UInt8s, losses: np.ndarray, shown: np.ndarray, aucs: np.ndarray) -> None:
        """Note how well events were foreseen; see :mod:`stream_app.quality` and :mod:`stream_app.relearning`."""
        fresh = status != DUPLICATE
        positive = fresh & (events["weight"] > 0)
        alarm = self.quality.update(losses[fresh], shown[positive], aucs[fresh])
        self.relearning.note(int(np.count_nonzero(positive)), alarm=alarm)

    def _draws(self, offsets: UInt64s, events: Rows) -> Rows:
        return self.policy.unlearned_choices(self.table.headers.records["id"][events["user"]], offsets)

    def _make_room(self) -> None:
        """Size scratch space for all rows that the replica has; within its :meth:`~Replica.reading`."""
        self._acc = with_room(self._acc, self._replica.n_rows, 0, 0)
        if self._work.position.shape[0] < self._replica.n_rows or (
            self._work.category_position.shape[0] < self._replica.n_categories
        ):
            self._work = new_work(self._replica.n_rows, self._replica.n_categories)

    def _columns(self, run: list[tuple[Event, int]]) -> Rows:
        found = [event for event, _ in run]
        unique, where = np.unique(user_hashes(found), return_inverse=True)
        rows, created = self.table.ensure(unique, self._get_many)
        start_users(self.table.headers.records, created)
        self.counters["n_users"] += created.size
        self._tick += 1
        self.table.headers.records["tick"][rows] = self._tick
        events = event_columns(found)
        events["user"] = rows[where]
        unique_items, first, where = np.unique(events["id"], return_index=True, return_inverse=True)
        item_rows = self._replica.ensure(unique_items)
        events["row"] = item_rows[where]
        named = self._replica.table.headers.records["named"][item_rows]
        for k in np.flatnonzero(named == 0).tolist():
            self._interval.names[int(unique_items[k])] = found[int(first[k])].item_id or ""
        events["reward"] = self.policy.rewards(found)
        events["slate"] = self.policy.slate_marks(found)
        return events

    @property
    def store(self) -> "Store":
        """The committed pages of the task."""
        return self._store

    @property
    def replica(self) -> "Replica":
        """The worker's read replica."""
        return self._replica

    def _users(self) -> Users:
        return users_of(self.table)

    def _shown_hits(self, events: Rows) -> np.ndarray:
        headers = self.table.headers.records[events["user"]]
        return np.asarray((headers["shown"] == events["row"][:, None]).any(axis=1) & (headers["n_shown"] > 0))

    def _count(self, run: list[tuple[Event, int]], events: Rows, status: np.ndarray) -> None:
        fresh = status != DUPLICATE
        types = events["type"][fresh]
        self.tally.note_events(types, events.size - types.size, int(np.count_nonzero(status == LEARNED_LATE)))
        self._interval.note(events["user"], np.flatnonzero(fresh & (events["weight"] != 0.0)), run)

    def forget(self, event: Event) -> None:
        """Erase a user: the row leaves memory, and tombstones go to the changelog and the store."""
        user = np.array([hash_id(event.user_id)], np.uint64)
        rows, created = self.table.ensure(user, self._get_many)
        row = int(rows[0])
        if not created.size:
            self.counters["n_users"] -= 1
        self._interval.erase(row, [] if created.size else self.table.keys_of(row))
        self.table.drop(rows)
        self.newest.stage(event.user_id, None)
        self.counters["n_forgotten"] += 1

    def prompt(self, now_ms: int) -> list[Output]:
        """Return the slates of the users touched since the last ones, for a task that is not under load."""
        return [] if self.load.level else self._slates(now_ms)

    def flush(self, now_ms: int) -> Flush:
        """Fill the slates that are still due and return all that the interval's transaction must hold."""
        outputs = [*self._slates(now_ms), *self._updates(), *self._interval.rejects]
        statistics, policy_pages = self.policy.flush()
        outputs += statistics
        pages = self.table.changed(np.array(list(self._interval.touched), np.int32))
        if self._interval.gone:
            written = {key for key, _ in pages}
            pages.singles += [(key, None) for key in sorted(self._interval.gone - written)]
        pages.singles += [(GLOBALS_KEY, first_page(self.globals)), *policy_pages]
        content = content_page(self.globals)
        if content is not None:
            pages.singles.append((CONTENT_KEY, content))
        self._flushed = self._parts()
        pages.singles += [(key, page) for key, page in self._flushed.items() if page != self._written[key]]
        state = {**self.tally.state(), "newest_s": self._newest_s, "relearning": self.relearning.state()}
        return Flush(outputs=outputs, pages=pages, state=state)

    def _parts(self) -> dict[bytes, bytes]:
        """Return the pages that are written only when they have changed."""
        return {REACTIONS_KEY: reaction_page(self.globals), DISCOVERIES_KEY: discovery_page(self.globals)}

    def _slates(self, now_ms: int) -> list[Output]:
        latest = self._interval.take_latest()
        if not latest:
            return []
        rows = np.array(list(latest), np.int32)
        offsets = np.fromiter((offset for _, offset in latest.values()), np.uint64, rows.size)
        assigned = self.policy.assign(self.table.headers.records, rows, offsets)
        self.table.reserve_pages(rows.size)
        users = self._users()
        slates = self._fill(users, rows, assigned.choices)
        with self._replica.reading(self._reader) as entities:
            self.policy.expose(users, rows, slates, assigned, entities)
        out = []
        filled = zip(self._unpacked(slates), self.policy.of_slates(assigned), latest.values(), strict=True)
        for slate, policy, (event, offset) in filled:
            value = build_slate(slate, event, self.partition, offset, now_ms, self._replica, policy)
            if value is not None:
                key = event.user_id.encode()
                out.append(Output(self._settings.topic_recommendations, self.partition, key, value))
                self.newest.stage(event.user_id, value)
        self.counters["n_slates"] += len(out)
        return out

    def fill_greedily(self, users: Users, rows: Int32s) -> list[FilledSlate]:
        """Fill a slate for each row of a table of users, taking the best and drawing nothing.

        Only what those rows have been shown changes, which is why it wants a table that is thrown away.
        """
        return self._unpacked(self._fill(users, rows, greedy_choices(rows.size, self._slate)))

    def _unpacked(self, slates: Rows) -> list[FilledSlate]:
        return list(unpack(slates, self._replica.ids))

    def _fill(self, users: Users, rows: Int32s, choices: Rows) -> Rows:
        slates = np.zeros(rows.size, SLATE)
        for at in range(0, rows.size, _SLATES_AT_ONCE):
            part = slice(at, at + _SLATES_AT_ONCE)
            with self._replica.reading(self._reader) as entities:
                self._make_room()
                fill_slates(
                    users, rows[part], candidates_at(self.load.level, entities), self.globals[0], self._work,
                    self._learn, self._slate, choices[part], slates[part],
                )  # fmt: skip
        return slates

    def take_updates(self) -> list[Output]:
        """Return the interval's item updates and begin a new interval without slates, pages or transaction."""
        updates = self._updates()
        self._interval = Interval()
        return updates

    def _updates(self) -> list[Output]:
        if not self._acc.n[0]:
            return []
        with self._replica.reading(self._reader) as entities:
            updates = summed_updates(self._acc, entities, self._interval.as_of_s, self.n_item_shards)
        clear(self._acc)
        out = []
        for shard, update in updates.items():
            names = {k: v for k, v in self._interval.names.items() if (k >> 32) % self.n_item_shards == shard}
            value = encode_update(update._replace(names=names))
            key = b"%d" % self.partition
            out.append(Output(self._settings.topic_item_updates, shard, key, value))
        return out

    def committed(self) -> None:
        """Start the next interval, and evict rows beyond the bound."""
        self.newest.commit()
        self._written = self._flushed
        self._interval = Interval()
        self.policy.committed()
        self.table.evict(self._settings.hot_rows)
