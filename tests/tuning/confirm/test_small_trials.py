"""Parameters of a search's trials, and which of them is the cheapest that may be as good as the best."""

from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.trainer.run.checkpoint import save_checkpoint
from losstune.trainer.run.history import history_line
from losstune.tuning.confirm.small_trials import models_of, smallest_within, trained_shape, trial_sizes
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.home import Home
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study, create_study
from losstune.tuning.study.trial import TrialView
from tests.tuning.samples import diverged, space_of, used_up

SPACE = """
    loss_fn: mse
    space:
      model.depth: {choices: [0, 1]}
      model.hidden_dim: {choices: [4, 8, 16], when: {model.depth: [1]}}
"""
SHAPE = ((10,), 5)
LINEAR = 10 * 5 + 5


def of_width(width: int) -> int:
    return 10 * width + 3 * width + 5 * width + 5


def searched(root: Path, *trials: tuple[int, float | None], space: str = SPACE) -> Study:
    """A study of mse whose trials have these widths, 0 for a linear map, and values, None for one that diverged."""
    study = create_study(Home(root), "small", [space_of(space)], StudySettings(trials=1), "digits", "0" * 64)
    own = LossTrials(study.storage(), "mse", study.spec.search_spaces()["mse"])
    for width, value in trials:
        point = {"model.depth": 1, "model.hidden_dim": width} if width else {"model.depth": 0}
        own.end(own.add(point, seed=0), diverged(1) if value is None else used_up(value))
    return study


def trials_of(study: Study) -> list[TrialView]:
    return study.trials()["mse"]


def test_every_trial_has_its_parameters_without_a_file_of_it(tmp_path: Path) -> None:
    study = searched(tmp_path, (16, 0.5), (0, 0.4), (4, None), (16, 0.3))
    expected = {"mse-0000": of_width(16), "mse-0001": LINEAR, "mse-0002": of_width(4), "mse-0003": of_width(16)}
    assert trial_sizes(study, trials_of(study), SHAPE) == expected


@pytest.mark.parametrize("shape", [((2**62,), 2**62), ((-3,), 5), ((10**30,), 5)])
def test_a_shape_that_no_model_can_have_has_no_parameters(shape: tuple[tuple[int], int], tmp_path: Path) -> None:
    study = searched(tmp_path, (16, 0.5))
    assert trial_sizes(study, trials_of(study), shape) == {}


def test_a_model_whose_factory_is_not_here_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "models_of_once.py").write_text(
        "from torch import nn\n"
        "def linear(input_shape, output_dim, bias: bool = True):\n"
        "    return nn.Linear(input_shape[0], output_dim, bias=bias)\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    space = """
        loss_fn: mse
        fixed: {model.factory: "models_of_once:linear"}
        space:
          model.bias: {choices: [true, false]}
    """
    study = create_study(Home(tmp_path), "own", [space_of(space)], StudySettings(trials=1), "digits", "0" * 64)
    own = LossTrials(study.storage(), "mse", study.spec.search_spaces()["mse"])
    for bias in (True, False):
        own.end(own.add({"model.bias": bias}, seed=0), used_up(0.5))
    trials = study.trials()["mse"]
    assert trial_sizes(study, trials, SHAPE) == {"mse-0000": LINEAR, "mse-0001": LINEAR - 5}
    monkeypatch.setattr("losstune.tuning.confirm.measured_cost.build_model", refuse)
    assert trial_sizes(study, trials, SHAPE) == {}


def refuse(*_: object) -> None:
    raise UserError("model.factory: not here")


@pytest.mark.parametrize(
    ("trials", "margin", "found"),
    [
        (((16, 0.50), (8, 0.49), (4, 0.47), (0, 0.40)), 0.02, "mse-0001"),
        (((16, 0.50), (8, 0.49), (4, 0.47), (0, 0.40)), 0.04, "mse-0002"),
        (((16, 0.50), (8, 0.49), (4, 0.47), (0, 0.40)), 0.2, "mse-0003"),
        (((4, 0.46), (16, 0.50), (4, 0.48)), 0.05, "mse-0002"),  # of equals the better one
        (((16, 0.50), (16, 0.49), (4, 0.47)), 0.02, None),  # as many parameters are no fewer
        (((4, 0.50), (16, 0.49)), 0.02, None),  # the best has the fewest
        (((16, 0.50), (4, None)), 0.9, None),  # one without a value is none
        (((4, None),), 0.02, None),
    ],
)
def test_the_cheapest_within_the_margin_of_the_best(
    trials: tuple[tuple[int, float | None], ...], margin: float, found: str | None, tmp_path: Path
) -> None:
    study = searched(tmp_path, *trials)
    small = smallest_within(models_of(study, trials_of(study), SHAPE), margin)
    assert (small.trial.name if small else None) == found


def test_prefixes_are_models_with_the_values_of_the_best_epoch(tmp_path: Path) -> None:
    space = SPACE + "    fixed: {matryoshka_dims: [1, 2, 3], matryoshka_weights: [0, 1, 1]}"
    study = searched(tmp_path, (8, 0.50), (4, 0.30), space=space)
    for name, values in (("mse-0000", {2: 0.40, 3: 0.49}), ("mse-0001", {2: 0.485, 3: 0.6})):
        folder = study.trials_folder / name
        folder.mkdir(parents=True)
        best = {f"val/dim_{dims}/mrr": value for dims, value in {1: 0.9, **values}.items()}
        other = {f"val/dim_{dims}/mrr": 0.9 for dims in (1, 2, 3)}
        epochs = [{"epoch": 19, **other}, {"epoch": 20, **best}]
        (folder / "history.jsonl").write_text("".join(map(history_line, epochs)))
    assert {trial.ending.best_epoch for trial in trials_of(study) if trial.ending} == {20}
    models = models_of(study, trials_of(study), SHAPE)
    assert [(model.trial.name, model.dims, model.value) for model in models] == [
        *(("mse-0000", dims, value) for dims, value in ((5, 0.50), (2, 0.40), (3, 0.49))),
        *(("mse-0001", dims, value) for dims, value in ((5, 0.30), (2, 0.485), (3, 0.6))),
    ]
    found = [smallest_within(models, margin) for margin in (0.012, 0.02, 0.2)]
    assert [model and (model.trial.name, model.dims) for model in found] == [
        ("mse-0001", 3),  # fewer parameters than as many dimensions of the best trial
        ("mse-0001", 2),
        ("mse-0001", 2),
    ]
    (study.trials_folder / "mse-0001" / "history.jsonl").unlink()
    small = smallest_within(models_of(study, trials_of(study), SHAPE), 0.02)
    assert small is not None
    assert (small.trial.name, small.dims) == ("mse-0000", 3)


def test_the_shape_of_the_data_is_that_of_the_best_trials_checkpoint_that_is_there(tmp_path: Path) -> None:
    study = searched(tmp_path, (4, 0.5), (8, 0.6), (16, None))
    assert trained_shape(study, trials_of(study)) is None
    for name, content in (("mse-0001", {"state": {}}), ("mse-0000", {"input_shape": [4, 3], "output_dim": 7})):
        folder = study.trials_folder / name
        folder.mkdir(parents=True)
        save_checkpoint(folder / "best.pt", content)
    assert trained_shape(study, trials_of(study)) == ((4, 3), 7)
