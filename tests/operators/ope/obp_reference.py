"""Runs the estimators of the Open Bandit Pipeline (PyPI: obp) on a log; a script of its own, started by test_obp.py.

Usage: ``python obp_reference.py SITE_DIR LOG.npz`` with the directory that obp is installed in; prints a JSON object.

Importing the package ``obp`` loads PyTorch, matplotlib and its data sets, which none of these estimators uses. So its
estimators' own modules are imported from the installed files without the package's ``__init__``; the only thing that
stands in for something is the name ``torch.Tensor``, which obp.utils mentions in an annotation.
"""

from __future__ import annotations

import json
import sys
import types

import numpy as np


def import_estimators(site_dir: str) -> tuple[types.ModuleType, types.ModuleType, types.ModuleType]:
    """Return obp's modules of estimators, of slate estimators, and of bounds."""
    for name in ("obp", "obp.ope"):
        package = types.ModuleType(name)
        package.__path__ = [f"{site_dir}/{name.replace('.', '/')}"]
        sys.modules[name] = package
    torch = types.ModuleType("torch")
    torch.tensor = torch.Tensor = object  # type: ignore[attr-defined]
    sys.modules["torch"] = torch
    from obp.ope import estimators, estimators_slate, helper  # noqa: PLC0415 - importable only now

    return estimators, estimators_slate, helper


def main() -> None:
    """Print obp's estimates of a log with ``n`` slates of ``k`` slots and ``a`` actions."""
    estimators, slate, helper = import_estimators(sys.argv[1])
    log = dict(np.load(sys.argv[2]))
    n, k, a = log["target"].shape  # target policy's distribution given the slots above
    slates, positions = np.repeat(np.arange(n), k), np.tile(np.arange(k), n)
    action, reward = log["action"].ravel(), log["reward"].ravel()
    p = log["propensity"]
    t = np.take_along_axis(log["target"], log["action"][..., None], 2)[..., 0]
    common = {"slate_id": slates, "reward": reward, "position": positions}
    whole = {"pscore": np.repeat(p.prod(1), k), "evaluation_policy_pscore": np.repeat(t.prod(1), k)}
    each = {"pscore_item_position": p.ravel(), "evaluation_policy_pscore_item_position": t.ravel()}
    above = {
        "pscore_cascade": p.cumprod(1).ravel(),
        "evaluation_policy_pscore_cascade": t.cumprod(1).ravel(),
    }
    model = {
        "action": action,
        "q_hat": log["q"].ravel(),
        "evaluation_policy_action_dist": log["target"].ravel(),
    }
    rows = {
        "reward": reward,
        "action": action,
        "pscore": p.ravel(),
        "action_dist": log["target"].reshape(n * k, a, 1),
    }
    q_rows = log["q"].reshape(n * k, a, 1)
    limit = float(log["clip"])
    found = {
        "SlateStandardIPS": slate.SlateStandardIPS(len_list=k).estimate_policy_value(**common, **whole),
        "SlateIndependentIPS": slate.SlateIndependentIPS(len_list=k).estimate_policy_value(**common, **each),
        "SelfNormalizedSlateIndependentIPS": slate.SelfNormalizedSlateIndependentIPS(len_list=k).estimate_policy_value(
            **common, **each
        ),
        "SlateRewardInteractionIPS": slate.SlateRewardInteractionIPS(len_list=k).estimate_policy_value(
            **common, **above
        ),
        "SlateCascadeDoublyRobust": slate.SlateCascadeDoublyRobust(len_list=k, n_unique_action=a).estimate_policy_value(
            **common, **above, **model
        ),
        "InverseProbabilityWeighting": estimators.InverseProbabilityWeighting().estimate_policy_value(**rows),
        "InverseProbabilityWeighting, clipped": estimators.InverseProbabilityWeighting(
            lambda_=limit
        ).estimate_policy_value(**rows),
        "SelfNormalizedInverseProbabilityWeighting": (
            estimators.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**rows)
        ),
        "DoublyRobust": estimators.DoublyRobust().estimate_policy_value(**rows, estimated_rewards_by_reg_model=q_rows),
        "DoublyRobust, clipped": estimators.DoublyRobust(lambda_=limit).estimate_policy_value(
            **rows, estimated_rewards_by_reg_model=q_rows
        ),
        "student_t_lower": helper.estimate_student_t_lower_bound(log["values"], delta=0.025),
        "bernstein_lower": helper.estimate_bernstein_lower_bound(log["values"], None, delta=0.025),
    }
    print(json.dumps({name: float(value) for name, value in found.items()}))  # noqa: T201 - its way to answer


if __name__ == "__main__":
    main()
