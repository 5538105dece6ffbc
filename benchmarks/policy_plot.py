"""Draws what benchmarks.policy_simulator measured: ``python -m benchmarks.policy_plot policy.json OUT.svg``."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "crossaisle"  # the same figures give the same bytes
from matplotlib import pyplot as plt  # noqa: E402 - after the backend is chosen

TITLE = "The closed loop beside other policies: expected clicks per slate, and summed regret"


def draw(results: list[dict[str, object]], path: Path) -> None:
    """Draw reward and regret over the interactions: the mean over seeds, and the spread of that mean."""
    curves: dict[str, list[tuple[list[float], list[float]]]] = defaultdict(list)
    n = 0
    for result in results:
        curves[str(result["contestant"])].append((result["rewards"], result["regrets"]))  # type: ignore[arg-type] # JSON
        n = int(result["n_visits"])  # type: ignore[call-overload] # JSON
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for name, runs in curves.items():
        for axis, which in zip(axes, (0, 1), strict=True):
            values = np.array([run[which] for run in runs])
            x = np.linspace(0, n, values.shape[1])
            mean, error = values.mean(axis=0), values.std(axis=0, ddof=min(1, len(runs) - 1)) / len(runs) ** 0.5
            (line,) = axis.plot(x, mean, label=f"{name} ({len(runs)} seeds)")
            axis.fill_between(x, mean - error, mean + error, alpha=0.2, color=line.get_color())
    for axis, title in zip(axes, ("expected clicks per slate", "regret, summed"), strict=True):
        axis.set_title(title)
        axis.set_xlabel("visits, each with a slate")
        axis.set_ylim(bottom=0)
    axes[0].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    drawing = path.read_text(encoding="utf-8")
    path.write_text(drawing.replace(" <metadata>", f" <title>{TITLE}</title>\n <metadata>", 1), encoding="utf-8")


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
