"""Studies as a user starts them: whole processes, and what is on disk afterwards."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from trainer.run_dir import read_history

LOSSTUNE = str(Path(sys.executable).with_name("losstune"))

Leaderboard = list[tuple[object, ...]]


def start(root: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """``losstune ARGUMENTS --storage ROOT`` in a session of its own; its output is read by ``communicate``."""
    return subprocess.Popen(
        [LOSSTUNE, *arguments, "--storage", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def run(root: Path, *arguments: str, timeout: float = 300, **environment: str) -> str:
    """The same, to its end, which must be a good one; returns what it printed."""
    process = start(root, *arguments, **environment)
    out, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, out
    return out


def optuna_trials(root: Path, study: str) -> dict[str, list[FrozenTrial]]:
    """All trials of each loss, as Optuna itself reads them."""
    url = f"sqlite:///{root / 'studies' / study / 'optuna.db'}"
    names = optuna.get_all_study_names(url)
    return {name: optuna.load_study(study_name=name, storage=url).trials for name in sorted(names)}


def leaderboard(root: Path, study: str) -> Leaderboard:
    """Every trial with its parameters, rungs and end; all but the times."""
    return [
        (loss, t.number, t.params, t.state.name, t.intermediate_values, t.user_attrs.get("end"))
        for loss, trials in optuna_trials(root, study).items()
        for t in trials
    ]


def told(root: Path, study: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What ``losstune status`` says of every trial that has ended: what the user was told."""
    out = subprocess.check_output([LOSSTUNE, "status", study, "--json", "--storage", str(root)])
    losses = json.loads(out)["losses"]
    return {
        (loss, trial["trial"]): trial
        for loss, own in losses.items()
        for trial in own["trials"]
        if trial["reason"] is not None
    }


def check_histories(root: Path, study: str) -> None:
    """No epoch is missing or doubled in any trial's history."""
    for folder in (root / "studies" / study / "trials").iterdir():
        epochs = [record["epoch"] for record in read_history(folder / "history.jsonl")]
        assert epochs == list(range(1, len(epochs) + 1)), folder
