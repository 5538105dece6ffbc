"""The user stage's state and operators: events of one partition in; slates, item updates and rejects out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from operators.aging import MOST_AHEAD_S, age
from operators.arrays import Users
from operators.draw import CHOICE, greedy_choices
from operators.interval import clear, merged, summed_updates, with_room
from operators.learn import (
    DUPLICATE,
    LEARNED_LATE,
    PAGES_PER_EVENT,
    PAIRS_PER_EVENT,
    RECORDS_PER_EVENT,
    learn_batch,
)
from operators.lists import LISTS
from operators.load import candidates_at, observe
from operators.numeric import start_users
from operators.rank import SLATE, fill_slates
from state.arrays import Int32s, Rows, UInt8s, UInt64s
from state.ids import hash_id
from state.updates import encode_update
from stream_app.columns import event_columns, user_hashes
from stream_app.interval import Interval
from stream_app.learned_pages import (
    CONTENT_KEY,
    GLOBALS_KEY,
    content_page,
    first_page,
)
from stream_app.pools import pooled_runs
from stream_app.processor import Flush, Output
from stream_app.records import Event, decode_events, encode_reject
from stream_app.slates import FilledSlate, build_slate, unpack
from stream_app.update_records import split_update, with_names
from stream_app.user_state import UserState

if TYPE_CHECKING:
    from stream_app.records import KafkaRecord

NOTHING_WANTED = np.zeros(0, np.uint8)
NO_LISTS = np.zeros(0, LISTS)
NO_DRAWS = np.zeros(0, CHOICE)
_SLATES_AT_ONCE = (32, 64, 128)
"""Slates that are filled before changes of the replica may come in between, by level of load."""


class UserProcessor(UserState):
    """Learns from the events of one partition and publishes slates for its users; made as its state is."""

    def process(self, records: "Sequence[KafkaRecord]", now_ms: int, n_waiting: int = 0) -> None:
        """Decode, validate and learn a batch of events; results wait for :meth:`flush`."""
        self.load = observe(self.load, n_waiting, now_ms, self._load_params)
        decoded = decode_events(records, now_ms=now_ms, limits=self._limits)
        for rejection in decoded.rejections:
            key, value, headers = encode_reject(records[rejection.index], rejection)
            self._interval.reject(Output(self._settings.topic_rejects, self.partition, key, value, headers))
            self.tally.note_reject(rejection.code)
        self._rejects.note([rejection.code for rejection in decoded.rejections], now_ms)
        run: list[tuple[Event, int]] = []
        for event, index in zip(decoded.events, decoded.index, strict=True):
            if event.type == "forget":
                self.learn(run)
                run = []
                self.forget(event)
            else:
                run.append((event, records[index].offset))
        self.learn(run)
        if self.load.level:
            self.fold()
        self._drifts.tell(self.quality)

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
        as_of_s = self._as_of(events)
        shown = self._shown_hits(events)
        status, losses, aucs = np.zeros(n, np.uint8), np.zeros(n, np.float32), np.zeros(n, np.float32)
        offsets = np.fromiter((offset for _, offset in run), np.uint64, n)
        draws = self._draws(offsets, events) if wanted.size else NO_DRAWS
        headers = self._replica.table.headers.records
        for block, part, pool in pooled_runs(offsets, headers, self._settings.seed, self.partition):
            params = self.relearning.enter(block, self.globals[0])
            with self._replica.reading(self._reader) as entities:
                self._make_room()
                m = part.stop - part.start  # other threads may have added rows since the whole batch got its room
                self._acc = with_room(self._acc, self._replica.n_rows, RECORDS_PER_EVENT * m, PAIRS_PER_EVENT * m)
                learn_batch(
                    events[part], as_of_s, self._users(), entities, self.globals[0], pool, self._work, self._acc,
                    params, status[part], losses[part], aucs[part], self._slate, self._greedy, draws[part],
                    wanted[part], lists[part],
                )  # fmt: skip
            self._watch(events[part], status[part], losses[part], shown[part], aucs[part])
        self.policy.attribute(events, (status == DUPLICATE).astype(np.uint8), self._users())
        self._count(run, events, status)
        return lists

    def _as_of(self, events: Rows) -> int:
        """Return the time that the interval's decayed sums are as of, in seconds since 2000, once events are in it.

        That is the newest event ever at its first batch: sums as of a late one would outgrow float32. Far newer events
        move it, and what has been summed up ages.
        """
        interval = self._interval
        self._newest_s = max(self._newest_s, int(events["t_s"].max()))
        ahead_s = self._newest_s - interval.as_of_s
        if not interval.as_of_s:
            interval.as_of_s = self._newest_s
        elif ahead_s > MOST_AHEAD_S:
            age(self._acc, ahead_s)
            age(self._summed, ahead_s)
            interval.as_of_s = self._newest_s
        return interval.as_of_s

    def fold(self) -> None:
        """Let the worker's lists follow what was learned since the last time, long before it is committed."""
        if not self._acc.n[0]:
            return
        self._replica.add_learned(self._acc, self._interval.as_of_s, self._learn.rate)
        self._summed = merged(self._summed, self._acc, self._replica.n_rows)
        clear(self._acc)

    def _watch(self, events: Rows, status: UInt8s, losses: np.ndarray, shown: np.ndarray, aucs: np.ndarray) -> None:
        """Note how well events were foreseen; see :mod:`stream_app.quality` and :mod:`stream_app.relearning`."""
        fresh = status != DUPLICATE
        positive = fresh & (events["weight"] > 0)
        alarm = self.quality.update(losses[fresh], shown[positive], aucs[fresh])
        self.relearning.note(int(np.count_nonzero(positive)), alarm=alarm)

    def _draws(self, offsets: UInt64s, events: Rows) -> Rows:
        return self.policy.unlearned_choices(self.table.headers.records["id"][events["user"]], offsets)

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
        n = _SLATES_AT_ONCE[self.load.level]
        for at in range(0, rows.size, n):
            part = slice(at, at + n)
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
        acc = self._acc
        if self._summed.n[0]:
            acc = self._summed = merged(self._summed, acc, self._replica.n_rows)
            clear(self._acc)
        if not acc.n[0]:
            return []
        with self._replica.reading(self._reader) as entities:
            updates = summed_updates(acc, entities, self._interval.as_of_s, self.n_item_shards)
        clear(acc)
        updates = with_names(updates, self._interval.names, self.n_item_shards)
        topic = self._settings.topic_item_updates
        return [
            Output(topic, shard, None, encode_update(part))
            for shard, update in updates.items()
            for part in split_update(update)
        ]

    def committed(self) -> None:
        """Start the next interval, and evict rows beyond the bound."""
        self.newest.commit()
        self._written = self._flushed
        self._interval = Interval()
        self.policy.committed()
        self.share()
        self.table.evict(self._settings.hot_rows)

    def share(self) -> None:
        """Go on from what all partitions of the worker have learned of ranking, once that of this one is committed."""
        self._rankers.exchange(self.partition, self.globals)
