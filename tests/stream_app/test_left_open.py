"""What a broker has left of a transaction that it took for ended is never committed; on a real broker of its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from state.store import PageStore
from stream_app import left_open
from stream_app.application import default_plan
from stream_app.broker import EmbeddedBroker
from stream_app.catalog_rejects import CatalogRejects, catalog_rejects_group
from stream_app.changelog import RecoveryError
from stream_app.joined_catalog import BadRecords
from stream_app.left_open import LastTransaction, end_left_open
from stream_app.metrics import Metrics
from stream_app.outcome import last_outcome
from stream_app.processor import Output
from stream_app.recovery import store_folder
from stream_app.topics import topic_specs
from stream_app.transaction import TaskProducer
from tests.conftest import fresh_settings
from tests.stream_app import harness
from tests.stream_app.counting import counting_spec, page_key
from tests.stream_app.harness import Worker

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

    from stream_app.settings import Settings


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """Yield a broker that takes records of a transaction in partitions of which its coordinator knows nothing.

    So there can be what is there when markers were not written: an open transaction that is over for the coordinator.
    """
    with EmbeddedBroker(tmp_path_factory.mktemp("kafka")) as own:
        this = ConfigResource(ResourceType.BROKER, "1")
        entry = ConfigEntry(
            "transaction.partition.verification.enable", "false", incremental_operation=AlterConfigOpType.SET
        )
        this.add_incremental_config(entry)
        admin = AdminClient({"bootstrap.servers": own.bootstrap_servers})
        for future in admin.incremental_alter_configs([this]).values():
            future.result(30)
        yield own


@pytest.fixture
def settings(broker: EmbeddedBroker, tmp_path: Path) -> Settings:
    """Return settings of an application of its own whose topics exist."""
    found = harness.with_short_session(fresh_settings(broker.bootstrap_servers, tmp_path))
    harness.make_topics(found)
    return found


async def leave_open(
    settings: Settings, transactional_id: str, outputs: list[Output], *, commit: Output | None = None
) -> None:
    """Write records in partitions of which the coordinator never hears, so that nothing ever ends them there.

    Parameters
    ----------
    commit
        A record of the same transaction of which it hears: the transaction is committed for it.
    """
    producer = await TaskProducer.start(settings, transactional_id)
    inner = producer._producer
    await inner.begin_transaction()
    if commit is not None:
        await inner.send_and_wait(commit.topic, commit.value, key=commit.key, partition=commit.partition)
    inner._txn_manager._txn_partitions |= {TopicPartition(o.topic, o.partition) for o in outputs}
    for output in outputs:
        await inner.send_and_wait(output.topic, output.value, key=output.key, partition=output.partition)
    if commit is not None:
        await inner.commit_transaction()
    await producer.discard()


def learned(settings: Settings, tmp_path: Path) -> Counter[bytes]:
    """Return what a worker has learned that has ended."""
    sent = harness.send_numbered(settings, 500)
    with Worker(settings, tmp_path / "a") as worker:
        worker.wait_counted(sent.total())
        assert worker.terminate() == 0
    harness.wait_decided(settings, settings.topic_user_state, settings.topic_recommendations)
    return sent


def lost_commit(settings: Settings) -> list[Output]:
    """Return a part of what a task had written when its broker was killed: it will be learned again from the input."""
    return [
        Output(settings.topic_user_state, 0, page_key(b"key-0"), b"999999"),
        Output(settings.topic_recommendations, 0, b"key-0", b"0:999999"),
    ]


def test_what_is_left_open_is_not_committed_with_the_next_commit(settings: Settings, tmp_path: Path) -> None:
    """A worker that takes over aborts it; each event counts once."""
    sent = learned(settings, tmp_path)
    asyncio.run(leave_open(settings, f"{settings.app_id}.user.0", lost_commit(settings)))
    with Worker(settings, tmp_path / "b") as worker:
        worker.wait_ready()
        sent += harness.send_numbered(settings, 500)
        worker.wait_counted(sent.total())
    harness.check_exactly_once(settings, sent)


def test_what_was_committed_is_committed_where_it_was_passed_over(settings: Settings, tmp_path: Path) -> None:
    """A partition that had no leader when the commit was told gets its marker when the task goes on."""
    learned(settings, tmp_path)
    changelog, slates = settings.topic_user_state, settings.topic_recommendations
    passed_over, told = Output(slates, 0, b"late", b"0:passed over"), Output(changelog, 0, page_key(b"late"), b"7")
    asyncio.run(leave_open(settings, f"{settings.app_id}.user.0", [passed_over], commit=told))
    with Worker(settings, tmp_path / "b") as worker:
        worker.wait_ready()
    harness.wait_decided(settings, changelog, slates)
    assert b"0:passed over" in harness.outputs(settings)
    assert harness.counts(settings)[b"late"] == 7


def test_a_store_that_goes_beyond_what_is_aborted_is_made_anew(settings: Settings, tmp_path: Path) -> None:
    """It holds what nobody else will ever see; with the changelog alone each event counts once."""
    sent = learned(settings, tmp_path)
    asyncio.run(leave_open(settings, f"{settings.app_id}.user.0", lost_commit(settings)))
    with closing(PageStore(store_folder(settings, "user", 0))) as store:
        assert store.position is not None
        store.write([(page_key(b"key-0"), b"999999")], position=store.position + 2, checkpoint=store.checkpoint)
    with Worker(settings, tmp_path / "b") as worker:
        worker.wait_ready()
        sent += harness.send_numbered(settings, 500)
        worker.wait_counted(sent.total())
    harness.check_exactly_once(settings, sent)


async def test_what_became_of_the_last_transaction(settings: Settings) -> None:
    """As Kafka names it, until another producer of the id wipes it out; nothing of an id that never had one."""
    output = Output(settings.topic_recommendations, 0, b"key", b"value")
    assert await last_outcome(settings, "nobody") is None
    producer = await TaskProducer.start(settings, "id")
    assert await last_outcome(settings, "id") == "Empty"
    await producer.commit([output], {}, "group")
    assert await last_outcome(settings, "id") == "CompleteCommit"
    await producer.send([output])

    async def is_ongoing() -> bool:
        return await last_outcome(settings, "id") == "Ongoing"

    await harness.until(is_ongoing, "the record to be sent")
    await producer._producer.abort_transaction()
    assert await last_outcome(settings, "id") == "CompleteAbort"
    last = LastTransaction()
    last.is_committed = True
    await producer.discard()
    producer = await TaskProducer.start(settings, "id")
    await last.look(settings, "id")
    assert last.is_committed, "an attempt that has not gone on says nothing of the transaction"
    await producer.discard()


async def test_a_report_that_was_left_open_is_made_once(settings: Settings) -> None:
    """Bad records of the catalogue are reported in transactions of their own; their producer begins in the same way."""
    await asyncio.to_thread(harness.send, settings, [(b"i1", b"no JSON")], topic=settings.topic_catalog, partition=0)
    rejects = settings.topic_rejects
    await leave_open(settings, catalog_rejects_group(settings), [Output(rejects, 0, b"i1", b"left open")])
    bad = [BadRecords({0: (0, 0)}, {"not_json": 1})]
    with ThreadPoolExecutor() as executor:
        service = CatalogRejects(settings, bad.pop, lambda: True, executor)
        await service.collect()
        assert await service.report() == 1
    await asyncio.to_thread(harness.wait_decided, settings, rejects)
    found = await asyncio.to_thread(harness.read_committed, settings, rejects)
    assert [record.value for record in found] == [b"no JSON"]


def test_somebody_elses_open_transaction_in_the_changelog_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed beyond it could not be read, so the task does not go on, and says what to do."""
    monkeypatch.setattr(left_open, "PATIENCE_S", 0.3)
    asyncio.run(leave_open(settings, "somebody-else", lost_commit(settings)))

    async def run(partition: int) -> None:
        producer = await TaskProducer.start(settings, f"{settings.app_id}.user.{partition}")
        try:
            await end_left_open(settings, counting_spec(settings), partition, producer, LastTransaction())
        finally:
            await producer.discard()

    with pytest.raises(RecoveryError, match=r"user-state, partition 0: .* open at offset 0, .*kafka-transactions\.sh"):
        asyncio.run(run(0))
    asyncio.run(run(1))


def test_a_worker_ends_what_it_writes_to(tmp_path: Path) -> None:
    """All topics of its commits, and of those that have a partition for each task its own."""
    settings = fresh_settings("127.0.0.1:1", tmp_path)
    plan = default_plan(settings, Metrics(dict).collector)({settings.topic_item_updates: 3})
    stages = {stage.name: stage for stage in plan.stages}
    own = [(settings.topic_recommendations, 2), (settings.topic_rejects, 2)]
    shards = [(settings.topic_item_updates, shard) for shard in range(3)]
    assert [tuple(tp) for tp in stages["user"].writes_to(2)] == [*own, *shards, (settings.topic_policy_updates, 0)]
    assert list(stages["item"].writes_to(2)) == []
    known = {spec.name for spec in topic_specs(settings)}
    assert {topic for topic, _ in stages["user"].writes_to(0)} <= known
