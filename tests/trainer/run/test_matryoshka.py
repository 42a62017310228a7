"""The loss of prefixes against plain loops over them, for every loss, by autograd and by formula."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from losstune.trainer.config.loss_registry import loss_config_class, loss_names
from losstune.trainer.config.matryoshka import Prefix
from losstune.trainer.losses import LossConfig, LossModule, LossOutput, TrainTargets
from losstune.trainer.losses.base import OwnNegatives, closed_form
from losstune.trainer.run.matryoshka import ClosedMatryoshkaLoss, MatryoshkaLoss, loss_module
from losstune.trainer.score.metrics import embedding_metrics
from tests.trainer.losses.reference import (
    Targets,
    cosine_loss_by_loops,
    infonce_by_loops,
    module_of,
    mse_by_loops,
    random_batch,
    twin_batch,
)
from tests.trainer.losses.test_every_loss import RIGHT, RightPairs
from tests.trainer.samples import refusal, sample_config, sample_trainer, timeless, train_to_end

PREFIXES = (Prefix(2, 0.5), Prefix(3, 0.0), Prefix(4, 2.0), Prefix(5, 1.0))
WEIGHED = [(2, 0.5), (4, 2.0), (5, 1.0)]


def module(name: str, targets: Tensor, ids: Tensor | None = None, **settings: Any) -> nn.Module:
    """Of :data:`PREFIXES`, about a batch that is the whole training split."""
    known = Targets(targets, torch.arange(len(targets)) if ids is None else ids)
    return loss_module(loss_config_class(name)(**settings), PREFIXES, known)


def by_loops(cost: Callable[[Tensor, Tensor], float], predictions: Tensor, targets: Tensor) -> float:
    """Σ_k w_k · cost(p[:k], t[:k]), as sentence-transformers' MatryoshkaLoss adds up its ``matryoshka_weights``."""
    total = 0.0
    for dims, weight in WEIGHED:
        total += weight * cost(torch.tensor([row[:dims] for row in predictions.tolist()]).double(), targets[:, :dims])
    return total


@pytest.mark.parametrize(
    ("name", "settings", "cost"),
    [
        ("mse", {}, mse_by_loops),
        ("cosine", {}, cosine_loss_by_loops),
        ("infonce", {"temperature": 0.3}, lambda p, t: infonce_by_loops(p, t, list(range(8)), 0.3)),
        ("full_softmax", {"temperature": 0.3}, lambda p, t: infonce_by_loops(p, t, list(range(8)), 0.3)),
    ],
)
def test_the_loss_is_the_weighted_sum_over_prefixes(name: str, settings: dict[str, Any], cost: Any) -> None:
    predictions, targets = random_batch(1)
    found = module(name, targets, **settings)(predictions, targets, torch.arange(8))
    assert float(found.loss) == pytest.approx(by_loops(cost, predictions, targets), rel=1e-5)
    for dims, _ in WEIGHED:
        own = cost(predictions[:, :dims], targets[:, :dims])
        assert float(found.parts[f"dim_{dims}/loss"]) == pytest.approx(own, rel=1e-5)
    assert not any(part.startswith("dim_3/") for part in found.parts)


def test_parts_of_the_whole_keep_their_names_and_those_of_prefixes_say_which() -> None:
    predictions, targets = random_batch(2)
    found = module("infonce", targets)(predictions, targets, torch.arange(8)).parts
    assert list(found) == [
        *("infonce_acc", "dim_5/loss", "dim_2/loss", "dim_2/infonce_acc", "dim_4/loss", "dim_4/infonce_acc")
    ]
    hits = [
        sum(int((p @ t.T).argmax()) == row for row, p in enumerate(p)) / 8
        for p, t in (
            (torch.nn.functional.normalize(rows[:, :dims]) for rows in (predictions, targets)) for dims in (5, 2, 4)
        )
    ]
    assert [float(found[name]) for name in ("infonce_acc", "dim_2/infonce_acc", "dim_4/infonce_acc")] == hits


@pytest.mark.parametrize("twins", [1, 2])
@pytest.mark.parametrize("name", loss_names())
def test_its_gradients_are_those_of_finite_differences(name: str, twins: int) -> None:
    predictions, targets, ids = twin_batch(5, groups=4, twins=twins)
    own = module(name, targets, ids)
    assert torch.autograd.gradcheck(lambda p: own(p, targets, ids).loss, predictions.requires_grad_())


@pytest.mark.parametrize("right", [None, RightPairs(RIGHT)])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in loss_names() if name != "full_softmax"),
        ("infonce", {"temperature": 0.3, "learn_temperature": True, "symmetric": True}),
    ],
    ids=str,
)
def test_a_formula_is_the_forward_pass_and_its_gradient(name: str, settings: dict[str, Any], right: Any) -> None:
    predictions, targets = random_batch(7)
    ids = torch.arange(8)
    own = module(name, targets, **settings).double()
    closed = closed_form(own)
    assert closed is not None
    leaf = predictions.clone().requires_grad_()
    expected = own(leaf, targets, ids, right)
    (0.25 * expected.loss).backward()
    theirs = [p.grad for p in own.parameters()]
    own.zero_grad()
    with torch.inference_mode():
        output, gradient = own.with_gradient(predictions, closed.prepared(targets), ids, 0.25, right)  # type: ignore[operator]
    torch.testing.assert_close(gradient, leaf.grad)
    torch.testing.assert_close(output.loss, expected.loss.detach())
    assert list(output.parts) == list(expected.parts)
    assert len(theirs) == {"siglip": 6}.get(name, 3 * settings.get("learn_temperature", False))
    for parameter, grad in zip(own.parameters(), theirs, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


def test_negatives_of_a_row_s_own_end_where_the_prefix_does() -> None:
    predictions, targets = random_batch(1)
    own = OwnNegatives(torch.randn(8, 3, 5, generator=torch.Generator().manual_seed(2)).double(), torch.ones(8, 3) > 0)
    expected = 0.0
    for dims, weight in WEIGHED:
        units = torch.nn.functional.normalize(predictions[:, :dims])
        batch = units @ torch.nn.functional.normalize(targets[:, :dims]).T
        beside = (units[:, None] * torch.nn.functional.normalize(own.targets[..., :dims], dim=-1)).sum(dim=-1)
        shares = torch.softmax(torch.cat([batch, beside], dim=1) / 0.3, dim=1)
        expected += weight * float(-shares.diagonal().log().mean())
    loss = module("infonce", targets, temperature=0.3)
    assert float(loss(predictions, targets, torch.arange(8), negatives=own).loss) == pytest.approx(expected)
    with torch.inference_mode():
        found, _ = loss.with_gradient(predictions, targets, torch.arange(8), 1.0, negatives=own)  # type: ignore[operator]
    assert float(found.loss) == pytest.approx(expected)


def test_a_formula_of_all_is_one_and_any_other_loss_goes_by_autograd() -> None:
    _, targets = random_batch(0)
    assert type(module("infonce", targets)) is ClosedMatryoshkaLoss
    assert type(module("full_softmax", targets)) is MatryoshkaLoss


@pytest.mark.parametrize("name", loss_names())
def test_a_prefix_of_zeros_gives_finite_gradients(name: str) -> None:
    predictions, targets = random_batch(3)
    predictions[:, :2], targets[:, :2] = 0, 0
    own = module(name, targets)
    own(predictions.requires_grad_(), targets, torch.arange(8)).loss.backward()
    assert predictions.grad is not None
    assert torch.isfinite(predictions.grad).all()


def test_without_prefixes_a_loss_is_itself() -> None:
    _, targets = random_batch(0)
    assert type(loss_module(loss_config_class("mse")(), (), Targets(targets, torch.arange(8)))) is type(
        module_of("mse", targets)
    )


class OwnConfig(LossConfig):
    """A loss as users write them: by a matrix as wide as the gallery, writing into what it is given."""

    name: ClassVar[str] = "own"

    def build(self, train: TrainTargets) -> LossModule:
        return Own(train.gallery().targets.shape[1], train.distinct)


class Own(LossModule):
    def __init__(self, dims: int, distinct: bool) -> None:
        super().__init__()
        self.turn = nn.Parameter(torch.eye(dims))
        self.distinct = distinct

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        predictions /= 2
        targets *= 3
        return LossOutput((predictions @ self.turn.to(predictions.dtype) - targets).square().mean(), {})


class UnbuiltConfig(LossConfig):
    """Builds no module."""

    name: ClassVar[str] = "unbuilt"
    how: str = "fails"

    def build(self, train: TrainTargets) -> LossModule:
        if self.how == "fails":
            raise KeyError("gallery")
        return mse_by_loops  # type: ignore[return-value]


class WrongConfig(LossConfig):
    """Returns no LossOutput."""

    name: ClassVar[str] = "wrong"

    def build(self, train: TrainTargets) -> LossModule:
        return Wrong()


class Wrong(LossModule):
    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        return predictions.mean()  # type: ignore[return-value]


class TestAUsersLoss:
    def test_sees_each_prefix_untouched_by_the_others(self) -> None:
        predictions, targets = random_batch(1)
        own = loss_module(OwnConfig(), PREFIXES, Targets(targets, torch.arange(8)))
        assert isinstance(own, MatryoshkaLoss)
        assert [loss.turn.shape[0] for loss in own.losses] == [5, 2, 4]
        expected = by_loops(lambda p, t: mse_by_loops(p / 2, 3 * t), predictions, targets)
        assert float(own(predictions.clone(), targets.clone(), torch.arange(8)).loss.detach()) == pytest.approx(
            expected
        )

    def test_what_it_learns_it_learns_for_each_prefix(self) -> None:
        trainer = sample_trainer(sample_config(f"{__name__}:OwnConfig", lr=0.1, matryoshka_dims=[2, 3]))
        trainer.run_epoch()
        turns = [loss.turn for loss in trainer.loss.losses]  # type: ignore[union-attr]
        assert [tuple(turn.shape) for turn in turns] == [(5, 5), (2, 2), (3, 3)]
        assert all(not torch.equal(turn, torch.eye(len(turn))) for turn in turns)

    @pytest.mark.parametrize(
        ("how", "message"),
        [
            ("fails", "its build failed: KeyError: 'gallery'"),
            ("no module", "its build returned function; expected a LossModule"),
        ],
    )
    @pytest.mark.parametrize("prefixes", [(), PREFIXES], ids=["whole", "prefixes"])
    def test_that_can_not_be_built_is_refused(self, prefixes: tuple[Prefix, ...], how: str, message: str) -> None:
        known = Targets(random_batch(1)[1], torch.arange(8))
        assert refusal(loss_module, UnbuiltConfig(how=how), prefixes, known) == f"loss unbuilt: {message}"

    def test_that_returns_something_else_is_refused_as_without_prefixes(self) -> None:
        for settings in ({}, {"matryoshka_dims": [2]}):
            trainer = sample_trainer(sample_config(f"{__name__}:WrongConfig", **settings))
            assert refusal(trainer.run_epoch) == (
                "loss wrong: its module returned Tensor; expected LossOutput(loss, parts)"
            )


class TestRuns:
    """Whole epochs, on targets of five dimensions."""

    @pytest.mark.parametrize("loss_fn", ["infonce", "full_softmax", "siglip"])
    def test_prefixes_without_weight_change_nothing_but_what_is_scored(self, loss_fn: str) -> None:
        plain = sample_trainer(sample_config(loss_fn))
        scored = sample_trainer(sample_config(loss_fn, matryoshka_dims=[2, 3], matryoshka_weights=[0, 0]))
        for before, now in zip(timeless(train_to_end(plain)), timeless(train_to_end(scored)), strict=True):
            assert {name: now[name] for name in before} == before
            added = {name.split("/")[1] for name in now if name not in before and name.startswith("val/")}
            assert added == {"dim_2", "dim_3", "dim_5"}

    @pytest.mark.parametrize("center", [False, True])
    def test_a_prefix_is_scored_as_embeddings_that_end_there(self, center: bool) -> None:
        trainer = sample_trainer(sample_config("infonce", matryoshka_dims=[2, 5], center=center))
        record, val = trainer.run_epoch(), trainer.data.val
        assert val is not None
        mean = trainer.data.train.mean_target[:2] if center else None
        predictions = trainer.predict(val.inputs)[:, :2]
        expected = embedding_metrics(predictions, val.targets[:, :2], val.gallery[:, :2], val.positive, mean)
        assert {name: record[f"val/dim_2/{name}"] for name in expected} == pytest.approx(expected)
        assert [name for name in record if "dim_5" in name] == ["train/dim_5/loss", "val/dim_5/loss"]

    @pytest.mark.parametrize("loss_fn", ["infonce", "cosine"])
    def test_a_prefix_ranks_better_for_being_trained(self, loss_fn: str) -> None:
        found = {}
        for weight in (0, 1):
            settings = {"matryoshka_dims": [2], "matryoshka_weights": [weight], "lr": 0.01, "num_epochs": 15}
            found[weight] = train_to_end(sample_trainer(sample_config(loss_fn, **settings)))[-1]["val/dim_2/mrr"]
        assert found[1] > found[0] + 0.005

    @pytest.mark.parametrize(
        "settings",
        [
            {"loss_fn": "infonce", "learn_temperature": True, "center": True, "accumulate": 2},
            {"loss_fn": "siglip", "batch_parts": 3, "average_epochs": 1.0},
            {"loss_fn": "full_softmax", "learn_temperature": True, "precision": "bfloat16"},
        ],
        ids=str,
    )
    def test_it_continues_to_the_same_bits_beside_other_options(self, settings: dict[str, Any]) -> None:
        config = sample_config(**settings, matryoshka_dims=[2, 3], matryoshka_weights=[1, 0.5], num_epochs=4)
        whole, half, rest = (sample_trainer(config) for _ in range(3))
        expected = timeless(train_to_end(whole))
        for _ in range(2):
            half.run_epoch()
        rest.load_state(half.state())
        assert timeless(train_to_end(rest)) == expected[2:]

    def test_in_parts_the_gradients_are_those_of_the_whole_batch(self) -> None:
        settings = {"batch_size": 32, "matryoshka_dims": [2, 3], "learn_temperature": True}
        one, other = (sample_trainer(sample_config("infonce", **settings, batch_parts=parts)) for parts in (1, 4))
        for before, now in zip(timeless(train_to_end(one)), timeless(train_to_end(other)), strict=True):
            assert now == pytest.approx(before, rel=1e-3)

    def test_one_that_is_longer_than_the_targets_is_refused_before_training(self) -> None:
        assert refusal(sample_trainer, sample_config(matryoshka_dims=[2, 6])) == (
            "matryoshka_dims: found 6; the targets have 5 dimensions, and no prefix has more"
        )
