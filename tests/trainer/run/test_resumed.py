"""What a resumed run keeps, and what may change. Through the command line it is tested in test_train."""

from pathlib import Path
from typing import Any

import pytest

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.checkpoint import save_checkpoint
from losstune.trainer.run.resumed import CHANGEABLE, resumed_config, saved_config
from tests.trainer.samples import refusal

RUN: dict[str, Any] = {"loss_fn": "infonce", "num_epochs": 3, "schedule": "cosine", "lr": 0.01}
BEFORE = TrainConfig.from_flat(RUN)


def test_a_config_is_that_of_the_state(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {"config": BEFORE.flat(), "state": {}})
    assert saved_config(tmp_path / "last.pt") == BEFORE
    save_checkpoint(tmp_path / "best.pt", {"config": BEFORE.flat()})
    message = "holds no training state to resume from; use last.pt of the run"
    assert refusal(saved_config, tmp_path / "best.pt") == f"--checkpoint {tmp_path}/best.pt: {message}"


def test_nothing_asked_is_the_run_as_it_was_with_its_schedules_end_written_down() -> None:
    assert resumed_config(BEFORE, {}, {}).flat() == BEFORE.flat() | {"schedule_epochs": 3}


@pytest.mark.parametrize("name", CHANGEABLE)
def test_what_may_change_is_taken_from_a_file_and_rather_from_the_command(name: str) -> None:
    some, other = {"data": ("a", "b"), "columns": ("inputs=a", "inputs=b"), "device": ("cpu", "cuda")}.get(name, (1, 2))
    assert resumed_config(BEFORE, {name: some}, {}).flat()[name] == some
    assert resumed_config(BEFORE, {name: some}, {name: other}).flat()[name] == other


@pytest.mark.parametrize("command", [False, True])
def test_another_setting_is_refused_wherever_it_stands(command: bool) -> None:
    asked = ({}, {"lr": 0.02}) if command else ({"lr": 0.02}, {})
    message = "--resume continues a run with its own settings:\nlr is 0.01 in the checkpoint, 0.02 was asked for"
    assert refusal(resumed_config, BEFORE, *asked) == message


def test_another_loss_is_refused() -> None:
    message = "--resume: the checkpoint was trained with loss_fn infonce, not mse"
    assert refusal(resumed_config, BEFORE, {"loss_fn": "mse"}, {}) == message


class TestSchedule:
    def test_its_end_that_a_file_leaves_open_is_no_other_end(self) -> None:
        config = BEFORE
        for _ in range(3):  # the first resume writes the end down, and the next must agree with that
            config = resumed_config(config, TrainConfig.from_flat(RUN).flat(), {"schedule_epochs": None})
            assert config.schedule_epochs == 3

    def test_another_end_in_a_file_is_refused(self) -> None:
        message = "schedule_epochs is 3 in the checkpoint, 9 was asked for"
        assert refusal(resumed_config, BEFORE, {"schedule_epochs": 9}, {}).splitlines()[1] == message

    def test_the_command_moves_it(self) -> None:
        moved = resumed_config(BEFORE, {"schedule_epochs": 3}, {"num_epochs": 9, "schedule_epochs": 9})
        assert (moved.num_epochs, moved.horizon) == (9, 9)

    @pytest.mark.parametrize("command", [False, True])
    def test_more_epochs_beyond_it_are_refused_with_how_to_go_on(self, command: bool) -> None:
        asked = ({}, {"num_epochs": 5}) if command else ({"num_epochs": 5}, {})
        message = (
            "--resume: the cosine schedule ends with epoch 3: epochs 4 to 5 have a learning rate of 0, which changes "
            "nothing; --schedule_epochs 5 moves its end, --num_epochs 3 goes no further"
        )
        assert refusal(resumed_config, BEFORE, *asked) == message

    def test_a_run_that_had_such_epochs_before_goes_on_with_them(self) -> None:
        before = TrainConfig.from_flat({**RUN, "num_epochs": 7, "schedule_epochs": 3})
        assert resumed_config(before, {}, {}) == before
        assert resumed_config(before, {}, {"num_epochs": 5}).num_epochs == 5
        assert "epochs 4 to 8" in refusal(resumed_config, before, {}, {"num_epochs": 8})

    def test_a_constant_rate_has_no_end(self) -> None:
        constant = TrainConfig.from_flat({**RUN, "schedule": "constant"})
        assert resumed_config(constant, {}, {"num_epochs": 9}).num_epochs == 9
