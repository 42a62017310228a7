"""Metrics against plain loops, scikit-learn, and the enumeration of every order of the tied."""

import itertools
import json
import math
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Callable

import numpy as np
import pytest
import pytrec_eval
import torch
from sklearn.metrics.pairwise import paired_cosine_distances
from torch import Tensor

from losstune.trainer.losses import unit
from losstune.trainer.score import ranking
from losstune.trainer.score.metrics import Chance, chance_level, cosine_similarity, embedding_metrics, row_scores
from losstune.trainer.score.ranking import OtherPositives
from tests.trainer.score.galleries import random_gallery, ranks_by_loops

RECALLS = ["recall_at_1", "recall_at_5", "recall_at_10"]
NAMES = ["cosine_sim", "mse", "mrr", *RECALLS, "mrr_at_10", "ndcg_at_10", "median_rank"]


def test_each_metric_is_that_of_plain_loops() -> None:
    predictions, gallery, positive = random_gallery()
    targets = gallery[positive]
    found = embedding_metrics(predictions, targets, gallery, positive)
    ranks = ranks_by_loops(predictions, gallery, positive)
    pairs = list(zip(predictions.tolist(), targets.tolist(), strict=True))
    assert list(found) == NAMES
    assert found["mrr"] == pytest.approx(statistics.mean(1 / rank for rank in ranks))
    for k in (1, 5, 10):
        assert found[f"recall_at_{k}"] == pytest.approx(statistics.mean(rank <= k for rank in ranks))
    assert max(ranks) > 10
    assert found["mrr_at_10"] == pytest.approx(statistics.mean(1 / rank if rank <= 10 else 0 for rank in ranks))
    gains = [1 / math.log2(1 + rank) if rank <= 10 else 0 for rank in ranks]
    assert found["ndcg_at_10"] == pytest.approx(statistics.mean(gains))
    assert found["median_rank"] == statistics.median(ranks)
    cosines = [sum(a * b for a, b in zip(p, t, strict=True)) / math.hypot(*p) / math.hypot(*t) for p, t in pairs]
    assert found["cosine_sim"] == pytest.approx(statistics.mean(cosines), abs=1e-6)
    squares = [(a - b) ** 2 for p, t in pairs for a, b in zip(p, t, strict=True)]
    assert found["mse"] == pytest.approx(statistics.mean(squares))


def test_cosine_similarity_is_that_of_scikit_learn() -> None:
    predictions, gallery, positive = random_gallery()
    expected = 1 - paired_cosine_distances(predictions.numpy(), gallery[positive].numpy())
    np.testing.assert_allclose(cosine_similarity(predictions, gallery[positive]).numpy(), expected, atol=1e-6)


def test_cosine_similarity_of_a_zero_row_is_0() -> None:
    assert cosine_similarity(torch.zeros(1, 3), torch.ones(1, 3)).tolist() == [0.0]


class TestRowScores:
    def test_their_means_are_the_metrics(self) -> None:
        predictions, gallery, positive = random_gallery()
        predictions[5] = 0  # all tied
        center = torch.full((6,), 0.5)
        for about in (None, center):
            rows = row_scores(predictions, gallery[positive], gallery, positive, about)
            found = embedding_metrics(predictions, gallery[positive], gallery, positive, about)
            assert [*rows, "median_rank"] == NAMES
            for name, values in rows.items():
                assert values.shape == (40,)
                assert values.dtype == torch.float64
                assert found[name] == float(values.mean())

    def test_each_row_is_the_metrics_of_that_row_alone(self) -> None:
        predictions, gallery, positive = random_gallery(queries=8)
        predictions[5] = 0
        rows = row_scores(predictions, gallery[positive], gallery, positive)
        for row in range(8):
            only = slice(row, row + 1)
            alone = embedding_metrics(predictions[only], gallery[positive][only], gallery, positive[only])
            assert {name: float(values[row]) for name, values in rows.items()} == pytest.approx(
                {name: alone[name] for name in rows}, abs=1e-6
            )

    def test_by_hand(self) -> None:
        gallery = torch.eye(3)
        predictions = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
        positive = torch.tensor([0, 1, 2, 1])
        rows = row_scores(predictions, gallery[positive], gallery, positive)
        assert rows["mrr"].tolist() == pytest.approx([1, (1 + 1 / 2) / 2, (1 + 1 / 2 + 1 / 3) / 3, 1 / 2])
        assert rows["recall_at_1"].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 0])
        assert rows["recall_at_5"].tolist() == [1, 1, 1, 1]
        assert rows["cosine_sim"].tolist() == pytest.approx([1, 0.5**0.5, 0, 0.2**0.5])
        assert rows["mse"].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 4 / 3])


class TestCenter:
    CENTER = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0, 1.0])

    def test_cosine_and_mse_stay_the_plain_ones(self) -> None:
        predictions, gallery, positive = random_gallery()
        arguments = predictions, gallery[positive], gallery, positive
        centered, plain = embedding_metrics(*arguments, self.CENTER), embedding_metrics(*arguments)
        assert centered["mrr"] != plain["mrr"]
        assert (centered["cosine_sim"], centered["mse"]) == (plain["cosine_sim"], plain["mse"])

    def test_a_prediction_at_the_centre_ties_with_all(self) -> None:
        gallery = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
        found = embedding_metrics(self.CENTER.expand(7, 6), gallery, gallery, torch.arange(7), self.CENTER)
        chance = chance_level(7)
        assert {name: found[name] for name in chance} == pytest.approx(chance)


class TestCollapsedModels:
    @pytest.mark.parametrize("gallery", [1, 7, 364])
    def test_zero_predictions_score_at_chance(self, gallery: int) -> None:
        targets = torch.randn(gallery, 4, generator=torch.Generator().manual_seed(0))
        found = embedding_metrics(torch.zeros_like(targets), targets, targets, torch.arange(gallery))
        chance = chance_level(gallery)
        assert {name: found[name] for name in chance} == pytest.approx(chance)

    @pytest.mark.parametrize("gallery", [1, 7, 364])
    def test_one_prediction_for_all_scores_at_chance(self, gallery: int) -> None:
        targets = torch.randn(gallery, 4, generator=torch.Generator().manual_seed(0))
        same = torch.tensor([[0.3, -1.0, 2.0, 0.1]]).expand(gallery, 4)
        found = embedding_metrics(same, targets, targets, torch.arange(gallery))
        chance = chance_level(gallery)
        assert {name: found[name] for name in chance} == pytest.approx(chance)


def test_perfect_predictions_score_perfectly() -> None:
    targets = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    found = embedding_metrics(targets.clone(), targets, targets, torch.arange(50))
    assert found == pytest.approx({**dict.fromkeys(NAMES, 1), "mse": 0})


@pytest.mark.parametrize("gallery", [1, 3, 12, 364])
def test_chance_level_is_the_mean_over_every_place_of_the_own_target(gallery: int) -> None:
    places = range(1, gallery + 1)
    expected = {"mrr": statistics.mean(1 / place for place in places), "median_rank": statistics.mean(places)}
    for k in (1, 5, 10):
        expected[f"recall_at_{k}"] = statistics.mean(place <= k for place in places)
    expected["mrr_at_10"] = statistics.mean((place <= 10) / place for place in places)
    expected["ndcg_at_10"] = statistics.mean((place <= 10) / math.log2(1 + place) for place in places)
    assert chance_level(gallery) == pytest.approx(expected)


@pytest.mark.slow
def test_a_hundred_thousand_queries_and_targets_fit_in_two_gibibytes() -> None:
    program = textwrap.dedent("""
        import json, resource, torch
        from losstune.trainer.score.metrics import embedding_metrics

        torch.set_num_threads(2)
        generator = torch.Generator().manual_seed(0)
        gallery = torch.randn(100_000, 256, generator=generator)
        positive = torch.randperm(100_000, generator=generator)
        targets = gallery[positive]
        found = embedding_metrics(targets, targets, gallery, positive)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({**found, "peak": peak * (1 if __import__("sys").platform == "darwin" else 1024)}))
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["peak"] < 2 * 2**30
    assert found["mrr"] == found["recall_at_1"] == found["median_rank"] == 1


class TestSeveralRightTargets:
    """Of several right targets the best-scored is ranked."""

    def scored(self, ties: bool) -> tuple[Tensor, Tensor, Tensor, OtherPositives, list[set[int]]]:
        """40 queries among 12 targets of which up to four are right; with ties, targets of few values."""
        generator = torch.Generator().manual_seed(4)
        shape = (12, 2)
        gallery = torch.randint(1, 3, shape, generator=generator).float() if ties else torch.randn(shape)
        predictions = torch.randn(40, 2, generator=generator)
        right = [set(torch.randperm(12, generator=generator)[: 1 + row % 4].tolist()) for row in range(40)]
        own = torch.tensor([min(one) for one in right])
        entries = [(row, place) for row, one in enumerate(right) for place in sorted(one - {min(one)})]
        return predictions, gallery, own, OtherPositives(*torch.tensor(entries).T), right

    @pytest.mark.parametrize("ties", [False, True])
    @pytest.mark.parametrize("per_chunk", [12, 12 * 7, 2**22])
    def test_each_metric_is_its_mean_over_every_order_of_the_tied(
        self, ties: bool, per_chunk: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ranking, "SCORES_PER_CHUNK", per_chunk)
        predictions, gallery, own, others, right = self.scored(ties)
        found = row_scores(predictions, gallery[own], gallery, own, others=others)
        scores = unit(predictions) @ unit(gallery).T
        for row, line in enumerate(scores):
            best = max(line[place] for place in right[row])
            above = int((line > best).sum())
            tied = [place for place in range(12) if line[place] == best]
            count = len(tied)
            firsts = [
                min(places) for places in itertools.combinations(range(count), len(right[row].intersection(tied)))
            ]
            ranks = [above + 1 + first for first in firsts]
            assert float(found["mrr"][row]) == pytest.approx(statistics.mean(1 / rank for rank in ranks))
            for k in (1, 5, 10):
                assert float(found[f"recall_at_{k}"][row]) == pytest.approx(
                    statistics.mean(rank <= k for rank in ranks)
                )

    def test_they_are_success_and_reciprocal_rank_of_pytrec_eval(self) -> None:
        predictions, gallery, own, others, right = self.scored(ties=False)
        scores = (unit(predictions) @ unit(gallery).T).tolist()
        relevant = {f"q{row}": {f"d{place}": 1 for place in one} for row, one in enumerate(right)}
        run = {f"q{row}": {f"d{place}": score for place, score in enumerate(line)} for row, line in enumerate(scores)}
        told = pytrec_eval.RelevanceEvaluator(relevant, {"recip_rank", "success.1,5,10"}).evaluate(run)
        found = row_scores(predictions, gallery[own], gallery, own, others=others)
        for name, theirs in (
            ("mrr", "recip_rank"),
            ("recall_at_1", "success_1"),
            ("recall_at_5", "success_5"),
            ("recall_at_10", "success_10"),
        ):
            assert found[name].tolist() == pytest.approx([told[f"q{row}"][theirs] for row in range(40)], abs=1e-6)

    @pytest.mark.parametrize("several", [[0, 2, 1, 3], [5, 5], [0], [11, 0]], ids=str)
    def test_chance_is_the_mean_over_every_order_of_the_gallery(self, several: list[int]) -> None:
        """Of 12 targets; ``several`` are how many are right for each query beside its own."""
        firsts = [1 + min(places) for right in several for places in itertools.combinations(range(12), 1 + right)]
        weights = [
            1 / math.comb(12, 1 + right) / len(several) for right in several for _ in range(math.comb(12, 1 + right))
        ]

        def mean(gain: Callable[[int], float]) -> float:
            return sum(weight * gain(first) for weight, first in zip(weights, firsts, strict=True))

        found = chance_level(12, torch.tensor(several))
        assert found["mrr"] == pytest.approx(mean(lambda first: 1 / first))
        assert found["mrr_at_10"] == pytest.approx(mean(lambda first: (first <= 10) / first))
        assert found["ndcg_at_10"] == pytest.approx(mean(lambda first: (first <= 10) / math.log2(1 + first)))
        for k in (1, 5, 10):
            assert found[f"recall_at_{k}"] == pytest.approx(mean(lambda first, k=k: first <= k))
        assert found["median_rank"] == pytest.approx(statistics.median(13 / (right + 2) for right in several))

    def test_zero_predictions_score_at_chance(self) -> None:
        _, gallery, own, others, _ = self.scored(ties=False)
        found = embedding_metrics(torch.zeros(40, 2), gallery[own], gallery, own, others=others)
        chance = Chance.of(12, others, 40)
        assert chance.gallery == 12
        assert {name: found[name] for name in chance.metrics} == pytest.approx(chance.metrics)
        assert chance.metrics["mrr"] > 1.3 * chance_level(12)["mrr"]
