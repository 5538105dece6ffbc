"""Run scenarios, print their tables, and keep the figures: ``python -m benchmarks [B1 ...] [--quick]``."""

import argparse
import asyncio
import importlib
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

SCENARIOS = {
    "B1": "b1_throughput",
    "B2": "b2_latency",
    "B3": "b3_growth",
    "B4": "b4_recovery",
    "B5": "b5_bytes",
    "B6": "b6_workers",
    "B7": "b7_kernels",
    "Q1": "q1_shops",
}
"""Permanent ids and the modules that measure them."""
RESULTS = Path(__file__).parent / "results"


def run(scenario: str, *, quick: bool, results: Path) -> dict[str, Any]:
    """Measure one scenario and write its figures."""
    module = importlib.import_module(f"benchmarks.{SCENARIOS[scenario]}")
    before, started = machine(), time.perf_counter()
    figures = asyncio.run(module.measure(quick=quick))
    result = {
        "scenario": scenario,
        "title": module.TITLE,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_s": round(time.perf_counter() - started, 1),
        "machine": {**before, "load_1m_after": machine()["load_1m"]},
        "figures": figures,
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{scenario}.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def main() -> None:
    """Measure what was asked for, all if nothing was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="ID", help=f"of {', '.join(SCENARIOS)}; all if none is given")
    parser.add_argument("--quick", action="store_true", help="check that they run, on few events; figures mean nothing")
    parser.add_argument("--results", type=Path, help="folder for the JSON files")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.scenarios) - set(SCENARIOS))
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    results = arguments.results or (Path(tempfile.mkdtemp()) if arguments.quick else RESULTS)
    for scenario in arguments.scenarios or SCENARIOS:
        print(f"{scenario} ...", file=sys.stderr)
        result = run(scenario, quick=arguments.quick, results=results)
        print(f"\n{scenario}  {result['title']}  ({result['took_s']} s)\n")
        print(json.dumps(result["figures"], indent=1) if arguments.quick else results / f"{scenario}.json")


if __name__ == "__main__":
    main()
