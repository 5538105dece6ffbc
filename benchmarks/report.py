"""Writes the measured tables and plots of docs/performance.md and docs/quality.md: ``python -m benchmarks.report``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.b1_throughput import NAMES, ORDER

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "crossaisle"  # the same figures give the same bytes
from matplotlib import pyplot as plt  # noqa: E402 - after the backend is chosen

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
QUALITY_PAGE = ROOT / "docs" / "quality.md"
PLOTS = ROOT / "docs" / "performance"
RESULTS = Path(__file__).parent / "results"
_WHOLE = 100
"""From here on a plot shows no decimals."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table whose first column is text and whose others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _b1(figures: dict[str, Any]) -> str:
    raw = figures["contestants"]["raw"]["events_per_s"]
    rows = []
    for name in ORDER:
        found = figures["contestants"][name]
        rate = found["events_per_s"]
        rows.append(
            [
                NAMES[name],
                f"{rate:,.0f}",
                f"{rate / raw:.3f}",
                f"{found['cpu_us_per_event']:.0f}",
                f"{found['rss_mb']:.0f}",
                f"{found['slates_per_event']:.2f}",
            ]
        )
    head = ["", "events/s", "share of the limit", "CPU µs per event", "MB", "slates per event"]
    quality = _quality(figures.get("quality", {}))
    ratios = (
        f"The worker: {figures['worker_share_of_raw']:.3f} of the limit, {figures['worker_times_faust']:.1f} x Faust "
        f"with River, {figures['worker_times_quix']:.1f} x Quix Streams with River. Medians of "
        f"{len(figures['rounds']['raw'])} rounds in which the contestants take turns. During the worker's first "
        f"events, each of which teaches the rankers: {figures['contestants']['worker']['warm_up_events_per_s']:,.0f} "
        f"events/s.{quality}"
    )
    return f"{table(head, rows)}\n\n{ratios}\n\n![B1](performance/B1.svg)"


def _quality(figures: dict[str, Any]) -> str:
    """Return what lists are worth under the load of B1, beside what ``evaluate`` measures."""
    out = ""
    for name in ("x", "o"):
        found = figures.get(name)
        if found and found["ratio"] is not None and found["difference_se"] is not None:
            change, error = found["ratio"] - 1, found["difference_se"] / found["evaluate"]
            out += (
                f" HR@10 of {name.upper()} with {figures['partitions']} partitions and an update of the replica every "
                f"{figures['interval_events']:,} events, as under this load: {found['b1']:.4f}; as `evaluate` runs it: "
                f"{found['evaluate']:.4f} ({change:+.1%}, standard error {error:.1%})."
            )
    return out


def _b2(figures: dict[str, Any]) -> str:
    rows = []
    for name, levels in figures.items():
        if isinstance(levels, dict):
            for level, found in levels.items():
                rows.append(
                    [
                        f"{name}, {level.replace('_', ' ')}",
                        *[f"{found[k]:.0f}" for k in ("p50_ms", "p99_ms", "p99.9_ms")],
                    ]
                )
    top, interval_ms = figures["events_per_s_at_100_percent"], figures["commit_interval_ms"]
    note = f"100 % is {top:,.0f} events/s; the commit interval is {interval_ms} ms."
    return f"{table(['', 'p50 ms', 'p99 ms', 'p99.9 ms'], rows)}\n\n{note}"


def _b3(figures: dict[str, Any]) -> str:
    rows = [
        [f"{p['users']:,} users, {p['items']:,} items", f"{p['us_per_event']:.0f}",
         f"{p['user_memory_bytes_per_row_in_use']:,.0f}", f"{p['user_store_bytes_per_user']:,.0f}",
         f"{p['replica_memory_bytes_per_item']:,.0f}"]
        for p in (*figures["users"], *figures["items"])
    ]  # fmt: skip
    head = ["", "CPU µs per event", "memory per user, bytes", "store per user, bytes", "memory per item, bytes"]
    note = (
        f"`hot_rows` {figures['hot_rows']:,}. Largest against 10⁴: users {figures['users_ratio']:.2f} times, "
        f"items {figures['items_ratio']:.2f} times."
    )
    return f"{table(head, rows)}\n\n{note}\n\n![B3](performance/B3.svg)"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _flat(figures: dict[str, Any]) -> str:
    rows = []
    for name, value in figures.items():
        if isinstance(value, dict):
            rows += [[f"{name}: {key.replace('_', ' ')}", _number(number)] for key, number in value.items()]
        else:
            rows.append([name.replace("_", " "), _number(value)])
    return table(["", "figure"], rows)


def _b6(figures: dict[str, Any]) -> str:
    rows = [
        [count, f"{found['events_per_s']:,.0f}", f"{found['cpu_us_per_event']:.0f}", f"{found['rss_mb']:,.0f}"]
        for count, found in figures["workers"].items()
    ]
    measured = table(["workers", "events/s", "CPU µs per event", "MB, all"], rows)
    model = figures.get("model")
    if not model:
        return measured
    foretold = [[n, f"{rate:,.0f}"] for n, rate in model["events_per_s_with_2_cores_each"].items()]
    own, other = model["own_us"], model["other_us"]
    foretold_us, measured_us = model["foretold_us_of_4"], model["measured_us_of_4"]
    note = (
        f"The model: an event costs its own worker {own:.0f} µs and every other one {other:.0f} µs, from the runs with "
        f"1 and 2 workers. For 4 it foretells {foretold_us:.0f} µs; measured were {measured_us:.0f} µs. Machines of 2 "
        "cores for each worker would take:"
    )
    return f"{measured}\n\n{note}\n\n{table(['workers, foretold', 'events/s'], foretold)}"


def _b7(figures: dict[str, Any]) -> str:
    rows = [[text, f"{us:.2f}", ""] for text, us in figures["us_per_event"].items()]
    rows += [[text, "", f"{us:.1f}"] for text, us in figures["us_per_slate"].items()]
    note = f"Commits of {figures['batch']:,} events; {figures['events_per_slate']:.1f} events per slate."
    return f"{table(['', 'µs per event', 'µs per slate'], rows)}\n\n{note}\n\n![B7](performance/B7.svg)"


RENDER = {"B1": _b1, "B2": _b2, "B3": _b3, "B4": _flat, "B5": _flat, "B6": _b6, "B7": _b7}


def _bars(path: Path, names: list[str], values: list[float], unit: str, *, log: bool = False) -> None:
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(names) + 1))
    bars = axes.barh(names[::-1], values[::-1], color="#3b6ea5", log=log)
    axes.bar_label(bars, [f"{value:,.0f}" if value >= _WHOLE else f"{value:.3g}" for value in values[::-1]], padding=3)
    axes.set_xlabel(unit)
    axes.margins(x=0.15)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _lines(path: Path, figures: dict[str, Any]) -> None:
    figure, axes = plt.subplots(figsize=(8, 3.5))
    for kind in ("users", "items"):
        points = figures[kind]
        axes.plot([p[kind] for p in points], [p["us_per_event"] for p in points], marker="o", label=kind)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("users or items")
    axes.set_ylabel("CPU µs per event")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def plot(scenario: str, figures: dict[str, Any]) -> None:
    """Draw the plot of a scenario, where it has one."""
    PLOTS.mkdir(exist_ok=True)
    path = PLOTS / f"{scenario}.svg"
    if scenario == "B1":
        rates = [figures["contestants"][name]["events_per_s"] for name in ORDER]
        _bars(path, [NAMES[name] for name in ORDER], rates, "events per second, logarithmic", log=True)
    elif scenario == "B3":
        _lines(path, figures)
    elif scenario == "B7":
        parts = {k: v for k, v in figures["us_per_event"].items() if not k.startswith("everything")}
        parts |= {f"{k}, per slate": v for k, v in figures["us_per_slate"].items()}
        _bars(path, list(parts), list(parts.values()), "CPU µs")


def section(result: dict[str, Any]) -> str:
    """Return the section of a scenario: when and where it was measured, and its figures."""
    where = result["machine"]
    note = (
        f"Measured {result['measured_at'][:10]} on {where['cores']} cores of {where['cpu']}, {where['memory_gib']} GiB "
        f"of memory, {where['system']}, Python {where['python']}; load average {where['load_1m']} before and "
        f"{where['load_1m_after']} after."
    )
    return f"## {result['scenario']}: {result['title']}\n\n{RENDER[result['scenario']](result['figures'])}\n\n{note}\n"


def shops_table(figures: dict[str, Any]) -> str:
    """Return the table of ``Q1``: hit rates, and in brackets how far above the best baseline with its error."""
    rows = []
    for name, found in figures["shops"].items():
        cells = [_rate(found[key]) for key in ("x", "o", "e", "slate")]
        x, slate = found["x"]["mean"], found["slate"]["mean"]
        rows.append([name, f"{found['events']:,}", *cells, f"{1 - slate / x:.1%}" if x else ""])
    return table(["Data", "Events", "X", "O", "E", "slate", "slate below X"], rows)


def _rate(found: dict[str, Any]) -> str:
    rate, above = (f"{found[key]:+.3f}".replace("0.", ".") for key in ("mean", "above"))
    error = f"{found['above_se']:.3f}".removeprefix("0")
    return f"{rate.removeprefix('+')} ({above} ± {error})"


def _fill(page: Path, part: str, body: str) -> None:
    """Write ``body`` between a page's marks of a part."""
    begin, end = f"<!-- {part}:begin -->", f"<!-- {part}:end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{begin}\n{body}{end}", page.read_text()))


def main() -> None:
    """Write the pages' generated parts, and the plots."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("B*.json"))]
    for result in results:
        plot(result["scenario"], result["figures"])
    _fill(PAGE, "results", "\n".join(section(result) for result in results))
    shops = RESULTS / "Q1.json"
    if shops.exists():
        _fill(QUALITY_PAGE, "shops", shops_table(json.loads(shops.read_text())["figures"]) + "\n")


if __name__ == "__main__":
    main()
