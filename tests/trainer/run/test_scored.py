"""A model on the locked test split: as its own trainer evaluates it there."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.resident import split_tensors
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.scored import Scored, score_test
from losstune.trainer.run.trained_model import load_model
from losstune.trainer.score.geometry import geometry
from losstune.trainer.score.metrics import Chance
from tests.trainer.conftest import Line
from tests.trainer.samples import refusal, sample_trainer


def scored_and_metrics(line: str, train: Line) -> tuple[Scored, dict[str, float]]:
    """The test split as ``score_test`` has it, and as the run's own trainer evaluates it."""
    train(f"{line} --num_epochs 2 --output_dir run")
    pairs, trained = load_pairs("pairs.npz"), load_model(Path("run/best.pt"))
    trainer = sample_trainer(trained.config, pairs)
    trainer.model.load_state_dict(trained.model.state_dict())
    rows = split_rows(pairs, trained.config.split_seed).test
    return score_test(Path("run/best.pt"), pairs), trainer.evaluate(split_tensors(pairs, rows, torch.device("cpu")))


@pytest.mark.parametrize("line", ["", "--center", "--center --split_seed 3", "--center --fit train+val"])
def test_scores_as_the_run_was_validated(train: Line, line: str) -> None:
    scored, expected = scored_and_metrics(line, train)
    del expected["loss"]
    assert {name: scored.metrics[f"test/{name}"] for name in expected} == pytest.approx(expected)


def test_describes_the_space_that_is_ranked_in(train: Line) -> None:
    scored, _ = scored_and_metrics("--center", train)
    pairs, trained = load_pairs("pairs.npz"), load_model(Path("run/best.pt"))
    rows = split_rows(pairs, 0)
    split = split_tensors(pairs, rows.test, torch.device("cpu"))
    center = torch.from_numpy(pairs.targets[rows.train].mean(axis=0))
    expected = geometry(trained.embeddings(split.inputs), split.targets, split.gallery, center)
    assert {name: scored.metrics[f"test/{name}"] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert (scored.chance, scored.dim) == (Chance.of(len(split.gallery)), 5)


def test_predictions_that_are_not_finite_are_refused(train: Line) -> None:
    train("--num_epochs 1 --output_dir run")
    pairs = load_pairs("pairs.npz")
    inputs = pairs.inputs.copy()
    inputs[split_rows(pairs, 0).test[3]] = 3e38
    message = refusal(score_test, Path("run/best.pt"), replace(pairs, inputs=inputs))
    assert message.startswith(f"{Path('pairs.npz').resolve()}: test split: predictions hold NaN or infinity in 1 of")
