"""The configuration of the broker: Kafka's properties, and its log in files that do not grow without bounds.

All paths in it are relative to the data directory, which the broker runs in: so they need no quoting, and the directory
may be moved.
"""

from __future__ import annotations

import base64
import uuid
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from stream_app.broker.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROPERTIES_NAME: Final = "server.properties"
LOG4J_NAME: Final = "log4j2.properties"
LOG_NAME: Final = "broker.log"
FORMER_LOG_NAME: Final = "broker.former.log"
"""The log of the run before."""

OUTPUT_NAME: Final = "java.log"
"""What Java itself prints; empty as long as all is well."""

TOPICS_NAME: Final = "topics"
NEW_TOPICS_NAME: Final = "topics.new"

MAX_MESSAGE_BYTES: Final = 8 << 20

_PROPERTIES: Final = """\
# Written at each start: changes here are lost.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={topics}
# One node: nothing has replicas.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Groups form at once, and a worker that is gone is missed soon.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# A broker that was killed is let in again once its former self is missed.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
message.max.bytes={max_message_bytes}
replica.fetch.max.bytes={max_message_bytes}
# The default is half of the heap.
log.cleaner.dedupe.buffer.size=16777216
"""

_LOG4J: Final = f"""\
# Written at each start: changes here are lost.
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {LOG_NAME}
appender.file.filePattern = {LOG_NAME}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %-5p %c{{1}}: %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10 MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
# They print the whole configuration, several times.
logger.config.name = org.apache.kafka.common.config.AbstractConfig
logger.config.level = warn
logger.kafkaconfig.name = kafka.server.KafkaConfig
logger.kafkaconfig.level = warn
"""


def write_config(
    directory: Path,
    port: int,
    controller_port: int,
    *,
    topics: str = TOPICS_NAME,
    properties: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the configuration into a data directory.

    Parameters
    ----------
    directory
        The data directory; exists.
    port
        Where clients connect to.
    controller_port
        Where the broker connects to itself.
    topics
        Name of the directory in it that holds the topics.
    properties
        Further properties of Kafka; they win over those that are set here.

    Raises
    ------
    OSError
        It cannot be written.
    """
    text = _PROPERTIES.format(
        host=HOST,
        port=port,
        controller_port=controller_port,
        topics=topics,
        max_message_bytes=MAX_MESSAGE_BYTES,
    )
    text += "".join(f"{name}={value}\n" for name, value in properties.items())
    (directory / PROPERTIES_NAME).write_text(text, encoding="ascii")
    (directory / LOG4J_NAME).write_text(_LOG4J, encoding="ascii")


def new_cluster_id() -> str:
    """Return a random id of the form that Kafka wants: 22 characters, none of them a leading dash."""
    return "c" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]


def cluster_id_of(directory: Path) -> str | None:
    """Return the id of the cluster whose data a directory holds; ``None`` if it holds none yet."""
    try:
        lines = (directory / TOPICS_NAME / "meta.properties").read_text(encoding="latin-1").splitlines()
    except OSError:
        return None
    pairs = dict(line.split("=", 1) for line in lines if "=" in line)
    return pairs.get("cluster.id")
