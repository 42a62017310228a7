"""A study as a program holds it, on a study that formulas made; what Optuna says is read from its file."""

from contextlib import ExitStack
from pathlib import Path

import optuna
import pandas as pd
import pytest

from losstune.trainer.base.errors import LosstuneError
from losstune.tuning.commands.study_view import StudyView
from losstune.tuning.study.study import Study
from tests.tuning.reported import searched
from tests.tuning.samples import stored


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return searched(tmp_path_factory.mktemp("viewed"), (6, 4))


@pytest.fixture
def view(study: Study) -> StudyView:
    return StudyView(study, None, ExitStack())


def test_a_data_frame_has_a_row_a_trial_with_what_optuna_has(view: StudyView) -> None:
    frame = view.trials_dataframe()
    assert list(frame.columns[:10]) == [
        *("trial", "loss", "number", "state", "reason", "value", "best_epoch", "epochs", "started", "seconds")
    ]
    assert list(frame["trial"]) == [*(f"infonce-{n:04d}" for n in range(6)), *(f"cosine-{n:04d}" for n in range(4))]
    for loss, own in frame.groupby("loss"):
        trials = stored(view.folder, str(loss))
        assert list(own["value"].isna()) == [trial.user_attrs["end"]["best"] is None for trial in trials]
        for row, trial in zip(own.to_dict("records"), trials, strict=True):
            assert {
                n.removeprefix("params_"): v for n, v in row.items() if "params_" in n and not pd.isna(v)
            } == trial.params
            assert row["reason"] == trial.user_attrs["end"]["reason"]
            assert row["epochs"] == trial.user_attrs["end"]["epochs"]


def test_a_study_without_trials_has_the_same_columns(tmp_path: Path) -> None:
    empty = StudyView(searched(tmp_path, (0, 0)), None, ExitStack()).trials_dataframe()
    assert len(empty) == 0
    assert "value" in empty.columns


def test_the_best_is_the_highest_of_those_that_have_not_diverged(view: StudyView) -> None:
    frame = view.trials_dataframe()
    for loss in ("infonce", "cosine", None):
        own = frame if loss is None else frame[frame["loss"] == loss]
        top = own.loc[own["value"].idxmax()]
        best = view.best(loss)
        assert (best.trial, best.value, best.epochs, best.state) == (top.trial, top.value, top.epochs, top.state)
        assert best.checkpoint == view.folder / "trials" / best.trial / "best.pt"


def test_optunas_own_study_is_the_one_in_the_file(view: StudyView) -> None:
    own = view.optuna("cosine")
    assert isinstance(own, optuna.Study)
    assert [trial.params for trial in own.trials] == [trial.params for trial in stored(view.folder, "cosine")]


@pytest.mark.parametrize("ask", [StudyView.best, StudyView.optuna])
def test_a_loss_that_the_study_has_not_is_refused_by_the_arguments_name(view: StudyView, ask) -> None:
    with pytest.raises(LosstuneError, match=r"^loss_fn: found 'mse'; study 'study' has infonce, cosine$"):
        ask(view, "mse")


def test_a_notebook_shows_its_status_as_text_and_as_html(view: StudyView) -> None:
    shown = view._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html"}
    assert all(view.best(loss).trial in text for loss in ("infonce", "cosine") for text in shown.values())
    assert "<pre" in shown["text/html"]
    assert repr(view).startswith("<losstune study 'study' in /")
    assert view.status()["best"]["trial"] == view.best().trial
