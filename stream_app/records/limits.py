"""Limits that records are held to."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream_app.settings import Settings


@dataclass(frozen=True, slots=True)
class EventLimits:
    """What a record may be at most.

    Attributes
    ----------
    max_future_ms
        How far an event may lie in the future, in milliseconds.
    max_id_bytes
        Longest id, in bytes of UTF-8.
    max_record_bytes
        Largest value of a record, in bytes.
    """

    max_future_ms: int = 3_600_000
    max_id_bytes: int = 256
    max_record_bytes: int = 65_536

    @classmethod
    def of(cls, settings: "Settings") -> "EventLimits":
        """Return the limits that the settings name."""
        return cls(settings.max_future_ms, settings.max_id_bytes, settings.max_record_bytes)
