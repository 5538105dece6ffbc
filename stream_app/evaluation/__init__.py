"""Offline evaluation: replays a file of events through a model, test then learn, and measures its lists."""
