"""Metrics of prefixes are those of embeddings that end there."""

import torch

from losstune.trainer.score.metrics import embedding_metrics, row_scores
from losstune.trainer.score.prefixes import prefix_scores
from losstune.trainer.score.ranking import OtherPositives
from tests.trainer.losses.reference import cosine_by_loops, random_batch


def test_the_cosine_and_the_rank_are_of_the_first_dimensions_alone() -> None:
    predictions, targets = random_batch(0, rows=6, dims=4)
    found = prefix_scores(embedding_metrics, [1, 3], predictions, targets, targets, torch.arange(6))
    for size in (1, 3):
        scores = [[cosine_by_loops(p[:size], t[:size]) for t in targets.tolist()] for p in predictions.tolist()]
        cosine = sum(scores[i][i] for i in range(6)) / 6
        torch.testing.assert_close(found[f"dim_{size}/cosine_sim"], cosine)
    above = [sum(score > own[i] + 1e-9 for score in own) for i, own in enumerate(scores)]
    torch.testing.assert_close(found["dim_3/mrr"], sum(1 / (1 + n) for n in above) / 6)
    assert {name.split("/")[0] for name in found} == {"dim_1", "dim_3"}


def test_the_centre_and_other_right_targets_go_along() -> None:
    predictions, targets = random_batch(1, rows=6, dims=4)
    center, others = targets.mean(dim=0), OtherPositives(torch.tensor([0, 2]), torch.tensor([3, 5]))
    found = prefix_scores(embedding_metrics, [2], predictions, targets, targets, torch.arange(6), center, others)
    cut, known = predictions[:, :2].clone(), targets[:, :2].clone()
    expected = embedding_metrics(cut, known, known, torch.arange(6), center[:2].clone(), others)
    assert found == {f"dim_2/{name}": value for name, value in expected.items()}
    assert found != prefix_scores(embedding_metrics, [2], predictions, targets, targets, torch.arange(6))


def test_row_by_row_they_are_what_the_metrics_are_means_of() -> None:
    predictions, targets = random_batch(2, rows=6, dims=4)
    center, others = targets.mean(dim=0), OtherPositives(torch.tensor([0, 2]), torch.tensor([3, 5]))
    scored = predictions, targets, targets, torch.arange(6), center, others
    means, rows = prefix_scores(embedding_metrics, [1, 3], *scored), prefix_scores(row_scores, [1, 3], *scored)
    assert {name.split("/")[0] for name in rows} == {"dim_1", "dim_3"}
    for name, values in rows.items():
        assert values.shape == (6,)
        torch.testing.assert_close(values.mean().item(), means[name])
