"""A study that is launched again and again, and one of thousands of trials."""

import itertools
import json
import shutil
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from optuna.distributions import distribution_to_json
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from losstune.trainer.base.yaml_file import parse_yaml
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.search.proposals import propose
from losstune.tuning.space.reader import load_space, read_space
from losstune.tuning.space.search_space import Point, SearchSpace
from losstune.tuning.space.settings import SamplerName
from losstune.tuning.storage.home import Home
from losstune.tuning.study.distributions import distributions
from losstune.tuning.study.loss_trials import DIGEST, LossTrials
from losstune.tuning.study.study import Study, create_study
from losstune.tuning.study.trial import Ending, point_digest
from tests.reliability.made import timed
from tests.reliability.studies import in_time, private_tmp, start, wait_for
from tests.reliability.tallies import Recorder
from tests.tuning.reported import write_run
from tests.tuning.samples import settings_of

TRIALS = 2000
EPOCHS = 27
PROPOSAL_SECONDS = 0.25
TRAINS_WITHIN = 20.0


def processes_of(tmp: Path) -> list[psutil.Process]:
    """All that was started below a launch with this TMPDIR; others on the machine may have launches of their own."""
    return [process for process in psutil.process_iter() if _environment(process).get("TMPDIR") == str(tmp)]


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.mark.torture
def test_twenty_launches_leave_nothing_behind(tmp_path: Path, record: Recorder) -> None:
    """Ten in a row of one study, beside ten of another; each trains one trial more."""
    shared = set(Path("/dev/shm").iterdir())
    roots = [tmp_path / "one", tmp_path / "other"]
    with private_tmp() as tmp:
        for trials in range(1, 11):
            budget = ["--trials", str(trials), "--max-epochs", "3", "--concurrency", "1"]
            command = ["launch", "mse", "--study", "long", *budget]
            for process in [start(root, *command, TMPDIR=str(tmp)) for root in roots]:
                out, _ = process.communicate(timeout=120)
                assert process.returncode == 0, out
            assert list(tmp.iterdir()) == []
        assert processes_of(tmp) == []
    assert set(Path("/dev/shm").iterdir()) - shared == set()
    for study in (root / "studies" / "long" for root in roots):
        assert sorted(path.name for path in (study / "trials").iterdir()) == [f"mse-{n:04d}" for n in range(10)]
        left = {path.name for path in study.iterdir()}
        assert left <= {".lock", "attempt", "optuna.db", "study.yaml", "tracker.log", ".tracker", "trials"}
    record(12, "launched again", injected=20)


GRID = """
loss_fn: infonce
space:
  temperature: {low: 0.01, high: 0.5, step: 0.001}
  batch_size: {choices: [16, 32, 64, 128]}
  symmetric: {choices: [false, true]}
"""


def points_of(space: SearchSpace) -> Iterator[Point]:
    """Distinct points: those of a grid in order, else drawn at random."""
    if space.size is not None:
        yield from itertools.islice(space.points(), TRIALS)
        return
    drawn = LossTrials(InMemoryStorage(), space.name, space)
    for seed in range(TRIALS):
        point = propose(drawn, "random", seed)
        assert point is not None
        drawn.add(point, seed)
        yield point


def many_trials(root: Path, space: SearchSpace, sampler: SamplerName) -> Study:
    """A study of 2,000 ended trials, with their files, as if each had been cut at its first rung."""
    budget = {"sampler": sampler, "max_epochs": EPOCHS, "trials": TRIALS + 1}
    study = create_study(Home(root), "many", [space], settings_of(**budget), "digits", load_pairs("digits").digest)
    LossTrials(study.storage(), space.name, space)
    known, ended = distributions(space), []
    for number, point in enumerate(points_of(space)):
        value = 0.01 + number * 0.377 % 0.3
        ending = Ending("pruned", "cut at rung 3", 3, value, 3)
        used = {name: known[name] for name in point}
        attributes = {"seed": number, "end": vars(ending), DIGEST: point_digest(point, used)}
        ended.append(
            create_trial(
                state=TrialState.PRUNED,
                params=point,
                distributions=used,
                intermediate_values={3: value},
                user_attrs=attributes,
            )
        )
        folder = study.trials_folder / f"{space.name}-{number:04d}"
        write_run(folder, space.settings(point), [0.0, value / 2, value])
        (folder / HISTORY_FILE).write_text("".join(timed(folder / HISTORY_FILE)))
    write_rows(study.folder / "optuna.db", ended)
    return study


def write_rows(database: Path, ended: list[FrozenTrial]) -> None:
    """What Optuna's ``create_new_trial`` writes for each, in one transaction: a minute less for each study."""
    rows: dict[str, list[tuple[object, ...]]] = {
        "trials (trial_id, number, study_id, state, datetime_start, datetime_complete)": [],
        "trial_params (trial_id, param_name, param_value, distribution_json)": [],
        "trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)": [],
        "trial_user_attributes (trial_id, key, value_json)": [],
    }
    trials, parameters, values, attributes = rows.values()
    for number, trial in enumerate(ended):
        key = number + 1
        trials.append((key, number, 1, trial.state.name, str(trial.datetime_start), str(trial.datetime_complete)))
        for name, of in trial.distributions.items():
            parameters.append((key, name, of.to_internal_repr(trial.params[name]), distribution_to_json(of)))
        values += [(key, step, value, "FINITE") for step, value in trial.intermediate_values.items()]
        attributes += [(key, name, json.dumps(value)) for name, value in trial.user_attrs.items()]
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, found in rows.items():
            marks = ", ".join("?" * len(found[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", found)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return many_trials(tmp_path_factory.mktemp("searched"), load_space("infonce"), "tpe")


@pytest.fixture(scope="module")
def gridded(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return many_trials(tmp_path_factory.mktemp("gridded"), read_space(parse_yaml(GRID, "grid.yaml")), "grid")


@pytest.mark.torture
@pytest.mark.parametrize("sampler", ["gp", "tpe", "random", "grid"])
def test_two_thousand_trials(
    searched: Study, gridded: Study, tmp_path: Path, record: Recorder, sampler: SamplerName
) -> None:
    copied = gridded if sampler == "grid" else searched
    shutil.copytree(copied.folder, tmp_path / "studies" / "many")
    settings = copied.spec.settings.model_copy(update={"sampler": sampler})
    study = Study(Home(tmp_path), copied.spec.model_copy(update={"settings": settings}))
    study.save()
    note = proposals(study, sampler)
    with private_tmp() as tmp:
        began = time.monotonic()
        process = start(tmp_path, "launch", "--study", "many", "--concurrency", "1", TMPDIR=str(tmp))
        history = study.trials_folder / f"infonce-{TRIALS:04d}" / HISTORY_FILE
        wait_for(lambda: read_history(history) or process.poll() is not None, 60, "a new trial trains")
        took = time.monotonic() - began
        soon = in_time(began, TRAINS_WITHIN)
        process.terminate()
        out, _ = process.communicate(timeout=100)
    assert process.returncode in (0, 143), out
    assert read_history(history), out
    assert soon, f"trains after {took:.0f} s"
    record(12, f"{TRIALS:,} trials in a study, {sampler}", seconds=took, note=note)


def proposals(study: Study, sampler: SamplerName) -> str:
    """Ten proposals, as quick as promised, in time of a processor: others on the machine distort it least."""
    space = study.spec.search_spaces()["infonce"]
    trials = LossTrials(study.storage(), "infonce", space)
    seconds = []
    for seed in range(10):
        began = time.process_time()
        assert propose(trials, sampler, seed) is not None
        seconds.append(time.process_time() - began)
    assert statistics.median(seconds) <= PROPOSAL_SECONDS, seconds
    return f"a proposal in {statistics.median(seconds):.3f} s, at most {max(seconds):.3f}"
