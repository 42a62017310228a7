"""What averaged weights are worth: two studies a data set, alike but for that setting, compared seed by seed.

    python benchmarks/averaging.py FOLDER [--average-epochs 1] [--rows 2500] [--seeds 10]

Data sets are those of ``data_sets.py``, the first so many rows of each. Both studies search the shipped spaces of four
losses with one seed and budget, and confirm each loss's best and its untuned settings with the same seeds, so that a
seed has one split and one start in both. Printed are means over seeds of the difference in test MRR with twice their
standard error, and how far the validation MRR jumps from epoch to epoch in the second half of a run. Studies stay in
FOLDER, and an interrupted benchmark goes on from there.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from data_sets import written
from rich.console import Console
from rich.table import Table

import losstune as lt
from losstune.search_spaces import __path__ as shipped
from losstune.trainer.run.history import read_history
from losstune.tuning.confirm.confirm_runs import runs_of
from losstune.tuning.confirm.plan import latest_finished
from losstune.tuning.confirm.results import load_results
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import open_study

SETS = ("digits", "words", "senses", "photos")
LOSSES = ("infonce", "cosine", "full_softmax", "siglip")
SETTING = "average_epochs"
BUDGET = {"max_epochs": 27, "epochs_per_loss": 135, "seed": 1}
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What one study's confirmation has of one arm: for each seed the test MRR, and how far validation MRR jumps."""

    mrr: Values
    jumps: Values


def space(loss: str, average: float | None) -> dict[str, Any]:
    """A shipped space with the setting fixed."""
    found: dict[str, Any] = yaml.safe_load((Path(shipped[0]) / f"{loss}.yaml").read_text())
    found["space"].pop(SETTING, None)
    return {**found, "fixed": {**found.get("fixed", {}), SETTING: average}}


def few(data: str, rows: int) -> Mapping[str, Any]:
    """The first rows of a data set."""
    pairs = lt.load_pairs(data)
    return {name: np.asarray(getattr(pairs, name)[:rows]) for name in ("inputs", "targets", "ids")}


def confirmed(folder: Path, arrays: Mapping[str, Any], average: float | None, seeds: int) -> dict[str, Found]:
    """One study, from launch to its confirmed arms, by ``loss: tuned`` or ``loss: untuned``."""
    name = "plain" if average is None else "averaged"
    place = {"study": name, "storage": folder}
    study = lt.launch([space(loss, average) for loss in LOSSES], arrays, **place, **BUDGET, quiet=True)
    lt.confirm(study, top=1, seeds=seeds, quiet=True)
    stored = open_study(Home(folder), name)
    plan = latest_finished(stored)
    assert plan is not None
    scores = load_results(stored, plan)[1]
    jumps: dict[str, list[float]] = {}
    for run in runs_of(stored, plan):
        values = [record["val/mrr"] for record in read_history(run.folder / "history.jsonl")]
        jumps.setdefault(run.arm.name, []).append(float(np.abs(np.diff(values[len(values) // 2 :])).mean()))
    return {
        f"{arm.loss}: {'tuned' if arm.role == 'candidate' else 'untuned'}": Found(
            scores[arm.name]["mrr"].mean(axis=1), np.array(jumps[arm.name])
        )
        for arm in plan.arms
    }


def main() -> None:
    """Run what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--average-epochs", type=float, default=1.0, help="time constant of the second study")
    parser.add_argument("--rows", type=int, default=2500, help="of each data set")
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    sets = written(given.folder / "data")
    table = Table("data", "loss", "test MRR, plain", "averaged", "difference", "±2 SE", "jumps, plain", "averaged")
    for name in SETS:
        arrays, place = few(sets[name], given.rows), given.folder / name
        plain = confirmed(place, arrays, None, given.seeds)
        averaged = confirmed(place, arrays, given.average_epochs, given.seeds)
        for arm, before in plain.items():
            after = averaged[arm]
            gain = after.mrr - before.mrr
            numbers = before.mrr.mean(), after.mrr.mean(), gain.mean(), 2 * gain.std(ddof=1) / len(gain) ** 0.5
            jumps = before.jumps.mean(), after.jumps.mean()
            table.add_row(name, arm, *(f"{number:.4f}" for number in (*numbers, *jumps)))
        table.add_section()
        Console().print(table)


if __name__ == "__main__":
    main()
