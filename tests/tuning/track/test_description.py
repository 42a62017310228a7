"""What MLflow says of a study above its runs, and what of it is its user's."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from losstune.tuning.confirm.plan import make_plan, plans
from losstune.tuning.confirm.results import confirmed_run
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import best_trial
from losstune.tuning.track.description import (
    NOTE_TAG,
    champion_note,
    confirm_note,
    describe_experiment,
    describe_run,
    loss_note,
    study_note,
)
from losstune.tuning.track.mlflow_store import create_store
from tests.tuning.reported import confirmed, searched


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return searched(tmp_path, (3, 3))


def test_the_question_and_how_to_go_on(study: Study) -> None:
    at = f" --storage {study.home.where}"
    assert study_note(study).split("\n\n") == [
        "**Which loss, with which settings, on `digits`, by `val/mrr`?** Of `infonce`, `cosine`; each has 3 trials.",
        f"Not confirmed yet: `losstune confirm study{at}`",
        f"Continue: `losstune launch --study study{at}`",
    ]


def test_the_answer_once_it_is_known(study: Study) -> None:
    confirmed(study, top=1, seeds=4)
    question, answer, _ = study_note(study).split("\n\n")
    assert question.endswith(
        "by `val/mrr`?** **infonce**, [its model](#/models/study). Of `infonce`, `cosine`; each has 3 trials."
    )
    assert answer == (
        "Confirmed: **infonce**, with the settings of `infonce-0000`: mean val/mrr 0.400 over 4 fresh seeds. How sure "
        f"that is, on the test split: `losstune compare study --storage {study.home.where}`"
    )


def test_settings_that_stopped_early_are_listed_with_their_reason(study: Study) -> None:
    confirmed(study, top=1, early=True)
    note = confirm_note(study, next(plans(study)), done=True).split("\n\n")
    assert note[1].splitlines() == [
        f"- {name} gets no more than 4 seeds: it has clearly lost to infonce-0000 in validation"
        for name in ("infonce-start", "cosine-0000", "cosine-start")
    ]


def test_a_description_of_the_users_stays(tmp_path: Path) -> None:
    create_store(tmp_path / "mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("study")
    for text in ("first", "second", "second"):
        describe_experiment(client, experiment, text)
        assert client.get_experiment(experiment).tags[NOTE_TAG] == text
    client.set_experiment_tag(experiment, NOTE_TAG, "second, and mine")
    describe_experiment(client, experiment, "third")
    assert client.get_experiment(experiment).tags[NOTE_TAG] == "second, and mine"


def test_a_loss_says_how_far_it_is(study: Study) -> None:
    trials = study.trials()
    note = loss_note(study, "infonce", trials["infonce"], best_trial(trials["infonce"]))
    assert note.split("\n\n") == [
        "**Which settings of `infonce`, on `digits`, by `val/mrr`?**",
        f"Best of 3 trials: `infonce-0000`, val/mrr {best_trial(trials['infonce']).rank_value:.4f}.",
        f"Continue: `losstune launch --study study --storage {study.home.where}`",
    ]
    assert "Best of 1 trial: none has a value." in loss_note(study, "infonce", trials["infonce"][1:2], None)


def test_a_confirmation_says_what_it_asks_and_what_it_found(study: Study) -> None:
    plan = make_plan(study, 1, 1, 4, 1, split_given=False)
    at = f" --storage {study.home.where}"
    asks = "**Does the search's answer hold?** Of each loss the best 1 and its untuned start, again with 4 fresh seeds."
    assert confirm_note(study, plan, done=False).split("\n\n") == [
        asks, f"Continue: `losstune confirm study --top 1 --seeds 4{at}`"
    ]  # fmt: skip
    confirmed(study, top=1, seeds=4)
    found, answer = confirm_note(study, plan, done=True).split("\n\n")
    assert found == asks
    assert answer.startswith("Confirmed: **infonce**, with the settings of `infonce-0000`: mean val/mrr 0.400")


def test_the_registered_version_says_what_it_is(study: Study) -> None:
    confirmed(study, top=1, seeds=4)
    champion = confirmed_run(study, None)
    assert champion is not None
    told = champion_note(champion).split("\n\n")
    value = champion.result().best
    assert told[:2] == [
        f"**infonce**, with the settings of `infonce-0000`, fresh seed {champion.seed}, val/mrr {value:.4f}.",
        f"Data: `digits`, SHA-256 {'0' * 64}",
    ]
    assert told[2].startswith("Confirmed: **infonce**")


def test_a_runs_description_follows_until_its_user_writes_one(tmp_path: Path) -> None:
    create_store(tmp_path / "mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run_id = client.create_run(client.create_experiment("study")).info.run_id
    for text in ("first", "second"):
        describe_run(client, run_id, text)
        assert client.get_run(run_id).data.tags[NOTE_TAG] == text
    client.set_tag(run_id, NOTE_TAG, "mine")
    describe_run(client, run_id, "third")
    assert client.get_run(run_id).data.tags[NOTE_TAG] == "mine"
