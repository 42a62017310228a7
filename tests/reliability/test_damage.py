"""Damaged files: a bit flipped, a byte zeroed, a cut. Refused by name, or the state before it is used and said."""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from losstune.trainer.base.errors import UserError
from losstune.trainer.run.checkpoint import DamagedCheckpointError
from losstune.trainer.run.history import read_history
from losstune.trainer.run.run_dir import RunDirectory
from losstune.tuning.commands.launch import launch
from losstune.tuning.confirm.confirm_runs import runs_of
from losstune.tuning.confirm.plan import plans, record_test_use, saw_test_rows
from losstune.tuning.confirm.results import load_results
from losstune.tuning.storage.home import Home
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study, open_study
from tests.reliability.made import made
from tests.reliability.studies import SHORT, leaderboard, run, start, undisturbed, wait_for
from tests.reliability.tallies import Recorder
from tests.running import sample_seed, sized
from tests.trainer.samples import sample_config, sample_trainer, timeless
from tests.tuning.conftest import request_for
from tests.tuning.reported import SPACES, confirmed, curve, point_of, write_run

QUIET = Console(quiet=True)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """One bit flipped, one byte zeroed, or a cut, each at a random place that is not zero already."""
    at = rng.choice([place for place, byte in enumerate(content) if byte])
    match rng.choice(("flip", "flip", "zero", "cut")):
        case "flip":
            return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        case "zero":
            return content[:at] + b"\0" + content[at + 1 :]
    return content[:at]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Searched and confirmed, everything of it in its files: no log is left beside the database."""
    study = confirmed(made(tmp_path_factory.mktemp("whole")), top=1, seeds=2)
    for number in (1, 2, 3):
        record_test_use(study, next(plans(study)).model_copy(update={"number": number}))
        study.next_attempt()
    with closing(sqlite3.connect(study.folder / "optuna.db")) as storage:
        storage.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return study


# Optuna's storage


def numbers_in(database: Path) -> dict[str, list[object]]:
    """What a search goes by, as Optuna itself reads it; times and the wording of reasons left out."""
    url = f"sqlite:///{database}"
    return {
        loss_fn: [
            (t.number, t.params, t.distributions, t.state, repr(t.value), repr(t.intermediate_values), ending(t))
            for t in optuna.load_study(study_name=loss_fn, storage=url).trials
        ]
        for loss_fn in SPACES
    }


def ending(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    return {name: value for name, value in trial.user_attrs["end"].items() if name != "reason"}


def damage_storage(study: Study, folder: Path, cases: int, seed: int) -> Counter[str]:
    """Launch a study on damaged storage again and again; it has used its budget, so that a whole one only says so."""
    shutil.copytree(study.home.root / "studies", folder / "studies")
    database = folder / "studies" / "study" / "optuna.db"
    whole, rng = database.read_bytes(), random.Random(seed)
    expected = numbers_in(study.folder / "optuna.db")
    outcomes: Counter[str] = Counter()
    for case in range(cases):
        for path in database.parent.glob("optuna.db*"):
            path.unlink()
        database.write_bytes(damaged(whole, rng))
        try:
            launch(request_for(folder, None), QUIET)
        except UserError as error:
            said = str(error)
            outcomes["refused"] += 1
        else:
            said = ""
            outcomes["no number changed"] += 1
        if said:
            assert str(database) in said or "optuna.db and the trials' own files do not agree" in said
            assert re.search("restore it from a backup|Restore the damaged file from a backup", said)
        else:
            assert numbers_in(database) == expected, f"case {case} of seed {seed}: a changed number went unnoticed"
    return outcomes


def test_no_changed_number_in_optunas_storage_goes_unnoticed(
    study: Study, untracked: None, tmp_path: Path, record: Recorder
) -> None:
    outcomes = damage_storage(study, tmp_path, 100, seed=0)
    record(6, "optuna.db", injected=100, note=f"{outcomes['refused']} of 100 refused")


@pytest.mark.torture
def test_no_changed_number_in_many_storages(study: Study, untracked: None, tmp_path: Path, record: Recorder) -> None:
    count = sized(300, 100)
    outcomes = damage_storage(study, tmp_path, count, seed=1 + (sample_seed() or 0))
    record(6, "optuna.db", injected=count, note=f"{outcomes['refused']} of {count} refused")


CHANGES = {
    "parameter": "UPDATE trial_params SET param_value = param_value * 1.0001 WHERE param_name = 'lr'",
    "rung": "UPDATE trial_intermediate_values SET intermediate_value = intermediate_value + 1e-9 WHERE step = 3",
    "rung's epoch": "UPDATE trial_intermediate_values SET step = 5 WHERE step = 3",
    "value": "UPDATE trial_values SET value = value + 1e-9",
    "state": "UPDATE trials SET state = 'PRUNED' WHERE state = 'COMPLETE'",
    "best": "UPDATE trial_user_attributes SET value_json = replace(value_json, '\"best\": 0.', '\"best\": 1.')",
    "best epoch": "UPDATE trial_user_attributes SET value_json = replace(value_json, 'epoch\": 9', 'epoch\": 8')",
    "epochs": "UPDATE trial_user_attributes SET value_json = replace(value_json, '\"epochs\": 9', '\"epochs\": 8')",
    "diverged": "UPDATE trial_user_attributes SET value_json = replace(value_json, 'used its epochs', 'diverged')",
    "range": "UPDATE trial_params SET distribution_json = replace(distribution_json, '\"high\": 0.1', '\"high\": 0.2')",
    "number": "UPDATE trials SET number = 19 WHERE number = 3",
    "trial": "DELETE FROM trial_params WHERE trial_id = 1",
    "loss": "UPDATE studies SET study_name = 'infoncd' WHERE study_name = 'infonce'",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_number_that_changed_in_optunas_storage_is_refused(study: Study, tmp_path: Path, change: str) -> None:
    """Changes that SQLite and Optuna find nothing wrong with."""
    shutil.copytree(study.home.root / "studies", tmp_path / "studies")
    with closing(sqlite3.connect(tmp_path / "studies/study/optuna.db")) as storage, storage:
        assert storage.execute(CHANGES[change]).rowcount > 0
    with pytest.raises(UserError, match="damaged"):
        launch(request_for(tmp_path, None), QUIET)


@pytest.mark.parametrize("change", ["parameter", "value", "rung"])
def test_an_unfinished_trials_changed_number_is_refused(tmp_path: Path, change: str) -> None:
    """Its checkpoint would go on with other settings than are told, or its rungs cut others."""
    study = made(tmp_path)
    own = LossTrials(study.storage(), "cosine", study.spec.search_spaces()["cosine"])
    number = own.add(point_of("cosine", 0.4, 1), seed=0)
    write_run(study.trials_folder / own[number].name, own.space.settings(own[number].point), curve(0.3, 3))
    own.report(number, 1, curve(0.3, 1)[-1])
    own.pause(number)
    with closing(sqlite3.connect(study.folder / "optuna.db")) as storage, storage:
        statement = {
            "parameter": "UPDATE trial_params SET param_value = 0.03 WHERE trial_id = ? AND param_name = 'lr'",
            "value": "UPDATE trial_intermediate_values SET intermediate_value = 0.9 WHERE trial_id = ?",
            "rung": "UPDATE trial_intermediate_values SET step = 3 WHERE trial_id = ?",
        }[change]
        (last,) = storage.execute("SELECT max(trial_id) FROM trials").fetchone()
        assert storage.execute(statement, (last,)).rowcount == 1
    with pytest.raises(UserError, match=r"cosine-0006/.*optuna\.db"):
        launch(request_for(tmp_path, None), QUIET)


def test_a_confirmation_is_not_built_on_a_damaged_storage(study: Study, tmp_path: Path) -> None:
    """Its settings are picked by the numbers in there."""
    from losstune.tuning.commands.confirm import ConfirmRequest, confirm
    from losstune.tuning.execute.placement import Resources
    from losstune.tuning.execute.session import Execution

    shutil.copytree(study.home.root / "studies", tmp_path / "studies")
    with closing(sqlite3.connect(tmp_path / "studies/study/optuna.db")) as storage, storage:
        storage.execute(CHANGES["best"])
    with pytest.raises(UserError, match=r"optuna\.db and the trials' own files do not agree"):
        confirm(ConfirmRequest("study", Home(tmp_path), 1, 2, Execution(Resources(1, 1, 0.0))), QUIET)


# The other files of a study

Reader = Callable[[Study], Any]


def confirmation_of(study: Study) -> object:
    results, scores = load_results(study, next(plans(study)))
    return results, {arm: {name: array.tolist() for name, array in own.items()} for arm, own in scores.items()}


READERS: dict[str, Reader] = {
    "study.yaml": lambda study: open_study(study.home, "study").spec,
    "trials/infonce-0000/history.jsonl": lambda study: read_history(study.trials_folder / "infonce-0000/history.jsonl"),
    "confirm/1/plan.yaml": lambda study: list(plans(study)),
    "confirm/1/results.json": confirmation_of,
    "confirm/1/scores.npz": confirmation_of,
    "confirm/runs/infonce-0000/seed-01/result.json": lambda study: [
        run.result() for run in runs_of(study, next(plans(study)))
    ],
    "../../test_uses.jsonl": lambda study: [
        saw_test_rows(study, plan.model_copy(update={"number": number}))
        for plan in plans(study)
        for number in range(1, 5)
    ],
}


def cut_between_lines(content: bytes, whole: bytes) -> bool:
    """A file of lines that lacks its last ones is a whole file of fewer lines."""
    return whole.startswith(content) and (not content or b"\n" in whole[len(content) - 1 : len(content) + 1])


def read(reader: Reader, study: Study) -> tuple[Any, str]:
    """What is read, or the message that refuses it."""
    try:
        return reader(study), ""
    except UserError as error:
        return None, str(error)


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_refused_by_name(study: Study, tmp_path: Path, name: str, record: Recorder) -> None:
    root = tmp_path / "root"
    shutil.copytree(study.home.root, root)
    copy, rng, refused = open_study(Home(root), "study"), random.Random(name), 0
    path = copy.folder / name
    whole, expected = path.read_bytes(), READERS[name](copy)
    for _ in range(60):
        path.write_bytes(content := damaged(whole, rng))
        if name.endswith(".jsonl") and cut_between_lines(content, whole):
            continue
        found, said = read(READERS[name], copy)
        refused += bool(said)
        if name.endswith("history.jsonl") and not said:  # a last line that was cut short is left out, as after a crash
            found += expected[len(found) :]
        assert path.name in said if said else found == expected, said
    assert refused > 30
    record(6, Path(name).name, injected=60)


def test_a_damaged_config_of_an_ended_trial_is_refused(study: Study, tmp_path: Path, record: Recorder) -> None:
    shutil.copytree(study.home.root / "studies", tmp_path / "studies")
    path = tmp_path / "studies/study/trials/infonce-0000/config.yaml"
    whole, rng = path.read_bytes(), random.Random(3)
    for _ in range(30):
        path.write_bytes(damaged(whole, rng))
        with pytest.raises(UserError, match=re.escape(str(path))):
            launch(request_for(tmp_path, None), QUIET)
    record(6, "config.yaml of a trial", injected=30)


def test_a_damaged_number_of_the_launch_opens_no_old_worker_the_door(
    study: Study, tmp_path: Path, record: Recorder
) -> None:
    """Whatever is in the file: the next number is above that of every launch that has opened a trial."""
    shutil.copytree(study.home.root / "studies", tmp_path / "studies")
    copy, rng = open_study(Home(tmp_path), "study"), random.Random(4)
    config = sample_config()
    RunDirectory(copy.trials_folder / "infonce-0000", attempt=copy.next_attempt()).start(config)
    for path in (copy.folder / "attempt", copy.trials_folder / "infonce-0000" / ".attempt"):
        whole = path.read_bytes()
        for content in (b"", b"\0", b"x", *(damaged(whole, rng) for _ in range(30))):
            path.write_bytes(content)
            RunDirectory(copy.trials_folder / "infonce-0000", attempt=copy.next_attempt()).start(config)
        record(6, f"{path.name} of a {'study' if path.name == 'attempt' else 'run'}", injected=33)


# A run's own files

EPOCHS = 6


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, float]]]:
    """A run after half of its epochs, and the history of the whole of it."""
    root = tmp_path_factory.mktemp("runs")
    folder, trainer = RunDirectory(root / "half"), sample_trainer(sample_config(num_epochs=EPOCHS))
    folder.start(trainer.config)
    records = []
    while trainer.end is None:
        records.append(trainer.run_epoch())
        if trainer.epoch <= EPOCHS // 2:
            folder.save(trainer, records[-1:])
    return folder.path, timeless(records)


@pytest.mark.parametrize("name", ["last.pt", "previous.pt", "best.pt", "history.jsonl", "config.yaml"])
def test_a_damaged_file_of_a_run_changes_no_number(
    runs: tuple[Path, list[dict[str, float]]], tmp_path: Path, name: str, record: Recorder
) -> None:
    """It goes on from the newest state that is whole, or else is trained again; both are said."""
    half, expected = runs
    rng, used, config = random.Random(name), Counter[int](), sample_config(num_epochs=EPOCHS)
    for case in range(25):
        folder = tmp_path / str(case)
        shutil.copytree(half, folder)
        path = folder / name
        path.write_bytes(damaged(path.read_bytes(), rng))
        run_folder, trainer = RunDirectory(folder), sample_trainer(config)
        try:
            said = "\n".join(run_folder.restore(trainer).damage)
        except DamagedCheckpointError as error:
            said = str(error)
            run_folder.start(config)
        assert (str(path) in said) == (name in ("last.pt", "best.pt")) or name == "history.jsonl"
        used[trainer.epoch] += 1
        while trainer.end is None:
            run_folder.save(trainer, [trainer.run_epoch()])
        assert timeless(read_history(folder / "history.jsonl")) == expected
    went_on = ", ".join(f"{count} from epoch {epoch}" for epoch, count in sorted(used.items()))
    record(6, f"{name} of a run", injected=25, note=f"went on {went_on}")


# Whole studies


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose launch was killed while the first trial of its second loss trained, after a rung."""
    for _ in range(8):
        root = tmp_path_factory.mktemp("interrupted")
        launched = start(root, *SHORT)
        trials = root / "studies/study/trials"
        wait_for(lambda trials=trials: len(list(trials.glob("*-0000/last.pt"))) == 2, 60, "both losses have begun")
        os.kill(launched.pid, signal.SIGKILL)
        launched.communicate()
        if len(unfinished(root)) == 1:
            return root
    raise AssertionError("no kill came while a trial was unfinished")


def unfinished(root: Path) -> list[Path]:
    folders = (root / "studies/study/trials").iterdir()
    ended = {(row[0], row[1]) for row in leaderboard(root, "study") if row[3] not in ("RUNNING", "WAITING") or row[5]}
    return [f for f in folders if (f.name[:-5], int(f.name[-4:])) not in ended and (f / "last.pt").exists()]


@pytest.mark.torture
@pytest.mark.parametrize("names", [["last.pt", "attempt"], ["history.jsonl", ".attempt"]])
def test_a_study_whose_unfinished_trial_is_damaged_ends_as_if_undisturbed(
    interrupted: Path, tmp_path: Path, names: list[str], record: Recorder
) -> None:
    root = tmp_path / "root"
    shutil.copytree(interrupted / "studies", root / "studies")  # beside it the tracker may still write
    (folder,) = unfinished(root)
    rng = random.Random(str(names))
    for name in names:
        path = root / "studies/study/attempt" if name == "attempt" else folder / name
        if path.exists():
            path.write_bytes(damaged(path.read_bytes(), rng))
    said = run(root, *SHORT)
    assert "Traceback" not in said
    assert leaderboard(root, "study") == leaderboard(undisturbed(*SHORT), "study")
    record(6, "an interrupted study", injected=len(names))


@pytest.mark.torture
@pytest.mark.parametrize("name", ["study.yaml", "optuna.db", "trials/mse-0000/history.jsonl"])
def test_a_study_that_is_damaged_is_refused_in_one_message(
    interrupted: Path, tmp_path: Path, name: str, record: Recorder
) -> None:
    root = tmp_path / "root"
    shutil.copytree(interrupted / "studies", root / "studies")  # beside it the tracker may still write
    path = root / "studies/study" / name
    with closing(sqlite3.connect(root / "studies/study/optuna.db")) as storage:
        storage.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content, at = path.read_bytes(), 10 if name == "optuna.db" else 200  # a database has room where nothing stands
    path.write_bytes(content[:at] + bytes(40) + content[at + 40 :])
    launched: subprocess.Popen[str] = start(root, *SHORT)
    out, _ = launched.communicate(timeout=60)
    assert launched.returncode == 2, out
    assert "Traceback" not in out
    assert out.count("error: ") == 1
    assert str(path) in out
    record(6, "an interrupted study", injected=1)
