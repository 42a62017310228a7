#!/usr/bin/env bash
# Syne Tune 0.16.0: to ask BOHB for one trial more before its model begins lets it begin after a third as many.
#
# BOHB draws at random until it has num_min_data_points trials, "by default the number of hyperparameters", say its
# docs; so of four parameters one expects a model from the fifth trial on. By default it comes after 34 trials. The
# model wants more trials than parameters both in the good and in the bad part, and the good part has
# num_min_data_points or 15 % of all, whichever is more: with the default that is never more than the number of
# parameters until 15 % are, (4 + 1) / 0.15 = 34. Of 12 parameters it is 87, more than many a study has, and until
# then BOHB is random search with early stopping. num_min_data_points=5, one more than the default, begins at 10.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check syne-tune==0.16.0 numpy==2.4.6 \
  pandas==3.1.1 statsmodels==0.15.0 scikit-learn==1.9.1

venv/bin/python - <<'PY'
import logging
import sys
from datetime import datetime
from importlib.metadata import version

from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import uniform
from syne_tune.optimizer.baselines import BOHB


def trials_before_the_model(parameters: int, least: int | None) -> int | None:
    """How many had ended when a proposal first came from the model; None: not within 120."""
    space = {f"x{number}": uniform(0, 1) for number in range(parameters)}
    bohb = BOHB(
        space, metric="loss", time_attr="epoch", max_t=1, random_seed=0, random_fraction=0.0, num_min_data_points=least
    )
    for number in range(120):
        trial = Trial(number, bohb.suggest().config, datetime.now())
        model = bohb.searcher.searcher
        if model is not None and model.good_kde is not None:
            return number
        bohb.on_trial_add(trial)
        told = {"loss": sum(trial.config.values()), "epoch": 1}
        bohb.on_trial_result(trial, told)
        bohb.on_trial_complete(trial, told)
    return None


logging.disable(logging.WARNING)
found = {(parameters, least): trials_before_the_model(parameters, least) for parameters, least in
         [(4, None), (4, 4), (4, 5), (12, None), (12, 13)]}
print("Syne Tune", version("syne-tune"))
print("expected of 4 parameters: a model after 4 or 5 trials, and one trial later with num_min_data_points=5")
for (parameters, least), trials in found.items():
    print(f"seen: {parameters} parameters, num_min_data_points={least}: after {trials}")
expected = {(4, None): 34, (4, 4): 34, (4, 5): 10, (12, None): 87, (12, 13): 26}
sys.exit(0 if found == expected else "no longer so")
PY
