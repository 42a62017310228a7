"""One training of the benchmark of curves."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from losstune.trainer.run.history import Record
from losstune.trainer.run.loop import Trainer
from losstune.tuning.space.reader import load_space


@pytest.fixture
def one_curve(curves: ModuleType) -> ModuleType:
    """The module that the benchmark trains with."""
    return sys.modules["one_curve"]


def test_averages_are_those_of_a_run_that_keeps_one_and_change_no_training(
    curves: ModuleType, one_curve: ModuleType
) -> None:
    pairs, space = curves.few("digits", 500), load_space("infonce")
    config = curves.config_of(space, curves.points(space, 3)[1], 7, 4).model_copy(update={"batch_size": 16})
    data, test = one_curve.parts(pairs, config)
    found = one_curve.trained(config, data, test, 4)
    for place, constant in enumerate((None, *one_curve.AVERAGES)):
        trainer = Trainer(config.model_copy(update={"average_epochs": constant}), data)
        alone = [trainer.run_epoch()["val/mrr"] for _ in range(4)]
        np.testing.assert_array_equal(found.val[place], np.array(alone, dtype=np.float16))
        assert found.test[place, -1] == np.float16(trainer.evaluate(test)["mrr"])


def test_averages_that_reach_back_equally_far_are_told_from_those_that_do_not(
    curves: ModuleType, one_curve: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_curve, "AVERAGES", (0.25, 1.0))
    pairs, space = curves.few("digits", 500), load_space("infonce")
    config = curves.config_of(space, {**space.start[0], "lr": 5e-3}, 7, 4)
    found = one_curve.trained(config, *one_curve.parts(pairs, config), 4)
    assert not (found.val[1] == found.val[2]).all()


def test_a_run_that_diverges_has_no_values_from_there_on(
    curves: ModuleType, one_curve: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Diverging(Trainer):
        def run_epoch(self) -> Record:
            if self.epoch == 1:
                next(self.model.parameters()).data.fill_(torch.nan)
            return super().run_epoch()

    monkeypatch.setattr(one_curve, "Trainer", Diverging)
    space = load_space("cosine")
    config = curves.config_of(space, space.start[0], 0, 3)
    found = one_curve.trained(config, *one_curve.parts(curves.few("digits", 400), config), 3)
    for values in (*found.val, *found.test):
        assert list(np.isnan(values)) == [False, True, True]
    assert found.seconds > 0
