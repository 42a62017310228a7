"""The trials of one loss: what was proposed, how far each got, how it ended. Optuna's storage is the truth.

Every change is written to the study's storage and to a copy in memory; samplers work on the copy, because a
proposal on SQLite costs twenty times one in memory.
"""

import copy
import math
import warnings
from collections.abc import Iterator
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import Study as OptunaStudy
from optuna.study import StudyDirection, load_study
from optuna.trial import FrozenTrial, TrialState, create_trial

from losstune.tuning.space.search_space import Point, SearchSpace
from losstune.tuning.storage.trial_store import OWNER, find_study
from losstune.tuning.study.distributions import distributions
from losstune.tuning.study.quiet_optuna import quiet_optuna
from losstune.tuning.study.trial import Ending, State, TrialView, point_digest, trial_name

STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "paused",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
LOSS, TRIAL, SEED, EPOCHS, REASON = "loss", "trial", "seed", "epochs", "reason"
"""What Optuna's data frames and dashboard show of a trial beside its parameters; what counts is its end, below."""
_END = "end"
DIGEST = "point_digest"
DROPPED, GROWN_AT = "dropped", "grown_at"
_RETRY_OF = "retry_of"
_DRAFTS = "drafts"


class LossTrials:
    """The Optuna study of one loss, on its storage and in memory.

    Attributes:
        grown_at: the number of the first trial of its space as it is now, 0 where that has not grown.
        stored_numbers: of the trials that were there, in the order in which they came, as the storage has them.
    """

    @quiet_optuna()
    def __init__(
        self,
        storage: BaseStorage,
        loss: str,
        space: SearchSpace,
        name: str | None = None,
        owner: str = "",
        objective: str = "",
    ) -> None:
        """Open the trials of a loss, creating an empty Optuna study at the first time.

        Args:
            name: the Optuna study's name, if it is not the loss's.
            owner: the study that the trials belong to, as the storage keeps it; "" where a storage has one only.
            objective: what Optuna's dashboard and plots are to call a trial's value; "" leaves it as it is.
        """
        self.loss = loss
        self.space = space
        self._storage = storage
        self._memory = InMemoryStorage()
        self._study_id = find_study(storage, name or loss)
        if self._study_id is None:
            self._study_id = storage.create_new_study([StudyDirection.MAXIMIZE], name or loss)
        attributes = storage.get_study_user_attrs(self._study_id)
        self.grown_at: int = attributes.get(GROWN_AT, 0)
        if owner and attributes.get(OWNER) != owner:
            storage.set_study_user_attr(self._study_id, OWNER, owner)
        if objective:
            _name_values(storage, name or loss, objective)
        self._memory_id = self._memory.create_new_study([StudyDirection.MAXIMIZE], loss)
        self._distributions = distributions(space)
        self._ids: list[tuple[int, int]] = []
        self.stored_numbers: list[int] = []
        for trial in storage.get_all_trials(self._study_id, deepcopy=False):
            self.stored_numbers.append(trial.number)
            self._ids.append((trial._trial_id, self._remembered(trial)))
        drafts = self._memory.create_new_study([StudyDirection.MAXIMIZE], _DRAFTS)
        self._draft_id = self._memory.create_new_trial(drafts)

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[TrialView]:
        return (_view(self.loss, trial) for trial in self._memory.get_all_trials(self._memory_id, deepcopy=False))

    def __getitem__(self, number: int) -> TrialView:
        return _view(self.loss, self._memory.get_trial(self._ids[number][1]))

    def add(self, point: Point, seed: int, retry_of: int | None = None) -> int:
        """Record a proposal as running; returns its number.

        Args:
            retry_of: the failed trial that it tries again.
        """
        used = {name: d for name, d in self._distributions.items() if name in point}
        trial = create_trial(
            state=TrialState.RUNNING,
            params=point,
            distributions=used,
            user_attrs={
                LOSS: self.loss,
                TRIAL: trial_name(self.loss, len(self)),
                SEED: seed,
                DIGEST: point_digest(point, used),
            }
            | ({} if retry_of is None else {_RETRY_OF: retry_of}),
        )
        trial_id = self._storage.create_new_trial(self._required_id, template_trial=trial)
        self._ids.append((trial_id, self._remembered(trial)))
        return len(self._ids) - 1

    def draft(self) -> tuple[OptunaStudy, FrozenTrial]:
        """What a sampler needs to propose the next trial: the study in memory, and a trial that is not in it.

        The study is a new object each time, because Optuna's samplers cache a study's trials in it. The trial
        has the next number, and a place of its own where samplers may leave notes.
        """
        trial = FrozenTrial(
            number=len(self),
            trial_id=self._draft_id,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=None,
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        return load_study(study_name=self.loss, storage=self._memory), trial

    def report(self, number: int, epoch: int, value: float) -> None:
        """Record the best value so far at a rung."""
        for storage, trial_id in self._both(number):
            storage.set_trial_intermediate_value(trial_id, epoch, value)

    def end(self, number: int, ending: Ending) -> None:
        """Record the end of a trial. Its reason is written first: a crash in between leaves an end to complete."""
        value = math.nan if ending.diverged or ending.best is None else ending.best
        for name, told in ((EPOCHS, ending.epochs), (REASON, ending.reason)):
            self._storage.set_trial_user_attr(self._ids[number][0], name, told)
        for storage, trial_id in self._both(number):
            storage.set_trial_user_attr(trial_id, _END, vars(ending))
            if ending.epochs > 0 and ending.state != "failed":
                storage.set_trial_intermediate_value(trial_id, ending.epochs, value)
            match ending.state:
                case "complete":
                    storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [value])
                case "pruned":
                    # As Optuna's own tell does; its samplers look at the values that were reported, not at this one.
                    kept = None if math.isnan(value) else [value]
                    storage.set_trial_state_values(trial_id, TrialState.PRUNED, kept)
                case "failed":
                    storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def pause(self, number: int) -> None:
        """Mark an unfinished trial as waiting for the next launch."""
        for storage, trial_id in self._both(number):
            storage.set_trial_state_values(trial_id, TrialState.WAITING)

    def resume(self, number: int) -> None:
        """Mark a waiting trial as running again."""
        for storage, trial_id in self._both(number):
            storage.set_trial_state_values(trial_id, TrialState.RUNNING)

    def settle(self) -> None:
        """Complete ends that a crash cut short; what has not ended waits to be continued."""
        for trial in list(self):
            if trial.state in ("running", "paused") and trial.ending is not None:
                self.end(trial.number, trial.ending)
            elif trial.state == "running":
                self.pause(trial.number)

    @property
    def dropped(self) -> dict[str, Any] | None:
        """Why the loss is out of the race, None if it is in."""
        return self._storage.get_study_user_attrs(self._required_id).get(DROPPED)

    def drop(self, why: dict[str, Any] | None) -> None:
        """Record that the loss is out of the race, or in again with None."""
        if why != self.dropped:
            self._storage.set_study_user_attr(self._required_id, DROPPED, why)

    def _remembered(self, trial: FrozenTrial) -> int:
        """Its number in memory, where all trials share their distributions.

        Optuna would copy them, deeply, for each trial: that is half of what a trial takes.
        """
        bare = copy.copy(trial)
        bare.distributions = {}
        number = self._memory.create_new_trial(self._memory_id, template_trial=bare)
        known = self._distributions
        shared = {name: known[name] if known.get(name) == own else own for name, own in trial.distributions.items()}
        self._memory.get_trial(number).distributions = shared  # in memory Optuna hands out the trial itself
        return number

    @property
    def _required_id(self) -> int:
        assert self._study_id is not None
        return self._study_id

    def _both(self, number: int) -> tuple[tuple[BaseStorage, int], tuple[BaseStorage, int]]:
        trial_id, memory_id = self._ids[number]
        return (self._storage, trial_id), (self._memory, memory_id)


def _name_values(storage: BaseStorage, name: str, objective: str) -> None:
    """What a value of this Optuna study is called."""
    study = load_study(study_name=name, storage=storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if study.metric_names != [objective]:
            study.set_metric_names([objective])


@quiet_optuna()  # of a storage that fails it logs the statement, and asks once more, before it raises
def read_trials(storage: BaseStorage, loss: str, name: str | None = None) -> list[TrialView]:
    """The trials of a loss, read from a storage without opening it for writing; empty if it has none.

    Args:
        name: the Optuna study's name, if it is not the loss's.
    """
    study_id = find_study(storage, name or loss)
    trials = [] if study_id is None else storage.get_all_trials(study_id, deepcopy=False)
    return [_view(loss, trial) for trial in trials]


def read_dropped(storage: BaseStorage, name: str) -> dict[str, Any] | None:
    """Why the loss of an Optuna study is out of the race, None if it is in, or there is none."""
    study_id = find_study(storage, name)
    return None if study_id is None else storage.get_study_user_attrs(study_id).get(DROPPED)


def _view(loss: str, trial: FrozenTrial) -> TrialView:
    ending = trial.user_attrs.get(_END)
    return TrialView(
        loss=loss,
        number=trial.number,
        point=dict(trial.params),
        state=STATES[trial.state],
        rungs=dict(trial.intermediate_values),
        ending=Ending(**ending) if ending else None,
        started=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
        finished=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
        value=trial.values[0] if trial.values else None,
        distributions=dict(trial.distributions),
        digest=trial.user_attrs.get(DIGEST, ""),
        retry_of=trial.user_attrs.get(_RETRY_OF),
    )
