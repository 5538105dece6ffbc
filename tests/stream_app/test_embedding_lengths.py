"""Content vectors of several lengths are counted, and warned of once."""

from __future__ import annotations

from structlog.testing import capture_logs

from stream_app.embedding_lengths import EmbeddingLengths
from stream_app.joined_catalog import JoinedCatalog
from stream_app.settings import Settings
from tests.stream_app.records.samples import FakeRecord


def entry(item_id: str, n_components: int | None) -> FakeRecord:
    """Return a catalogue record with a vector of so many components, none for 0, or a tombstone for None."""
    vector = f', "embedding": {[1.0] * n_components}' if n_components else ""
    value = None if n_components is None else f'{{"item_id": "{item_id}", "category": ["a"]{vector}}}'.encode()
    return FakeRecord(value, item_id.encode(), "catalog")


def test_items_are_counted_by_the_length_of_their_vector() -> None:
    """Each item counts once, as its newest entry is; items without a vector and those that are gone do not."""
    catalog = JoinedCatalog(Settings())
    catalog.apply_catalog([entry("a", 3), entry("b", 3), entry("c", 5), entry("d", 0)])
    assert catalog.embeddings == {3: 2, 5: 1}
    catalog.apply_catalog([entry("a", 5), entry("b", 3), entry("b", 3)])
    assert catalog.embeddings == {3: 1, 5: 2}
    catalog.apply_catalog([entry("b", None), entry("a", 0), entry("d", None)])
    assert catalog.embeddings == {5: 1}


def test_several_lengths_are_warned_of_once() -> None:
    """The warning says how many items have which; it comes again only after all was well."""
    n_items = {3: 2}
    watch = EmbeddingLengths(lambda: n_items)
    with capture_logs() as logs:
        watch.look()
        assert logs == []
        n_items[5] = 1_000
        watch.look()
        watch.look()
        assert [line["event"] for line in logs] == ["embeddings_of_several_lengths"]
        assert logs[0]["found"] == "1,000 items with 5 components, 2 items with 3 components"
        assert "one model" in logs[0]["remedy"]
        del n_items[3]
        watch.look()
        n_items[4] = 1
        watch.look()
        assert len(logs) == 2
