"""What a loss is to cost: the arithmetic of rungs and budgets, and a probe that finds what fails on a batch."""

from pathlib import Path

import pytest

from losstune.tuning.commands import estimate as estimates
from losstune.tuning.commands.estimate import epochs_per_trial, estimate
from tests.conftest import Command
from tests.tuning.samples import DISCRETE, settings_of, space_of


@pytest.fixture
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "probe", lambda *_, **__: 0.5)


def test_a_trial_costs_its_way_up_the_rungs() -> None:
    settings = settings_of(max_epochs=9, grace_epochs=1, reduction_factor=3)  # rungs at 1 and 3
    assert epochs_per_trial(settings, 1) == 9
    assert epochs_per_trial(settings, 9) == pytest.approx(1 + 2 / 3 + 6 / 9)


@pytest.mark.parametrize(
    ("budget", "trials", "epochs"), [({"trials": 5}, 5, 25), ({"epochs_per_loss": 100}, 20, 100), ({}, 10, 50)]
)
def test_a_budget_is_told_in_trials_and_in_epochs(
    quick_probe: None, budget: dict[str, int], trials: float, epochs: float
) -> None:
    found = estimate(space_of(DISCRETE), settings_of(max_epochs=5, grace_epochs=5, **budget), None)  # type: ignore[arg-type]
    assert (found.trials, found.epochs) == (pytest.approx(trials), pytest.approx(epochs))


def test_a_grid_has_no_more_trials_than_points(quick_probe: None) -> None:
    settings = settings_of(sampler="grid", trials=100, max_epochs=3)
    assert estimate(space_of(DISCRETE), settings, None).trials == 3 * 4  # type: ignore[arg-type]


OWN = """
from typing import ClassVar

from torch import Tensor
from losstune import LossConfig, LossModule, LossOutput, TrainTargets


class Failing(LossModule):
    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        BODY


class FailingConfig(LossConfig):
    name: ClassVar[str] = "failing"
    in_batch: ClassVar[bool] = True

    def build(self, train: TrainTargets) -> Failing:
        return Failing()
"""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "raise ValueError('no such weight')",
            "training on a batch fails at {folder}/own_{kind}.py:10: ValueError: no such weight\n",
        ),
        (
            "return LossOutput(predictions.sum() * float('nan'), {})",
            "it diverges on its first batches, at a typical setting: ",
        ),
    ],
    ids=["raises", "nan"],
)
def test_a_loss_that_fails_on_a_batch_is_found(
    body: str, told: str, losstune: Command, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "PROBE_SECONDS", 0.01)
    kind = request.node.callspec.id
    Path(f"own_{kind}.py").write_text(OWN.replace("BODY", body))
    Path("own.yaml").write_text(f"loss_fn: own_{kind}:FailingConfig\nspace: {{lr: {{low: 1.0e-4, high: 1.0e-3}}}}\n")
    monkeypatch.syspath_prepend(Path.cwd())
    ended = losstune("check", "own.yaml")
    assert ended.code == 2
    assert ended.err.startswith(f"error: own.yaml: {told.format(folder=Path.cwd(), kind=kind)}")
    if kind == "nan":
        assert ended.err.endswith("; with --debug-nan it says where the first NaN or infinity arises\n")
        looked = losstune("check", "own.yaml", "--debug-nan")
        assert (looked.code, looked.err.rpartition("; ")[2]) == (
            2,
            "first NaN in `mul` at own_nan.py:10 (Failing.forward)\n",
        )
