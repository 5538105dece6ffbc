"""The generated table of settings: a row for each, put between its markers."""

from __future__ import annotations

import pytest

from stream_app.settings import Settings
from stream_app.settings_table import settings_table, with_settings_table


def test_every_setting_is_explained() -> None:
    """Each field has a description, and a row in the table."""
    rows = settings_table().splitlines()[2:]
    assert len(rows) == len(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())


def test_table_needs_its_markers() -> None:
    """A document without markers is refused; one with them keeps all but what is between."""
    with pytest.raises(ValueError, match="settings:begin"):
        with_settings_table("no markers")
    text = "head\n<!-- settings:begin -->\nstale rows\n<!-- settings:end -->\ntail"
    renewed = with_settings_table(text)
    assert renewed.startswith("head\n")
    assert renewed.endswith("\ntail")
    assert "stale rows" not in renewed
    assert with_settings_table(renewed) == renewed
