"""How data is split and what is right in it, where only some of it is said."""

from losstune.trainer.config.data_rules import BEFORE, NEW_RULES, DataRules, new_rules
from losstune.trainer.config.train_config import TrainConfig


def test_what_settings_say_counts_and_all_else_is_new() -> None:
    assert new_rules({"lr": 0.1}) == NEW_RULES == DataRules(None, "any")
    assert new_rules({"split_by": "inputs"}) == DataRules("inputs", "any")
    assert new_rules({"split_by": "ids", "answers": "own"}) == BEFORE


def test_settings_that_name_none_mean_what_they_meant_before_there_was_a_choice() -> None:
    assert TrainConfig.from_flat({"loss_fn": "mse"}).rules == BEFORE
