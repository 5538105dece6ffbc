"""The demo: broker, workers and real purchases at once, with a live view of what goes in and what comes out."""
