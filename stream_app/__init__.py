"""The streaming application: Kafka in, Kafka out. ``faust -A stream_app worker`` finds :data:`app` here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_app.application import App

    app: App

__all__ = ["app"]


def __getattr__(name: str) -> object:
    """Make the application, of the settings in the environment, when it is asked for: importing must stay cheap."""
    if name != "app":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from stream_app.application import create_app  # noqa: PLC0415  # imports faust
    from stream_app.settings import Settings  # noqa: PLC0415

    globals()[name] = created = create_app(Settings())  # asked for twice, it is the same
    return created
