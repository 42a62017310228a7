"""kill -9 of a launch at random instants, and the same command again: as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from trainer.run_dir import read_history

LOSSTUNE = [str(Path(sys.executable).with_name("losstune"))]
STUDY = ["launch", "mse", "infonce", "--data", "digits", "--study", "killed", "--concurrency", "1"]
BUDGET = ["--trials", "5", "--max-epochs", "9"]


def losstune(root: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LOSSTUNE, *arguments, "--storage", str(root)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def leaderboard(root: Path) -> list[tuple[object, ...]]:
    """Every trial as Optuna has it, but for the times."""
    url = f"sqlite:///{root / 'studies' / 'killed' / 'optuna.db'}"
    rows: list[tuple[object, ...]] = []
    for loss in ("mse", "infonce"):
        for trial in optuna.load_study(study_name=loss, storage=url).trials:
            end = trial.user_attrs["end"]
            rows.append((loss, trial.number, trial.params, trial.state.name, trial.intermediate_values, end))
    return rows


def finish(root: Path) -> None:
    process = losstune(root, *STUDY, *BUDGET)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_kills_change_nothing(tmp_path: Path, seed: int) -> None:
    finish(tmp_path / "calm")
    rng = random.Random(seed)
    root = tmp_path / "killed"
    acknowledged: dict[tuple[object, object], tuple[object, ...]] = {}
    for _ in range(3):
        process = losstune(root, *STUDY, *BUDGET)
        time.sleep(rng.uniform(4, 12))  # the instant of the kill is what is random here
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        if (root / "studies" / "killed" / "optuna.db").exists():
            ended = json.loads(subprocess.check_output([*LOSSTUNE, "status", "killed", "--json", "--storage", root]))
            for loss, told in ended["losses"].items():
                for trial in told["trials"]:
                    if trial["reason"] is not None:
                        acknowledged[loss, trial["trial"]] = tuple(trial.items())
    finish(root)
    assert leaderboard(root) == leaderboard(tmp_path / "calm")
    final = json.loads(subprocess.check_output([*LOSSTUNE, "status", "killed", "--json", "--storage", root]))
    after = {(loss, t["trial"]): tuple(t.items()) for loss, told in final["losses"].items() for t in told["trials"]}
    for key, trial in acknowledged.items():
        assert str(after[key]) == str(trial)
    for folder in (root / "studies" / "killed" / "trials").iterdir():
        epochs = [record["epoch"] for record in read_history(folder / "history.jsonl")]
        assert epochs == list(range(1, len(epochs) + 1))
