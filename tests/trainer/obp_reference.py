"""Writes what the package obp estimates on a small log, for `test_off_policy.py` to compare with.

obp needs versions of other packages that do not live beside ours, so it runs in an environment of its own:

    uv venv --python 3.11 obp-env
    VIRTUAL_ENV=obp-env uv pip install --no-deps obp==0.5.7
    VIRTUAL_ENV=obp-env uv pip install "numpy==1.26.4" pandas scipy scikit-learn tqdm pyyaml matplotlib seaborn
    obp-env/bin/python tests/trainer/obp_reference.py

The estimators themselves are numpy. obp imports torch for its tensor variants alone, which are not called: an empty
class takes their place.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

RECORDED = Path(__file__).with_name("obp_reference.json")
SLOTS, ACTIONS = 80, 4
LARGEST_WEIGHT, SWITCH_ABOVE = 1.5, 1.2


def softmax(logits: np.ndarray) -> np.ndarray:
    likelihoods = np.exp(logits)
    return likelihoods / likelihoods.sum(axis=1, keepdims=True)


def obp_estimators():
    torch = ModuleType("torch")
    torch.Tensor = torch.tensor = type("Tensor", (), {})
    sys.modules.setdefault("torch", torch)
    # Without the package's own __init__, which imports its policies and, with them, all of torch.
    found = importlib.util.find_spec("obp")
    package = ModuleType("obp")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["obp"] = package
    return importlib.import_module("obp.ope.estimators")


def main() -> None:
    ope = obp_estimators()
    random = np.random.default_rng(7)
    logging = softmax(random.normal(size=(SLOTS, ACTIONS)))
    target = softmax(random.normal(size=(SLOTS, ACTIONS)))
    predicted = random.uniform(size=(SLOTS, ACTIONS))
    actions = np.array([random.choice(ACTIONS, p=row) for row in logging])
    rewards = (random.random(SLOTS) < random.uniform(size=(SLOTS, ACTIONS))[np.arange(SLOTS), actions]).astype(float)
    propensities = logging[np.arange(SLOTS), actions]
    given = {
        "reward": rewards,
        "action": actions,
        "pscore": propensities,
        "action_dist": target[:, :, None],
        "estimated_rewards_by_reg_model": predicted[:, :, None],
        "position": np.zeros(SLOTS, int),
    }
    values = {
        "direct": ope.DirectMethod(),
        "ips": ope.InverseProbabilityWeighting(),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting(),
        "dr": ope.DoublyRobust(),
        "switch_dr": ope.SwitchDoublyRobust(lambda_=SWITCH_ABOVE),
        "cut_ips": ope.InverseProbabilityWeighting(lambda_=LARGEST_WEIGHT),
        "cut_dr": ope.DoublyRobust(lambda_=LARGEST_WEIGHT),
    }
    recorded = {
        "versions": {name: importlib.metadata.version(name) for name in ("obp", "numpy")},
        "largest_weight": LARGEST_WEIGHT,
        "switch_above": SWITCH_ABOVE,
        "rewards": rewards.tolist(),
        "actions": actions.tolist(),
        "propensities": propensities.tolist(),
        "target": target.tolist(),
        "predicted": predicted.tolist(),
        "values": {name: float(one.estimate_policy_value(**given)) for name, one in values.items()},
    }
    RECORDED.write_text(json.dumps(recorded) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
