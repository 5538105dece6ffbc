"""The streaming application: Kafka in, Kafka out. ``faust -A stream_app worker`` finds :data:`app` here."""

from stream_app.default_app import __getattr__ as __getattr__  # makes :data:`app` when it is asked for

__all__ = ["app"]
