"""The checkpoint record: where a task stands, in the same transaction as its state."""

from typing import Annotated, Any

import msgspec


class Checkpoint(msgspec.Struct, frozen=True):
    """The newest commit of one task, kept in its changelog under a key of its own.

    Attributes
    ----------
    format_version
        Version of this record.
    stage, partition
        Whose it is.
    n_partitions
        Partitions of the input topic when it was written; another number stops the task.
    input_topic, input_topic_id
        What it reads; a topic made anew has another id and stops the task.
    input_offset
        Next offset to read.
    state
        Counters of the processor.
    changelog_topic_id
        The topic that the task was recovered from: where this record stands in another one, what had been committed
        before is lost. Checkpoints of older versions do not tell.
    state_format
        Version of the layouts of the pages beside it (:data:`state.layout.STATE_FORMAT_VERSION`). Checkpoints of older
        versions do not tell; their pages are of version 4.
    """

    format_version: Annotated[int, msgspec.Meta(description="Version of this record.")]
    stage: Annotated[str, msgspec.Meta(description="user or item.")]
    partition: Annotated[int, msgspec.Meta(description="Partition of the task.")]
    n_partitions: Annotated[int, msgspec.Meta(description="Partitions of the input topic.")]
    input_topic: Annotated[str, msgspec.Meta(description="Topic that the task reads.")]
    input_topic_id: Annotated[str | None, msgspec.Meta(description="The broker's id of that topic.")]
    input_offset: Annotated[int, msgspec.Meta(description="Next offset to read.")]
    state: Annotated[dict[str, Any], msgspec.Meta(description="Counters of the processor.")]
    changelog_topic_id: Annotated[
        str | None, msgspec.Meta(description="The broker's id of the topic that holds the task's earlier state.")
    ] = None
    state_format: Annotated[int, msgspec.Meta(description="Version of the pages' layouts.")] = 4
