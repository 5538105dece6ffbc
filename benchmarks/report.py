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


def _present(figures: dict[str, Any]) -> list[str]:
    """Return the contestants that were measured: earlier results have fewer."""
    return [name for name in ORDER if name in figures["contestants"]]


def _name(figures: dict[str, Any], name: str) -> str:
    n_processes = figures.get("processes", {}).get(name, 1)
    return NAMES[name] if n_processes == 1 else f"{NAMES[name]} ({n_processes})"


def _b1(figures: dict[str, Any]) -> str:
    contestants = figures["contestants"]
    raw, worker = contestants["raw"], contestants["worker"]
    rows = []
    for name in _present(figures):
        found = contestants[name]
        rows.append(
            [
                _name(figures, name),
                f"{found['events_per_s']:,.0f}",
                f"{found['events_per_s'] / raw['events_per_s']:.3f}",
                f"{worker['events_per_s'] / found['events_per_s']:.2f}",
                f"{found['cpu_us_per_event']:.0f}",
                f"{found['cpu_us_per_event'] / worker['cpu_us_per_event']:.2f}",
                f"{found['cpu_us_per_event'] * found['events_per_s'] / 1e6:.2f}",
                f"{found['rss_mb']:.0f}",
                f"{found['slates_per_event']:.2f}",
            ]
        )
    head = ["", "events/s", "share of the limit", "the worker's rate, times this one"]
    head += ["CPU µs per event", "times the worker's", "cores", "MB", "slates per event"]
    ratios = (
        f"The worker: {figures['worker_share_of_raw']:.3f} of the limit; by events per second {_times(figures)}; by "
        f"CPU time per event {_times_cpu(contestants)}. Medians of {len(figures['rounds']['raw'])} rounds in which the "
        "contestants take turns. During the worker's first events, each of which teaches the rankers: "
        f"{worker['warm_up_events_per_s']:,.0f} events/s.{_quality(figures.get('quality', {}))}"
    )
    return f"{table(head, rows)}\n\n{ratios}\n\n![B1](performance/B1.svg)"


def _times(figures: dict[str, Any]) -> str:
    faust, quix = figures["worker_times_faust"], figures["worker_times_quix"]
    return f"{faust:.1f} x Faust with River, {quix:.1f} x Quix Streams with River"


def _times_cpu(contestants: dict[str, Any]) -> str:
    faust, quix = (
        contestants[name]["cpu_us_per_event"] / contestants["worker"]["cpu_us_per_event"] for name in ("faust", "quix")
    )
    return f"Faust takes {faust:.1f} times as much, Quix Streams {quix:.1f} times"


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


TIMES_OF_B3 = {
    "us_per_event": "CPU µs per event, one thread",
    "process_us_per_event": "all threads",
    "wall_us_per_event": "µs by the clock",
}
"""The times that B3 takes, and how they are headed; earlier results have the first one only."""


def _b3(figures: dict[str, Any]) -> str:
    points = [*figures["users"], *figures["items"]]
    keys = [key for key in TIMES_OF_B3 if all(key in point for point in points)]
    evicted = "items_evicted_per_event" in points[0]
    rows = []
    for point in points:
        name = f"{point['users']:,} users, {point['items']:,} items"
        more = [f"{point['user_memory_bytes_per_row_in_use']:,.0f}", f"{point['user_store_bytes_per_user']:,.0f}"]
        more += [f"{point['replica_memory_bytes_per_item']:,.0f}"]
        rows.append([name, *_times_and_evictions(point, keys, evicted=evicted), *more])
        if "skewed" in point:
            skewed = _times_and_evictions(point["skewed"], keys, evicted=evicted)
            rows.append([f"{name}, few of them asked for often", *skewed, "", "", ""])
    head = ["", *(TIMES_OF_B3[key] for key in keys)]
    head += ["users evicted per event", "items evicted per event"] if evicted else []
    head += ["memory per user, bytes", "store per user, bytes", "memory per item, bytes"]
    ratios = "; ".join(
        f"{kind} {figures[f'{kind}_ratio']:.2f} times by CPU time of one thread"
        + "".join(
            f", {figures[f'{kind}_{name}']:.2f} {text}"
            for name, text in (("process_ratio", "of all threads"), ("wall_ratio", "by the clock"))
            if f"{kind}_{name}" in figures
        )
        for kind in ("users", "items")
    )
    note = f"`hot_rows` {figures['hot_rows']:,}. Largest against 10⁴: {ratios}."
    return f"{table(head, rows)}\n\n{note}\n\n![B3](performance/B3.svg)"


def _times_and_evictions(found: dict[str, Any], keys: list[str], *, evicted: bool) -> list[str]:
    gone = [f"{found[f'{kind}_evicted_per_event']:.2f}" for kind in ("users", "items")] if evicted else []
    return [*(f"{found[key]:.0f}" for key in keys), *gone]


def _b4(figures: dict[str, Any]) -> str:
    """Return the figures; earlier results counted every record of the changelogs, and called them records."""
    old, new = (f"empty_beyond_start_s_per_million_{what}" for what in ("records", "changelog_records"))
    return _flat({new if key == old else key: value for key, value in figures.items()})


def _b5(figures: dict[str, Any]) -> str:
    """Return a column for each size of commits; earlier results are of commits of 2,000 events."""
    columns = figures.get("by_batch")
    if columns is None:
        return f"{_flat(figures)}\n\nCommits of 2,000 events."
    common = {key: value for key, value in figures.items() if key != "by_batch"}
    rows = [[name, *[value] * len(columns)] for name, value in _lines_of(common)]
    of = [dict(_lines_of({key: value for key, value in found.items() if key != "batch"})) for found in columns.values()]
    rows += [[name, *(column[name] for column in of)] for name in of[0]]
    return table(["", *(f"commits of {found['batch']:,} events" for found in columns.values())], rows)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _lines_of(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and values, those of parts under the part's name."""
    found: list[tuple[str, str]] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            found += [(f"{name}: {key.replace('_', ' ')}", _number(number)) for key, number in value.items()]
        else:
            found.append((name.replace("_", " "), _number(value)))
    return found


def _flat(figures: dict[str, Any]) -> str:
    return table(["", "figure"], [[name, value] for name, value in _lines_of(figures)])


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


RENDER = {"B1": _b1, "B2": _b2, "B3": _b3, "B4": _b4, "B5": _b5, "B6": _b6, "B7": _b7}


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
        for key, what, style in (("us_per_event", "one thread", "-"), ("process_us_per_event", "all threads", "--")):
            if all(key in point for point in points):
                values = [p[key] for p in points]
                axes.plot([p[kind] for p in points], values, style, marker="o", label=f"{kind}, {what}")
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
        names = _present(figures)
        rates = [figures["contestants"][name]["events_per_s"] for name in names]
        _bars(path, [_name(figures, name) for name in names], rates, "events per second, logarithmic", log=True)
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
