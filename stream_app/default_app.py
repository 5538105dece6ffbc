"""The application of the settings in the environment, made when it is asked for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_app.application import App


def __getattr__(name: str) -> App:
    """Return the application as ``app``: importing :mod:`stream_app`, which has this function, too, must stay cheap."""
    if name != "app":
        message = f"module 'stream_app' has no attribute {name!r}"
        raise AttributeError(message)
    return _made()


@cache
def _made() -> App:
    """Make the application; asked for twice, it is the same."""
    from stream_app.application import create_app  # noqa: PLC0415  # imports faust
    from stream_app.settings import Settings  # noqa: PLC0415

    return create_app(Settings())
