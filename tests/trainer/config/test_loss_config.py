"""What a loss's config brings by itself."""

from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from losstune.trainer.config.loss_config import LossConfig


class Focal(LossConfig):
    """Nothing but its settings."""

    name: ClassVar[str] = "focal"
    gamma: float = Field(2.0, ge=0, description="how much easy rows count less")


def test_its_rules_are_the_field_s_usual_ones_unless_it_says_otherwise() -> None:
    assert (Focal.smallest_batch, Focal.recommended_batch, Focal.start_lr, Focal.in_batch) == (4, 16, 1e-3, False)


@pytest.mark.parametrize("settings", [{"gamma": -1.0}, {"gamma": float("inf")}, {"gamma": "2"}, {"alpha": 1.0}])
def test_its_settings_are_checked_strictly(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Focal.model_validate(settings)


def test_it_can_not_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Focal().gamma = 1.0  # type: ignore[misc]


def test_parts_are_printed_by_their_names_in_words() -> None:
    assert Focal().part_texts({"easy_share": 0.12345, "acc": 1.0}, 32) == ["Easy Share: 0.1235", "Acc: 1.0000"]


def test_one_without_a_module_can_not_be_built() -> None:
    with pytest.raises(NotImplementedError):
        Focal().build(None)  # type: ignore[arg-type]
