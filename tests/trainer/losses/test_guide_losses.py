"""Losses against plain loops, other people's implementations, and their own mathematics."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from info_nce import InfoNCE
from pydantic import ValidationError
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor

from losstune.trainer.config.loss_registry import loss_config_class, loss_names
from losstune.trainer.losses import unit
from tests.trainer.losses.reference import (
    TOLERANCE,
    cosine_by_loops,
    cosine_loss_by_loops,
    infonce_by_loops,
    module_of,
    random_batch,
    run,
    twin_batch,
)

DIRECTION = ("cosine", "infonce", "infonce_cosine", "siglip", "full_softmax")

seeds = st.integers(0, 2**31)
batches = st.integers(1, 12)
widths = st.integers(1, 9)


def mse_by_loops(predictions: Tensor, targets: Tensor) -> float:
    pairs = list(zip(predictions.flatten().tolist(), targets.flatten().tolist(), strict=True))
    return sum((p - t) ** 2 for p, t in pairs) / len(pairs)


def accuracy_by_loops(predictions: Tensor, targets: Tensor, ids: list[int]) -> float:
    """Share of rows whose best-scored target has the row's own id."""
    hits = 0
    for i, p in enumerate(predictions.tolist()):
        scores = [cosine_by_loops(p, t) for t in targets.tolist()]
        hits += ids[max(range(len(ids)), key=scores.__getitem__)] == ids[i]
    return hits / len(ids)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(3))
class TestAgainstPlainLoops:
    def test_mse(self, dtype: torch.dtype, seed: int) -> None:
        predictions, targets = random_batch(seed, dtype=dtype)
        loss = run("mse", predictions, targets).loss
        assert loss.dtype == dtype
        assert float(loss) == pytest.approx(mse_by_loops(predictions, targets), rel=TOLERANCE[dtype])

    def test_cosine(self, dtype: torch.dtype, seed: int) -> None:
        predictions, targets = random_batch(seed, dtype=dtype)
        loss = run("cosine", predictions, targets).loss
        assert loss.dtype == dtype
        assert float(loss) == pytest.approx(cosine_loss_by_loops(predictions, targets), rel=TOLERANCE[dtype])

    def test_cosine_mse(self, dtype: torch.dtype, seed: int) -> None:
        predictions, targets = random_batch(seed, dtype=dtype)
        output = run("cosine_mse", predictions, targets, cosine_weight=0.8, mse_weight=0.2)
        cosine = 0.8 * cosine_loss_by_loops(predictions, targets)
        mse = 0.2 * mse_by_loops(predictions, targets)
        assert float(output.loss) == pytest.approx(cosine + mse, rel=TOLERANCE[dtype])
        assert float(output.parts["weighted_cosine"]) == pytest.approx(cosine, rel=TOLERANCE[dtype])
        assert float(output.parts["weighted_mse"]) == pytest.approx(mse, rel=TOLERANCE[dtype])

    @pytest.mark.parametrize("temperature", [0.05, 0.07, 0.1, 1.0])
    def test_infonce(self, dtype: torch.dtype, seed: int, temperature: float) -> None:
        predictions, targets = random_batch(seed, dtype=dtype)
        output = run("infonce", predictions, targets, temperature=temperature)
        ids = list(range(len(targets)))
        expected = infonce_by_loops(predictions, targets, ids, temperature)
        assert float(output.loss) == pytest.approx(expected, rel=TOLERANCE[dtype])
        assert float(output.parts["infonce_acc"]) == pytest.approx(accuracy_by_loops(predictions, targets, ids))


class TestAgainstOtherImplementations:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("temperature", [0.05, 0.07, 0.1])
    def test_infonce_is_the_one_of_info_nce_pytorch(self, seed: int, temperature: float) -> None:
        predictions, targets = random_batch(seed, rows=32, dims=16)
        reference = InfoNCE(temperature=temperature)(predictions, targets)
        torch.testing.assert_close(run("infonce", predictions, targets, temperature=temperature).loss, reference)

    @pytest.mark.parametrize("seed", range(3))
    def test_infonce_classifies_predictions_against_targets_only_by_default(self, seed: int) -> None:
        predictions, targets = random_batch(seed)
        one_way, other_way = (InfoNCE(0.07)(*pair) for pair in ((predictions, targets), (targets, predictions)))
        assert not torch.isclose(one_way, other_way)
        torch.testing.assert_close(run("infonce", predictions, targets).loss, one_way)

    @pytest.mark.parametrize("seed", range(3))
    def test_symmetric_infonce_averages_both_directions(self, seed: int) -> None:
        predictions, targets = random_batch(seed)
        both = (InfoNCE(0.07)(predictions, targets) + InfoNCE(0.07)(targets, predictions)) / 2
        torch.testing.assert_close(run("infonce", predictions, targets, symmetric=True).loss, both)

    @pytest.mark.parametrize("twins", [1, 2, 3])
    def test_infonce_with_shared_targets_is_ntxent_by_label(self, twins: int) -> None:
        predictions, targets, ids = twin_batch(0, twins=twins)
        reference = NTXentLoss(temperature=0.07)(predictions, ids, ref_emb=targets, ref_labels=ids.clone())
        torch.testing.assert_close(run("infonce", predictions, targets, ids).loss, reference)

    @pytest.mark.parametrize("seed", range(3))
    def test_cosine_is_torchs_cosine_embedding_loss(self, seed: int) -> None:
        predictions, targets = random_batch(seed)
        reference = torch.nn.functional.cosine_embedding_loss(predictions, targets, torch.ones(len(targets)))
        torch.testing.assert_close(run("cosine", predictions, targets).loss, reference)


class TestValuesByHand:
    def test_cosine_is_0_along_1_across_and_2_against(self) -> None:
        targets = torch.tensor([[2.0, 0.0]] * 3)
        for prediction, expected in (([5.0, 0.0], 0), ([0.0, 3.0], 1), ([-0.1, 0.0], 2)):
            assert float(run("cosine", torch.tensor([prediction] * 3), targets).loss) == pytest.approx(expected)

    def test_mse_is_a_mean_over_rows_and_dimensions(self) -> None:
        assert float(run("mse", torch.zeros(2, 2), torch.tensor([[1.0, 2.0], [3.0, 0.0]])).loss) == 14 / 4

    def test_infonce_of_two_orthogonal_pairs(self) -> None:
        eye = torch.eye(2, dtype=torch.float64)
        output = run("infonce", eye, eye, temperature=1.0)
        assert float(output.loss) == pytest.approx(math.log(1 + math.exp(-1)))
        assert float(output.parts["infonce_acc"]) == 1

    def test_infonce_of_swapped_pairs_hits_nothing(self) -> None:
        eye = torch.eye(2, dtype=torch.float64)
        output = run("infonce", eye.flip(0), eye, temperature=1.0)
        assert float(output.loss) == pytest.approx(math.log(1 + math.exp(1)))
        assert float(output.parts["infonce_acc"]) == 0


class TestSharedTargets:
    @pytest.mark.parametrize("symmetric", [False, True])
    def test_rows_that_share_an_id_are_no_negatives(self, symmetric: bool) -> None:
        predictions, targets, ids = twin_batch(1)
        loss = run("infonce", predictions, targets, ids, symmetric=symmetric).loss
        one_way = infonce_by_loops(predictions, targets, ids.tolist(), 0.07)
        other_way = infonce_by_loops(targets, predictions, ids.tolist(), 0.07)
        assert float(loss) == pytest.approx((one_way + other_way) / 2 if symmetric else one_way)

    def test_a_twin_as_negative_would_raise_the_loss(self) -> None:
        predictions, targets, ids = twin_batch(1)
        assert run("infonce", predictions, targets, ids).loss < run("infonce", predictions, targets).loss

    def test_the_best_scored_target_counts_as_a_hit_by_identity(self) -> None:
        _, targets, ids = twin_batch(2)
        assert float(run("infonce", targets.clone(), targets, ids).parts["infonce_acc"]) == 1

    @pytest.mark.parametrize("seed", range(3))
    def test_accuracy_with_twins_is_that_of_plain_loops(self, seed: int) -> None:
        predictions, targets, ids = twin_batch(seed)
        accuracy = run("infonce", predictions, targets, ids).parts["infonce_acc"]
        assert float(accuracy) == pytest.approx(accuracy_by_loops(predictions, targets, ids.tolist()))


@pytest.mark.parametrize("dtype", TOLERANCE)
class TestDegenerateBatches:
    def test_infonce_of_one_target_only_has_nothing_to_tell_apart(self, dtype: torch.dtype) -> None:
        predictions, targets = random_batch(0, dtype=dtype)
        output = run("infonce", predictions, targets[:1].expand_as(targets), torch.zeros(len(targets), dtype=torch.int))
        assert float(output.loss) == 0
        assert float(output.parts["infonce_acc"]) == 1

    def test_infonce_of_zero_predictions_is_at_chance(self, dtype: torch.dtype) -> None:
        _, targets = random_batch(0, dtype=dtype)
        output = run("infonce", torch.zeros_like(targets), targets)
        assert float(output.loss) == pytest.approx(math.log(len(targets)), rel=TOLERANCE[dtype])
        assert float(output.parts["infonce_acc"]) == 1 / len(targets)

    def test_infonce_of_one_prediction_for_all_is_at_chance_accuracy(self, dtype: torch.dtype) -> None:
        predictions, targets = random_batch(0, dtype=dtype)
        output = run("infonce", predictions[:1].expand_as(predictions), targets)
        assert float(output.parts["infonce_acc"]) == 1 / len(targets)

    def test_cosine_of_zero_predictions_is_1(self, dtype: torch.dtype) -> None:
        _, targets = random_batch(0, dtype=dtype)
        assert float(run("cosine", torch.zeros_like(targets), targets).loss) == 1

    @pytest.mark.parametrize("name", loss_names())
    def test_zero_predictions_give_gradients_of_bounded_size(self, name: str, dtype: torch.dtype) -> None:
        _, targets = random_batch(0, dtype=dtype)
        predictions = torch.zeros_like(targets, requires_grad=True)
        run(name, predictions, targets).loss.backward()
        assert predictions.grad is not None
        assert float(predictions.grad.abs().max()) < 1e7

    @pytest.mark.parametrize("name", loss_names())
    def test_a_batch_of_one_target_gives_finite_gradients(self, name: str, dtype: torch.dtype) -> None:
        predictions, targets = random_batch(0, dtype=dtype)
        predictions.requires_grad_()
        run(
            name, predictions, targets[:1].expand_as(targets), torch.zeros(len(targets), dtype=torch.int)
        ).loss.backward()
        assert predictions.grad is not None
        assert torch.isfinite(predictions.grad).all()


@pytest.mark.parametrize("name", loss_names())
@pytest.mark.parametrize("twins", [1, 2])
def test_gradients_are_those_of_finite_differences(name: str, twins: int) -> None:
    predictions, targets, ids = twin_batch(5, groups=4, twins=twins)
    module = module_of(name, targets, ids)
    assert torch.autograd.gradcheck(lambda p: module(p, targets, ids).loss, predictions.requires_grad_())


def test_symmetric_infonce_gradients_are_those_of_finite_differences() -> None:
    predictions, targets, ids = twin_batch(5)
    module = module_of("infonce", targets, ids, symmetric=True)
    assert torch.autograd.gradcheck(lambda p: module(p, targets, ids).loss, predictions.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_unit_rows_of_half_precision_are_made_in_float32(dtype: torch.dtype) -> None:
    rows = unit(torch.tensor([[3e-4, 4e-4], [0, 0]], dtype=dtype))
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0, 0]]), atol=5e-3, rtol=0)


class TestProperties:
    @given(seeds, batches, widths)
    def test_mse_on_unit_vectors_is_two_times_cosine_over_dimensions(self, seed: int, rows: int, dims: int) -> None:
        predictions, targets = map(unit, random_batch(seed, rows, dims))
        cosine = run("cosine", predictions, targets).loss
        torch.testing.assert_close(run("mse", predictions, targets).loss, 2 * cosine / dims)

    @given(seeds, st.sampled_from(DIRECTION), st.floats(1e-3, 1e3))
    def test_direction_losses_ignore_the_scale_of_each_row(self, seed: int, name: str, scale: float) -> None:
        predictions, targets = random_batch(seed)
        scales = torch.linspace(1, scale, len(targets), dtype=torch.float64)[:, None]
        before = run(name, predictions, targets).loss
        torch.testing.assert_close(run(name, predictions * scales, targets / scales).loss, before)

    @given(seeds, batches, widths)
    def test_cosine_lies_between_0_and_2(self, seed: int, rows: int, dims: int) -> None:
        assert -1e-12 <= float(run("cosine", *random_batch(seed, rows, dims)).loss) <= 2 + 1e-12

    @given(seeds, batches, widths, st.floats(0.01, 10), st.booleans())
    def test_infonce_is_never_negative(
        self, seed: int, rows: int, dims: int, temperature: float, symmetric: bool
    ) -> None:
        output = run("infonce", *random_batch(seed, rows, dims), temperature=temperature, symmetric=symmetric)
        assert float(output.loss) >= 0
        assert 0 <= float(output.parts["infonce_acc"]) <= 1

    @given(seeds, st.sampled_from(loss_names()), st.integers(1, 3))
    def test_the_order_of_rows_changes_nothing(self, seed: int, name: str, twins: int) -> None:
        predictions, targets, ids = twin_batch(seed, twins=twins)
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(
            run(name, predictions[order], targets[order], ids[order]).loss, run(name, predictions, targets, ids).loss
        )

    @given(seeds, st.sampled_from([name for name in loss_names() if name != "huber"]))
    def test_a_rotation_of_both_spaces_changes_nothing(self, seed: int, name: str) -> None:
        predictions, targets = random_batch(seed)
        rotation = torch.linalg.qr(random_batch(seed + 1, 5, 5)[0]).Q
        before = run(name, predictions, targets).loss
        torch.testing.assert_close(run(name, predictions @ rotation, targets @ rotation).loss, before)

    @given(seeds, st.floats(0, 100), st.floats(0.01, 100))
    def test_cosine_mse_is_the_weighted_sum_of_its_logged_parts(self, seed: int, alpha: float, beta: float) -> None:
        predictions, targets = random_batch(seed)
        output = run("cosine_mse", predictions, targets, cosine_weight=alpha, mse_weight=beta)
        torch.testing.assert_close(output.loss, output.parts["weighted_cosine"] + output.parts["weighted_mse"])
        torch.testing.assert_close(output.parts["weighted_cosine"], alpha * run("cosine", predictions, targets).loss)
        torch.testing.assert_close(output.parts["weighted_mse"], beta * run("mse", predictions, targets).loss)


class TestLimits:
    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("infonce", {"temperature": 0.0009}),
            ("infonce", {"temperature": 10.1}),
            ("infonce", {"temperature": math.nan}),
            ("infonce", {"symmetric": 1}),
            ("cosine_mse", {"cosine_weight": -0.1}),
            ("cosine_mse", {"mse_weight": 100.5}),
            ("cosine_mse", {"cosine_weight": 0.0, "mse_weight": 0.0}),
            ("mse", {"temperature": 0.07}),
        ],
    )
    def test_parameters_outside_their_limits_are_refused(self, name: str, settings: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            loss_config_class(name)(**settings)
