"""What a loss module returns is checked before it is used."""

from typing import Any

import pytest
import torch

from losstune.trainer.losses import LossOutput
from losstune.trainer.score.parts import SameParts, checked_output
from tests.trainer.samples import refusal


def test_parts_are_detached_and_the_loss_is_not() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    output = checked_output(LossOutput(weight * 3, {"share": weight / 2}), "own")
    assert output.loss.requires_grad
    assert not output.parts["share"].requires_grad
    assert float(output.parts["share"]) == 1


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.tensor(1.0), "its module returned Tensor; expected LossOutput(loss, parts)"),
        ((1.0, {}), "its module returned tuple; expected LossOutput(loss, parts)"),
        (LossOutput(1.0, {}), "loss: found 1.0; expected a tensor that holds one number, shape ()"),  # type: ignore[arg-type]
        (
            LossOutput(torch.tensor(1.0), None),  # type: ignore[arg-type]
            "parts: found None; expected tensors by name, or {} for none",
        ),
        (
            LossOutput(torch.ones(2), {}),
            "loss: found a tensor of shape (2,); expected a tensor that holds one number, shape ()",
        ),
        (
            LossOutput(torch.tensor(1.0), {"share": torch.ones(1, 1)}),
            "share: found a tensor of shape (1, 1); expected a tensor that holds one number, shape ()",
        ),
        (
            LossOutput(torch.tensor(1.0), {"mrr": torch.tensor(1.0)}),
            "its part 'mrr' has the name of a metric; give it another",
        ),
        (
            LossOutput(torch.tensor(1.0), {"acc@0.5": torch.tensor(1.0)}),
            "its part 'acc@0.5': a name has letters, digits, spaces, '_', '-', '.', ':', and '/' between such words; "
            "at most 200 characters",
        ),
    ],
)
def test_what_is_no_output_of_a_loss_is_refused(output: Any, message: str) -> None:
    assert refusal(checked_output, output, "own") == f"loss own: {message}"


def test_batches_of_a_pass_have_the_same_parts_in_any_order() -> None:
    parts, one = SameParts("own", "training"), torch.tensor(1.0)
    parts.check({"a": one, "b": one})
    parts.check({"b": one, "a": one})
    mend = "each batch is to have the same parts: give it a value there too, as predictions.new_zeros(())"
    found = refusal(parts.check, {"a": one})
    assert found == f"loss own: its part 'b' is in training batch 1 and not in batch 3; {mend}"
    found = refusal(parts.check, {"a": one, "b": one, "neg": one})
    assert found == f"loss own: its part 'neg' is in training batch 4 and not in batch 1; {mend}"


def test_batches_without_parts_stay_without() -> None:
    parts = SameParts("own", "validation")
    parts.check({})
    parts.check({})
    assert "part 'neg' is in validation batch 3" in refusal(parts.check, {"neg": torch.tensor(1.0)})
