"""Sentences about collapse, hubs, and a loss that parts ways with its objective: where each begins."""

import math

import pytest
import torch
from torch import Tensor

from losstune.trainer.score.flags import COLLAPSED_UNIFORMITY, geometry_flags, parting
from losstune.trainer.score.geometry import geometry, uniformity


def points(rows: int = 40, dims: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(rows, dims, generator=torch.Generator().manual_seed(seed))


SOUND = {"effective_rank": 20.0, "hubness": 0.8, "alignment": 0.3, "uniformity": -2.9}
SAME_WAY = "collapsed: all predictions point nearly the same way (uniformity -0.010)"


class TestFlags:
    @pytest.mark.parametrize(
        ("changed", "dim", "flags"),
        [
            ({}, 32, []),
            ({"effective_rank": 2.6}, 32, []),
            ({"effective_rank": 2.5}, 32, ["collapsed: predictions differ in about 2.5 of 32 dimensions"]),
            ({"effective_rank": 20.0}, 512, ["collapsed: predictions differ in about 20.0 of 512 dimensions"]),
            ({"uniformity": -0.05}, 32, []),
            ({"uniformity": -0.01}, 32, [SAME_WAY]),
            ({"uniformity": -0.01, "effective_rank": 1.0}, 32, [SAME_WAY]),
            ({"uniformity": 0.0, "effective_rank": 1.0}, 1, []),
            ({"hubness": 1.5}, 32, []),
            ({"hubness": 1.51}, 32, ["hubs: a few targets are near most predictions (hubness 1.51)"]),
            ({"hubness": -3.0}, 32, []),
        ],
    )
    def test_each_sign_has_its_sentence(self, changed: dict[str, float], dim: int, flags: list[str]) -> None:
        assert geometry_flags(SOUND | changed, dim) == flags

    def test_a_low_mean_cosine_between_predictions_is_the_bound_of_uniformity(self) -> None:
        """Pairs at cosine 0.99 throughout: a simplex around a shared direction."""
        shared = math.sqrt(0.99)
        rows = torch.cat([torch.full((50, 1), shared), math.sqrt(0.01) * torch.eye(50)], dim=1)
        assert uniformity(rows) == pytest.approx(COLLAPSED_UNIFORMITY, abs=1e-3)

    def test_an_embedding_without_trouble_has_none(self) -> None:
        targets = points(400, 16)
        assert geometry_flags(geometry(targets + 0.5 * points(400, 16, 1), targets, targets), 16) == []


def epochs(*rows: tuple[float, float]) -> list[dict[str, float]]:
    """Records with (val/loss, val/mrr) of epochs 1, 2, …"""
    return [{"epoch": n, "val/loss": loss, "val/mrr": mrr} for n, (loss, mrr) in enumerate(rows, start=1)]


class TestParting:
    def test_names_both_epochs_and_both_values(self) -> None:
        assert parting(epochs((0.5, 0.1), (0.4, 0.2), (0.6, 0.25)), "val/mrr") == (
            "val/loss and val/mrr part ways: val/loss is lowest in epoch 2, with val/mrr 0.2000; "
            "the best val/mrr is 0.2500, in epoch 3"
        )

    @pytest.mark.parametrize(("worse", "parted"), [(0.199, False), (0.1901, False), (0.1899, True), (0.0, True)])
    def test_needs_five_percent_of_the_best(self, worse: float, parted: bool) -> None:
        assert (parting(epochs((0.4, worse), (0.6, 0.2)), "val/mrr") is not None) == parted

    def test_of_equals_the_first_is_meant(self) -> None:
        sentence = parting(epochs((0.4, 0.1), (0.4, 0.2), (0.5, 0.2)), "val/mrr")
        assert sentence is not None
        assert "epoch 1, with val/mrr 0.1000" in sentence
        assert sentence.endswith("in epoch 2")

    @pytest.mark.parametrize(("worse", "parted"), [(-0.104, False), (-0.106, True)])
    def test_an_objective_under_0_is_judged_by_its_size(self, worse: float, parted: bool) -> None:
        records = [{**record, "val/cosine_sim": record.pop("val/mrr")} for record in epochs((0.4, worse), (0.6, -0.1))]
        assert (parting(records, "val/cosine_sim") is not None) == parted

    @pytest.mark.parametrize(
        "records",
        [
            [],
            [{"epoch": 1, "train/loss": 0.1}],
            [{"epoch": 1, "val/loss": 0.1}, {"epoch": 2, "val/mrr": 0.4}],
            epochs((math.nan, 0.1), (0.5, math.nan)),
        ],
    )
    def test_without_both_numbers_there_is_nothing_to_say(self, records: list[dict[str, float]]) -> None:
        assert parting(records, "val/mrr") is None

    def test_a_diverged_epoch_does_not_count(self) -> None:
        records = [*epochs((0.4, 0.1), (0.6, 0.2)), {"epoch": 3, "val/loss": math.nan}]
        assert parting(records, "val/mrr") == parting(records[:2], "val/mrr") is not None
