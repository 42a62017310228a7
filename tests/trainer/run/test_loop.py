"""The training loop: what one epoch does, why a run ends, and that it continues to the same bits."""

import copy
import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.trainer.data.resident import CenteredTargets
from losstune.trainer.data.splits import query_rows, split_rows
from losstune.trainer.losses import LossConfig, LossModule, LossOutput, TrainTargets
from losstune.trainer.losses.base import closed_form
from losstune.trainer.losses.mse import MseLoss
from losstune.trainer.run.loop import Trainer
from losstune.trainer.score.metrics import embedding_metrics
from tests.trainer.model.test_averaged_weights import by_numpy
from tests.trainer.samples import (
    refusal,
    sample_arrays,
    sample_config,
    sample_pairs,
    sample_trainer,
    timeless,
    train_to_end,
)

STILL = {"lr": 1e-30, "weight_decay": 0.0}
"""Settings under which weights stay what they are."""


LEARNED, BREAKING, SEEING = (f"{__name__}:{loss}Config" for loss in ("Learned", "Breaking", "Seeing"))
"""Losses of this file, by their paths."""


class LearnedConfig(LossConfig):
    """Cosine distance over a learned scale, with the scale's own price."""

    name: ClassVar[str] = "learned"
    start: float = 0.5

    def build(self, train: TrainTargets) -> LossModule:
        return LearnedLoss(self.start)


class LearnedLoss(LossModule):
    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(start))

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        distance = (predictions - targets).square().mean()
        scale = self.log_scale.exp()
        return LossOutput(distance / scale + self.log_scale, {"scale": scale.detach()})


class BreakingConfig(LossConfig):
    """MSE that turns NaN after some training batches: its value, or only its gradient."""

    name: ClassVar[str] = "breaking"
    good_batches: int = 12
    silent: bool = False

    def build(self, train: TrainTargets) -> LossModule:
        return BreakingLoss(self.good_batches, self.silent)


class BreakingLoss(LossModule):
    def __init__(self, good_batches: int, silent: bool) -> None:
        super().__init__()
        self.left = good_batches
        self.silent = silent

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        loss = (predictions - targets).square().mean()
        if self.training:
            self.left -= 1
        if self.training and self.left < 0:
            if self.silent:
                predictions.register_hook(lambda gradient: gradient * math.nan)
            else:
                loss = loss * math.nan
        return LossOutput(loss, {})


class SeeingConfig(LossConfig):
    """MSE that remembers the mean of the targets it was built from."""

    name: ClassVar[str] = "seeing"

    def build(self, train: TrainTargets) -> LossModule:
        return SeeingLoss(train.gallery().targets.mean(dim=0))


class SeeingLoss(MseLoss):
    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.mean = mean


def batch_sizes(trainer: Trainer, *, training: bool) -> list[int]:
    """Rows of each batch that the loss sees, from now on."""
    sizes: list[int] = []

    def note(module: nn.Module, arguments: tuple[Tensor, ...], _: object) -> None:
        if module.training == training:
            sizes.append(len(arguments[0]))

    trainer.loss.register_forward_hook(note)
    if training and (closed := closed_form(trainer.loss)) is not None:
        original = closed.with_gradient

        def noting(predictions: Tensor, *others: Any) -> Any:
            sizes.append(len(predictions))
            return original(predictions, *others)

        trainer.loss.with_gradient = noting
    return sizes


def step_rates(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Learning rate of each optimizer step, from now on."""
    rates: list[float] = []
    step = trainer.optimizer.step
    monkeypatch.setattr(trainer.optimizer, "step", lambda lr: (rates.append(lr), step(lr)))
    return rates


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class TestOneEpoch:
    @pytest.mark.parametrize(
        ("loss_fn", "own"),
        [
            ("mse", []),
            ("cosine", []),
            ("cosine_mse", ["weighted_cosine", "weighted_mse"]),
            ("infonce", ["infonce_acc"]),
            ("siglip", ["scale", "bias"]),
            ("triplet", ["active_triplets"]),
            ("full_softmax", ["gallery_acc"]),
            ("infonce_cosine", ["infonce_acc", "infonce", "weighted_cosine"]),
            ("huber", []),
        ],
    )
    def test_records_the_losss_own_parts_beside_what_every_loss_has(self, loss_fn: str, own: list[str]) -> None:
        record = sample_trainer(sample_config(loss_fn)).run_epoch()
        within = ["recall_at_1", "recall_at_5", "recall_at_10", "mrr_at_10", "ndcg_at_10"]
        metrics = ["cosine_sim", "mse", "mrr", *within, "median_rank"]
        assert set(record) == {
            *("epoch", "time", "seconds", "lr"),
            *(f"train/{name}" for name in ("loss", "cosine_sim", *own)),
            *(f"val/{name}" for name in ("loss", *metrics, *own)),
        }

    def test_partial_batches_are_dropped_for_infonce(self) -> None:
        trainer = sample_trainer(sample_config("infonce", batch_size=16))
        rows = len(trainer.data.train)
        assert rows % 16
        sizes = batch_sizes(trainer, training=True)
        trainer.run_epoch()
        assert sizes == [16] * (rows // 16)

    def test_partial_batches_are_kept_for_cosine(self) -> None:
        trainer = sample_trainer(sample_config("cosine", batch_size=16))
        rows = len(trainer.data.train)
        sizes = batch_sizes(trainer, training=True)
        trainer.run_epoch()
        assert sizes == [16] * (rows // 16) + [rows % 16]

    def test_each_row_is_seen_once_in_another_order_each_epoch(self) -> None:
        trainer = sample_trainer(sample_config("full_softmax", batch_size=16))
        seen: list[int] = []
        trainer.loss.register_forward_hook(lambda m, args, _: seen.extend(args[2].tolist()) if m.training else None)
        trainer.run_epoch()
        first = seen.copy()
        seen.clear()
        trainer.run_epoch()
        second = seen
        assert sorted(first) == sorted(second) == sorted(trainer.data.train.ids.tolist())
        assert first != second

    @pytest.mark.parametrize("loss_fn", ["mse", "cosine", "cosine_mse"])
    def test_training_numbers_are_means_over_rows(self, loss_fn: str) -> None:
        trainer = sample_trainer(sample_config(loss_fn, batch_size=16, **STILL))
        split = trainer.data.train
        record = trainer.run_epoch()
        predictions = trainer.predict(split.inputs)
        output = trainer.loss(predictions, split.targets, split.ids)
        assert record["train/loss"] == pytest.approx(float(output.loss), rel=1e-5)
        cosine = torch.nn.functional.cosine_similarity(predictions, split.targets).mean()
        assert record["train/cosine_sim"] == pytest.approx(float(cosine), rel=1e-4)
        for name, value in output.parts.items():
            assert record[f"train/{name}"] == pytest.approx(float(value), rel=1e-5)

    def test_validation_metrics_are_those_of_the_model_after_the_epoch(self) -> None:
        trainer = sample_trainer(sample_config("cosine"))
        record = trainer.run_epoch()
        val = trainer.data.val
        assert val is not None
        predictions = trainer.predict(val.inputs)
        expected = embedding_metrics(predictions, val.targets, val.gallery, val.positive)
        expected["loss"] = float(trainer.loss(predictions, val.targets, val.ids).loss)
        assert {name: record[f"val/{name}"] for name in expected} == pytest.approx(expected)

    @pytest.mark.parametrize("center", [False, True])
    def test_on_a_sample_each_row_scores_what_it_scores_on_the_whole_split(self, center: bool) -> None:
        """By plain NumPy over all 1,200 rows and targets, of which 1,000 rows are then averaged."""
        pairs = sample_pairs(rows=6000)
        trainer = sample_trainer(sample_config("cosine", eval_queries=1000, center=center), pairs)
        record = trainer.run_epoch()
        splits = split_rows(pairs, 0)
        targets = pairs.targets[splits.val]
        predictions = trainer.predict(torch.from_numpy(pairs.inputs[splits.val])).numpy()
        shift = pairs.targets[splits.train].mean(axis=0, dtype=np.float64) if center else 0.0
        p, t = ((x - shift) / np.linalg.norm(x - shift, axis=1, keepdims=True) for x in (predictions, targets))
        scores = p @ t.T
        ranks = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
        cosines = (predictions * targets).sum(1) / np.linalg.norm(predictions, axis=1) / np.linalg.norm(targets, axis=1)
        drawn = np.isin(splits.val, query_rows(splits.val, 1000))
        assert (drawn.sum(), len(drawn) > 1100) == (1000, True)
        assert record["val/mrr"] == pytest.approx((1 / ranks)[drawn].mean(), rel=1e-12)
        assert record["val/recall_at_5"] == pytest.approx((ranks <= 5)[drawn].mean(), rel=1e-12)
        assert record["val/median_rank"] == np.median(ranks[drawn])
        assert record["val/cosine_sim"] == pytest.approx(cosines[drawn].mean(), rel=1e-5)
        assert record["val/mse"] == pytest.approx(np.square(predictions - targets)[drawn].mean(), rel=1e-5)

    def test_a_sample_changes_nothing_of_the_training(self) -> None:
        pairs = sample_pairs(rows=6000)
        some, whole = (sample_trainer(sample_config(eval_queries=n), pairs) for n in (1000, "all"))
        one, other = some.run_epoch(), whole.run_epoch()
        assert {n: v for n, v in one.items() if n.startswith("train/")} == {
            n: v for n, v in other.items() if n.startswith("train/")
        }
        assert equal(weights(some), weights(whole))
        assert one["val/mrr"] != other["val/mrr"]

    def test_infonce_on_a_sample_is_validated_on_whole_batches_of_it(self) -> None:
        trainer = sample_trainer(sample_config("infonce", batch_size=300, eval_queries=1000), sample_pairs(rows=6000))
        sizes = batch_sizes(trainer, training=False)
        trainer.run_epoch()
        assert sizes == [300] * 3

    def test_infonce_is_validated_on_whole_batches_of_the_training_size(self) -> None:
        trainer = sample_trainer(sample_config("infonce", batch_size=18))
        val = trainer.data.val
        assert val is not None
        assert len(val) % 18
        sizes = batch_sizes(trainer, training=False)
        record = trainer.run_epoch()
        assert sizes == [18] * (len(val) // 18)
        predictions = trainer.predict(val.inputs)
        outputs = []
        for start in range(0, len(val) - 17, 18):
            rows = slice(start, start + 18)
            outputs.append(trainer.loss(predictions[rows], val.targets[rows], val.ids[rows]))
        for name, values in (
            ("loss", [output.loss for output in outputs]),
            ("infonce_acc", [output.parts["infonce_acc"] for output in outputs]),
        ):
            assert record[f"val/{name}"] == pytest.approx(float(torch.stack(values).mean()))

    def test_a_linear_model_takes_the_step_that_plain_torch_takes(self) -> None:
        pairs = sample_pairs()
        rows = split_rows(pairs, 0).train
        settings = {"model.depth": 0, "clip_norm": None, "lr": 0.01, "weight_decay": 0.1}
        trainer = sample_trainer(sample_config("mse", batch_size=len(rows), **settings), pairs)
        plain = nn.Linear(6, 5)
        plain.load_state_dict(trainer.model.head.state_dict())
        inputs, targets = torch.from_numpy(pairs.inputs[rows]), torch.from_numpy(pairs.targets[rows])
        inputs = (inputs - inputs.mean(0)) / inputs.std(0, correction=0)
        groups = [{"params": [plain.weight], "weight_decay": 0.1}, {"params": [plain.bias], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=0.01)
        for _ in range(3):
            trainer.run_epoch()
            optimizer.zero_grad()
            nn.functional.mse_loss(plain(inputs), targets).backward()
            optimizer.step()
        torch.testing.assert_close(trainer.model.head.weight, plain.weight)
        torch.testing.assert_close(trainer.model.head.bias, plain.bias)

    def test_bfloat16_trains_and_predicts_in_float32(self) -> None:
        trainer = sample_trainer(sample_config("infonce", precision="bfloat16"))
        record = trainer.run_epoch()
        assert all(map(math.isfinite, record.values()))
        assert trainer.predict(trainer.data.train.inputs).dtype == torch.float32
        assert not equal(weights(trainer), weights(sample_trainer(sample_config("infonce"))))

    def test_training_learns(self) -> None:
        records = train_to_end(sample_trainer(sample_config("cosine", num_epochs=30, lr=0.01)))
        assert records[-1]["val/mrr"] > 2 * records[0]["val/mrr"]
        assert records[-1]["val/cosine_sim"] > 0.9


LOSSES = ["mse", "cosine", "cosine_mse", "infonce"]


def off_centre(shift: float = 4.0) -> Pairs:
    """The sample with targets that share a large part."""
    arrays = sample_arrays()
    arrays["targets"] += np.float32(shift)
    return make_pairs(arrays, "off centre")


def centred_by_hand(pairs: Pairs) -> Pairs:
    """The same pairs with the training rows' mean target subtracted from all targets."""
    mean = pairs.targets[split_rows(pairs, 0).train].mean(axis=0, dtype=np.float64).astype(np.float32)
    return make_pairs({"inputs": pairs.inputs, "targets": pairs.targets - mean, "ids": pairs.ids}, "by hand")


def at_the_mean(trainer: Trainer, mean: Tensor) -> Trainer:
    """A trainer whose last bias starts at the mean target, as ``center`` starts it."""
    trainer.model.fit_targets(mean)
    return trainer


class TestCenter:
    @pytest.mark.parametrize("loss_fn", LOSSES)
    def test_trains_as_on_targets_that_were_centred_by_hand(self, loss_fn: str) -> None:
        pairs = off_centre()
        found = train_to_end(sample_trainer(sample_config(loss_fn, center=True, num_epochs=3), pairs))
        by_hand = sample_trainer(sample_config(loss_fn, num_epochs=3), centred_by_hand(pairs))
        expected = train_to_end(at_the_mean(by_hand, torch.zeros(5)))
        for record, other in zip(found, expected, strict=True):
            for name in ("train/loss", "val/loss"):
                assert record[name] == pytest.approx(other[name], rel=1e-4)
            for name in ("val/mrr", "val/recall_at_1", "val/recall_at_5", "val/recall_at_10", "val/median_rank"):
                assert record[name] == pytest.approx(other[name], rel=0.02)

    @pytest.mark.parametrize("loss_fn", LOSSES)
    def test_only_the_bias_starts_elsewhere(self, loss_fn: str) -> None:
        pairs = off_centre()
        plain, trainer = (sample_trainer(sample_config(loss_fn, center=center), pairs) for center in (False, True))
        mean = torch.from_numpy(pairs.targets[split_rows(pairs, 0).train]).mean(0)
        torch.testing.assert_close(trainer.center, mean)
        assert torch.equal(trainer.model.head.bias, trainer.center)
        assert {name for name in weights(plain) if not torch.equal(weights(plain)[name], weights(trainer)[name])} == {
            "head.bias"
        }
        assert plain.center is None

    def test_the_mse_loss_is_the_same_but_for_that_start(self) -> None:
        pairs = off_centre()
        centred = sample_trainer(sample_config("mse", center=True), pairs)
        assert centred.center is not None
        plain = at_the_mean(sample_trainer(sample_config("mse"), pairs), centred.center)
        for record, other in zip(train_to_end(centred), train_to_end(plain), strict=True):
            for name in ("train/loss", "val/loss", "val/mse", "train/cosine_sim", "val/cosine_sim"):
                assert record[name] == pytest.approx(other[name], rel=1e-4)
            assert record["val/mrr"] != other["val/mrr"]

    @pytest.mark.parametrize("loss_fn", LOSSES)
    def test_cosine_and_mse_stay_the_plain_ones(self, loss_fn: str) -> None:
        trainer = sample_trainer(sample_config(loss_fn, center=True, batch_size=16, **STILL), off_centre())
        record, val, train = trainer.run_epoch(), trainer.data.val, trainer.data.train
        assert val is not None
        predictions = trainer.predict(val.inputs)
        plain = torch.nn.functional.cosine_similarity(predictions, val.targets)
        assert record["val/cosine_sim"] == pytest.approx(float(plain.mean()), rel=1e-5)
        assert record["val/mse"] == pytest.approx(float((predictions - val.targets).square().mean()), rel=1e-5)
        cosine = torch.nn.functional.cosine_similarity(trainer.predict(train.inputs), train.targets).mean()
        assert record["train/cosine_sim"] == pytest.approx(float(cosine), abs=0.01)  # infonce drops a partial batch

    def test_with_validation_rows_in_training_they_are_in_the_mean(self) -> None:
        pairs = off_centre()
        trainer = sample_trainer(sample_config(center=True, fit="train+val"), pairs)
        rows = split_rows(pairs, 0, train_on_val=True).train
        assert trainer.center is not None
        np.testing.assert_allclose(trainer.center, pairs.targets[rows].mean(axis=0), rtol=1e-6)

    def test_a_loss_is_built_from_targets_as_it_will_see_them(self) -> None:
        config = sample_config(SEEING, center=True)
        trainer = sample_trainer(config, off_centre())
        assert isinstance(trainer.loss, SeeingLoss)
        assert trainer.loss.mean.abs().max() < 1e-5


def test_a_probe_trains_on_so_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[float] = []
    trainer = sample_trainer(sample_config(batch_size=16))
    monkeypatch.setattr(trainer.optimizer, "step", steps.append)
    trainer.run_batches(2)
    assert len(steps) == 2
    trainer.run_batches(1000)  # as many as there are
    assert len(steps) == 2 + math.ceil(len(trainer.data.train) / 16)


class TestLearningRate:
    def rates(self, **settings: Any) -> list[float]:
        return [record["lr"] for record in train_to_end(sample_trainer(sample_config(lr=0.01, **settings)))]

    def test_a_constant_rate_stays(self) -> None:
        assert self.rates(num_epochs=3) == [0.01] * 3

    def test_warm_up_rises_in_a_line(self) -> None:
        assert self.rates(num_epochs=5, warmup_epochs=4) == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01])

    def test_cosine_falls_to_0_at_the_last_epoch(self) -> None:
        expected = [0.01 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in (1, 2, 3, 4)]
        assert self.rates(num_epochs=4, schedule="cosine") == pytest.approx(expected)
        assert expected[-1] == 0

    def test_cosine_begins_where_the_warm_up_ends(self) -> None:
        expected = [0.005, 0.01, *(0.01 * (1 + math.cos(math.pi * done / 4)) / 2 for done in (1, 2, 3, 4))]
        assert self.rates(num_epochs=6, schedule="cosine", warmup_epochs=2) == pytest.approx(expected)

    def test_cosine_may_end_later_than_the_run(self) -> None:
        expected = [0.01 * (1 + math.cos(math.pi * epoch / 8)) / 2 for epoch in (1, 2, 3, 4)]
        assert self.rates(num_epochs=4, schedule="cosine", schedule_epochs=8) == pytest.approx(expected)

    def test_cosine_that_ends_sooner_stays_at_0(self) -> None:
        rates = self.rates(num_epochs=5, schedule="cosine", schedule_epochs=2)
        assert rates == pytest.approx([0.005, 0, 0, 0, 0])

    def test_each_step_of_an_epoch_has_its_own_rate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        trainer = sample_trainer(sample_config(batch_size=32, lr=0.01, warmup_epochs=2))
        rates = step_rates(trainer, monkeypatch)
        trainer.run_epoch()
        steps = math.ceil(len(trainer.data.train) / 32)
        assert rates == pytest.approx([0.01 * step / steps / 2 for step in range(1, steps + 1)])


class TestSeeds:
    def test_the_same_seed_gives_the_same_curve_and_weights(self) -> None:
        config = sample_config("infonce", **{"model.dropout": 0.3})
        one, other = sample_trainer(config), sample_trainer(config)
        assert timeless(train_to_end(one)) == timeless(train_to_end(other))
        assert equal(weights(one), weights(other))

    def test_another_seed_gives_another_curve(self) -> None:
        first = sample_trainer(sample_config(seed=0)).run_epoch()
        assert sample_trainer(sample_config(seed=1)).run_epoch()["train/loss"] != first["train/loss"]

    def test_what_else_draws_random_numbers_does_not_matter(self) -> None:
        trainer = sample_trainer(sample_config(**{"model.dropout": 0.3}))
        torch.manual_seed(12345)
        other = sample_trainer(sample_config(**{"model.dropout": 0.3}))
        torch.rand(7)
        assert timeless(train_to_end(trainer)) == timeless(train_to_end(other))

    def test_nobody_elses_random_numbers_are_changed(self) -> None:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        sample_trainer(sample_config()).run_epoch()
        assert torch.equal(torch.get_rng_state(), before)

    def test_the_test_split_is_never_looked_at(self) -> None:
        pairs = sample_pairs()
        inputs = pairs.inputs.copy()
        inputs[split_rows(pairs, 0).test] = 1e6
        one = train_to_end(sample_trainer(sample_config(), pairs))
        assert timeless(one) == timeless(train_to_end(sample_trainer(sample_config(), replace(pairs, inputs=inputs))))


class TestBest:
    SPOILED: ClassVar[dict[str, Any]] = {"num_epochs": 12, "warmup_epochs": 12, "lr": 3.0, "batch_size": 8}
    """A learning rate that rises until it undoes what was learned."""

    @pytest.mark.parametrize("objective", ["val/mrr", "val/cosine_sim", "val/recall_at_5"])
    def test_the_best_epoch_is_the_first_highest_of_the_objective(self, objective: str) -> None:
        trainer = sample_trainer(sample_config("mse", objective=objective, **self.SPOILED))
        values = [record[objective] for record in train_to_end(trainer)]
        assert values[-1] < max(values)
        assert trainer.best_value == max(values)
        assert trainer.best_epoch == values.index(max(values)) + 1

    def test_the_best_weights_are_those_of_the_best_epoch(self) -> None:
        trainer = sample_trainer(sample_config("mse", **self.SPOILED))
        kept = {}
        while trainer.end is None:
            trainer.run_epoch()
            kept[trainer.epoch] = weights(trainer)
        assert trainer.best_epoch < trainer.epoch
        assert equal(trainer.best_state, kept[trainer.best_epoch])

    def test_with_nothing_to_validate_on_the_last_epoch_is_the_best(self) -> None:
        trainer = sample_trainer(sample_config(fit="train+val"))
        records = train_to_end(trainer)
        assert not any(name.startswith("val/") for record in records for name in record)
        assert trainer.best_epoch == trainer.epoch == 5
        assert equal(trainer.best_state, weights(trainer))


class TestEnds:
    def test_a_run_ends_with_its_epochs(self) -> None:
        trainer = sample_trainer(sample_config(num_epochs=3))
        assert [record["epoch"] for record in train_to_end(trainer)] == [1, 2, 3]
        assert trainer.end == "epochs"

    def test_an_ended_run_trains_no_further(self) -> None:
        trainer = sample_trainer(sample_config(num_epochs=1))
        trainer.run_epoch()
        with pytest.raises(RuntimeError, match="the run has ended: epochs"):
            trainer.run_epoch()

    @pytest.mark.parametrize("patience", [1, 3])
    def test_patience_ends_a_run_without_a_new_best(self, patience: int) -> None:
        trainer = sample_trainer(sample_config(num_epochs=50, patience=patience, **STILL))
        train_to_end(trainer)
        assert (trainer.end, trainer.best_epoch, trainer.epoch) == ("patience", 1, 1 + patience)

    @pytest.mark.parametrize("silent", [False, True])
    def test_a_number_that_is_not_finite_ends_a_run_as_diverged(self, silent: bool) -> None:
        config = sample_config(BREAKING, batch_size=16, good_batches=15, silent=silent)
        trainer = sample_trainer(config)
        records = train_to_end(trainer)
        assert trainer.end == "diverged"
        assert trainer.epoch == len(records) == 2  # 8 batches an epoch
        assert not all(map(math.isfinite, records[-1].values()))

    def test_a_diverged_run_keeps_its_best_until_then(self) -> None:
        trainer = sample_trainer(sample_config(BREAKING, batch_size=16, good_batches=15))
        records = train_to_end(trainer)
        assert trainer.best_epoch == 1
        assert trainer.best_value == records[0]["val/mrr"]
        assert all(tensor.isfinite().all() for tensor in trainer.best_state.values())

    def test_predictions_that_are_not_finite_are_not_ranked(self) -> None:
        trainer = sample_trainer(sample_config(BREAKING, good_batches=7, batch_size=16, silent=True))
        record = trainer.run_epoch()
        assert trainer.end == "diverged"
        assert math.isfinite(record["train/loss"])
        assert math.isnan(record["val/loss"])
        assert "val/mrr" not in record

    def test_a_rate_far_too_high_diverges_or_stays_finite_but_never_raises(self) -> None:
        trainer = sample_trainer(sample_config("mse", lr=100, clip_norm=None, num_epochs=20))
        records = train_to_end(trainer)
        assert trainer.end == ("epochs" if all(map(math.isfinite, records[-1].values())) else "diverged")


class TestContinuing:
    """From a state held in memory; through files it is tested with the run directory."""

    def continued(self, first: dict[str, Any], then: dict[str, Any]) -> Trainer:
        before = sample_trainer(sample_config(**first))
        train_to_end(before)
        after = sample_trainer(sample_config(**then))
        after.load_state(before.state())
        return after

    def test_more_epochs_reopen_a_run_that_used_its_own(self) -> None:
        trainer = self.continued({"num_epochs": 2}, {"num_epochs": 3})
        assert trainer.end is None
        assert [record["epoch"] for record in train_to_end(trainer)] == [3]

    def test_the_same_epochs_do_not(self) -> None:
        assert self.continued({"num_epochs": 2}, {"num_epochs": 2}).end == "epochs"

    def test_fewer_epochs_than_it_has_trained_end_it(self) -> None:
        before = sample_trainer(sample_config(num_epochs=9))
        before.run_epoch()
        before.run_epoch()
        after = sample_trainer(sample_config(num_epochs=1))
        after.load_state(before.state())
        assert after.end == "epochs"

    def test_more_patience_reopens_a_run_that_lost_it(self) -> None:
        settings = {"num_epochs": 9, **STILL}
        assert self.continued({**settings, "patience": 2}, {**settings, "patience": 2}).end == "patience"
        trainer = self.continued({**settings, "patience": 2}, {**settings, "patience": 4})
        assert trainer.end is None
        assert [record["epoch"] for record in train_to_end(trainer)] == [4, 5]

    def test_nothing_reopens_a_diverged_run(self) -> None:
        settings = {"loss_fn": BREAKING, "good_batches": 0}
        assert self.continued({**settings, "num_epochs": 2}, {**settings, "num_epochs": 9}).end == "diverged"


class TestALossWithParameters:
    def test_they_are_trained_with_the_models(self) -> None:
        trainer = sample_trainer(sample_config(LEARNED, start=0.5))
        record = trainer.run_epoch()
        assert math.exp(0.5) != pytest.approx(record["val/scale"])
        assert record["val/scale"] == pytest.approx(float(trainer.loss.state_dict()["log_scale"].exp()))

    def test_they_are_not_decayed(self) -> None:
        trainer = sample_trainer(sample_config(LEARNED, weight_decay=100.0, lr=1e-6, start=2.0))
        trainer.run_epoch()
        assert float(trainer.loss.state_dict()["log_scale"]) == pytest.approx(2, abs=1e-4)

    def test_they_are_part_of_the_state(self) -> None:
        trainer = sample_trainer(sample_config(LEARNED))
        train_to_end(trainer)
        other = sample_trainer(sample_config(LEARNED))
        other.load_state(trainer.state())
        assert equal(other.loss.state_dict(), trainer.loss.state_dict())

    def test_an_option_of_theirs_is_a_setting_like_any_other(self) -> None:
        assert sample_config(LEARNED, start=1.5).flat()["start"] == 1.5
        assert refusal(sample_config, LEARNED, start="x") == "start: found 'x'; should be a valid number"


class ChattyConfig(LossConfig):
    """Returns what its setting says."""

    name: ClassVar[str] = "chatty"
    mode: str = "ok"

    def build(self, train: TrainTargets) -> LossModule:
        return ChattyLoss(self.mode)


class ChattyLoss(LossModule):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> Any:
        errors = (predictions - targets).square().mean(dim=1)
        loss = errors.mean()
        match self.mode:
            case "tensor":
                return loss
            case "rows":
                return LossOutput(errors, {})
            case "number":
                return LossOutput(loss, {"worst": errors.max().item()})  # type: ignore[dict-item]
            case name:
                return LossOutput(loss, {name: errors.max()})


class MoodyConfig(LossConfig):
    """Logs a part of the second batch alone, in training or in validation."""

    name: ClassVar[str] = "moody"
    in_batch: ClassVar[bool] = True
    split: str = "training"

    def build(self, train: TrainTargets) -> LossModule:
        return MoodyLoss(self.split)


class MoodyLoss(LossModule):
    def __init__(self, split: str) -> None:
        super().__init__()
        self.split, self.batches = split, {"training": 0, "validation": 0}

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        split = "training" if self.training else "validation"
        self.batches[split] += 1
        loss = (predictions - targets).square().mean()
        both = {f"of_{split}": loss}  # a part of one of the two is none of the other
        return LossOutput(loss, {**both, "neg": loss} if (split, self.batches[split]) == (self.split, 2) else both)


class TestWhatALossReturns:
    CHATTY = f"{__name__}:ChattyConfig"

    @pytest.mark.parametrize(
        ("mode", "message"),
        [
            ("tensor", "its module returned Tensor; expected LossOutput(loss, parts)"),
            ("rows", "loss: found a tensor of shape (16,); expected a tensor that holds one number, shape ()"),
            ("number", "worst: found "),
            *(
                (name, f"its part {name!r} has the name of a metric; give it another")
                for name in ("loss", "cosine_sim", "mse", "mrr", "recall_at_5", "median_rank", "hubness")
            ),
        ],
    )
    def test_what_can_not_be_recorded_is_refused_at_its_first_use(self, mode: str, message: str) -> None:
        trainer = sample_trainer(sample_config(self.CHATTY, mode=mode))
        assert refusal(trainer.run_epoch).startswith(f"loss chatty: {message}")

    @pytest.mark.parametrize("split", ["training", "validation"])
    def test_a_part_of_some_batches_alone_is_refused(self, split: str) -> None:
        trainer = sample_trainer(sample_config(f"{__name__}:MoodyConfig", split=split))
        message = f"loss moody: its part 'neg' is in {split} batch 2 and not in batch 1; each batch is to have the same"
        assert refusal(trainer.run_epoch).startswith(message)

    def test_training_and_validation_may_have_parts_of_their_own(self) -> None:
        record = sample_trainer(sample_config(f"{__name__}:MoodyConfig", split="neither")).run_epoch()
        assert {"train/of_training", "val/of_validation"} == {name for name in record if "/of_" in name}

    def test_parts_with_a_gradient_are_recorded_without_it(self) -> None:
        trainer = sample_trainer(sample_config(self.CHATTY, mode="worst"))
        assert trainer.run_epoch()["val/worst"] > 0

    @pytest.mark.parametrize("center", [False, True])
    def test_the_gallery_that_it_is_built_from_is_the_training_splits(self, center: bool) -> None:
        arrays = sample_arrays(rows=60)
        ids = np.random.default_rng(0).permutation(20)[np.arange(60) % 20] * 7
        arrays["targets"] = arrays["targets"][np.unique(ids, return_inverse=True)[1]]
        trainer = sample_trainer(sample_config(center=center), make_pairs({**arrays, "ids": ids}, "shared"))
        train = trainer.data.train
        gallery = CenteredTargets(train, trainer.center).gallery()
        assert gallery.ids.tolist() == sorted(set(train.ids.tolist()))
        by_id = dict(zip(train.ids.tolist(), train.targets, strict=True))
        expected = torch.stack([by_id[identity] for identity in gallery.ids.tolist()])
        mean = train.targets.mean(dim=0) if center else torch.zeros(5)
        torch.testing.assert_close(gallery.targets, expected - mean)


def test_infonce_beats_cosine_in_retrieval_on_digits() -> None:
    """The guide's second claim, on the data that comes with the product."""
    found = {}
    for loss_fn in ("cosine", "infonce"):
        config = sample_config(loss_fn, num_epochs=5, **{"model.hidden_dim": 128})
        trainer = sample_trainer(config, load_pairs("digits"))
        train_to_end(trainer)
        found[loss_fn] = trainer.best_value
    assert found["infonce"] > 1.2 * found["cosine"]


class TestAccumulation:
    def gradients(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[Tensor]:
        """All gradients at each step of an epoch in which the weights stay what they are, in one row."""
        trainer = sample_trainer(sample_config(**settings))
        taken: list[Tensor] = []

        def take(_: float) -> None:
            taken.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]))

        monkeypatch.setattr(trainer.optimizer, "step", take)
        trainer.run_epoch()
        return taken

    @pytest.mark.parametrize("loss_fn", ["mse", "cosine", "cosine_mse"])
    def test_batches_together_have_the_gradient_of_one_large_batch(
        self, loss_fn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = len(sample_trainer(sample_config()).data.train)
        assert (rows % 32, rows % 8) == (29, 5)  # the last group is short, and so is its last batch
        several = self.gradients(monkeypatch, loss_fn=loss_fn, batch_size=8, accumulate=4)
        one = self.gradients(monkeypatch, loss_fn=loss_fn, batch_size=32)
        assert len(several) == len(one) == 4
        for found, expected in zip(several, one, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)

    def test_training_goes_as_with_the_large_batch(self) -> None:
        several = train_to_end(sample_trainer(sample_config("mse", batch_size=8, accumulate=4)))
        one = train_to_end(sample_trainer(sample_config("mse", batch_size=32)))
        for found, expected in zip(several, one, strict=True):
            assert found["val/loss"] == pytest.approx(expected["val/loss"], rel=1e-4)
            assert found["train/loss"] == pytest.approx(expected["train/loss"], rel=1e-4)

    def test_a_group_longer_than_the_epoch_is_one_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert len(self.gradients(monkeypatch, batch_size=8, accumulate=1000)) == 1

    def test_the_learning_rate_of_a_step_is_that_of_its_last_batch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = len(sample_trainer(sample_config()).data.train)
        batches = math.ceil(rows / 16)
        trainer = sample_trainer(sample_config("mse", batch_size=16, accumulate=3, warmup_epochs=2, lr=1.0))
        rates = step_rates(trainer, monkeypatch)
        trainer.run_epoch()
        ends = [min(done, batches) / batches for done in range(3, batches + 3, 3)]
        assert rates == pytest.approx([end / 2 for end in ends])

    def test_an_in_batch_loss_sees_one_batch_at_a_time(self) -> None:
        trainer = sample_trainer(sample_config("infonce", batch_size=16, accumulate=2))
        sizes = batch_sizes(trainer, training=True)
        trainer.run_epoch()
        assert set(sizes) == {16}

    def test_it_continues_to_the_same_bits(self) -> None:
        config = sample_config("cosine", batch_size=8, accumulate=3)
        trainer, again = sample_trainer(config), sample_trainer(config)
        trainer.run_epoch()
        again.load_state(copy.deepcopy(trainer.state()))
        assert timeless([again.run_epoch()]) == timeless([trainer.run_epoch()])


@pytest.mark.parametrize("eval_batch", [1, 7, 79, 4096])
def test_outside_training_so_many_rows_pass_at_once(eval_batch: int) -> None:
    trainer = sample_trainer(sample_config(eval_batch=eval_batch))
    sizes: list[int] = []
    trainer.model.register_forward_hook(lambda _, arguments, __: sizes.append(len(arguments[0])))
    inputs = trainer.data.train.inputs
    found = trainer.predict(inputs)
    whole = len(inputs)
    assert sizes == [min(eval_batch, whole - start) for start in range(0, whole, eval_batch)]
    torch.testing.assert_close(found, sample_trainer(sample_config()).predict(inputs))


class TestAveragedWeights:
    """What is made of the average; what it is, is for ``test_averaged_weights.py``."""

    SETTINGS: ClassVar[dict[str, Any]] = {"average_epochs": 1.5, "lr": 0.01, "batch_size": 16}

    @pytest.mark.parametrize("loss_fn", ["infonce", "cosine", "huber"])
    def test_training_itself_goes_as_without_it(self, loss_fn: str) -> None:
        averaged, plain = (
            sample_trainer(sample_config(loss_fn, **{**self.SETTINGS, "average_epochs": epochs}))
            for epochs in (1.5, None)
        )
        for found, expected in zip(train_to_end(averaged), train_to_end(plain), strict=True):
            assert {n: v for n, v in found.items() if n.startswith("train/")} == {
                n: v for n, v in expected.items() if n.startswith("train/")
            }
            assert found["val/mrr"] != expected["val/mrr"]
        assert equal(weights(averaged), weights(plain))

    def test_the_average_is_over_the_weights_after_each_step_and_is_evaluated(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trainer = sample_trainer(sample_config("infonce", num_epochs=2, **self.SETTINGS))
        steps = len(trainer.data.train) // 16
        seen: list[dict[str, Tensor]] = []
        step = trainer.optimizer.step
        monkeypatch.setattr(trainer.optimizer, "step", lambda lr: (step(lr), seen.append(weights(trainer)))[0])
        record = train_to_end(trainer)[-1]
        assert len(seen) == 2 * steps
        plain = sample_trainer(sample_config("infonce", batch_size=16))
        plain.model.load_state_dict(
            {
                name: torch.from_numpy(by_numpy([one[name].numpy() for one in seen], 1.5, steps)).float()
                for name in seen[0]
            }
        )
        assert trainer.data.val is not None
        expected = plain.evaluate(trainer.data.val)
        assert {name: record[f"val/{name}"] for name in expected} == pytest.approx(expected, rel=1e-3)
        state = trainer.best_state if trainer.best_epoch == 2 else trainer.state()["average"]["weights"]
        for name, tensor in state.items():
            torch.testing.assert_close(tensor, plain.model.state_dict()[name], rtol=1e-4, atol=1e-5)

    def test_several_batches_are_one_step_of_it(self) -> None:
        trainer = sample_trainer(sample_config("cosine", accumulate=3, **self.SETTINGS))
        trainer.run_epoch()
        batches = math.ceil(len(trainer.data.train) / 16)
        assert trainer.state()["average"]["steps"] == math.ceil(batches / 3)

    @pytest.mark.parametrize("loss_fn", ["infonce", "siglip"])
    def test_it_continues_to_the_same_bits(self, loss_fn: str) -> None:
        config = sample_config(loss_fn, **self.SETTINGS)
        trainer, again = sample_trainer(config), sample_trainer(config)
        trainer.run_epoch()
        again.load_state(copy.deepcopy(trainer.state()))
        assert timeless(train_to_end(again)) == timeless(train_to_end(trainer))
        assert equal(weights(again), weights(trainer))
        assert equal(again.best_state, trainer.best_state)

    def test_a_losss_own_parameters_are_not_averaged(self) -> None:
        """Validation scores the averaged model by the last of them."""
        trainer = sample_trainer(sample_config(LEARNED, start=0.5, **self.SETTINGS))
        record = trainer.run_epoch()
        assert record["val/scale"] == pytest.approx(float(trainer.loss.state_dict()["log_scale"].exp()))
        assert "log_scale" not in trainer.state()["average"]["weights"]

    def test_without_it_a_state_is_what_it_was(self) -> None:
        assert "average" not in sample_trainer(sample_config()).state()
