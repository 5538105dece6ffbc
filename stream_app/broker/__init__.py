"""The embedded broker: a real, single-node Apache Kafka from registry packages alone."""

from stream_app.broker.embedded import DEFAULT_PORT, EmbeddedBroker
from stream_app.broker.files import BrokerError

__all__ = ["DEFAULT_PORT", "BrokerError", "EmbeddedBroker"]
