"""Writes a synthetic shop to ``events.jsonl``, ``catalog.jsonl``, ``truth.json`` and ``README.md``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from stream_app.dataset import CATALOG_FILE, EVENTS_FILE, README_FILE, cannot_write, make_folder, write_whole
from stream_app.synthetic.params import ShopParams
from stream_app.synthetic.shop import Shop, category_path, content_vectors
from stream_app.synthetic.simulation import DAY_MS, START_MS, Deeds, Simulation

TRUTH_FILE: Final = "truth.json"
_EVENTS_PER_WRITE = 20_000


@dataclass(frozen=True, slots=True)
class SyntheticSummary:
    """What was written.

    Attributes
    ----------
    events_path, catalog_path, truth_path, readme_path
        The files.
    n_events, n_users, n_items
        Lines of the events file, and what they are about.
    n_catalog
        Lines of the catalogue.
    """

    events_path: Path
    catalog_path: Path
    truth_path: Path
    readme_path: Path
    n_events: int
    n_users: int
    n_items: int
    n_catalog: int


def write_synthetic(
    out: Path, params: ShopParams, on_progress: Callable[[int, int], None] | None = None
) -> SyntheticSummary:
    """Make a shop and write it; the same parameters give the same bytes.

    Parameters
    ----------
    out
        Folder to write to; made if it is not there.
    on_progress
        Called with the users done and the users there are.

    Raises
    ------
    SyntheticError
        A parameter is out of range.
    stream_app.dataset.DatasetError
        The folder cannot be written to.
    """
    simulation = Simulation(params)
    make_folder(out)
    deeds = simulation.run(on_progress)
    summary = SyntheticSummary(
        events_path=out / EVENTS_FILE,
        catalog_path=out / CATALOG_FILE,
        truth_path=out / TRUTH_FILE,
        readme_path=out / README_FILE,
        n_events=deeds.user.size,
        n_users=int(np.unique(deeds.user).size),
        n_items=int(np.unique(deeds.item).size),
        n_catalog=params.n_items,
    )
    encode = msgspec.json.Encoder()
    try:
        write_whole(summary.events_path, map(encode.encode_lines, _events(deeds, params)))
        write_whole(summary.catalog_path, map(encode.encode_lines, _catalog(simulation.shop, params)))
        write_whole(summary.truth_path, _truth(simulation, encode))
        write_whole(summary.readme_path, iter([_readme(summary, params).encode()]))
    except OSError as error:
        raise cannot_write(out, error) from error
    return summary


def _events(deeds: Deeds, params: ShopParams) -> Iterator[list[dict[str, Any]]]:
    columns = (deeds.user, deeds.item, deeds.time_ms, deeds.visit, deeds.stars)
    for start in range(0, deeds.user.size, _EVENTS_PER_WRITE):
        events = []
        rows = zip(*(column[start : start + _EVENTS_PER_WRITE].tolist() for column in columns), strict=True)
        for number, (user, item, time_ms, visit, stars) in enumerate(rows, start):
            event: dict[str, Any] = {
                "event_id": f"s-{number:08d}",
                "type": "rating" if params.ratings else "purchase",
                "user_id": f"u{user}",
                "item_id": f"i{item}",
                "event_time_ms": time_ms,
            }
            if params.ratings:
                event["value"] = stars
            if params.sessions:
                event["session_id"] = f"v{visit}"
            events.append(event)
        yield events


def _catalog(shop: Shop, params: ShopParams) -> Iterator[list[dict[str, Any]]]:
    """Yield all items, those to come as well; the style is told as tags, one per direction it clearly points to."""
    vectors = np.round(content_vectors(shop, params), 4) if params.embedding else None
    for item, category in enumerate(shop.category.tolist()):
        style = shop.style[item]
        entry = {
            "item_id": f"i{item}",
            "category": category_path(shop, category),
            "brand": f"brand {shop.brand[item]}",
            "price": float(shop.price[item]),
            "title": f"Item {item}",
            "tags": [f"style {k}{'+' if style[k] > 0 else '-'}" for k in np.flatnonzero(np.abs(style) > 0.5).tolist()],  # noqa: PLR2004 - a clear direction
        }
        if shop.birth[item] > 0:
            entry["listed_ms"] = START_MS + int(shop.birth[item]) * DAY_MS
        if vectors is not None:
            entry["embedding"] = vectors[item].tolist()
        yield [entry]


def _truth(simulation: Simulation, encode: msgspec.json.Encoder) -> Iterator[bytes]:
    """Yield one JSON object, part by part: as a whole it would take far more memory than the shop itself."""
    yield encode.encode(simulation.truth()).removesuffix(b"}")
    for name, members in (("items", simulation.true_items()), ("users", simulation.true_users())):
        yield b',"%s":{' % name.encode()
        for number, (member, drawn) in enumerate(members):
            yield b"%s%s:%s" % (b"," if number else b"", encode.encode(member), encode.encode(drawn))
        yield b"}"
    yield b"}\n"


def _readme(summary: SyntheticSummary, params: ShopParams) -> str:
    lines = "\n".join(f"- `{name}`: {value}" for name, value in msgspec.to_builtins(params).items())
    return f"""# A synthetic shop

{summary.n_events:,} events of {summary.n_users:,} users with {summary.n_items:,} of {summary.n_catalog:,} items, made
by `crossaisle dataset synthetic`. Nobody did any of this: it is for tests and for scale; judge quality on real data.

- `events.jsonl`, `catalog.jsonl`: as `crossaisle produce` and `crossaisle evaluate` want them, in order of time.
- `listed_ms` in the catalogue: when a new item came, in milliseconds since 1970 UTC; `evaluate` shows it from then on.
- `truth.json`: everything that was drawn: each user's log tastes per category, style and staples with their cycles,
  before and after the day of drift; each item's style and log appeal; each category's companion, season and peak day;
  the day each new item came. Of the items of a category a user draws one with a chance in proportion to
  exp(appeal + style of the item times style of the user).

Parameters:

{lines}
"""
