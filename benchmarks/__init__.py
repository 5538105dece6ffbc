"""Benchmarks with permanent scenario ids: ``python -m benchmarks B1 B4 --quick``; see docs/performance.md."""
