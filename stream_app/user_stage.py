"""The user stage's state and operators: events of one partition in; slates, item updates and rejects out."""

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from operators.arrays import EVENT, GLOBALS, Users, new_accumulators, new_globals, new_work
from operators.draw import greedy_choices
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
from operators.numeric import splitmix, start_users
from operators.params import LearnParams, SlateParams
from operators.rank import SLATE, fill_slates
from state.arrays import Int32s, Rows, UInt8s
from state.codec import KIND_GLOBALS, page_key
from state.ids import hash_id
from state.layout import EPOCH_2000_S, KIND_ITEM, USER_HEADER, USER_PAGES
from state.table import RowTable
from state.updates import encode_update
from stream_app.newest import NewestSlates
from stream_app.policy_task import POLICY_KEY, PartitionPolicy
from stream_app.policy_view import PolicyView
from stream_app.processor import Flush, Output
from stream_app.quality import OnlineQuality
from stream_app.records import Event, EventLimits, decode_events, encode_reject
from stream_app.slates import FilledSlate, build_slate, unpack

if TYPE_CHECKING:
    from state.store import Store
    from stream_app.records import KafkaRecord
    from stream_app.replica import Replica
    from stream_app.settings import Settings

TYPES = ("impression", "view", "click", "favorite", "cart", "purchase", "rating", "review", "dislike")
WEIGHTS = {"impression": 0.0, "view": 0.1, "click": 0.3, "favorite": 0.6, "cart": 0.8, "purchase": 1.0, "review": 0.5}
"""How much an event of a type teaches; a rating's weight comes from its value, a dislike is negative."""
MAX_POOL = 128
_TYPE_NUMBERS = {name: number for number, name in enumerate(TYPES)}
GLOBALS_KEY = page_key(0, KIND_GLOBALS)
NOTHING_WANTED = np.zeros(0, np.uint8)
NO_LISTS = np.zeros(0, LISTS)


def event_weight(event: Event) -> float:
    """Return how much an event teaches: 0 nothing, negative a dislike, 1 a purchase or a rating of 4 and more."""
    if event.type == "dislike":
        return -1.0
    if event.type == "rating":
        value = event.value if event.value is not None else 3.0
        return 1.0 if value >= 4 else 0.3 if value >= 3 else -1.0  # noqa: PLR2004 - the five-star scale
    return WEIGHTS[event.type]


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
    ) -> None:
        self._settings = settings
        self.partition, self.n_partitions, self.n_item_shards = partition, n_partitions, n_item_shards
        self._store, self._replica = store, replica
        self._limits = EventLimits.of(settings)
        self._learn = LearnParams(session_gap_s=settings.session_gap_ms // 1000)
        self._slate = SlateParams(
            size=settings.slate_size,
            category_cap=settings.category_cap,
            discovery_slots=settings.discovery_slots,
            shown_limit=settings.shown_limit,
            bought_rest_s=int(settings.exclude_bought_days * 86_400),
        )
        self._greedy = greedy_choices(1, self._slate)[0]
        self.policy = PartitionPolicy(settings, partition, policy or PolicyView(settings))
        self.table = RowTable(USER_HEADER, USER_PAGES)
        self.globals: Rows = new_globals()
        self.quality = OnlineQuality()
        self.counters: dict[str, int] = dict.fromkeys(
            ("n_events", "n_users", "n_duplicates", "n_late", "n_rejected", "n_slates", "n_forgotten"), 0
        )
        self.by_type: dict[str, int] = {}
        self.rejects_by_code: dict[str, int] = {}
        self.newest = NewestSlates(settings.web_cached_slates)
        self._work = new_work(replica.n_rows, replica.n_categories)
        self._acc = new_accumulators(replica.n_rows, 1024, 1024)
        self._as_of_s = 0
        self._newest_s = 0
        self._tick = 0
        self.load = Load()
        self._load_params = LoadParams(behind=settings.max_batch_events, calm=settings.max_batch_events // 10)
        self._reset_interval()

    def _reset_interval(self) -> None:
        self._touched: dict[int, None] = {}
        self._latest: dict[int, tuple[Event, int]] = {}
        self._rejects: list[Output] = []
        self._gone: set[bytes] = set()
        self._names: dict[int, str] = {}
        self._as_of_s = 0

    def restore(self, checkpoint: bytes | None) -> None:
        """Take counters and weights from the last commit; rows come from the store when they are needed."""
        state: dict[str, Any] = msgspec.json.decode(checkpoint)["state"] if checkpoint else {}
        for name in self.counters:
            self.counters[name] = int(state.get(name, 0))
        self._newest_s = int(state.get("newest_s", 0))
        self.by_type = {str(k): int(v) for k, v in state.get("by_type", {}).items()}
        self.rejects_by_code = {str(k): int(v) for k, v in state.get("rejects_by_code", {}).items()}
        raw, policy = self._store.get_many([GLOBALS_KEY, POLICY_KEY])
        if raw is not None:
            self.globals = np.frombuffer(raw, GLOBALS, 1).copy()
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
            self._rejects.append(Output(self._settings.topic_rejects, self.partition, key, value, headers))
            self.rejects_by_code[rejection.code] = self.rejects_by_code.get(rejection.code, 0) + 1
        self.counters["n_rejected"] += len(decoded.rejections)
        run: list[tuple[Event, int]] = []
        for event, index in zip(decoded.events, decoded.index, strict=True):
            if event.type == "forget":
                self.learn(run)
                run = []
                self.forget(event)
            else:
                run.append((event, records[index].offset))
        self.learn(run)

    def _get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Read pages from the store, without those that the present interval erased."""
        values = self._store.get_many(keys)
        if not self._gone:
            return values
        return [None if key in self._gone else value for key, value in zip(keys, values, strict=True)]

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
        entities = self._replica.entities()
        n = events.size
        self.table.reserve_pages(PAGES_PER_EVENT * n)
        self._acc = with_room(self._acc, self._replica.n_rows, RECORDS_PER_EVENT * n, PAIRS_PER_EVENT * n)
        self._make_room()
        # An interval's decayed sums are as of the newest event ever: sums as of a late one would outgrow float32.
        self._newest_s = max(self._newest_s, int(events["t_s"].max()))
        self._as_of_s = self._as_of_s or self._newest_s
        shown = self._shown_hits(events)
        status, losses = np.zeros(n, np.uint8), np.zeros(n, np.float32)
        learn_batch(
            events, self._as_of_s, self._users(), entities, self.globals[0], self._pool(n), self._work, self._acc,
            self._learn, status, losses, self._slate, self._greedy, wanted, lists,
        )  # fmt: skip
        self.policy.attribute(events, (status == DUPLICATE).astype(np.uint8), self._users())
        self._count(run, events, status)
        fresh = status != DUPLICATE
        self.quality.update(losses[fresh], shown[fresh & (events["weight"] > 0)])
        return lists

    def _make_room(self) -> None:
        if self._work.position.shape[0] < self._replica.n_rows or (
            self._work.category_position.shape[0] < self._replica.n_categories
        ):
            self._work = new_work(self._replica.n_rows, self._replica.n_categories)

    def _columns(self, run: list[tuple[Event, int]]) -> Rows:
        n = len(run)
        users = np.fromiter((hash_id(e.user_id) for e, _ in run), np.uint64, n)
        items = np.fromiter((hash_id(e.item_id or "") for e, _ in run), np.uint64, n)
        unique, where = np.unique(users, return_inverse=True)
        rows, created = self.table.ensure(unique, self._get_many)
        start_users(self.table.headers.records, created)
        self.counters["n_users"] += created.size
        self._tick += 1
        self.table.headers.records["tick"][rows] = self._tick
        events = np.zeros(n, EVENT)
        events["user"] = rows[where]
        unique_items, first, where = np.unique(items, return_index=True, return_inverse=True)
        item_rows = self._replica.ensure(unique_items)
        events["row"] = item_rows[where]
        named = self._replica.table.headers.records["named"][item_rows]
        for k in np.flatnonzero(named == 0).tolist():
            self._names[int(unique_items[k])] = run[int(first[k])][0].item_id or ""
        events["id"] = items
        events["event_hash"] = np.fromiter((hash_id(e.event_id) for e, _ in run), np.uint64, n)
        events["session"] = np.fromiter((hash_id(e.session_id) if e.session_id else 0 for e, _ in run), np.uint64, n)
        events["t_s"] = np.fromiter((e.event_time_ms // 1000 - EPOCH_2000_S for e, _ in run), np.int64, n)
        events["type"] = np.fromiter((_TYPE_NUMBERS[e.type] for e, _ in run), np.uint8, n)
        events["weight"] = np.fromiter((event_weight(e) for e, _ in run), np.float32, n)
        events["reward"] = self.policy.rewards([e for e, _ in run])
        events["slate"] = self.policy.slate_marks([e for e, _ in run])
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

    def _pool(self, n_events: int) -> Int32s:
        """Draw item rows that serve as uniform negatives for a batch; a function of seed, partition and draws."""
        headers = self._replica.table.headers.records
        wanted = min(MAX_POOL, 8 * n_events)
        seed = np.uint64(splitmix(np.uint64(self._settings.seed * 1_000_003 + self.partition)))
        draws = int(self.globals["draws"][0])
        rng = np.random.default_rng([int(seed), draws])
        rows = rng.integers(1, max(headers.shape[0], 2), 2 * wanted)
        known = (headers["n"][rows] > 0) & (headers["kind"][rows] == KIND_ITEM)
        picked: Int32s = rows[known][:wanted].astype(np.int32)
        return picked

    def _shown_hits(self, events: Rows) -> np.ndarray:
        headers = self.table.headers.records[events["user"]]
        return np.asarray((headers["shown"] == events["id"][:, None]).any(axis=1) & (headers["n_shown"] > 0))

    def _count(self, run: list[tuple[Event, int]], events: Rows, status: np.ndarray) -> None:
        fresh = status != DUPLICATE
        n_fresh = int(np.count_nonzero(fresh))
        self.counters["n_late"] += int(np.count_nonzero(status == LEARNED_LATE))
        self.counters["n_events"] += n_fresh
        self.counters["n_duplicates"] += events.size - n_fresh
        for number, n in enumerate(np.bincount(events["type"][fresh]).tolist()):
            if n:
                self.by_type[TYPES[number]] = self.by_type.get(TYPES[number], 0) + n
        self._touched.update(dict.fromkeys(events["user"].tolist()))
        taught = np.flatnonzero(fresh & (events["weight"] != 0.0))
        newest = dict(zip(events["user"][taught].tolist(), taught.tolist(), strict=True))
        for row, k in sorted(newest.items(), key=itemgetter(1)):
            self._latest.pop(row, None)
            self._latest[row] = run[k]

    def forget(self, event: Event) -> None:
        """Erase a user: the row leaves memory, and tombstones go to the changelog and the store."""
        user = np.array([hash_id(event.user_id)], np.uint64)
        rows, created = self.table.ensure(user, self._get_many)
        row = int(rows[0])
        if not created.size:
            self._gone.update(self.table.keys_of(row))
            self.counters["n_users"] -= 1
        self.table.drop(rows)
        self._touched.pop(row, None)
        self._latest.pop(row, None)
        self.newest.stage(event.user_id, None)
        self.counters["n_forgotten"] += 1

    def flush(self, now_ms: int) -> Flush:
        """Fill the slates of the touched users and return all that the interval's transaction must hold."""
        outputs = [*self._slates(now_ms), *self._updates(), *self._rejects]
        statistics, policy_pages = self.policy.flush()
        outputs += statistics
        pages = self.table.changed(np.array(list(self._touched), np.int32))
        if self._gone:
            written = {key for key, _ in pages}
            pages.singles += [(key, None) for key in sorted(self._gone - written)]
        pages.singles += [(GLOBALS_KEY, self.globals.tobytes()), *policy_pages]
        state = {
            **self.counters,
            "by_type": self.by_type,
            "rejects_by_code": self.rejects_by_code,
            "newest_s": self._newest_s,
        }
        return Flush(outputs=outputs, pages=pages, state=state)

    def _slates(self, now_ms: int) -> list[Output]:
        if not self._latest:
            return []
        rows = np.array(list(self._latest), np.int32)
        offsets = np.fromiter((offset for _, offset in self._latest.values()), np.uint64, rows.size)
        assigned = self.policy.assign(self.table.headers.records, rows, offsets)
        self.table.reserve_pages(rows.size)
        users = self._users()
        slates = self._fill(users, rows, assigned.choices)
        self.policy.expose(users, rows, slates, assigned, self._replica.entities())
        out = []
        filled = zip(self._unpacked(slates), self.policy.of_slates(assigned), self._latest.values(), strict=True)
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
        self._make_room()
        return self._unpacked(self._fill(users, rows, greedy_choices(rows.size, self._slate)))

    def _unpacked(self, slates: Rows) -> list[FilledSlate]:
        return list(unpack(slates, self._replica.entities().headers["id"]))

    def _fill(self, users: Users, rows: Int32s, choices: Rows) -> Rows:
        slates = np.zeros(rows.size, SLATE)
        entities = candidates_at(self.load.level, self._replica.entities())
        fill_slates(users, rows, entities, self.globals[0], self._work, self._learn, self._slate, choices, slates)
        return slates

    def take_updates(self) -> list[Output]:
        """Return the interval's item updates and begin a new interval without slates, pages or transaction."""
        updates = self._updates()
        self._reset_interval()
        return updates

    def _updates(self) -> list[Output]:
        if not self._acc.n[0]:
            return []
        updates = summed_updates(self._acc, self._replica.entities(), self._as_of_s, self.n_item_shards)
        clear(self._acc)
        out = []
        for shard, update in updates.items():
            names = {k: v for k, v in self._names.items() if (k >> 32) % self.n_item_shards == shard}
            value = encode_update(update._replace(names=names))
            key = b"%d" % self.partition
            out.append(Output(self._settings.topic_item_updates, shard, key, value))
        return out

    def committed(self) -> None:
        """Start the next interval, and evict rows beyond the bound."""
        self.newest.commit()
        self._reset_interval()
        self.policy.committed()
        self.table.evict(self._settings.hot_rows)
