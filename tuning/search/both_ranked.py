"""Another study's trials and this one's as one study of Optuna's, in memory, for its samplers alone."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.study import Study as OptunaStudy
from optuna.study import StudyDirection, load_study
from optuna.trial import FrozenTrial, TrialState, create_trial

from losstune.tuning.study.loss_trials import STATES
from losstune.tuning.study.quiet_optuna import quiet_optuna
from losstune.tuning.study.trial import TrialView

_NAME = "both"
_STATES = {ours: optunas for optunas, ours in STATES.items()}
_END = -1
"""In place of an epoch: where a trial was given all of its epochs."""
Ranks = dict[tuple[int, int], float]
"""By epoch and trial."""


class BothRanked:
    """What a sampler proposes from. The earlier trials stand first, and count as a study's oldest ones do.

    Values on two data sets can not be compared, so each stands for its rank: the share of its own study's trials that
    were worse at that epoch.
    """

    @quiet_optuna()
    def __init__(
        self, earlier: Sequence[TrialView], own: Sequence[TrialView], known: Mapping[str, BaseDistribution]
    ) -> None:
        """Put them together.

        Args:
            known: Optuna's distributions of the space, at whose points all trials are.
        """
        self._storage = InMemoryStorage()
        study_id = self._storage.create_new_study([StudyDirection.MAXIMIZE], _NAME)
        for trials in (earlier, own):
            ranks = ranks_of(trials)
            for trial in trials:
                at = self._storage.create_new_trial(study_id, _as_optuna(trial, ranks))
                # Optuna would check and copy them, deeply, for each trial; in memory it hands out the trial itself.
                used = {name: known[name] for name in trial.point}
                self._storage.get_trial(at).distributions, self._storage.get_trial(at).params = used, trial.point
        self._count = len(earlier) + len(own)
        self._draft_id = self._storage.create_new_trial(self._storage.create_new_study([StudyDirection.MAXIMIZE]))

    def draft(self) -> tuple[OptunaStudy, FrozenTrial]:
        """As of :class:`~losstune.tuning.study.loss_trials.LossTrials`: a study, and a trial that is not in it."""
        trial = create_trial(state=TrialState.RUNNING)
        trial.number, trial._trial_id = self._count, self._draft_id
        return load_study(study_name=_NAME, storage=self._storage), trial


def ranks_of(trials: Sequence[TrialView]) -> Ranks:
    """Of each value at an epoch the share of all values there that are lower, equal ones by half."""
    values: dict[int, dict[int, float]] = {}
    for trial in trials:
        for epoch, value in trial.rungs.items():
            values.setdefault(epoch, {})[trial.number] = value
        if trial.shown_state == "complete":
            values.setdefault(_END, {})[trial.number] = trial.rank_value
    ranks: Ranks = {}
    for epoch, own in values.items():
        told = np.array(list(own.values()))
        known = np.sort(told[~np.isnan(told)])
        lower, upper = (np.searchsorted(known, told, side) for side in ("left", "right"))
        shares = np.where(np.isnan(told), math.nan, (lower + upper) / (2 * max(1, len(known))))
        ranks |= {(epoch, number): share for number, share in zip(own, shares.tolist(), strict=True)}
    return ranks


def _as_optuna(trial: TrialView, ranks: Ranks) -> FrozenTrial:
    """A trial as ``LossTrials`` tells it to Optuna, with ranks for values, and without its point."""
    value = ranks.get((_END, trial.number))
    reported = {epoch: ranks[epoch, trial.number] for epoch in trial.rungs}
    if trial.ending is not None and trial.ending.diverged:
        reported[max(1, trial.ending.epochs)] = math.nan
    return create_trial(
        state=_STATES[trial.shown_state],
        value=value,
        intermediate_values=reported,
    )
