"""What must hold of every off-policy estimate, for any log."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.ope import (
    NEEDS_MODEL,
    NEEDS_WHOLE_SLATES,
    Estimator,
    EstimatorUnavailableError,
    EvaluationParams,
    Interval,
    SlateLog,
    SlateLogError,
    evaluate,
    slate_log,
)
from operators.ope.estimators import terms
from operators.ope.evaluate import _bounds, check_reward_range

PARAMS = EvaluationParams()
ALL = tuple(Estimator)


@st.composite
def raw_logs(draw: st.DrawFn, *, max_slots: int = 4, on_policy: bool = False) -> dict[str, list[float]]:
    """Return the columns of a log of whole slates."""
    sizes = draw(st.lists(st.integers(1, max_slots), min_size=1, max_size=25))
    n = sum(sizes)

    def column(low: float, high: float) -> list[float]:
        return draw(st.lists(st.floats(low, high), min_size=n, max_size=n))

    propensity = column(0.01, 1.0)
    return {
        "slate": [float(i) for i, size in enumerate(sizes) for _ in range(size)],
        "position": [float(k) for size in sizes for k in range(size)],
        "propensity": propensity,
        "target_propensity": propensity if on_policy else column(0.01, 1.0),
        "reward": column(0.0, 5.0),
        "q_logged": column(0.0, 5.0),
        "q_target": column(0.0, 5.0),
    }


def made(raw: dict[str, list[float]]) -> SlateLog:
    """Return the log of some columns."""
    return slate_log(**{name: np.array(column) for name, column in raw.items()})  # type: ignore[arg-type]


def value(log: SlateLog, estimator: Estimator, params: EvaluationParams = PARAMS) -> float:
    """Return the estimate."""
    return evaluate(log, estimator, params).value


@given(raw_logs(on_policy=True))
def test_logging_policy_is_its_own_target(raw: dict[str, list[float]]) -> None:
    """Evaluated on its own log, a policy is worth its mean reward, and each slate counts fully."""
    log = made(raw)
    mean = sum(raw["reward"]) / log.n_slates
    for estimator in ALL:
        if estimator in NEEDS_MODEL:
            continue
        found = evaluate(log, estimator, PARAMS)
        assert found.value == pytest.approx(mean, rel=1e-9, abs=1e-12)
        assert found.overlap.ess == pytest.approx(log.n_slates, rel=1e-12)
        assert found.logged_value == pytest.approx(mean, rel=1e-9, abs=1e-12)


@given(raw_logs(max_slots=1))
def test_slates_of_one_slot_make_estimators_equal(raw: dict[str, list[float]]) -> None:
    """With one slot there is nothing to interact: slate-ips and rips are ips, cascade-dr is dr."""
    log = made(raw)
    ips = value(log, Estimator.IPS)
    assert value(log, Estimator.SLATE_IPS) == pytest.approx(ips, rel=1e-12)
    assert value(log, Estimator.RIPS) == pytest.approx(ips, rel=1e-12)
    assert value(log, Estimator.CASCADE_DR) == pytest.approx(value(log, Estimator.DR), rel=1e-9, abs=1e-9)


@given(raw_logs())
def test_a_model_of_zeros_changes_nothing(raw: dict[str, list[float]]) -> None:
    """Doubly robust estimators with a model that says 0 are their counterparts without a model."""
    zeros = [0.0] * len(raw["reward"])
    log = made({**raw, "q_logged": zeros, "q_target": zeros})
    assert value(log, Estimator.DR) == pytest.approx(value(log, Estimator.IPS), rel=1e-12, abs=1e-12)
    assert value(log, Estimator.CASCADE_DR) == pytest.approx(value(log, Estimator.RIPS), rel=1e-12, abs=1e-12)


@given(raw_logs(), st.floats(0.1, 50.0), st.floats(0.1, 50.0))
def test_clipping_is_monotone(raw: dict[str, list[float]], one: float, other: float) -> None:
    """With rewards of 0 or more, a lower limit never makes an estimate larger; an unreached one changes nothing."""
    log = made(raw)
    low, high = sorted((one, other))
    for estimator in (Estimator.IPS, Estimator.SLATE_IPS, Estimator.RIPS):
        lower = evaluate(log, estimator, EvaluationParams(clip=low))
        higher = evaluate(log, estimator, EvaluationParams(clip=high))
        assert lower.value <= higher.value * (1 + 1e-12)
        assert lower.n_clipped >= higher.n_clipped
        assert value(log, estimator, EvaluationParams(clip=1e12)) == value(log, estimator)


@given(raw_logs(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(raw: dict[str, list[float]], random: object) -> None:
    """Rows shuffled and slates numbered anew, estimates and intervals stay."""
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    order = rng.permutation(len(raw["reward"]))
    numbers = rng.permutation(int(max(raw["slate"])) + 1)
    shuffled = {name: [column[i] for i in order] for name, column in raw.items()}
    shuffled["slate"] = [float(numbers[int(i)]) for i in shuffled["slate"]]
    for estimator in ALL:
        one, other = evaluate(made(raw), estimator, PARAMS), evaluate(made(shuffled), estimator, PARAMS)
        assert other.value == pytest.approx(one.value, rel=1e-9, abs=1e-9)
        assert (other.lower, other.upper) == pytest.approx((one.lower, one.upper), rel=1e-6, abs=1e-6, nan_ok=True)
        assert other.overlap.ess == pytest.approx(one.overlap.ess, rel=1e-9)


@given(raw_logs(), st.sampled_from(Interval))
def test_the_interval_holds_the_estimate(raw: dict[str, list[float]], interval: Interval) -> None:
    """Every interval but that of the bootstrap holds its estimate; all are finite, and the same seed gives the same."""
    log = made(raw)
    params = EvaluationParams(interval=interval, n_resamples=100, seed=3)
    for estimator in ALL:
        found = evaluate(log, estimator, params)
        assert found == pytest.approx(found) or found == evaluate(log, estimator, params) or log.n_slates == 1
        if log.n_slates == 1:
            assert np.isnan([found.lower, found.upper]).all()
            continue
        assert np.isfinite([found.lower, found.upper]).all()
        assert found.lower <= found.upper
        if interval is not Interval.BOOTSTRAP:
            slack = 1e-9 * (1.0 + abs(found.value))
            assert found.lower - slack <= found.value <= found.upper + slack
        assert 0.0 < found.overlap.ess <= log.n_slates * (1 + 1e-12)


@given(raw_logs())
def test_positions_sum_to_the_whole(raw: dict[str, list[float]]) -> None:
    """What each position earns sums to what the slate earns, for every estimator."""
    log = made(raw)
    for estimator in ALL:
        parts = sum(value(log.only_position(k), estimator) for k in range(int(log.position.max()) + 1))
        assert parts == pytest.approx(value(log, estimator), rel=1e-9, abs=1e-9)


@given(raw_logs())
def test_a_part_is_evaluated_as_if_it_stood_alone(raw: dict[str, list[float]]) -> None:
    """The log of the even slates gives what a log of nothing else gives."""
    log = made(raw)
    part = log.only(log.slate % 2 == 0)
    keep = [i for i, slate in enumerate(raw["slate"]) if slate % 2 == 0]
    alone = made({name: [column[i] for i in keep] for name, column in raw.items()})
    for estimator in ALL:
        assert evaluate(part, estimator, PARAMS).value == evaluate(alone, estimator, PARAMS).value
    assert [raw["reward"][i] for i in part.row] == part.reward.tolist()


GOOD = {"slate": [0, 0, 1], "position": [0, 1, 0], "propensity": [0.5] * 3, "target_propensity": [0.5] * 3}


@pytest.mark.parametrize(
    ("wrong", "row", "message"),
    [
        ({"propensity": [0.5, 0.0, 0.5]}, 1, r"propensity must be in \(0, 1\], got 0"),
        ({"propensity": [0.5, 0.5, 1.5]}, 2, r"propensity must be in \(0, 1\], got 1.5"),
        ({"propensity": [float("nan"), 0.5, 0.5]}, 0, r"propensity must be in \(0, 1\], got nan"),
        ({"target_propensity": [0.5, -0.1, 0.5]}, 1, r"target_propensity must be in \[0, 1\], got -0.1"),
        ({"reward": [0.0, 1.0, float("inf")]}, 2, "reward must be a finite number, got inf"),
        ({"position": [0, 0, 0]}, 1, "position 0 stands twice in one slate"),
        ({"position": [0, -1, 0]}, 1, "position must be 0 or more, got -1"),
        ({"q_logged": [0.1] * 3}, None, "q_logged and q_target belong together"),
        ({"q_logged": [0.1, float("nan"), 0.1], "q_target": [0.1] * 3}, 1, "q_logged must be a finite number"),
        ({"reward": [0.0, 1.0]}, None, "one length"),
        ({name: [] for name in (*GOOD, "reward")}, None, "log is empty"),
    ],
)
def test_a_log_that_is_none_is_refused(wrong: dict[str, list[float]], row: int | None, message: str) -> None:
    """What is wrong is named, with the row where it stands first."""
    with pytest.raises(SlateLogError, match=message) as caught:
        slate_log(**{**GOOD, "reward": [0.0, 1.0, 0.0], **wrong})  # type: ignore[arg-type]
    assert caught.value.row == row


def test_an_estimator_names_what_it_lacks() -> None:
    """Without a model, with a gap in a slate, or with a weight beyond all numbers: the reason and the row."""
    log = slate_log([0, 1, 1], [0, 0, 2], [0.5] * 3, [0.5] * 3, [1.0, 0.0, 1.0])
    for estimator in NEEDS_MODEL:
        with pytest.raises(EstimatorUnavailableError, match="needs the columns q_logged and q_target"):
            evaluate(log, estimator, PARAMS)
    for estimator in NEEDS_WHOLE_SLATES - NEEDS_MODEL:
        with pytest.raises(EstimatorUnavailableError, match="above position 2 is missing") as caught:
            evaluate(log, estimator, PARAMS)
        assert caught.value.row == 2
    tiny = slate_log([0, 1, 1], [0, 0, 1], [0.5, 1e-30, 1e-30], [0.5, 1.0, 1.0], [1.0, 0.0, 1.0])
    assert np.isfinite(value(tiny, Estimator.IPS))
    for estimator in (Estimator.RIPS, Estimator.SLATE_IPS):
        with pytest.raises(EstimatorUnavailableError, match="too large for a number") as caught:
            evaluate(tiny, estimator, PARAMS)
        assert caught.value.row == 2
        assert value(tiny, estimator, EvaluationParams(clip=10.0)) == pytest.approx(5.5)
    never = slate_log([0, 1], [0, 0], [0.5, 0.5], [0.0, 0.0], [1.0, 1.0])
    with pytest.raises(EstimatorUnavailableError, match="nothing to normalise by"):
        evaluate(never, Estimator.SNIPS, PARAMS)
    assert [caution.code for caution in evaluate(never, Estimator.IPS, PARAMS).cautions] == ["no_overlap", "no_spread"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clip": 0.0}, "clip must be positive"),
        ({"clip": float("nan")}, "clip must be positive"),
        ({"alpha": 1.0}, "alpha must be in"),
        ({"n_resamples": 10}, "n_resamples must be"),
        ({"seed": -1}, "seed must be"),
        ({"reward_range": (1.0, 0.0)}, "reward_range must be"),
    ],
)
def test_wrong_parameters_are_named(wrong: dict[str, object], message: str) -> None:
    """A parameter that makes no sense is refused before anything is computed."""
    with pytest.raises(ValueError, match=message):
        EvaluationParams(**wrong)  # type: ignore[arg-type]


@given(raw_logs(), st.sampled_from([-5.0, -2.5, 0.0, 0.5, 3.0]), st.sampled_from([0.3, 1.0, 4.0]))
def test_no_slate_is_worth_more_or_less_than_the_bounds(raw: dict[str, list[float]], low: float, clip: float) -> None:
    """Intervals that hold at any number of slates rest on these: they cover the worst case, of every estimator."""
    high = low + 2.0
    raw = dict(raw)
    for name in ("reward", "q_logged", "q_target"):
        raw[name] = [low + 0.4 * each for each in raw[name]]
    log, params = made(raw), EvaluationParams(clip=clip, reward_range=(low, high))
    for estimator in ALL:
        if estimator is not Estimator.SNIPS:
            check_reward_range(log, estimator, params)
            bounds = _bounds(log, estimator, params)
            assert bounds is not None
            values = terms(log, estimator, clip=clip).values
            assert bounds[0] - 1e-9 <= values.min() <= values.max() <= bounds[1] + 1e-9


def test_the_bounds_know_of_slots_that_count_for_nothing() -> None:
    """Below a slot that the target policy never fills so, the model of cascade-dr has no weight: the range holds 0."""
    log = slate_log(
        [0, 0, 1, 1], [0, 1, 0, 1], [0.5] * 4, [0.0, 1.0, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0],
        q_logged=[2.0, 1.0, 1.0, 1.0], q_target=[1.0, 1.0, 1.0, 1.0],
    )  # fmt: skip
    bounds = _bounds(log, Estimator.CASCADE_DR, EvaluationParams(clip=1.0, reward_range=(0.5, 1.0)))
    # Two slots, each as little as the weight 1 times the smallest reward less the largest model, and no model above.
    assert bounds == (2 * (0.5 - 2.0), 2 * (1.0 - 0.5 + 2.0))


def test_a_reward_outside_the_stated_range_is_refused() -> None:
    """A statement that the log contradicts is no ground for a guarantee."""
    log = slate_log([0, 1], [0, 0], [0.5, 0.5], [0.5, 0.5], [1.0, 2.0], q_logged=[0.5, 0.5], q_target=[0.5, 1.5])
    with pytest.raises(SlateLogError, match=r"reward must be in \[0, 1\] by the stated reward range, got 2") as caught:
        evaluate(log, Estimator.IPS, EvaluationParams(reward_range=(0.0, 1.0)))
    assert caught.value.row == 1
    assert evaluate(log, Estimator.IPS, EvaluationParams(reward_range=(0.0, 2.0))).value == 1.5
    with pytest.raises(SlateLogError, match="q_logged must be in"):
        evaluate(log, Estimator.DR, EvaluationParams(reward_range=(0.6, 2.0)))
