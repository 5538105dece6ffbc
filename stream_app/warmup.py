"""Compile the kernels, or load them from numba's cache, before the worker takes partitions.

The first start of a version on a machine compiles for two to four minutes; every later one loads in a few seconds. Of
several processes that start at once, one compiles and the others wait for it. Until it is done the worker is not ready,
and holds no partition that another worker could serve meanwhile.
"""

import time
from contextlib import nullcontext

import msgspec
import structlog

from state.kernel_cache import KERNELS
from state.memory_store import MemoryPageStore
from stream_app.item_stage import ItemProcessor
from stream_app.logs import configure_logging
from stream_app.packing import pack
from stream_app.records import CatalogEntry, Event, LocalRecord
from stream_app.replica import Replica
from stream_app.settings import Settings
from stream_app.user_stage import UserProcessor

log = structlog.get_logger()


def warm_up(settings: Settings) -> float:
    """Run every kernel once on a handful of made-up events, in memory only.

    Returns
    -------
    float
        Seconds taken.
    """
    started = time.perf_counter()
    if KERNELS.is_complete:
        log.info("kernels_loading", folder=str(KERNELS.folder))
    else:
        log.info(
            "kernels_compiling",
            folder=str(KERNELS.folder),
            note="takes two to four minutes, once per version and machine; the next start loads them",
        )
    with KERNELS.compiling() if not KERNELS.is_complete else nullcontext():
        _run_all(settings)
    KERNELS.note_complete()
    took_s = time.perf_counter() - started
    log.info("kernels_ready", took_s=round(took_s, 1))
    return took_s


def _run_all(settings: Settings) -> None:
    replica = Replica(settings)
    replica.apply_catalog(
        [
            LocalRecord(item.encode(), msgspec.json.encode(CatalogEntry(item_id=item, category=["warm", item[0]])))
            for item in ("a1", "b1", "b2", "c1")
        ]
    )
    users = UserProcessor(settings, 0, 1, 1, MemoryPageStore(), replica)
    items = ItemProcessor(settings, 0, 1, MemoryPageStore())
    users.restore(None)
    items.restore(None)
    for turn in range(2):
        for kind, name in enumerate(("a1", "b1", "b2", "c1")):
            event = Event(
                event_id=f"{turn}-{kind}",
                type="dislike" if name == "c1" and turn else "purchase",
                user_id="warm",
                item_id=name,
                event_time_ms=1_500_000_000_000 + turn,
                session_id=f"s{turn}",
            )
            users.process([LocalRecord(b"warm", msgspec.json.encode(event), offset=kind)], 1_500_000_000_000)
        flush = users.flush(1_500_000_000_000)
        users.committed()
        items.process([LocalRecord(o.key, o.value) for o in flush.outputs if o.topic == settings.topic_item_updates], 0)
        pages = items.flush(0).pages
        items.committed()
        replica.apply_items([LocalRecord(key, value) for key, value in pages])
        replica.apply_pages(pages)
        pack(flush.pages, 0)


def main() -> None:
    """Compile into numba's cache and end: ``python -m stream_app.warmup``, for images and for impatient starts."""
    settings = Settings()
    configure_logging(settings)
    warm_up(settings)


if __name__ == "__main__":
    main()
