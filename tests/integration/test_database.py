"""The truth in PostgreSQL: the same trials as in SQLite, several studies in one database, and a server that is gone."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.database import database_at
from losstune.tuning.storage.failures import STORAGE_FAILURES
from losstune.tuning.storage.home import Home
from losstune.tuning.study.audit import audited_trials
from losstune.tuning.study.continuation import continued
from losstune.tuning.study.grown import copy_trials, unlike_before
from losstune.tuning.study.study import Study, create_study, open_study
from losstune.tuning.study.trial import Ending
from tests.tuning.samples import CONDITIONAL, CONTINUOUS, facts, settings_of, space_of, used_up

POINT, OTHER = {"lr": 0.0031, "model.dropout": 0.3}, {"lr": 0.01, "model.dropout": 0.1}
DIVERGED = Ending("pruned", "diverged", 2, 0.1, 1)


@pytest.fixture
def home(postgres_uri: str, tmp_path: Path) -> Home:
    return Home(tmp_path, database=database_at(postgres_uri))


def created(home: Home, name: str = "first") -> Study:
    return create_study(
        home, name, [space_of(CONTINUOUS), space_of(CONDITIONAL)], settings_of(trials=5), "digits", "0" * 64
    )


def fill(study: Study) -> None:
    trials = study.open_trials(study.storage())["mse"]
    for value in (0.1 + 0.2, 1e-300):
        number = trials.add(POINT, seed=0)
        trials.report(number, 1, value)
        trials.end(number, used_up(value))
    trials.report(trials.add(OTHER, seed=1), 1, 0.25)
    trials.end(trials.add(OTHER, seed=2), DIVERGED)
    trials.drop({"why": "no hope"})


def test_trials_are_the_same_as_in_sqlite(home: Home, tmp_path: Path) -> None:
    here, there = created(home), created(Home(tmp_path / "sqlite"))
    for study in (here, there):
        fill(study)
    for one, other in zip(here.trials()["mse"], there.trials()["mse"], strict=True):
        assert facts(one) == facts(other)
    assert here.trials()["infonce"] == []
    again = here.open_trials(here.storage())["mse"]
    assert [facts(trial) for trial in again] == [facts(trial) for trial in there.trials()["mse"]]
    assert again.dropped == {"why": "no hope"}
    assert not (here.folder / "optuna.db").exists()


def test_a_space_that_grew_has_its_trials_beside_those_of_before(home: Home) -> None:
    fill(created(home))
    texts = (
        CONTINUOUS.replace("high: 1.0e-1", "high: 1.0"),
        CONDITIONAL.replace("[constant, cosine]", "[cosine, constant]"),
    )
    with home.locked("first") as held:
        study = open_study(held, "first")
        now = continued(study, [space_of(text) for text in texts], {}, "0" * 64, accept_change=True)
        before = study.trials()
        assert copy_trials(study, now) == {"mse": 4, "infonce": 0}
        now.save()
        again = now.open_trials(now.storage())
        assert list(unlike_before(now, now.storage(), again)) == []
        assert [facts(trial) for trial in again["mse"]] == [facts(trial) for trial in before["mse"]]
        assert (again["mse"].dropped, again["mse"].grown_at) == (None, 4)
        names = {"first/mse", "first/infonce", "first/mse@2", "first/infonce@2"}
        assert {found.study_name for found in now.storage().get_all_studies()} == names
        open_study(held, "first").delete()
    assert created(home).storage().get_all_studies() == []


def test_studies_share_a_database(home: Home) -> None:
    first, second = created(home), created(home, "first.2")
    fill(first)
    with home.locked("first.2") as held:
        assert len(audited_trials(open_study(held, "first.2"))["mse"]) == 0
        assert home.trial_store("first.2").is_held()
        assert not home.trial_store("first").is_held()
    assert {found.study_name for found in first.storage().get_all_studies()} == {
        "first/mse", "first/infonce", "first.2/mse", "first.2/infonce",
    }  # fmt: skip
    with home.locked("first") as held:
        open_study(held, "first").delete()
    assert {found.study_name for found in second.storage().get_all_studies()} == {"first.2/mse", "first.2/infonce"}
    assert home.names() == ["first.2"]


def test_another_study_of_the_same_name_is_noticed(home: Home, tmp_path: Path) -> None:
    fill(created(home))
    other = created(replace(home, root=tmp_path / "other"))
    for read in (other.trials, lambda: audited_trials(other), other.dropped):
        with pytest.raises(UserError) as error:
            read()
        assert str(error.value) == (
            f"{home.database} holds trials of another study 'first', which is not the one in {tmp_path / 'other'}; "
            "use another --study name, or another database"
        )
    assert "***" in str(home.database)


def test_neither_a_file_nor_another_database_is_taken_for_a_study_that_has_trained(home: Home) -> None:
    study = created(home)
    fill(study)
    history = study.trials_folder / "mse-0000" / "history.jsonl"
    history.parent.mkdir()
    history.write_text("{}\n")
    with pytest.raises(UserError, match=r"study 'first' in .* has its trials in a database, and none is named: "):
        open_study(Home(home.root), "first")
    assert len(study.trials()["mse"]) == 4
    study.store.delete([study.optuna_name(loss) for loss in study.spec.spaces])
    unknown = r"postgresql://.*:\*\*\*@.* does not know mse-0000 in .*, which have trained"
    for read in (study.trials, lambda: audited_trials(study)):
        with pytest.raises(UserError, match=unknown):
            read()
    assert study.storage().get_all_studies() == []


def test_an_unknown_loss_of_the_study_is_damage(home: Home) -> None:
    study = created(home)
    fill(study)
    study.storage().create_new_study([], "first/stray")
    with pytest.raises(UserError, match=r"^postgresql://.*: damaged \(it holds first/stray\); restore it"):
        audited_trials(study)


def test_launches_are_numbered_by_the_lease(home: Home) -> None:
    with home.locked("first") as held:
        study = created(held)
        assert [study.next_attempt(), study.next_attempt()] == [1, 2]
        run = study.trials_folder / "mse-0000"
        run.mkdir()
        (run / ".attempt").write_text(f"{9:020d}")  # a database that was put back to an earlier state
        assert study.next_attempt() == 10
    assert not (study.folder / "attempt").exists()


def test_a_server_that_is_gone(home: Home) -> None:
    study = created(home)
    gone = replace(study, home=Home(home.root, database=database_at("postgresql://me:ge%2Fheim@127.0.0.1:1/x")))
    for refused in (gone.trials, lambda: gone.home.trial_store("first").is_held(), lambda: audited_trials(gone)):
        with pytest.raises(UserError) as error:
            refused()
        assert str(error.value).startswith("--study-storage postgresql://me:***@127.0.0.1:1/x: can not be used: ")
        assert "Connection refused" in str(error.value)


def test_connections_that_the_server_has_ended_are_made_again(home: Home, postgres_uri: str) -> None:
    study = created(home)
    trials = study.open_trials(study.storage())["mse"]
    with psycopg.connect(postgres_uri, autocommit=True) as sql:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        sql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}".encode())
    trials.add(POINT, seed=0)
    assert len(study.trials()["mse"]) == 1


def test_a_write_that_fails_is_a_storage_failure_and_leaves_the_trial_as_it_was(home: Home, postgres_uri: str) -> None:
    study = created(home)
    trials = study.open_trials(study.storage())["mse"]
    trials.add(POINT, seed=0)
    with psycopg.connect(postgres_uri, autocommit=True) as sql:
        sql.execute("ALTER TABLE trials RENAME TO gone")
        with pytest.raises(STORAGE_FAILURES):
            trials.end(0, used_up(0.5))
        sql.execute("ALTER TABLE gone RENAME TO trials")
    assert trials[0].state == "running"
    trials.end(0, used_up(0.5))
    assert [facts(trial) for trial in study.trials()["mse"]] == [facts(trials[0])]
