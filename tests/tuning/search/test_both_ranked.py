"""Two studies as one of Optuna's: ranks for values, the earlier ones first, and neither of them touched."""

import math

import pytest
from optuna.trial import TrialState

from losstune.tuning.search.both_ranked import BothRanked, ranks_of
from losstune.tuning.study.distributions import distributions
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.trial import Ending
from tests.tuning.samples import CONDITIONAL, cut, diverged, new_trials, space_of, used_up

SPACE = space_of(CONDITIONAL)


def trials_with(*endings: Ending, level: float = 0.0) -> LossTrials:
    trials = new_trials(SPACE)
    for number, ending in enumerate(endings):
        trials.add(SPACE.start[number % 2], seed=0)
        if ending.epochs > 3:
            trials.report(number, 3, level + 0.1 * number)
        trials.end(number, ending)
    return trials


def test_ranks_are_within_a_study_and_an_epoch() -> None:
    trials = trials_with(used_up(0.5), used_up(0.7), cut(0.3, 3), diverged(2), cut(0.05, 3))
    ranks = ranks_of(list(trials))
    at_three = {number: rank for (epoch, number), rank in ranks.items() if epoch == 3}
    assert at_three == {0: 0.125, 4: 0.375, 1: 0.625, 2: 0.875}  # 0, 0.05, 0.1, 0.3
    assert (ranks[-1, 0], ranks[-1, 1]) == (0.25, 0.75)
    assert math.isnan(ranks[2, 3])


def test_optuna_gets_both_the_earlier_ones_first() -> None:
    earlier, own = trials_with(used_up(50.0), cut(30.0, 3), diverged(2), level=20.0), trials_with(used_up(0.5))
    own.add(SPACE.start[1], seed=0)
    before = [trial.value for trial in own]
    study, draft = BothRanked(list(earlier), list(own), distributions(SPACE)).draft()
    assert [trial.state for trial in study.trials] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED, TrialState.COMPLETE, TrialState.RUNNING
    ]  # fmt: skip
    assert [trial.params for trial in study.trials] == [trial.point for trial in [*earlier, *own]]
    assert [trial.value for trial in study.trials] == [0.5, None, None, 0.5, None]
    assert study.trials[1].intermediate_values == {3: 0.75}
    assert math.isnan(study.trials[2].intermediate_values[2])
    assert {name for trial in study.trials for name in trial.distributions} == set(distributions(SPACE))
    assert draft.number == 5
    assert len(study.trials) == 5
    assert [trial.value for trial in own] == before


def test_values_of_two_studies_are_not_ranked_together() -> None:
    """The other data has another level: among this study's values all of its own would be the best."""
    earlier = trials_with(used_up(50.0), used_up(30.0), level=20.0)
    own = trials_with(used_up(0.2), used_up(0.7), used_up(0.5))
    study, _ = BothRanked(list(earlier), list(own), distributions(SPACE)).draft()
    assert [trial.value for trial in study.trials] == pytest.approx([0.75, 0.25, 1 / 6, 5 / 6, 0.5])
    reported = [trial.intermediate_values[3] for trial in study.trials]
    assert reported == pytest.approx([0.25, 0.75, 1 / 6, 0.5, 5 / 6])  # it rises with the number


def test_each_draft_is_of_a_study_of_its_own() -> None:
    """Optuna's samplers keep the trials of a study that they have seen."""
    both = BothRanked(list(trials_with(used_up())), [], distributions(SPACE))
    assert both.draft()[0] is not both.draft()[0]
