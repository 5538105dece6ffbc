"""The worker's HTTP server: lookups, health, metrics and the page."""
