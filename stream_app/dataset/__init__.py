"""Makes event and catalogue files from public data: one module a set, and what they share."""

from stream_app.dataset.complete_journey import write_complete_journey
from stream_app.dataset.files import (
    CATALOG_FILE,
    EVENTS_FILE,
    README_FILE,
    Contents,
    DatasetError,
    DatasetSummary,
    cannot_write,
    make_folder,
    write_dataset,
    write_whole,
)
from stream_app.dataset.instacart import read_instacart
from stream_app.dataset.movielens import read_movielens
from stream_app.dataset.wheels import Wheel, get_wheels

__all__ = [
    "CATALOG_FILE",
    "EVENTS_FILE",
    "README_FILE",
    "Contents",
    "DatasetError",
    "DatasetSummary",
    "Wheel",
    "cannot_write",
    "get_wheels",
    "make_folder",
    "read_instacart",
    "read_movielens",
    "write_complete_journey",
    "write_dataset",
    "write_whole",
]
