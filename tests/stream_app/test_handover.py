"""The handover of item pages in a worker: a replica misses nothing and never goes back, whoever brings the pages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from state.pages import Pages
from stream_app.handover import N_KEPT, Handover

PARTITION = 3
MARK = -1
STEPS = st.lists(
    st.sampled_from(
        ["commit", "commit", "fail", "close amid", "read", "read half", "read one", "note", "pause", "close", "open"]
    ),
    max_size=60,
)


class Shard:
    """A changelog with two records and a mark a commit, a task that writes it, a tail that reads it, and a replica."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.handover = Handover(lambda pages: self.seen.extend(int(key) for key, _ in pages))
        self.log: list[int] = []
        self.position = 0
        self.applied = 0
        self.paused = False
        self.fetched: list[int] = []

    def open(self) -> None:
        """Open the task: it has replayed the log to its end."""
        self.handover.opened(PARTITION, len(self.log))

    def commit(self, outcome: str) -> None:
        """Commit two records; those that fail are in the log, but were never settled, or were settled and no more."""
        first = len(self.log)
        self.log += [first, first + 1, MARK]
        pages, offset = Pages([(b"%d" % n, b"") for n in (first, first + 1)]), first + 2
        mine = outcome != "fail" and self.handover.settled(PARTITION, offset, pages)
        if outcome != "commit":
            self.handover.closed(PARTITION)
        if mine:
            self.handover.apply(PARTITION, pages, offset)

    def read(self, n: int | None) -> None:
        """Fetch up to ``n`` records, as a tail that is not paused does, and take them."""
        if self.paused:
            return
        records = [record for record in self.log[self.position :] if record != MARK][:n]
        self.position = records[-1] + 1 if n is not None and records else max(self.position, len(self.log))
        if not records:
            return
        meeting = self.handover.meeting(PARTITION, records[0], records[-1] + 1)
        if meeting is not None:
            self._bring([record for record in records if record < meeting], meeting)
            records = [record for record in records if record >= meeting]
        self._bring(records, records[-1] + 1 if records else 0)

    def _bring(self, records: list[int], end: int) -> None:
        if records and PARTITION not in self.handover.taken:
            self.seen += records
            self.applied = end
            self.handover.note_read(PARTITION, end)

    def note(self) -> None:
        """Note where the tail is, and the marks that it has passed, once it has gone back or paused."""
        self.share_work()
        if PARTITION not in self.handover.taken and self.position > self.applied:
            self.applied = self.position
            self.handover.note_read(PARTITION, self.position)

    def share_work(self) -> None:
        """Seek and resume, or pause, as the tail does after each round."""
        for offset in self.handover.take_released().values():
            self.position = self.applied = max(offset, self.applied)
            self.paused = False
        if PARTITION in self.handover.taken:
            self.paused = True

    @property
    def records(self) -> list[int]:
        """All records of the log."""
        return [record for record in self.log if record != MARK]


@given(STEPS)
def test_nothing_is_missed_and_nothing_goes_back(steps: list[str]) -> None:
    """Whatever commits, fails, closes, opens or is read, the replica ends with all, in order, and tells how far it is.

    A commit comes twice only where its task closed while it was on its way.
    """
    shard = Shard()
    running = False
    for step in steps:
        if step == "open" and not running:
            shard.open()
            running = True
        elif step in {"commit", "fail", "close amid"} and running:
            shard.commit(step)
            running = step == "commit"
        elif step == "close":
            shard.handover.closed(PARTITION)
            running = False
        elif step == "pause":
            shard.share_work()
        elif step == "note":
            shard.note()
        elif step.startswith("read"):
            shard.read({"read": None, "read half": 3, "read one": 1}[step])
        commits = [record // 3 for record in shard.seen]
        assert commits == sorted(commits)
        for position in shard.handover.positions.values():
            assert set(shard.seen) == {record for record in shard.records if record < position}
    shard.handover.closed(PARTITION)
    shard.share_work()
    shard.read(None)
    assert sorted(set(shard.seen)) == shard.records
    assert len(shard.seen) <= len(shard.records) + 2 * steps.count("close amid")


def test_a_task_that_opens_where_the_tail_is_takes_over_at_once() -> None:
    """A new application reads nothing of what its worker writes; after a close the tail goes on after it."""
    shard = Shard()
    shard.open()
    assert shard.handover.taken == {PARTITION}
    shard.commit("commit")
    assert shard.seen == [0, 1]
    shard.handover.closed(PARTITION)
    assert not shard.handover.settled(PARTITION, 9, Pages())
    assert shard.handover.take_released() == {PARTITION: 2}


def test_the_tail_takes_over_again_where_it_has_passed_the_mark() -> None:
    """Whether the tail has seen the mark of the last transaction or not makes no difference once it has noted it."""
    shard = Shard()
    shard.open()
    shard.commit("commit")
    shard.handover.closed(PARTITION)
    shard.open()
    assert PARTITION not in shard.handover.positions
    shard.share_work()
    shard.read(None)
    shard.note()
    assert shard.handover.positions == {PARTITION: 3}
    shard.commit("commit")
    assert shard.seen == [0, 1, 3, 4]


def test_a_tail_that_is_behind_meets_a_commit_within_what_it_reads() -> None:
    """A busy task never waits for the tail: the commits since the one that the tail has reached come from memory."""
    shard = Shard()
    shard.log = [0, 1, MARK]
    shard.open()
    for _ in range(2 * N_KEPT):
        shard.commit("commit")
    shard.read(4)
    assert shard.seen == [0, 1, 3, 4]
    assert PARTITION not in shard.handover.positions
    shard.read(None)
    assert PARTITION in shard.handover.positions
    assert shard.seen == shard.records
    shard.commit("commit")
    assert shard.seen == shard.records


def test_pages_that_are_on_their_way_do_not_set_the_position_back() -> None:
    """A task that was closed and opened again while its last pages waited for the replica's thread has more by then."""
    shard = Shard()
    shard.open()
    assert shard.handover.settled(PARTITION, 2, Pages())
    shard.handover.closed(PARTITION)
    shard.handover.opened(PARTITION, 3)
    shard.handover.note_read(PARTITION, 3)
    shard.handover.apply(PARTITION, Pages(), 2)
    assert shard.handover.positions == {PARTITION: 3}
