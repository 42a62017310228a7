"""What a model costs, as a confirmation keeps it."""

import pytest
from pydantic import ValidationError

from losstune.tuning.confirm.cost import Cost
from losstune.tuning.confirm.results import ArmResult

COST = Cost(parameters=1000, file_bytes=12_345, dims=32, single=20_000.0, batched=900_000.0)


def test_it_is_kept_with_the_arm_and_one_of_before_has_none() -> None:
    arm = ArmResult(name="mse-0001", loss_fn="mse", role="candidate", validation=[0.5], cost=COST)
    assert ArmResult.model_validate_json(arm.model_dump_json()).cost == COST
    before = arm.model_dump()
    del before["cost"]
    assert ArmResult.model_validate(before).cost is None


def test_a_part_is_not_forgotten() -> None:
    with pytest.raises(ValidationError, match="dims"):
        Cost.model_validate({**COST.model_dump(), "dims": None})
