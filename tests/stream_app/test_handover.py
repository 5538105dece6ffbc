"""The handover of item pages in a worker: a replica misses nothing and never goes back, whoever brings the pages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from state.pages import Pages
from stream_app.handover import Handover

PARTITION = 3
STEPS = st.lists(
    st.sampled_from(["commit", "commit", "fail", "close amid", "read", "read half", "pause", "close", "open"]),
    max_size=60,
)


class Shard:
    """A changelog with a record a commit, a task that writes it, a tail that reads it, and a replica that sees both."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.handover = Handover(lambda pages: self.seen.extend(int(key) for key, _ in pages))
        self.log: list[int] = []
        self.position = 0
        self.paused = False
        self.fetched: list[int] = []

    def commit(self, outcome: str) -> None:
        """Commit the next record; one that fails is in the log, but was never settled, or was settled and no more."""
        self.log.append(len(self.log))
        pages, offset = Pages([(b"%d" % self.log[-1], b"")]), len(self.log)
        mine = outcome != "fail" and self.handover.settled(PARTITION, offset)
        if outcome != "commit":
            self.handover.closed(PARTITION)
        if mine:
            self.handover.apply(PARTITION, pages, offset)

    def fetch(self) -> None:
        """Fetch what a tail that is not paused would, without applying it yet."""
        if not self.paused and not self.fetched:
            self.fetched = self.log[self.position :]

    def read(self, n: int | None) -> None:
        """Apply fetched records as the tail does."""
        records, self.fetched = self.fetched[:n], self.fetched[n:] if n is not None else []
        if records and PARTITION not in self.handover.taken:
            self.seen += records
            self.position = records[-1] + 1
            self.handover.note_read(PARTITION, self.position)

    def share_work(self) -> None:
        """Seek and resume, or pause, as the tail does after each round."""
        for offset in self.handover.take_released().values():
            self.position, self.paused, self.fetched = max(offset, self.position), False, []
        if PARTITION in self.handover.taken:
            self.paused, self.fetched = True, []


@given(STEPS)
def test_nothing_is_missed_and_nothing_goes_back(steps: list[str]) -> None:
    """Whatever commits, fails, closes, opens or is read, the replica ends with all, in order, and tells how far it is.

    A record comes twice only where its task closed while it was on its way.
    """
    shard = Shard()
    running = False
    for step in steps:
        if step == "open" and not running:
            shard.handover.opened(PARTITION)
            running = True
        elif step in {"commit", "fail", "close amid"} and running:
            shard.commit(step)
            running = step == "commit"
        elif step == "close":
            shard.handover.closed(PARTITION)
            running = False
        elif step == "pause":
            shard.share_work()
        elif step.startswith("read"):
            shard.fetch()
            shard.read(None if step == "read" else 1)
        assert shard.seen == sorted(shard.seen)
        assert shard.handover.positions.get(PARTITION, len(set(shard.seen))) == len(set(shard.seen))
    shard.handover.closed(PARTITION)
    shard.share_work()
    for _ in range(2):  # what was fetched already, then the rest
        shard.fetch()
        shard.read(None)
    assert sorted(set(shard.seen)) == shard.log
    assert len(shard.seen) <= len(shard.log) + steps.count("close amid")


def test_the_task_takes_over_when_the_tail_has_read_what_it_committed() -> None:
    """Until then the tail reads; afterwards only the task brings pages; a late commit of a closed task is ignored."""
    shard = Shard()
    shard.handover.opened(PARTITION)
    shard.commit("commit")
    assert shard.handover.taken == frozenset()
    shard.fetch()
    shard.read(None)
    assert shard.handover.taken == {PARTITION}
    shard.commit("commit")
    assert shard.seen == [0, 1]
    shard.handover.closed(PARTITION)
    assert not shard.handover.settled(PARTITION, 9)
    assert shard.seen == [0, 1]
    assert shard.handover.take_released() == {PARTITION: 2}
