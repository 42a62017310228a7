"""The full-gallery softmax against other implementations where rows are training rows, and plain loops where not."""

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor

from losstune.trainer.losses import Gallery, LossModule
from losstune.trainer.losses import full_softmax as source
from losstune.trainer.losses.full_softmax import FullSoftmaxConfig
from tests.trainer.losses.reference import TOLERANCE, Targets, cosine_by_loops, random_batch, softmax_by_loops

GALLERY_IDS = torch.tensor([2, 3, 5, 7, 11, 13])


def gallery(seed: int, dtype: torch.dtype = torch.float64) -> Gallery:
    return Gallery(random_batch(seed, rows=6, dtype=dtype)[1], GALLERY_IDS)


def module_of(made: Gallery, **settings: float | bool) -> LossModule:
    return FullSoftmaxConfig.model_validate(settings).build(Targets(*made))


def by_loops(predictions: Tensor, targets: Tensor, ids: list[int], made: Gallery, temperature: float) -> float:
    total = 0.0
    for p, t, identity in zip(predictions.tolist(), targets.tolist(), ids, strict=True):
        rivals = [r for r, other in zip(made.targets.tolist(), made.ids.tolist(), strict=True) if other != identity]
        total += softmax_by_loops(
            cosine_by_loops(p, t) / temperature, [cosine_by_loops(p, r) / temperature for r in rivals]
        )
    return total / len(ids)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("temperature", [0.05, 0.07, 1.0])
@pytest.mark.parametrize(
    "ids",
    [[2, 3, 5, 7, 11, 13], [13, 13, 2, 2, 7, 7], [1, 4, 6, 8, 12, 20], [0, 2, 99, 3, 13, 14]],
    ids=["training", "shared", "validation", "both"],
)
def test_it_is_that_of_plain_loops(dtype: torch.dtype, temperature: float, ids: list[int]) -> None:
    made = gallery(0, dtype)
    predictions, targets = random_batch(1, rows=6, dtype=dtype)
    for row, identity in enumerate(ids):
        if identity in GALLERY_IDS.tolist():
            targets[row] = made.targets[GALLERY_IDS.tolist().index(identity)]
    output = module_of(made, temperature=temperature)(predictions, targets, torch.tensor(ids))
    assert output.loss.dtype == dtype
    assert float(output.loss) == pytest.approx(
        by_loops(predictions, targets, ids, made, temperature), rel=TOLERANCE[dtype]
    )


@pytest.mark.parametrize("seed", range(3))
def test_on_training_rows_it_is_cross_entropy_over_the_gallery_and_ntxent_by_label(seed: int) -> None:
    made = gallery(seed)
    predictions, _ = random_batch(seed, rows=10)
    rows = torch.tensor([0, 1, 2, 3, 4, 5, 0, 0, 3, 5])
    ids = GALLERY_IDS[rows]
    loss = module_of(made, temperature=0.07)(predictions, made.targets[rows], ids).loss
    scores = torch.nn.functional.normalize(predictions) @ torch.nn.functional.normalize(made.targets).T / 0.07
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(scores, rows))
    ntxent = NTXentLoss(temperature=0.07)(predictions, ids, ref_emb=made.targets, ref_labels=made.ids)
    torch.testing.assert_close(loss, ntxent)


@pytest.mark.parametrize("ids", [[2, 5, 13, 2], [1, 5, 99, 14]])
def test_gradients_are_those_of_finite_differences(ids: list[int]) -> None:
    module = module_of(gallery(0))
    predictions, targets = random_batch(2, rows=4)
    predictions.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: module(p, targets, torch.tensor(ids)).loss, predictions)


def test_the_share_of_rows_whose_own_target_scores_best() -> None:
    eye = torch.eye(3)
    module = module_of(Gallery(eye, torch.tensor([1, 2, 3])))
    predictions = torch.tensor([[1.0, 0.1, 0.0], [1.0, 0.1, 0.0], [0.0, 0.5, 1.0], [0.9, 0.8, 0.7]])
    targets = torch.cat([eye, torch.tensor([[0.9, 0.8, 0.7]])])
    output = module(predictions, targets, torch.tensor([1, 2, 3, 4]))  # the last row's target is not in the gallery
    assert float(output.parts["gallery_acc"]) == 0.75


def test_all_scores_equal_hit_nothing_and_cost_log_g() -> None:
    made = gallery(0)
    output = module_of(made)(torch.zeros(6, 5).double(), made.targets, made.ids)
    assert float(output.parts["gallery_acc"]) == 0
    assert float(output.loss.exp()) == pytest.approx(6)


def test_a_gallery_of_the_rows_own_target_leaves_nothing_to_tell_apart() -> None:
    predictions, targets = random_batch(0, rows=3)
    module = module_of(Gallery(targets[:1], torch.tensor([4])))
    predictions.requires_grad_()
    output = module(predictions, targets[:1].expand_as(targets), torch.tensor([4, 4, 4]))
    output.loss.backward()
    assert output.loss.item() == 0
    assert float(output.parts["gallery_acc"]) == 1
    assert predictions.grad is not None
    assert float(predictions.grad.abs().max()) == 0


def test_the_gallery_is_in_no_checkpoint() -> None:
    assert module_of(gallery(0)).state_dict() == {}
    assert list(module_of(gallery(0), learn_temperature=True).state_dict()) == ["temperature.log_scale"]


def test_without_gradients_rows_are_scored_a_few_at_a_time_to_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(gallery(0))
    predictions, targets = random_batch(2, rows=7)
    ids = torch.tensor([2, 5, 13, 2, 1, 3, 99])
    whole = module(predictions, targets, ids)
    monkeypatch.setattr(source, "SCORES_AT_ONCE", 13)  # two rows against six targets
    sizes: list[int] = []
    module.temperature.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))  # type: ignore[union-attr]
    with torch.no_grad():
        pieces = module(predictions, targets, ids)
    assert max(sizes) == 2
    torch.testing.assert_close(pieces, whole)
