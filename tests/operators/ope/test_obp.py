"""Agreement with the Open Bandit Pipeline on the same logs, for each estimator that it has.

obp 0.5.7 pins numpy 1.23, scikit-learn 1.1 and Python below 3.11, so it cannot stand beside this project's packages.
It is installed without its pins into a directory of its own (kept in the user's cache), and run in its own process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from operators.ope import Estimator, EvaluationParams, Interval, SlateLog, evaluate, slate_log
from operators.ope.estimators import terms

REQUIREMENTS = ("obp==0.5.7", "scikit-learn>=1.5,<2", "joblib", "threadpoolctl", "narwhals", "cloudpickle")
SCRIPT = Path(__file__).with_name("obp_reference.py")
CLIP = 2.0
UNREACHABLE = (
    "Could not find a version",
    "No matching distribution",
    "Connection",
    "Temporary failure",
    "Read timed out",
)


@pytest.fixture(scope="module")
def site_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with obp and what its estimators import beyond numpy, scipy and pandas."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    kept = platformdirs.user_cache_path("crossaisle") / f"obp-0.5.7-py{version}"
    if (kept / "obp").is_dir():
        return kept
    fresh = tmp_path_factory.mktemp("obp") / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-deps", "--ignore-requires-python", "--target", str(fresh), *REQUIREMENTS]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode and any(words in done.stderr for words in UNREACHABLE):
        pytest.skip(f"no package registry to take obp from: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    kept.parent.mkdir(parents=True, exist_ok=True)
    copied = kept.with_name(f"{kept.name}.{os.getpid()}")
    shutil.move(fresh, copied)
    try:
        copied.replace(kept)
    except OSError:  # another run was faster
        shutil.rmtree(copied)
    return kept


def _log(n_slates: int, n_slots: int, n_actions: int, seed: int) -> tuple[SlateLog, dict[str, np.ndarray]]:
    """Return a log, and the same with the target's whole distribution and the model's whole opinion."""
    rng = np.random.default_rng(seed)
    shape = (n_slates, n_slots)
    logging = rng.dirichlet(np.full(n_actions, 2.0), shape)
    target = rng.dirichlet(np.full(n_actions, 2.0), shape)
    q = rng.uniform(0.0, 1.0, (*shape, n_actions))
    action = (rng.random(shape)[..., None] > logging.cumsum(2)).sum(2).clip(0, n_actions - 1)

    def at_action(table: np.ndarray) -> np.ndarray:
        return np.take_along_axis(table, action[..., None], 2)[..., 0]

    reward = (rng.random(shape) < at_action(q)) * rng.uniform(0.5, 2.0, shape)
    log = slate_log(
        np.repeat(np.arange(n_slates), n_slots),
        np.tile(np.arange(n_slots), n_slates),
        at_action(logging).ravel(),
        at_action(target).ravel(),
        reward.ravel(),
        q_logged=at_action(q).ravel(),
        q_target=(target * q).sum(2).ravel(),
    )
    return log, {"target": target, "q": q, "action": action, "reward": reward, "propensity": at_action(logging)}


def _obp(site_dir: Path, path: Path, arrays: dict[str, np.ndarray], log: SlateLog) -> dict[str, float]:
    np.savez(path, **arrays, clip=np.array(CLIP), values=terms(log, Estimator.RIPS).values)
    command = [sys.executable, str(SCRIPT), str(site_dir), str(path)]
    env = {**os.environ, "PYTHONPATH": str(site_dir)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("n_slates", "n_slots", "seed"), [(400, 4, 0), (300, 1, 1)])
def test_estimates_are_those_of_obp(site_dir: Path, tmp_path: Path, n_slates: int, n_slots: int, seed: int) -> None:
    """Each estimator agrees to 1e-9, on slates of four slots and of one; those of obp that know no slates, per slot."""
    log, arrays = _log(n_slates, n_slots, 6, seed)
    obp = _obp(site_dir, tmp_path / "log.npz", arrays, log)

    def value(estimator: Estimator, clip: float | None = None) -> float:
        return evaluate(log, estimator, EvaluationParams(clip=clip)).value

    ours = {
        "SlateStandardIPS": value(Estimator.SLATE_IPS),
        "SlateIndependentIPS": value(Estimator.IPS),
        "SelfNormalizedSlateIndependentIPS": value(Estimator.SNIPS),
        "SlateRewardInteractionIPS": value(Estimator.RIPS),
        "SlateCascadeDoublyRobust": value(Estimator.CASCADE_DR),
        "InverseProbabilityWeighting": value(Estimator.IPS) / n_slots,
        "InverseProbabilityWeighting, clipped": value(Estimator.IPS, CLIP) / n_slots,
        "DoublyRobust": value(Estimator.DR) / n_slots,
        "DoublyRobust, clipped": value(Estimator.DR, CLIP) / n_slots,
    }
    if n_slots == 1:
        ours["SelfNormalizedInverseProbabilityWeighting"] = value(Estimator.SNIPS)
    for name, number in ours.items():
        assert number == pytest.approx(obp[name], rel=1e-9, abs=1e-9), name


def test_intervals_are_those_of_obp(site_dir: Path, tmp_path: Path) -> None:
    """The lower ends of Student's and of the empirical Bernstein interval are obp's bounds at half the error."""
    log, arrays = _log(200, 3, 5, 2)
    obp = _obp(site_dir, tmp_path / "log.npz", arrays, log)
    for interval, name in ((Interval.STUDENT_T, "student_t_lower"), (Interval.EMPIRICAL_BERNSTEIN, "bernstein_lower")):
        found = evaluate(log, Estimator.RIPS, EvaluationParams(interval=interval))
        assert found.lower == pytest.approx(obp[name], rel=1e-9, abs=1e-9)
