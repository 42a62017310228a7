"""Training by formulas against a plain loop of torch's own parts, and the losses that go without one."""

import copy
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from losstune.trainer.config.data_rules import DataRules
from losstune.trainer.data.pairs import Pairs, make_pairs
from losstune.trainer.losses import LossConfig, LossModule, LossOutput, TrainTargets
from losstune.trainer.losses.base import OwnNegatives, asked_for
from losstune.trainer.losses.infonce import InfoNceConfig, InfoNceLoss
from losstune.trainer.run.device import seeded
from losstune.trainer.run.gradients import AutogradGradients, EncoderGradients, PartedGradients
from losstune.trainer.run.hard_negatives import all_of
from losstune.trainer.run.loop import Trainer
from tests.trainer.samples import (
    refusal,
    sample_arrays,
    sample_config,
    sample_pairs,
    sample_trainer,
    timeless,
    train_to_end,
)

TOLERANCE = 1e-5
"""How far weights may be from those of the plain loop after two epochs, by size and absolutely."""


def twins() -> Pairs:
    """Every third row's target is that of the row before it."""
    arrays = sample_arrays()
    ids = np.arange(200) - (np.arange(200) % 3 == 2)
    return make_pairs({**arrays, "targets": arrays["targets"][ids], "ids": ids}, "twins")


def plain_epochs(trainer: Trainer, epochs: int) -> nn.Module:
    """The trainer's model after so many epochs by autograd, ``clip_grad_norm_`` and ``torch.optim.AdamW``."""
    config, split = trainer.config, trainer.data.train
    model, loss = copy.deepcopy(trainer.model).train(), copy.deepcopy(trainer.loss).train()
    parameters = [*model.parameters(), *loss.parameters()]
    groups = [
        {"params": [p for p in parameters if (p.ndim >= 2) == matrices], "weight_decay": decay}
        for matrices, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.lr)
    center = 0 if trainer.center is None else trainer.center
    for epoch in range(1, epochs + 1):
        with seeded(config.seed, epoch, torch.device("cpu")):
            if trainer._miner is not None and trainer._miner.due(epoch):
                with torch.no_grad():
                    mined = trainer._miner.mine(iter([model.eval()(split.inputs)]))
                model.train()
            order = torch.randperm(len(split))
            steps = len(order) // config.batch_size if config.loss.in_batch else None
            for rows in order.split(config.batch_size)[:steps]:
                predictions, targets = model(split.inputs[rows]) - center, split.targets[rows] - center
                optimizer.zero_grad()
                sources = [*trainer._given, *([] if trainer._miner is None else [mined])]
                own = all_of(sources, rows)
                also = asked_for(loss.forward, split.right(rows), own)
                loss(predictions, targets, split.ids[rows], **also).loss.backward()
                if config.clip_norm is not None:
                    nn.utils.clip_grad_norm_(parameters, config.clip_norm)
                optimizer.step()
    return model


def several() -> Pairs:
    """Every third row's input is that of the row before it, and both targets are right."""
    arrays = sample_arrays()
    row = np.arange(200) - (np.arange(200) % 3 == 2)
    pairs = make_pairs({**arrays, "inputs": arrays["inputs"][row]}, "several", DataRules("inputs"))
    assert pairs.queries is not None
    return pairs


def with_negatives() -> Pairs:
    """Two of each row's own."""
    negatives = np.random.default_rng(2).normal(size=(200, 2, 5)).astype(np.float32)
    return make_pairs({**sample_arrays(), "negatives": negatives}, "negatives")


@pytest.mark.parametrize("pairs", [sample_pairs, twins, several, with_negatives])
@pytest.mark.parametrize(
    "settings",
    [
        {"loss_fn": "infonce"},
        {"loss_fn": "infonce", "symmetric": True, "center": True},
        {"loss_fn": "infonce", "learn_temperature": True, "temperature": 0.3, "clip_norm": 0.1},
        {"loss_fn": "infonce", "model.dropout": 0.3, "model.depth": 3, "model.residual": True, "clip_norm": None},
        {"loss_fn": "infonce_cosine", "learn_temperature": True},
        {"loss_fn": "infonce", "hardness": 0.5, "guide_margin": 0.3, "temperature": 0.2},
        {"loss_fn": "infonce", "target_temperature": 0.2, "temperature": 0.2, "symmetric": True},
        {"loss_fn": "infonce", "hard_negatives": 3, "hard_negatives_every": 2, "center": True},
        {"loss_fn": "infonce_cosine", "hard_negatives": 2, "hard_negatives_every": 1, "guide_margin": 0.2},
        {"loss_fn": "siglip"},
        {"loss_fn": "infonce", "matryoshka_dims": [2, 4], "learn_temperature": True, "temperature": 0.3},
        {"loss_fn": "infonce", "matryoshka_dims": [3], "hard_negatives": 3, "guide_margin": 0.2, "center": True},
        {"loss_fn": "full_softmax", "matryoshka_dims": [3], "matryoshka_weights": [0.5]},
        {"loss_fn": "triplet"},
        {"loss_fn": "full_softmax", "center": True},
        {"loss_fn": "cosine", "weight_decay": 1.0},
        {"loss_fn": "mse", "model.depth": 0},
        {"loss_fn": "cosine_mse", "model.layer_norm": False},
        {"loss_fn": "huber"},
    ],
    ids=str,
)
def test_two_epochs_are_those_of_a_plain_loop(settings: dict[str, Any], pairs: Any) -> None:
    trainer = sample_trainer(sample_config(**settings), pairs())
    assert isinstance(trainer._gradients, EncoderGradients)
    before = copy.deepcopy(trainer.model)
    expected = plain_epochs(trainer, 2)
    for _ in range(2):
        trainer.run_epoch()
    for start, found, other in zip(before.parameters(), trainer.model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, other, rtol=TOLERANCE, atol=TOLERANCE)
        assert not torch.equal(found, start)


class SharperConfig(InfoNceConfig):
    """InfoNCE with another forward pass."""

    name: ClassVar[str] = "sharper"

    def build(self, train: TrainTargets) -> LossModule:
        return Sharper(self.temperature, self.symmetric, distinct=True)


class Sharper(InfoNceLoss):
    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        output: LossOutput = super().forward(predictions, targets, ids)
        return LossOutput(output.loss + 3 * predictions.square().mean(), output.parts)


class WritingConfig(LossConfig):
    """Scales predictions where they lie."""

    name: ClassVar[str] = "writing"

    def build(self, train: TrainTargets) -> LossModule:
        return Writing()


class Writing(LossModule):
    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        predictions /= 2
        return LossOutput((predictions - targets).square().mean(), {})


class ScribblingConfig(LossConfig):
    """Writes into all that it is given, or into copies of it."""

    name: ClassVar[str] = "scribbling"
    in_place: bool = True

    def build(self, train: TrainTargets) -> LossModule:
        gallery = train.gallery()
        mean = gallery.targets.mean()
        for part in gallery if self.in_place else ():
            part.zero_()
        return Scribbling(float(mean), in_place=self.in_place)


class Scribbling(LossModule):
    def __init__(self, mean: float, *, in_place: bool) -> None:
        super().__init__()
        self.mean, self.in_place = mean, in_place

    def forward(
        self, predictions: Tensor, targets: Tensor, ids: Tensor, negatives: OwnNegatives | None = None
    ) -> LossOutput:
        parts = [predictions, targets, ids, *(negatives or ())]
        p, t, i, *n = parts if self.in_place else [part.clone() for part in parts]
        p.div_(2)
        t.sub_(self.mean).mul_(3)
        loss = (p - t).square().mean() + i.double().mean() * 0
        i.zero_()
        if n:
            loss = loss - 0.01 * (p[:, None] - n[0].mul_(2)).square().mean()
            n[1].fill_(False)
        return LossOutput(loss.float(), {})


class BlindConfig(LossConfig):
    """Sees only a parameter of its own."""

    name: ClassVar[str] = "blind"

    def build(self, train: TrainTargets) -> LossModule:
        return Blind()


class Blind(LossModule):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.tensor(1.0))
        self.unused = nn.Parameter(torch.ones(2, 2))

    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        return LossOutput(self.own.square(), {})


class SeveredConfig(LossConfig):
    """Leaves torch's graph, as a loss in NumPy does."""

    name: ClassVar[str] = "severed"

    def build(self, train: TrainTargets) -> LossModule:
        return Severed()


class Severed(LossModule):
    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:
        return LossOutput(torch.tensor(float((predictions - targets).square().mean())), {})


@pytest.mark.parametrize("settings", [{}, {"batch_parts": 2}, {"precision": "bfloat16"}], ids=str)
def test_a_loss_that_has_no_gradient_is_refused(settings: dict[str, Any]) -> None:
    trainer = sample_trainer(sample_config(f"{__name__}:SeveredConfig", **settings))
    assert refusal(trainer.run_epoch) == (
        "loss severed: found a loss that depends on nothing that is trained; expected one made of the predictions by "
        "torch alone, without detach(), item() or NumPy; where a batch costs nothing, (0 * predictions).sum()"
    )


@pytest.mark.parametrize("loss", ["Sharper", "Writing"])
def test_a_loss_of_the_user_s_is_trained_by_its_own_forward_pass(loss: str) -> None:
    trainer = sample_trainer(sample_config(f"{__name__}:{loss}Config"))
    expected = plain_epochs(trainer, 2)
    for _ in range(2):
        trainer.run_epoch()
    for found, other in zip(trainer.model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, other, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("pairs", [sample_pairs, with_negatives])
@pytest.mark.parametrize(
    "settings",
    [{}, {"center": True}, {"batch_parts": 3}, {"precision": "bfloat16"}, {"matryoshka_dims": [2, 3]}],
    ids=str,
)
def test_a_loss_that_writes_into_what_it_is_given_changes_nothing_else(settings: dict[str, Any], pairs: Any) -> None:
    """Neither the metrics of its epoch, nor the data, which the next trial of a worker is trained on."""
    writing, copying = (
        sample_trainer(sample_config(f"{__name__}:ScribblingConfig", in_place=flag, num_epochs=2, **settings), pairs())
        for flag in (True, False)
    )
    expected = timeless(train_to_end(copying))
    assert timeless(train_to_end(writing)) == expected
    assert timeless(train_to_end(Trainer(writing.config, writing.data))) == expected


def test_what_no_loss_has_asked_of_stays_where_it_is() -> None:
    trainer = sample_trainer(sample_config(f"{__name__}:BlindConfig", weight_decay=10.0, lr=0.1))
    before = copy.deepcopy(trainer.model)
    trainer.run_epoch()
    for found, start in zip(trainer.model.parameters(), before.parameters(), strict=True):
        assert torch.equal(found, start)
    own, unused = trainer.loss.parameters()
    assert own.item() < 1
    assert torch.equal(unused, torch.ones(2, 2))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, EncoderGradients),
        ({"precision": "auto"}, EncoderGradients),
        ({"precision": "bfloat16"}, AutogradGradients),
        ({"batch_parts": 2}, PartedGradients),
        ({"model.factory": "tests.trainer.own_models:features"}, AutogradGradients),
    ],
)
def test_formulas_are_for_the_encoder_in_float32(settings: dict[str, Any], expected: type) -> None:
    base = {"loss_fn": "infonce", "device": "cpu"} if "model.factory" in settings else sample_config("infonce").flat()
    trainer = sample_trainer(type(sample_config()).from_flat({**base, **settings}))
    assert isinstance(trainer._gradients, expected)


class TestParts:
    """A batch that passes through the model in parts."""

    @staticmethod
    def gradients(**settings: Any) -> list[Tensor]:
        """Of the model's and the loss's parameters, from one batch of 32 rows."""
        trainer = sample_trainer(sample_config(batch_size=32, precision="auto", clip_norm=None, **settings))
        rows = torch.arange(32)
        split = trainer.data.train
        trainer.model.train()
        trainer.optimizer.zero_grad()
        with trainer._gradients.stepping():
            batch = trainer._gradients.prepared(split.inputs[rows], split.targets[rows], split.ids[rows])
            trainer._gradients.add(batch, 0.25)
        return [p.grad.clone() for p in (*trainer.model.parameters(), *trainer.loss.parameters()) if p.grad is not None]

    @pytest.mark.parametrize("parts", [2, 7, 8, 32, 1024])
    @pytest.mark.parametrize(
        "settings",
        [
            {"loss_fn": "infonce", "symmetric": True, "learn_temperature": True, "temperature": 0.3},
            {"loss_fn": "siglip", "center": True},
            {"loss_fn": "triplet", "negatives": "hardest"},
        ],
        ids=str,
    )
    def test_their_gradients_are_those_of_the_whole_batch(self, settings: dict[str, Any], parts: int) -> None:
        whole, parted = self.gradients(**settings), self.gradients(**settings, batch_parts=parts)
        assert len(whole) == len(parted)
        for expected, found in zip(whole, parted, strict=True):
            assert torch.linalg.vector_norm(found - expected) <= 1e-6 * torch.linalg.vector_norm(expected) + 1e-9

    def test_only_a_part_at_a_time_is_kept_for_its_gradient_and_both_passes_drop_alike(self) -> None:
        settings = {"model.dropout": 0.5, "model.depth": 2, "batch_parts": 5}
        trainer = sample_trainer(sample_config("infonce", batch_size=32, **settings))
        seen: list[Tensor] = []
        with_graph: list[bool] = []

        def look(_: nn.Module, __: object, embeddings: Tensor) -> None:
            seen.append(embeddings.detach().clone())
            with_graph.append(embeddings.requires_grad)

        trainer.model.register_forward_hook(look)
        trainer.run_batches(1)
        assert [len(rows) for rows in seen] == [7, 7, 7, 7, 4] * 2
        assert with_graph == [False] * 5 + [True] * 5
        for first, second in zip(seen[:5], seen[5:], strict=True):
            assert torch.equal(first, second)

    @pytest.mark.parametrize("negatives", [0, 3])
    def test_the_loss_sees_the_whole_batch_and_training_goes_as_without(self, negatives: int) -> None:
        settings = {"batch_size": 32, "hard_negatives": negatives}
        whole, parted = (sample_trainer(sample_config("infonce", batch_parts=n, **settings)) for n in (1, 4))
        for _ in range(2):
            one, other = whole.run_epoch(), parted.run_epoch()
            assert other["train/loss"] == pytest.approx(one["train/loss"], rel=1e-5)
            assert other["val/mrr"] == pytest.approx(one["val/mrr"], rel=1e-4)

    def test_a_loss_that_does_not_see_the_model_moves_nothing_of_it(self) -> None:
        trainer = sample_trainer(sample_config(f"{__name__}:BlindConfig", batch_parts=2, lr=0.1))
        before = copy.deepcopy(trainer.model)
        trainer.run_epoch()
        for found, start in zip(trainer.model.parameters(), before.parameters(), strict=True):
            assert torch.equal(found, start)

    def test_a_model_whose_rows_act_on_each_other_is_refused(self) -> None:
        settings = {"loss_fn": "infonce", "device": "cpu", "model.factory": f"{__name__}:normalized"}
        whole = type(sample_config()).from_flat(settings)
        sample_trainer(whole).run_batches(1)
        assert refusal(sample_trainer, type(whole).from_flat({**settings, "batch_parts": 2})) == (
            "batch_parts: the model's 1 is a BatchNorm1d, whose result depends on the rows it sees together; "
            "allowed: 1, or a model with GroupNorm or LayerNorm in its place"
        )


def normalized(*, input_shape: tuple[int, ...], output_dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.BatchNorm1d(8), nn.Linear(8, output_dim))
