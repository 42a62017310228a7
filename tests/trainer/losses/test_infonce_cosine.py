"""InfoNCE + λ · cosine: the two it is made of, with their weights."""

from typing import Any

import pytest
import torch

from losstune.trainer.losses.infonce_cosine import InfoNceCosineConfig
from tests.trainer.losses.reference import TOLERANCE, cosine_loss_by_loops, infonce_by_loops, run, twin_batch


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 30.0])
@pytest.mark.parametrize("twins", [1, 2])
def test_it_is_the_weighted_sum_of_plain_loops(dtype: torch.dtype, weight: float, twins: int) -> None:
    predictions, targets, ids = twin_batch(1, twins=twins)
    predictions, targets = predictions.to(dtype), targets.to(dtype)
    output = run("infonce_cosine", predictions, targets, ids, similarity_weight=weight, temperature=0.1)
    contrast = infonce_by_loops(predictions, targets, ids.tolist(), 0.1)
    cosine = weight * cosine_loss_by_loops(predictions, targets)
    assert output.loss.dtype == dtype
    assert float(output.loss) == pytest.approx(contrast + cosine, rel=TOLERANCE[dtype])
    assert float(output.parts["infonce"]) == pytest.approx(contrast, rel=TOLERANCE[dtype])
    assert float(output.parts["weighted_cosine"]) == pytest.approx(cosine, rel=TOLERANCE[dtype], abs=1e-12)


@pytest.mark.parametrize("settings", [{}, {"symmetric": True}, {"temperature": 0.5}, {"learn_temperature": True}])
def test_without_the_cosine_part_it_is_infonce(settings: dict[str, Any]) -> None:
    batch = twin_batch(2)
    alone = run("infonce", *batch, **settings)
    both = run("infonce_cosine", *batch, similarity_weight=0.0, **settings)
    torch.testing.assert_close(both.loss, alone.loss)
    torch.testing.assert_close({name: both.parts[name] for name in alone.parts}, dict(alone.parts))


def test_its_parts_are_printed_as_infonces_and_with_the_weight() -> None:
    parts = {"infonce_acc": 0.25, "temperature": 0.05, "infonce": 1.5, "weighted_cosine": 0.75}
    assert InfoNceCosineConfig(similarity_weight=2.0).part_texts(parts, 32) == [
        "InfoNCE Acc: 25.00% (chance 3.12%)",
        "Temperature: 0.0500",
        "InfoNCE: 1.5000",
        "Cosine x 2: 0.7500",
    ]
