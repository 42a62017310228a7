"""A study is damaged in one place: its trials are not opened, and it is said what disagrees."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from losstune.tuning.storage.home import Home
from losstune.tuning.study.audit import audited_trials, sound_trials
from losstune.tuning.study.study import Study, open_study
from losstune.tuning.study.trial import Ending
from tests.reliability.made import made
from tests.trainer.samples import refusal
from tests.tuning.reported import searched


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return made(tmp_path)


def refused(study: Study) -> str:
    return refusal(audited_trials, open_study(Home(study.home.root), "study"))


def change_sql(study: Study, statement: str) -> None:
    with closing(sqlite3.connect(study.folder / "optuna.db")) as storage, storage:
        assert storage.execute(statement).rowcount > 0


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    assert change(before) != before
    path.write_text(change(before))


def test_a_value_that_changed_in_the_database(study: Study) -> None:
    change_sql(
        study, "UPDATE trial_user_attributes SET value_json = replace(value_json, '\"best\": 0.', '\"best\": 1.')"
    )
    text = refused(study)
    assert "optuna.db and the trials' own files do not agree, one of them is damaged:" in text
    assert f"{study.trials_folder / 'infonce-0000' / 'history.jsonl'}: best value 0." in text
    assert "optuna.db says 1." in text
    assert f"moving the trial's folder out of {study.trials_folder} goes on with optuna.db alone" in text


def test_a_pruned_trials_value_that_changed_in_the_database(study: Study) -> None:
    pruned = "SELECT trial_id FROM trials WHERE state = 'PRUNED'"
    change_sql(study, f"UPDATE trial_values SET value = 0.75 WHERE trial_id IN ({pruned})")
    assert "has the value 0.75, its end says 0." in refused(study)


def test_pruned_trials_that_have_no_value_are_an_earlier_releases(study: Study) -> None:
    pruned = "SELECT trial_id FROM trials WHERE state = 'PRUNED'"
    change_sql(study, f"DELETE FROM trial_values WHERE trial_id IN ({pruned})")
    assert {loss: len(own) for loss, own in audited_trials(study).items()} == {"cosine": 6, "infonce": 6}


def test_a_number_of_a_trial_that_changed_in_the_database(study: Study) -> None:
    change_sql(
        study,
        "UPDATE trials SET number = 19 WHERE number = 3 AND study_id IN "
        "(SELECT study_id FROM studies WHERE study_name = 'cosine')",
    )
    assert "optuna.db: cosine-0003 has the number 19" in refused(study)
    only_read = refusal(sound_trials, open_study(Home(study.home.root), "study"))
    assert "optuna.db: cosine-0003 has the number 19" in only_read


def test_a_parameter_that_changed_in_the_database(study: Study) -> None:
    change_sql(study, "UPDATE trial_params SET param_value = 0.0123 WHERE param_name = 'temperature' AND trial_id = 1")
    assert (
        f"{study.trials_folder / 'infonce-0000' / 'config.yaml'}: temperature is 0.01, in optuna.db 0.0123"
        in refused(study)
    )


def test_a_history_with_a_changed_digit_and_one_cut_short(study: Study) -> None:
    edit(
        study.trials_folder / "infonce-0000" / "history.jsonl",
        lambda text: text.replace('"val/mrr": 0.', '"val/mrr": 1.', 1),
    )
    lines = (study.trials_folder / "infonce-0001" / "history.jsonl").read_text().splitlines(keepends=True)
    (study.trials_folder / "infonce-0001" / "history.jsonl").write_text("".join(lines[:-1]))
    text = refused(study)
    assert f"{study.trials_folder / 'infonce-0000' / 'history.jsonl'}:1: damaged, not as it was written" in text
    short = study.trials_folder / "infonce-0001" / "history.jsonl"
    assert f"{short}: holds {len(lines) - 1} epochs, optuna.db says {len(lines)}" in text


def test_a_database_that_is_none(study: Study) -> None:
    path = study.folder / "optuna.db"
    with closing(sqlite3.connect(path)) as storage:
        storage.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what is in the log would stand in for what is damaged
    content = bytearray(path.read_bytes())
    content[4096:12288] = bytes(8192)
    path.write_bytes(content)
    assert refused(study).startswith(f"{path}: damaged (")


def test_a_whole_study_is_opened_to_be_written(study: Study) -> None:
    trials = audited_trials(study)
    assert {loss: len(own) for loss, own in trials.items()} == {"cosine": 6, "infonce": 6}


def ended_by_time(study: Study, epochs: int) -> Path:
    """A trial that was ended while its worker had no more than made its folder."""
    own = study.open_trials(study.storage())["infonce"]
    number = own.add({"temperature": 0.9, "schedule": "constant"}, seed=6)
    own.end(number, Ending("pruned", "time budget", epochs, None, 0))
    (folder := study.trials_folder / own[number].name).mkdir()
    return folder


def test_a_trial_that_ended_before_its_worker_wrote_anything_is_whole(study: Study) -> None:
    folder = ended_by_time(study, 0)
    assert len(audited_trials(study)["infonce"]) == 7
    (folder / "history.jsonl").write_text((study.trials_folder / "infonce-0000" / "history.jsonl").read_text())
    assert f"{folder / 'config.yaml'}: " in refused(study)


def test_a_trial_that_has_trained_has_a_config(study: Study) -> None:
    folder = ended_by_time(study, 2)
    assert f"{folder / 'config.yaml'}: " in refused(study)


def test_a_trial_whose_folder_is_gone_does_not_stop_the_study(study: Study) -> None:
    shutil.rmtree(study.trials_folder / "infonce-0000")
    assert len(audited_trials(study)["infonce"]) == 6


def test_trials_of_no_loss_of_the_study(study: Study) -> None:
    study.storage().create_new_study([StudyDirection.MAXIMIZE], "stray")
    assert refused(study) == (
        f"{study.folder / 'optuna.db'}: damaged (it holds stray); restore it from a backup, or start another study"
    )


def test_a_database_that_can_not_be_opened_now_is_not_called_damaged(study: Study) -> None:
    path = study.folder / "optuna.db"
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=r"^optuna\.db: unable to open database file$"):
        audited_trials(study)


def whole(study: Study) -> None:
    """Everything in optuna.db itself."""
    with closing(sqlite3.connect(study.folder / "optuna.db")) as storage:
        storage.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def files_of(study: Study) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(study.folder.rglob("*")) if path.is_file()}


def test_a_storage_that_is_gone_is_not_begun_anew(study: Study) -> None:
    for path in study.folder.glob("optuna.db*"):
        path.unlink()
    before = files_of(study)
    for read in (audited_trials, sound_trials, Study.trials, Study.dropped):
        text = refusal(read, open_study(Home(study.home.root), "study"))
        assert text.startswith(
            f"{study.folder / 'optuna.db'}: is gone, and with it what was told of the study's trials"
        )
    assert files_of(study) == before


def test_an_empty_storage_is_not_the_one_of_trials_that_have_trained(study: Study) -> None:
    """As a reader of an earlier release has left it in a folder whose studies are in a database."""
    for path in study.folder.glob("optuna.db*"):
        path.unlink()
    study.store.create()
    for read in (audited_trials, sound_trials, Study.trials):
        text = refusal(read, open_study(Home(study.home.root), "study"))
        assert f"{study.folder / 'optuna.db'} does not know cosine-0000, cosine-0001, cosine-0002, cosine-0003" in text
        assert f"and 8 more in {study.trials_folder}, which have trained" in text
        assert "--study-storage or LOSSTUNE_STUDY_STORAGE names it" in text
    assert study.storage().get_all_studies() == [], "nothing was written into what may be another's"


def test_an_earlier_state_of_the_storage_is_refused_until_the_folders_are_moved(study: Study, tmp_path: Path) -> None:
    whole(study)
    with closing(sqlite3.connect(study.folder / "optuna.db")) as storage, storage:
        (own,) = storage.execute("SELECT study_id FROM studies WHERE study_name = 'infonce'").fetchone()
        late = "SELECT trial_id FROM trials WHERE study_id = ? AND number >= 4"
        for table in ("trial_params", "trial_values", "trial_intermediate_values", "trial_user_attributes", "trials"):
            assert storage.execute(f"DELETE FROM {table} WHERE trial_id IN ({late})", (own,)).rowcount > 0
    assert f"optuna.db does not know infonce-0004, infonce-0005 in {study.trials_folder}, which" in refused(study)
    for name in ("infonce-0004", "infonce-0005"):
        (study.trials_folder / name).rename(tmp_path / name)
    assert {loss: len(own) for loss, own in audited_trials(study).items()} == {"cosine": 6, "infonce": 4}


def test_a_study_that_was_killed_before_it_had_a_storage_gets_one(tmp_path: Path) -> None:
    """Nothing has trained; a trial's folder without an epoch is nothing that is lost."""
    study = searched(tmp_path, (0, 0))
    for path in study.folder.glob("optuna.db*"):
        path.unlink()
    (study.trials_folder / "infonce-0000").mkdir()
    (study.trials_folder / "infonce-0000" / "config.yaml").touch()
    assert {loss: len(own) for loss, own in audited_trials(study).items()} == {"infonce": 0, "cosine": 0}
