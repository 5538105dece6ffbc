"""What it costs to count a slate at once, as zero until its reward comes: ``python -m benchmarks.policy_delay``.

Two arms, of which the second earns a tenth more; a slate earns 1 with that arm's probability, after a delay that is
exponential, and nothing if the attribution window has passed by then. The shares follow the product's own posterior and
guardrails, once an hour, from sums that count slates at once, and from the same sums with every reward known at once.
Printed: the better arm's share of all slates, and how far its mean is off, against the baseline's.
"""

from __future__ import annotations

import numpy as np

from operators.policy_context import N_CELLS
from operators.policy_posterior import GuardParams, fit, make_shares

MEANS = (0.2, 0.22)
PER_HOUR = 1_000
HOURS = 24 * 14
HALF_LIFE_H = 30 * 24
WINDOW_H = 24


def run(delay_h: float, seed: int) -> tuple[float, float]:
    """Return the better arm's share of the slates, and the relative error of the arms' ratio of means at the end."""
    rng = np.random.default_rng(seed)
    n = np.zeros((2, HOURS))
    late = np.zeros((2, HOURS, WINDOW_H + 1))  # rewards by hour of the slate and hours until they come
    share = np.array([0.5, 0.5])
    means = np.array(MEANS)
    for hour in range(HOURS):
        n[:, hour] = rng.multinomial(PER_HOUR, share)
        for arm in range(2):
            hits = rng.binomial(int(n[arm, hour]), means[arm])
            wait = rng.exponential(delay_h, hits) if delay_h > 0 else np.zeros(hits)
            late[arm, hour] = np.bincount(wait[wait < WINDOW_H].astype(int), minlength=WINDOW_H + 1)
        age = hour - np.arange(hour + 1)
        come = np.arange(WINDOW_H + 1)[None, :] <= age[:, None]
        weight = 0.5 ** (age / HALF_LIFE_H)
        cells = np.zeros((2, N_CELLS, 3))
        cells[:, 0, 0] = n[:, : hour + 1] @ weight
        cells[:, 0, 1] = cells[:, 0, 2] = (late[:, : hour + 1] * come).sum(axis=2) @ weight
        posterior = fit(cells)
        share = make_shares(posterior, GuardParams())[0][0]
    expected = means[1] / means[0]
    found = (cells[1, 0, 1] / cells[1, 0, 0]) / (cells[0, 0, 1] / cells[0, 0, 0])
    return float(n[1].sum() / n.sum()), float(found / expected - 1.0)


def main() -> None:
    """Print a line for each delay."""
    for delay_h in (0.0, 0.25, 2.0, 8.0):
        found = np.array([run(delay_h, seed) for seed in range(10)])
        mean, error = found.mean(axis=0), found.std(axis=0, ddof=1) / len(found) ** 0.5
        print(
            f"mean delay {delay_h:5.2f} h: better arm gets {mean[0]:.1%} ± {error[0]:.1%} of the slates; "
            f"ratio of means off by {mean[1]:+.2%} ± {error[1]:.2%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
