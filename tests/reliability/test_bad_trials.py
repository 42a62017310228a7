"""Metrics that are no numbers, and losses that raise: that trial ends with its reason, the others do not notice."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.study.seeds import derived_seed
from tests.reliability.studies import (
    check_histories,
    optuna_trials,
    private_tmp,
    run,
    run_statuses,
    told,
    undisturbed,
)
from tests.reliability.tallies import Recorder

FAULTS = os.pathsep.join([str(Path(__file__).parent / "faults"), *filter(None, [os.environ.get("PYTHONPATH")])])
COMMAND = [
    *("launch", "cosine", "--data", "digits", "--study", "study", "--concurrency", "1", "--sampler", "random"),
    *("--max-epochs", "4", "--grace-epochs", "4", "--trials", "13"),
]
"""Proposals of the random sampler do not depend on what became of earlier trials."""

INJECTED: dict[int, dict[str, Any]] = {
    1: {"epoch": 1, "metrics": {"mrr": "nan"}},
    2: {"epoch": 3, "metrics": {"mrr": "nan"}},
    3: {"epoch": 2, "metrics": {"mrr": "inf"}},
    4: {"epoch": 2, "metrics": {"loss": "-inf"}},
    5: {"epoch": 2, "metrics": {"loss": 1e300}},
    6: {"epoch": 2, "metrics": {"mrr": None}},
    7: {"epoch": 3, "error": "a loss that can not be computed"},
    8: {"epoch": 1, "error": "\n\nthe first of many lines\n" + "another\n" * 500},
    9: {"epoch": 2, "error": "one long line " * 10_000},
    10: {"epoch": 2, "error": "odd: \x00 \x1b[31m \udcff é"},
    11: {"epoch": 2, "error": ""},
}
DIVERGED = {1: 1, 2: 3, 3: 2, 4: 2}
"""Trials that diverge, and in which epoch."""
FAILED = {
    6: "KeyError: 'val/mrr'",
    7: "RuntimeError: a loss that can not be computed",
    8: "RuntimeError: the first of many lines",
    9: "RuntimeError: one long line one long line",
    10: "RuntimeError: odd: ",
    11: "RuntimeError: ",
}
UNTOUCHED = (0, 12)


@pytest.mark.torture
def test_bad_trials_end_alone(tmp_path: Path, record: Recorder) -> None:
    plan = {str(derived_seed(0, "cosine", number)): fault for number, fault in INJECTED.items()}
    with private_tmp() as tmp:
        (tmp / "faults.json").write_text(json.dumps(plan))
        run(tmp_path, *COMMAND, TMPDIR=str(tmp), PYTHONPATH=FAULTS, LOSSTUNE_FAULTS=str(tmp / "faults.json"))
    trials = optuna_trials(tmp_path, "study")["cosine"]
    calm = optuna_trials(undisturbed(*COMMAND), "study")["cosine"]
    assert [t.params for t in trials] == [t.params for t in calm]
    for number in UNTOUCHED:
        assert facts(trials[number]) == facts(calm[number])
    for number, epoch in DIVERGED.items():
        check_diverged(trials[number], epoch)
    check_huge(trials[5], calm[5])
    for number, reason in FAILED.items():
        assert trials[number].state.name == "FAIL"
        assert trials[number].user_attrs["end"]["reason"].startswith(reason)
    check_histories(tmp_path, "study")
    check_tracked(tmp_path, trials)
    check_goes_on(tmp_path, len(trials))
    for number, fault in INJECTED.items():
        what = f"{fault['metrics']}" if "metrics" in fault else "an exception in a loss"
        record(8, what, note="diverged" if number in DIVERGED else "failed" if number in FAILED else "taken as it is")


def facts(trial: FrozenTrial) -> tuple[object, ...]:
    return trial.number, trial.state.name, trial.value, trial.intermediate_values, trial.user_attrs["end"]


def check_diverged(trial: FrozenTrial, epoch: int) -> None:
    assert trial.state.name == "PRUNED"
    assert trial.user_attrs["end"]["reason"] == "diverged"
    assert trial.user_attrs["end"]["epochs"] == epoch
    assert math.isnan(trial.intermediate_values[epoch])


def check_huge(trial: FrozenTrial, calm: FrozenTrial) -> None:
    """A number is a number: the trial goes on, and is ranked by its objective."""
    assert facts(trial) == facts(calm)


def check_tracked(root: Path, trials: list[FrozenTrial]) -> None:
    expected = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
    statuses = run_statuses(root)
    assert statuses.pop("cosine") == "FINISHED"
    assert statuses == {f"cosine-{trial.number:04d}": expected[trial.state.name] for trial in trials}
    history = read_history(root / "studies" / "study" / "trials" / "cosine-0005" / HISTORY_FILE)
    assert history[1]["val/loss"] == 1e300


def check_goes_on(root: Path, count: int) -> None:
    """None that went bad is best, and the study can be continued."""
    said = told(root, "study")
    assert len(said) == count
    best = max((trial for trial in said.values() if trial["state"] == "complete"), key=lambda trial: trial["value"])
    status = json.loads(run(root, "status", "study", "--json"))
    assert status["best"]["trial"] == best["trial"]
    more = [str(count + 1) if argument == str(count) else argument for argument in COMMAND]
    with private_tmp() as tmp:
        run(root, *more, TMPDIR=str(tmp))
    assert len(told(root, "study")) == count + 1
