"""Geometry against plain loops, NumPy and SciPy, and against layouts whose numbers are known."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy, skew
from torch import Tensor

from losstune.trainer.score import geometry as module
from losstune.trainer.score.geometry import UNIFORMITY_ROWS, alignment, effective_rank, geometry, hubness, uniformity
from losstune.trainer.score.names import GEOMETRY
from losstune.trainer.score.ranking import NonFiniteError


def points(rows: int = 40, dims: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(rows, dims, generator=torch.Generator().manual_seed(seed))


def unit_rows(x: Tensor) -> np.ndarray:
    rows = x.double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class TestEffectiveRank:
    @pytest.mark.parametrize(("rows", "dims"), [(40, 6), (6, 40), (6, 6), (2, 9), (50, 1)])
    def test_is_that_of_numpys_singular_values(self, rows: int, dims: int) -> None:
        x = points(rows, dims) * torch.logspace(0, -3, dims) + 0.3
        centred = unit_rows(x) - unit_rows(x).mean(axis=0)
        expected = math.exp(entropy(np.linalg.svd(centred, compute_uv=False)))
        assert effective_rank(x) == pytest.approx(expected, rel=1e-5)
        assert 1 <= effective_rank(x) <= min(rows, dims) + 1e-9

    @pytest.mark.parametrize("used", [1, 2, 5, 8])
    def test_an_equal_spread_over_m_axes_gives_m(self, used: int) -> None:
        axes = torch.eye(8)[:used]
        assert effective_rank(torch.cat([axes, -axes])) == pytest.approx(used)

    def test_lengths_and_a_shared_direction_are_no_variety(self) -> None:
        angles = torch.linspace(0, 2 * math.pi, 13)[:-1]
        cone = torch.stack([angles.cos(), angles.sin(), torch.full((12,), 5.0)], dim=1)
        assert effective_rank(cone * torch.arange(1, 13)[:, None]) == pytest.approx(2, rel=1e-5)

    @pytest.mark.parametrize("noise", [0.0, 1e-7])
    def test_one_direction_for_all_gives_1_whatever_rounding_adds(self, noise: float) -> None:
        x = torch.tensor([0.3, -1.0, 2.0, 0.1, 7.0, 1.0]).expand(40, 6) + noise * points()
        assert effective_rank(x) == 1

    @pytest.mark.parametrize("x", [torch.zeros(5, 3), torch.ones(1, 3)], ids=["zeros", "one row"])
    def test_of_no_variety_is_1(self, x: Tensor) -> None:
        assert effective_rank(x) == 1


def hubness_by_loops(predictions: Tensor, gallery: Tensor, k: int) -> float:
    counts = np.zeros(len(gallery))
    for query in unit_rows(predictions):
        nearest = np.argsort(-(unit_rows(gallery) @ query))[:k]
        counts[nearest] += 1
    return float(skew(counts))


class TestHubness:
    @pytest.mark.parametrize("k", [1, 3, 10])
    @pytest.mark.parametrize("seed", range(3))
    def test_is_scipys_skewness_of_counts_by_loops(self, k: int, seed: int) -> None:
        predictions, gallery = points(60, 6, seed), points(30, 6, seed + 10)
        assert hubness(predictions, gallery, k) == pytest.approx(hubness_by_loops(predictions, gallery, k))

    def test_by_hand(self) -> None:
        """Queries 0, 0, 0, 1 of four axes: N_1 = (3, 1, 0, 0), mean 1, third moment 6/4, variance 6/4."""
        assert hubness(torch.eye(4)[[0, 0, 0, 1]], torch.eye(4), k=1) == pytest.approx(1.5**-0.5)

    def test_ten_are_counted_unless_told(self) -> None:
        predictions, gallery = points(60), points(30, seed=1)
        assert (
            hubness(predictions, gallery) == hubness(predictions, gallery, k=10) != hubness(predictions, gallery, k=9)
        )

    def test_targets_that_are_found_equally_often_are_no_hubs(self) -> None:
        assert hubness(torch.eye(5), torch.eye(5), k=1) == 0

    @pytest.mark.parametrize("k", [5, 10])
    def test_no_more_than_the_gallery_is_counted(self, k: int) -> None:
        assert hubness(points(20), points(5), k) == 0

    def test_ties_are_shared(self) -> None:
        """Query 0 has one target above and three tied for one place more: N_2 = (1, 1/3, 1/3, 1/3)."""
        predictions, gallery = torch.eye(4)[:1], torch.eye(4)
        assert hubness(predictions, gallery, k=2) == pytest.approx(float(skew([1, 1 / 3, 1 / 3, 1 / 3])))

    def test_zero_predictions_find_all_targets_equally(self) -> None:
        assert hubness(torch.zeros(50, 6), points(37)) == 0

    def test_one_prediction_for_all_makes_hubs_of_its_neighbours(self) -> None:
        share = 10 / 374
        found = hubness(torch.ones(90, 6), points(374))
        assert found == pytest.approx((1 - 2 * share) / math.sqrt(share * (1 - share)))

    def test_about_a_centre_it_is_that_of_shifted_data(self) -> None:
        predictions, gallery, center = points(60), points(30, seed=1), torch.arange(6.0)
        shifted = hubness(predictions + center, gallery + center, center=center)
        assert shifted == pytest.approx(hubness(predictions, gallery))
        assert shifted != pytest.approx(hubness(predictions + center, gallery + center))

    @pytest.mark.parametrize("scores_per_chunk", [1, 45, 30 * 39, 10**9])
    def test_chunks_change_nothing(self, monkeypatch: pytest.MonkeyPatch, scores_per_chunk: int) -> None:
        expected = hubness(points(60), points(30, seed=1))
        monkeypatch.setattr(module, "SCORES_PER_CHUNK", scores_per_chunk)
        assert hubness(points(60), points(30, seed=1)) == pytest.approx(expected, rel=1e-12)

    def test_no_neighbours_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"^k: found 0; 1 or more is allowed$"):
            hubness(points(), points(), k=0)


class TestAlignment:
    def test_is_the_squared_distance_of_unit_rows(self) -> None:
        one, other = points(), points(seed=1)
        expected = np.square(unit_rows(one) - unit_rows(other)).sum(axis=1).mean()
        assert alignment(one, other) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize(("scale", "expected"), [(3.0, 0.0), (-0.5, 4.0), (0.0, 1.0)])
    def test_of_multiples_of_the_targets(self, scale: float, expected: float) -> None:
        assert alignment(points() * scale, points()) == pytest.approx(expected, abs=1e-6)


def uniformity_by_loops(x: Tensor) -> float:
    rows = unit_rows(x)
    pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
    return math.log(sum(math.exp(-2 * np.square(rows[i] - rows[j]).sum()) for i, j in pairs) / len(pairs))


class TestUniformity:
    @pytest.mark.parametrize(("rows", "dims"), [(2, 3), (40, 6), (30, 100)])
    def test_is_that_of_loops_over_distinct_pairs(self, rows: int, dims: int) -> None:
        assert uniformity(points(rows, dims)) == pytest.approx(uniformity_by_loops(points(rows, dims)), rel=1e-5)

    def test_by_hand(self) -> None:
        """Two rows of one way, one opposite: distances² 0, 4, 4."""
        x = torch.tensor([[2.0, 0.0], [1.0, 0.0], [-3.0, 0.0]])
        assert uniformity(x) == pytest.approx(math.log((1 + 2 * math.exp(-8)) / 3))

    def test_zero_rows_stay_at_the_origin(self) -> None:
        assert uniformity(torch.tensor([[0.0, 0.0], [1.0, 0.0]])) == pytest.approx(-2)

    @pytest.mark.parametrize("x", [torch.ones(9, 3), torch.zeros(9, 3), torch.ones(1, 3)], ids=["ones", "zeros", "one"])
    def test_of_no_variety_is_0(self, x: Tensor) -> None:
        assert uniformity(x) == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("scores_per_chunk", [1, 100, 40 * 39])
    def test_chunks_change_nothing(self, monkeypatch: pytest.MonkeyPatch, scores_per_chunk: int) -> None:
        monkeypatch.setattr(module, "SCORES_PER_CHUNK", scores_per_chunk)
        assert uniformity(points()) == pytest.approx(uniformity_by_loops(points()), rel=1e-5)

    def test_of_many_rows_the_same_some_stand_for_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x = points(2000, 16)
        whole = uniformity(x)
        assert UNIFORMITY_ROWS > 2000
        monkeypatch.setattr(module, "UNIFORMITY_ROWS", 1000)
        torch.manual_seed(5)
        drawn = uniformity(x)
        torch.manual_seed(6)
        assert uniformity(x) == drawn
        assert drawn not in (whole, uniformity(x[:1000]))
        assert drawn == pytest.approx(whole, abs=0.02)


class TestGeometry:
    @pytest.mark.parametrize("center", [None, torch.arange(6.0)], ids=["plain", "centred"])
    def test_is_all_four_in_the_space_that_is_ranked_in(self, center: Tensor | None) -> None:
        shift = 0 if center is None else center
        predictions, targets, gallery = points(), points(seed=1), points(30, seed=2)
        found = geometry(predictions + shift, targets + shift, gallery + shift, center)
        assert tuple(found) == GEOMETRY
        assert found == pytest.approx(
            {
                "effective_rank": effective_rank(predictions),
                "hubness": hubness(predictions, gallery),
                "alignment": alignment(predictions, targets),
                "uniformity": uniformity(predictions),
            },
            rel=1e-5,
        )

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_predictions_that_are_not_finite_are_refused_by_each(self, bad: float) -> None:
        predictions = points()
        predictions[7, 2] = bad
        calls: list[tuple[Any, ...]] = [
            (effective_rank, predictions),
            (hubness, predictions, points()),
            (alignment, predictions, points()),
            (uniformity, predictions),
            (geometry, predictions, points(), points()),
        ]
        for call, *arguments in calls:
            with pytest.raises(
                NonFiniteError, match=r"^predictions hold NaN or infinity in 1 of 40 rows, first row 7$"
            ):
                call(*arguments)

    @given(st.integers(-12, 12))
    def test_ignores_scale(self, exponent: int) -> None:
        expected = geometry(points(), points(seed=1), points(seed=2))
        assert geometry(points() * 2.0**exponent, points(seed=1), points(seed=2)) == pytest.approx(expected)
