"""Makes event and catalogue files from public data: one module a set, and what they share."""

from stream_app.dataset.complete_journey import write_complete_journey
from stream_app.dataset.files import (
    CATALOG_FILE,
    EVENTS_FILE,
    README_FILE,
    DatasetError,
    DatasetSummary,
    cannot_write,
    make_folder,
    write_whole,
)

__all__ = [
    "CATALOG_FILE",
    "EVENTS_FILE",
    "README_FILE",
    "DatasetError",
    "DatasetSummary",
    "cannot_write",
    "make_folder",
    "write_complete_journey",
    "write_whole",
]
