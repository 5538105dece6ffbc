"""Rows in memory and pages on disk: fixed layouts, slabs, id maps, codecs and the local page store."""
