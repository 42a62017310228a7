"""Baselines: ridge against scikit-learn, the others by hand, all on the splits that a model is scored on."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from losstune.trainer.config.data_rules import DataRules
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data import columns
from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.trainer.data.resident import SplitTensors, resident_data, split_tensors
from losstune.trainer.data.splits import query_rows, split_rows
from losstune.trainer.run.loop import Trainer
from losstune.trainer.score.metrics import chance_level, embedding_metrics
from losstune.trainer.score.names import GEOMETRY
from losstune.tuning.confirm import baselines
from losstune.tuning.confirm.baselines import RIDGE_GRID, BaselineScore, Ridge, baseline_scores, ridge_refusal
from losstune.tuning.space.feasibility import Baseline
from tests.trainer.samples import Arrays, refusal, sample_arrays, sample_pairs

CPU = torch.device("cpu")
ROWS = ["cosine_sim", "mse", "mrr", "recall_at_1", "recall_at_5", "recall_at_10", "mrr_at_10", "ndcg_at_10"]


def hubby_pairs() -> Pairs:
    """Noisy targets that share a large part: about their mean they are retrieved better."""
    arrays = sample_arrays(rows=400, dims=20)
    arrays["targets"] += np.random.default_rng(0).normal(4, 4, size=arrays["targets"].shape).astype(np.float32)
    return make_pairs(arrays, "hubby")


def split_of(pairs: Pairs, name: str, seed: int = 0) -> SplitTensors:
    return split_tensors(pairs, getattr(split_rows(pairs, seed), name), CPU)


def means(score: BaselineScore) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in score.test.items()}


@pytest.fixture(scope="module")
def digits() -> dict[Baseline, BaselineScore]:
    return baseline_scores(load_pairs("digits"), 0, 0, "val/mrr")


class TestRidge:
    @staticmethod
    def by_sklearn(arrays: Arrays, queries: np.ndarray, alpha: float) -> np.ndarray:
        scaler = StandardScaler().fit(arrays["inputs"].astype(np.float64))
        model = SklearnRidge(alpha=alpha, solver="svd")
        model.fit(scaler.transform(arrays["inputs"].astype(np.float64)), arrays["targets"].astype(np.float64))
        return model.predict(scaler.transform(queries.astype(np.float64)))

    @pytest.mark.parametrize(("rows", "width"), [(120, 6), (30, 50), (40, 40)], ids=["primal", "dual", "square"])
    @pytest.mark.parametrize("alpha", [1e-3, 1.0, 300.0])
    @pytest.mark.parametrize("at_once", [7, 4096])
    def test_predicts_what_scikit_learn_does(
        self, rows: int, width: int, alpha: float, at_once: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(columns, "ROWS_AT_ONCE", at_once)
        arrays = sample_arrays(rows, width)
        arrays["inputs"] = (arrays["inputs"] * np.arange(1, width + 1) - 7).astype(np.float32)
        arrays["inputs"][:, 1] = 3  # a constant feature
        queries = sample_arrays(25, width, seed=1)["inputs"]
        ridge = Ridge(torch.from_numpy(arrays["inputs"]), torch.from_numpy(arrays["targets"]))
        found = ridge.predict(torch.from_numpy(queries), alpha)
        np.testing.assert_allclose(found, self.by_sklearn(arrays, queries, alpha), rtol=1e-6, atol=1e-6)

    def test_takes_inputs_of_any_shape_and_integers(self) -> None:
        images = np.random.default_rng(0).integers(0, 255, (60, 4, 3), dtype=np.uint8)
        arrays = {"inputs": images.reshape(60, 12), "targets": sample_arrays(60)["targets"]}
        ridge = Ridge(torch.from_numpy(images), torch.from_numpy(arrays["targets"]))
        found = ridge.predict(torch.from_numpy(images), 2.0)
        np.testing.assert_allclose(found, self.by_sklearn(arrays, arrays["inputs"], 2.0), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize(("rows", "width"), [(120, 6), (30, 50)], ids=["primal", "dual"])
    def test_decomposes_the_smaller_of_rows_and_width(
        self, rows: int, width: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decompose, sizes = torch.linalg.eigh, []
        monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: sizes.append(matrix.shape) or decompose(matrix))
        arrays = sample_arrays(rows, width)
        Ridge(torch.from_numpy(arrays["inputs"]), torch.from_numpy(arrays["targets"]))
        assert sizes == [(min(rows, width),) * 2]

    def test_an_endless_penalty_leaves_the_mean(self) -> None:
        arrays = sample_arrays()
        ridge = Ridge(torch.from_numpy(arrays["inputs"]), torch.from_numpy(arrays["targets"]))
        found = ridge.predict(torch.from_numpy(arrays["inputs"]), 1e15)
        np.testing.assert_allclose(found, np.broadcast_to(arrays["targets"].mean(0), found.shape), atol=1e-5)


class TestRidgeBaselines:
    @pytest.mark.parametrize("objective", ["val/mrr", "val/cosine_sim"])
    @pytest.mark.parametrize("name", ["ridge", "ridge_centered"])
    def test_alpha_is_the_best_of_the_grid_on_the_validation_rows(self, name: Baseline, objective: str) -> None:
        pairs = hubby_pairs()
        train, val, test = (split_of(pairs, split) for split in ("train", "val", "test"))
        center = train.targets.mean(0) if name == "ridge_centered" else None
        ridge = Ridge(train.inputs, train.targets)

        def metrics(split: SplitTensors, alpha: float) -> dict[str, float]:
            predictions = ridge.predict(split.inputs, alpha)
            return embedding_metrics(predictions, split.targets, split.gallery, split.positive, center)

        grid = [share * len(train) for share in RIDGE_GRID]
        values = [metrics(val, alpha)[objective.removeprefix("val/")] for alpha in grid]
        best = max(alpha for alpha, value in zip(grid, values, strict=True) if value == max(values))
        score = baseline_scores(pairs, 0, 0, objective)[name]
        assert score.note == f"alpha {best:.3g}, of 17 from {grid[0]:.3g} to {grid[-1]:.3g}"
        assert score.validation == pytest.approx(max(values))
        expected = metrics(test, best)
        assert means(score) == pytest.approx({row: expected[row] for row in ROWS})

    def test_alpha_is_chosen_on_a_sample_and_scored_on_all_rows(self) -> None:
        arrays = sample_arrays(rows=6000, dims=3)
        arrays["targets"][:, 2] = np.random.default_rng(0).normal(size=6000)  # what can not be learnt: much to choose
        pairs = make_pairs(arrays, "made")
        rows = split_rows(pairs, 0).val
        sample = split_tensors(pairs, rows, CPU, query_rows(rows, 1000))
        train, val = split_of(pairs, "train"), split_of(pairs, "val")
        ridge = Ridge(train.inputs, train.targets)

        def mrr(split: SplitTensors, alpha: float) -> float:
            predictions = ridge.predict(split.inputs, alpha)
            return embedding_metrics(predictions, split.targets, split.gallery, split.positive)["mrr"]

        best = max((share * len(train) for share in RIDGE_GRID), key=lambda alpha: (mrr(sample, alpha), alpha))
        score = baseline_scores(pairs, 0, 0, "val/mrr", queries=1000)
        assert score["ridge"].note.startswith(f"alpha {best:.3g}, ")
        assert score["ridge"].validation == pytest.approx(mrr(val, best))
        assert score["chance"].validation == pytest.approx(chance_level(len(val))["mrr"])

    def test_about_the_mean_target_the_same_predictions_retrieve_better(self) -> None:
        scores = baseline_scores(hubby_pairs(), 0, 0, "val/mrr")
        assert means(scores["ridge_centered"])["mrr"] > 1.2 * means(scores["ridge"])["mrr"]
        by_cosine = baseline_scores(hubby_pairs(), 0, 0, "val/cosine_sim")
        for name in ("cosine_sim", "mse"):  # one alpha for both, and plain metrics
            assert torch.equal(by_cosine["ridge"].test[name], by_cosine["ridge_centered"].test[name])
        assert by_cosine["ridge"].geometry != by_cosine["ridge_centered"].geometry

    def test_data_too_large_to_solve_has_none_and_a_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pairs = sample_pairs(rows=300, width=20)
        rows = len(split_rows(pairs, 0).train)
        monkeypatch.setattr(baselines, "RIDGE_LIMIT", 20)
        assert ridge_refusal(pairs, 0) is None
        assert "ridge" in baseline_scores(pairs, 0, 0, "val/mrr")
        monkeypatch.setattr(baselines, "RIDGE_LIMIT", 19)
        assert ridge_refusal(pairs, 0) == (
            f"ridge is left out: {rows} training rows of 20 inputs; one of the two must be at most 19"
        )
        assert list(baseline_scores(pairs, 0, 0, "val/mrr")) == ["chance", "mean_target", "untrained"]

    def test_rows_fewer_than_inputs_and_too_many_numbers_have_none_and_a_reason(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pairs = sample_pairs(rows=40, width=100)
        rows = len(split_rows(pairs, 0).train)
        monkeypatch.setattr(baselines, "RIDGE_NUMBERS", 100 * rows)
        assert ridge_refusal(pairs, 0) is None
        monkeypatch.setattr(baselines, "RIDGE_NUMBERS", 100 * rows - 1)
        assert ridge_refusal(pairs, 0) == (
            f"ridge is left out: {rows} training rows of 100 inputs; where rows are fewer than inputs, "
            f"they may have {100 * rows - 1:,} numbers in all"
        )


@pytest.mark.parametrize("width", [6, 200], ids=["primal", "dual"])
def test_rows_on_disk_have_the_baselines_of_rows_in_memory(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "ROWS_AT_ONCE", 50)
    arrays = sample_arrays(rows=200, width=width)
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    on_disk, in_memory = (
        baseline_scores(pairs, 0, 0, "val/mrr")
        for pairs in (load_pairs(str(tmp_path)), make_pairs(arrays, "in memory"))
    )
    assert tuple(on_disk) == get_args(Baseline)
    for name, score in on_disk.items():
        expected = in_memory[name]
        assert (score.validation, score.note, score.geometry) == (
            expected.validation, expected.note, expected.geometry,
        )  # fmt: skip
        assert all(torch.equal(score.test[row], expected.test[row]) for row in ROWS)


class TestConstants:
    def test_chance_is_a_random_order_in_every_row(self) -> None:
        pairs = sample_pairs()
        test = split_of(pairs, "test")
        score = baseline_scores(pairs, 0, 0, "val/mrr")["chance"]
        chance = chance_level(len(test.gallery))
        for name in ROWS[2:]:
            np.testing.assert_allclose(score.test[name], chance[name])
        assert score.test["cosine_sim"].abs().max() == 0
        np.testing.assert_allclose(score.test["mse"], test.targets.square().mean(1), rtol=1e-6)
        assert score.validation == pytest.approx(chance_level(len(split_of(pairs, "val").gallery))["mrr"])

    def test_chance_of_several_right_targets_is_what_a_run_prints(self) -> None:
        arrays = sample_arrays()
        pairs = make_pairs({**arrays, "inputs": arrays["inputs"][np.arange(200) // 4]}, "several", DataRules("inputs"))
        score, val = baseline_scores(pairs, 0, 0, "val/mrr")["chance"], split_of(pairs, "val")
        assert val.others is not None
        assert score.validation == pytest.approx(val.chance.metrics["mrr"])
        chance = split_of(pairs, "test").chance.metrics
        assert means(score) == pytest.approx({**means(score), **{name: chance[name] for name in ROWS[2:]}})
        assert val.chance.metrics["mrr"] > 1.5 * chance_level(len(val.gallery))["mrr"]

    def test_mean_target_is_the_training_mean_for_every_row(self) -> None:
        pairs = sample_pairs()
        test, mean = split_of(pairs, "test").targets, split_of(pairs, "train").targets.mean(0)
        score = baseline_scores(pairs, 0, 0, "val/cosine_sim")["mean_target"]
        np.testing.assert_allclose(score.test["mse"], (test - mean).square().mean(1), rtol=1e-5)
        cosine = torch.nn.functional.cosine_similarity(mean[None], test)
        np.testing.assert_allclose(score.test["cosine_sim"], cosine, rtol=1e-4, atol=1e-6)
        val = split_of(pairs, "val").targets
        assert score.validation == pytest.approx(
            float(torch.nn.functional.cosine_similarity(mean[None], val).mean()), abs=1e-6
        )
        assert score.geometry["uniformity"] == pytest.approx(0, abs=1e-6)


class TestUntrained:
    def trainer(self, pairs: Pairs, seed: int) -> Trainer:
        config = TrainConfig.from_flat({"seed": seed, "device": "cpu", "precision": "float32"})
        return Trainer(config, resident_data(pairs, config, CPU))

    def test_is_the_default_encoder_before_its_first_epoch(self) -> None:
        pairs = sample_pairs()
        trainer, test = self.trainer(pairs, 3), split_of(pairs, "test")
        score = baseline_scores(pairs, 0, 3, "val/mrr")["untrained"]
        expected = trainer.evaluate(test)
        assert means(score) == pytest.approx({row: expected[row] for row in ROWS})
        assert trainer.data.val is not None
        assert score.validation == pytest.approx(trainer.evaluate(trainer.data.val)["mrr"])

    def test_only_it_depends_on_the_seed(self) -> None:
        one, other = (baseline_scores(sample_pairs(), 0, seed, "val/mrr") for seed in (0, 1))
        differ = {name for name in one if not torch.equal(one[name].test["mse"], other[name].test["mse"])}
        assert differ == {"untrained"}

    def test_needs_no_whole_batch(self) -> None:
        assert "untrained" in baseline_scores(sample_pairs(rows=20), 0, 0, "val/mrr")


class TestScores:
    def test_all_baselines_have_all_rows_of_the_test_split(self, digits: dict[Baseline, BaselineScore]) -> None:
        rows = len(split_rows(load_pairs("digits"), 0).test)
        assert tuple(digits) == get_args(Baseline)
        for score in digits.values():
            assert list(score.test) == ROWS
            assert all(values.shape == (rows,) and values.dtype == torch.float64 for values in score.test.values())
            assert all(bool(values.isfinite().all()) for values in score.test.values())
            assert tuple(score.geometry) == GEOMETRY
            assert score.note

    def test_rows_come_in_the_order_of_the_split(self) -> None:
        pairs = sample_pairs()
        rows = split_rows(pairs, 0).test
        score: Tensor = baseline_scores(pairs, 0, 0, "val/mrr")["chance"].test["mse"]
        np.testing.assert_allclose(score, np.square(pairs.targets[rows]).mean(axis=1), rtol=1e-6)

    def test_the_seed_of_the_split_moves_what_is_fitted(self) -> None:
        one, other = (baseline_scores(sample_pairs(), split_seed, 0, "val/mrr") for split_seed in (0, 1))
        assert not torch.equal(one["ridge"].test["mse"], other["ridge"].test["mse"])
        assert torch.equal(one["chance"].test["mse"], other["chance"].test["mse"])

    def test_the_test_rows_choose_nothing(self) -> None:
        pairs = sample_pairs()
        test = split_rows(pairs, 0).test
        inputs = pairs.inputs.copy()
        inputs[test] = 0
        blinded = baseline_scores(replace(pairs, inputs=inputs), 0, 0, "val/mrr")
        plain = baseline_scores(pairs, 0, 0, "val/mrr")
        for name, score in blinded.items():
            assert (score.validation, score.note) == (plain[name].validation, plain[name].note)

    def test_on_digits_each_is_where_it_should_be(self, digits: dict[Baseline, BaselineScore]) -> None:
        mrr = {name: means(score)["mrr"] for name, score in digits.items()}
        assert mrr["ridge_centered"] > 1.2 * mrr["ridge"] > 5 * mrr["chance"]
        assert mrr["mean_target"] == pytest.approx(mrr["chance"])
        assert digits["ridge"].geometry["hubness"] > 2 * digits["ridge_centered"].geometry["hubness"]

    def test_data_without_test_rows_is_refused(self) -> None:
        pairs = make_pairs({**sample_arrays(), "split": np.array(["train", "val"] * 100)}, "no test")
        message = "no test: the test split has no rows to score"
        assert refusal(baseline_scores, pairs, 0, 0, "val/mrr") == message

    def test_a_gpu_that_is_not_there_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        message = "device: found cuda, but torch sees no GPU here; allowed: auto, cpu"
        assert refusal(baseline_scores, sample_pairs(), 0, 0, "val/mrr", device="cuda") == message
