"""The doctor: looks at all that a worker needs, and says what it found, what it wanted and what to do."""

from stream_app.doctor.examine import examine
from stream_app.doctor.finding import Finding, Severity

__all__ = ["Finding", "Severity", "examine"]
