"""What any trained model must beat, scored on the same splits: chance, a constant, a linear map, no training at all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.eval_queries import EvalQueries
from losstune.trainer.config.factory import FACTORY
from losstune.trainer.config.objective import Objective
from losstune.trainer.config.train_config import Device, TrainConfig
from losstune.trainer.data.columns import Column, mean_of, moments_of, rows_at_once
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import ResidentData, SplitTensors, TrainSplit, split_tensors, train_split
from losstune.trainer.data.splits import query_rows, split_rows
from losstune.trainer.run.device import pick_device
from losstune.trainer.run.loop import Trainer
from losstune.trainer.score.geometry import geometry
from losstune.trainer.score.metrics import row_scores
from losstune.tuning.space.feasibility import Baseline

RIDGE_LIMIT = 10_000
"""Training rows or input width, whichever is smaller, up to which ridge is solved: 800 MB a matrix, and minutes."""

RIDGE_NUMBERS = 4 * RIDGE_LIMIT**2
"""Numbers in all training inputs, where rows are fewer than inputs, up to which ridge is solved: 3.2 GB a matrix."""

RIDGE_GRID = tuple(10.0 ** (step / 2) for step in range(-10, 7))
"""Values of alpha per training row that ridge chooses from: half decades from 1e-5 to 1e3.

Standardised inputs have one unit of variance per feature, so at 1 the penalty weighs as much as one feature's
data, whatever the number of rows.
"""


@dataclass(frozen=True)
class BaselineScore:
    """How a baseline does on one split of the data.

    Attributes:
        test: :func:`row_scores` of the N test rows, (N,) float64 each on the CPU, in the order of the split.
        validation: the objective on the validation rows.
        geometry: :func:`losstune.trainer.score.geometry.geometry` of the test rows.
        note: what was chosen or assumed, for a reader.
    """

    test: dict[str, Tensor]
    validation: float
    geometry: dict[str, float]
    note: str


@dataclass(frozen=True)
class _Splits:
    """The splits on one device, and what is scored on them; ``sample`` is what of ``val`` settings are chosen by."""

    train: TrainSplit
    val: SplitTensors
    sample: SplitTensors
    test: SplitTensors
    objective: Objective

    def validate(self, val: SplitTensors, predictions: Tensor, center: Tensor | None = None) -> float:
        """The objective of predictions (N, d) of validation rows, all or the sample."""
        scores = row_scores(predictions, val.targets, val.gallery, val.positive, center, val.others)
        return float(scores[self.objective.removeprefix("val/")].mean())

    def score(self, val: Tensor, test: Tensor, note: str, center: Tensor | None = None) -> BaselineScore:
        """The score of predictions (N_val, d) and (N_test, d)."""
        split = self.test
        rows = row_scores(test, split.targets, split.gallery, split.positive, center, split.others)
        return BaselineScore(
            test={name: values.cpu() for name, values in rows.items()},
            validation=self.validate(self.val, val, center),
            geometry=geometry(test, split.targets, split.gallery, center),
            note=note,
        )


@torch.no_grad()
def baseline_scores(
    pairs: Pairs,
    split_seed: int,
    seed: int,
    objective: Objective,
    device: Device = "cpu",
    queries: EvalQueries = "all",
    model: Mapping[str, Any] | None = None,
) -> dict[Baseline, BaselineScore]:
    """Every baseline on one split of the data, each as its own function here describes.

    Args:
        split_seed: of the train/val split, as in a config.
        seed: of the untrained model's weights, as in a config; nothing else is random.
        objective: what ridge chooses its alpha by, on the validation rows.
        queries: how many of them it chooses by; every baseline is then scored on all.
        model: settings of the user's own model: ``model.factory``, its options, ``eval_batch``; None is the encoder.

    Returns:
        By name, in the order of ``Baseline``; without the two ridges where :func:`ridge_refusal` says why.

    Raises:
        UserError: a split has no rows, or the device is not there.
    """
    place = pick_device(device)
    rows = split_rows(pairs, split_seed)
    if len(rows.test) == 0:
        raise UserError(f"{pairs.source}: the test split has no rows to score")
    train = train_split(pairs, rows.train, place)
    val, test = (split_tensors(pairs, own, place) for own in (rows.val, rows.test))
    sample = val if queries == "all" else split_tensors(pairs, rows.val, place, query_rows(rows.val, queries))
    splits = _Splits(train, val, sample, test, objective)
    scores: dict[Baseline, BaselineScore] = {"chance": _chance(splits), "mean_target": _mean_target(splits)}
    if ridge_refusal(pairs, split_seed) is None:
        scores |= _ridges(splits)
    data = ResidentData(train, val, pairs.source, pairs.digest)
    scores["untrained"] = _untrained(splits, data, split_seed, seed, device, model or {})
    return scores


def ridge_refusal(pairs: Pairs, split_seed: int) -> str | None:
    """Why there is no ridge baseline on these data: too large to solve exactly. None where there is one."""
    rows, width = len(split_rows(pairs, split_seed).train), prod(pairs.inputs.shape[1:])
    left_out = f"ridge is left out: {rows:,} training rows of {width:,} inputs"
    if min(rows, width) > RIDGE_LIMIT:
        return f"{left_out}; one of the two must be at most {RIDGE_LIMIT:,}"
    if rows < width and rows * width > RIDGE_NUMBERS:
        return f"{left_out}; where rows are fewer than inputs, they may have {RIDGE_NUMBERS:,} numbers in all"
    return None


def _chance(splits: _Splits) -> BaselineScore:
    """Zero for every input: all targets tie, so retrieval is its expectation over a random order; the cosine is 0."""
    val, test = (torch.zeros_like(split.targets) for split in (splits.val, splits.test))
    return splits.score(val, test, "zero for every input, which ranks the gallery at random")


def _mean_target(splits: _Splits) -> BaselineScore:
    """The mean of the training rows' targets for every input: what can be had without looking at the input."""
    mean = splits.train.mean_target
    val, test = (mean.expand_as(split.targets) for split in (splits.val, splits.test))
    return splits.score(val, test, "the training targets' mean for every input")


def _untrained(
    splits: _Splits, data: ResidentData, split_seed: int, seed: int, device: Device, model: Mapping[str, Any]
) -> BaselineScore:
    """The model as a trainer holds it before its first epoch: the default encoder, or the user's own."""
    run = {"seed": seed, "split_seed": split_seed, "device": device, "precision": "float32", "data": data.source}
    config = TrainConfig.from_flat({**run, **model})
    trainer = Trainer(config, data)
    val, test = trainer.predict(splits.val.inputs), trainer.predict(splits.test.inputs)
    encoder = "the default encoder with the random weights"
    named = f"{model[FACTORY]} before any training, with the weights" if model else encoder
    return splits.score(val, test, f"{named} of seed {seed}")


def _ridges(splits: _Splits) -> dict[Baseline, BaselineScore]:
    """Ridge, and ridge that is ranked about the training targets' mean, each with the alpha that suits it best."""
    ridge = Ridge(splits.train.inputs, splits.train.targets)
    val, test, sample = splits.val.inputs, splits.test.inputs, splits.sample
    alphas = [alpha * len(splits.train) for alpha in RIDGE_GRID]
    found: dict[Baseline, BaselineScore] = {}
    centers: dict[Baseline, Tensor | None] = {"ridge": None, "ridge_centered": splits.train.mean_target}
    for name, center in centers.items():
        values = {a: splits.validate(sample, ridge.predict(sample.inputs, a), center) for a in alphas}
        alpha = max(values, key=lambda a: (values[a], a))  # of equals the most regular
        note = f"alpha {alpha:.3g}, of {len(values)} from {min(values):.3g} to {max(values):.3g}"
        found[name] = splits.score(ridge.predict(val, alpha), ridge.predict(test, alpha), note, center)
    return found


class Ridge:
    """Linear regression with an L2 penalty on standardised inputs, solved once for all penalties, in float64.

    Minimises ‖T − 1b − ZW‖² + α ‖W‖² over W and b, where Z are the flattened inputs, shifted and scaled by the
    training rows' mean and deviation (a constant feature is only shifted), and b is not penalised (Hoerl and
    Kennard, *Technometrics* 1970). With one eigendecomposition, of ZᵀZ = V Λ Vᵀ or of ZZᵀ = U Λ Uᵀ, whichever is
    smaller,

        W = V (Λ + α)⁻¹ (Vᵀ Zᵀ T)    or    W = ZᵀU (Λ + α)⁻¹ (Uᵀ T).

    Where there are more rows than inputs they are never in memory as a whole.
    """

    def __init__(self, inputs: Column, targets: Column) -> None:
        """Decompose training inputs (N, …) and targets (N, d)."""
        self._moments = moments_of(inputs)
        self._intercept = mean_of(targets)
        at_once = min(rows_at_once(inputs), rows_at_once(targets))
        parts = (
            (self._standardized(x), t.double() - self._intercept)
            for x, t in zip(inputs.split(at_once), targets.split(at_once), strict=True)
        )
        if len(inputs) < len(self._moments.mean):
            z, answers = (torch.cat(column) for column in zip(*parts, strict=True))
            self._values, vectors = torch.linalg.eigh(z @ z.T)
            self._basis, self._weights = z.T @ vectors, vectors.T @ answers
        else:
            gram, cross = _products(parts)
            self._values, self._basis = torch.linalg.eigh(gram)
            self._weights = self._basis.T @ cross
        self._values = self._values.clamp(min=0)

    def predict(self, inputs: Column, alpha: float) -> Tensor:
        """Predictions (n, d) float64 of inputs (n, …); alpha > 0."""
        coefficients = self._basis @ (self._weights / (self._values + alpha)[:, None])
        parts = inputs.split(rows_at_once(inputs))
        return torch.cat([self._intercept + self._standardized(part) @ coefficients for part in parts])

    def _standardized(self, inputs: Tensor) -> Tensor:
        z: Tensor = (inputs.flatten(1).double() - self._moments.mean) * self._moments.scale
        return z


def _products(parts: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """ZᵀZ and ZᵀT, summed over parts (Z, T) of the rows."""
    z, answers = next(parts)
    gram, cross = z.T @ z, z.T @ answers
    for z, answers in parts:
        gram.addmm_(z.T, z)
        cross.addmm_(z.T, answers)
    return gram, cross
