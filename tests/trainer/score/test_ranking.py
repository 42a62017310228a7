"""Ranks against plain loops, scikit-learn, and the enumeration of every order of the tied."""

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, top_k_accuracy_score

from losstune.trainer.score import ranking
from losstune.trainer.score.ranking import NonFiniteError, Ranks, rank_in_gallery, refuse_non_finite
from tests.trainer.score.galleries import random_gallery, ranks_by_loops


@pytest.mark.parametrize("seed", range(3))
def test_mrr_and_recall_are_those_of_scikit_learn(seed: int) -> None:
    predictions, gallery, positive = random_gallery(seed=seed)
    ranks = rank_in_gallery(predictions, gallery, positive)
    scores = (torch.nn.functional.normalize(predictions) @ torch.nn.functional.normalize(gallery).T).numpy()
    relevant = np.eye(len(gallery))[positive.numpy()]
    assert ranks.mrr() == pytest.approx(label_ranking_average_precision_score(relevant, scores))
    for k in (1, 5, 10):
        expected = top_k_accuracy_score(positive.numpy(), scores, k=k, labels=range(len(gallery)))
        assert ranks.recall_at(k) == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_ndcg_is_that_of_scikit_learn_which_averages_over_the_tied_too(k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores, positive = (torch.randint(high, size, generator=generator) for high, size in ((5, (60, 30)), (30, (60,))))
    found = rank_in_gallery(scores.float(), torch.eye(30), positive).discounted(k)
    expected = ndcg_score(np.eye(30)[positive.numpy()], torch.nn.functional.normalize(scores.float()).numpy(), k=k)
    assert float(found.mean()) == pytest.approx(expected)


class TestTies:
    """Scores are made of whole numbers over an axis-aligned gallery, so that ties are exact."""

    @staticmethod
    def by_enumeration(scores: list[list[int]], own: list[int]) -> dict[str, float]:
        """Each metric's mean over every order of the gallery, the tied standing in that order."""
        gallery = range(len(scores[0]))
        orders = list(itertools.permutations(gallery))
        reciprocal, expected_rank = [], []
        recalls: dict[int, list[float]] = {1: [], 2: [], 3: []}
        cut: dict[int, list[float]] = {1: [], 2: [], 3: []}
        gains: dict[int, list[float]] = {1: [], 2: [], 3: []}
        for row, positive in zip(scores, own, strict=True):
            ranks = [sorted(order, key=lambda g, row=row: -row[g]).index(positive) + 1 for order in orders]
            reciprocal.append(statistics.mean(1 / rank for rank in ranks))
            expected_rank.append(statistics.mean(ranks))
            for k, values in recalls.items():
                values.append(statistics.mean(rank <= k for rank in ranks))
                cut[k].append(statistics.mean((rank <= k) / rank for rank in ranks))
                gains[k].append(statistics.mean((rank <= k) / math.log2(1 + rank) for rank in ranks))
        found = {
            f"{name}_at_{k}": statistics.mean(values)
            for name, of_depth in (("recall", recalls), ("mrr", cut), ("ndcg", gains))
            for k, values in of_depth.items()
        }
        return {"mrr": statistics.mean(reciprocal), "median_rank": statistics.median(expected_rank), **found}

    @given(st.integers(2, 5).flatmap(lambda g: st.lists(st.tuples(*[st.integers(0, 2)] * g), min_size=1, max_size=4)))
    def test_each_metric_is_its_expectation_over_a_random_order_of_the_tied(self, scores: list[tuple[int]]) -> None:
        size = len(scores[0])
        own = [index % size for index in range(len(scores))]
        found = rank_in_gallery(torch.tensor(scores).float(), torch.eye(size), torch.tensor(own))
        expected = self.by_enumeration([list(row) for row in scores], own)
        assert found.mrr() == pytest.approx(expected["mrr"])
        assert found.median_rank() == pytest.approx(expected["median_rank"])
        for k in (1, 2, 3):
            assert found.recall_at(k) == pytest.approx(expected[f"recall_at_{k}"])
            assert float(found.reciprocal(k).mean()) == pytest.approx(expected[f"mrr_at_{k}"])
            assert float(found.discounted(k).mean()) == pytest.approx(expected[f"ndcg_at_{k}"])

    def test_two_above_and_one_tied_of_five(self) -> None:
        ranks = Ranks(above=torch.tensor([2]), tied=torch.tensor([1]), gallery=5)
        assert ranks.mrr() == pytest.approx((1 / 3 + 1 / 4) / 2)
        assert [ranks.recall_at(k) for k in (1, 2, 3, 4, 5)] == [0, 0, 0.5, 1, 1]
        assert [float(ranks.reciprocal(k)) for k in (2, 3, 4, 10)] == pytest.approx([0, 1 / 6, 7 / 24, 7 / 24])
        assert [float(ranks.discounted(k)) for k in (2, 3)] == pytest.approx([0, 1 / 4])  # log₂(1 + 3) = 2
        assert ranks.median_rank() == 3.5


class TestCenter:
    CENTER = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0, 1.0])

    def test_ranks_are_those_of_data_that_was_shifted_by_hand(self) -> None:
        predictions, gallery, positive = random_gallery()
        found = rank_in_gallery(predictions + self.CENTER, gallery + self.CENTER, positive, self.CENTER)
        shifted = (predictions + self.CENTER) - self.CENTER, (gallery + self.CENTER) - self.CENTER
        expected = rank_in_gallery(*shifted, positive)
        assert (
            found.above.tolist()
            == expected.above.tolist()
            == [rank - 1 for rank in ranks_by_loops(predictions, gallery, positive)]
        )
        plain = rank_in_gallery(predictions + self.CENTER, gallery + self.CENTER, positive)
        assert found.above.tolist() != plain.above.tolist()

    def test_a_prediction_that_overflows_about_it_is_refused(self) -> None:
        predictions, gallery, positive = random_gallery(queries=5)
        predictions[2] = 3e38
        with pytest.raises(NonFiniteError, match="in 1 of 5 rows, first row 2"):
            rank_in_gallery(predictions, gallery, positive, torch.full((6,), -3e38))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_predictions_that_are_not_finite_are_refused_before_ranking(bad: float) -> None:
    predictions, gallery, positive = random_gallery(queries=5)
    predictions[1, 2] = predictions[3, 0] = bad
    message = "^predictions hold NaN or infinity in 2 of 5 rows, first row 1$"
    with pytest.raises(NonFiniteError, match=message):
        refuse_non_finite(predictions)
    with pytest.raises(NonFiniteError, match=message):
        rank_in_gallery(predictions, gallery, positive)


@pytest.mark.parametrize(
    ("scores_per_chunk", "scores_per_glance"), [(1, 1), (45, 1), (100, 60), (30 * 39, 500), (10**9,) * 2]
)
def test_ranking_in_chunks_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, scores_per_chunk: int, scores_per_glance: int
) -> None:
    predictions, gallery, positive = random_gallery()
    predictions[3] = 0  # all tied
    monkeypatch.setattr(ranking, "SCORES_PER_CHUNK", scores_per_chunk)
    monkeypatch.setattr(ranking, "SCORES_PER_GLANCE", scores_per_glance)
    found = rank_in_gallery(predictions, gallery, positive)
    expected = ranks_by_loops(predictions[predictions.norm(dim=1) > 0], gallery, positive[predictions.norm(dim=1) > 0])
    assert [*found.above[:3].tolist(), *found.above[4:].tolist()] == [rank - 1 for rank in expected]
    assert found.tied.tolist() == [0, 0, 0, 29, *[0] * 36]


@given(st.integers(0, 2**31), st.integers(-12, 12))
def test_ranks_ignore_the_scale_of_predictions(seed: int, exponent: int) -> None:
    predictions, gallery, positive = random_gallery(seed=seed)
    scaled = rank_in_gallery(predictions * 2.0**exponent, gallery, positive)
    assert scaled.above.tolist() == rank_in_gallery(predictions, gallery, positive).above.tolist()


@given(st.integers(0, 2**31), st.integers(1, 12))
def test_the_order_of_queries_and_gallery_changes_no_rank(seed: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    predictions = torch.randint(0, 4, (20, size), generator=generator).float()
    positive = torch.randint(size, (20,), generator=generator)
    queries, places = torch.randperm(20, generator=generator), torch.randperm(size, generator=generator)
    expected = rank_in_gallery(predictions, torch.eye(size), positive)
    moved = rank_in_gallery(predictions[queries], torch.eye(size)[places], places.argsort()[positive[queries]])
    assert moved.above.tolist() == expected.above[queries].tolist()
    assert moved.tied.tolist() == expected.tied[queries].tolist()


def test_of_several_right_targets_the_median_is_of_the_expected_rank_of_the_first() -> None:
    ranks = Ranks(torch.tensor([2]), torch.tensor([4]), 10, torch.tensor([1]))
    places = [min(pair) + 3 for pair in itertools.combinations(range(5), 2)]
    assert ranks.median_rank() == pytest.approx(statistics.mean(places))


def test_the_median_of_a_third_of_a_place_is_no_rounder_than_others() -> None:
    """The first of two right ones among four tied is expected at place 5/3 of them."""
    ranks = Ranks(torch.tensor([100_000]), torch.tensor([3]), 200_000, torch.tensor([1]))
    assert ranks.median_rank() == pytest.approx(100_000 + 5 / 3, rel=1e-12)
