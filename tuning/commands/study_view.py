"""A study as a program holds it: what is known of its trials, as plain values, data frames and Optuna's own study."""

import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd

from losstune.trainer.base.argument_words import for_programs
from losstune.trainer.run.layout import BEST_FILE
from losstune.tuning.commands.export import best_of, check_loss
from losstune.tuning.show.notebook import shown_forms
from losstune.tuning.show.status import status_json, status_table
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView


@dataclass(frozen=True)
class BestTrial:
    """The best trial of a study, or of one of its losses, by best validation objective so far.

    Attributes:
        trial: ``infonce-0007``, also the name of its run in MLflow.
        loss: by its name in the study. loss_fn: the loss function; that has the same name, where the space gave none.
        value: its best value so far of the study's objective.
        best_epoch: the epoch of that value. epochs: how many it trained.
        state: complete, pruned or failed.
        setting: what was chosen for it, by flat name.
        checkpoint: its ``best.pt``, for :func:`losstune.load_model`.
    """

    trial: str
    loss: str
    loss_fn: str
    value: float
    best_epoch: int
    epochs: int
    state: str
    setting: dict[str, Any]
    checkpoint: Path


class StudyView:
    """An existing study. Whatever it is asked is read anew, so it also follows a launch that is running.

    It comes from :func:`losstune.launch` and :func:`losstune.open_study`.

    Attributes:
        name: its name.
        folder: ``STORAGE/studies/NAME``; of a study in a bucket, copies of its small files.
    """

    def __init__(self, study: Study, tracking_uri: str | None, place: ExitStack) -> None:
        """``place`` holds what the study's place needs, and is closed when nobody has this any more."""
        self.stored = study
        self.tracking_uri = tracking_uri
        self.name = study.spec.name
        self.folder = study.folder
        weakref.finalize(self, place.close)

    def __repr__(self) -> str:
        losses = ", ".join(self.stored.spec.spaces)
        return f"<losstune study {self.name!r} in {self.stored.home.where}: {losses}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Its status, as a notebook shows it."""
        return shown_forms(lambda console: console.print(status_table(self.stored)))

    @for_programs
    def status(self) -> dict[str, Any]:
        """Settings, the state of every trial of every loss, and what is best: as ``losstune status --json``."""
        return status_json(self.stored)

    @for_programs
    def trials_dataframe(self) -> pd.DataFrame:
        """One row a trial, in the order of losses and numbers.

        ``trial, loss, number, state, reason, value, best_epoch, epochs, started, seconds``, and ``params_NAME`` for
        every searched setting, as Optuna's data frames have it. ``value`` is the best so far, NaN where there is none.
        Where a space has a name of its own, ``loss`` is that, and ``loss_fn`` the loss function.
        """
        trials = [trial for own in self.stored.trials().values() for trial in own]
        frame = pd.DataFrame([_row(trial) for trial in trials], columns=None if trials else list(_COLUMNS))
        loss_fns = self.stored.spec.loss_fns
        if any(loss != loss_fn for loss, loss_fn in loss_fns.items()):
            frame.insert(_COLUMNS.index("loss") + 1, "loss_fn", frame["loss"].map(loss_fns))
        return frame

    @for_programs
    def best(self, loss_fn: str | None = None) -> BestTrial:
        """The best ended trial, of all losses or of one, by its name in the study.

        Raises:
            LosstuneError: there is no such loss, or no trial with a value yet.
        """
        trial = best_of(self.stored, loss_fn)
        ending = trial.ending
        assert ending is not None
        checkpoint = self.stored.trials_folder / trial.name / BEST_FILE
        self.stored.files.keep(checkpoint)
        return BestTrial(
            trial.name,
            trial.loss,
            self.stored.spec.loss_fns[trial.loss],
            trial.rank_value,
            ending.best_epoch,
            ending.epochs,
            ending.state,
            dict(trial.point),
            checkpoint,
        )

    @for_programs
    def optuna(self, loss_fn: str) -> optuna.Study:
        """The trials of a loss, by its name in the study, as Optuna has them, for its plots; do not write to it.

        Raises:
            LosstuneError: there is no such loss, or the storage can not be read.
        """
        study = self.stored
        check_loss(study, loss_fn)
        storage = study.storage()
        with study.store.translating_errors():
            return optuna.load_study(study_name=study.optuna_name(loss_fn), storage=storage)


_COLUMNS = ("trial", "loss", "number", "state", "reason", "value", "best_epoch", "epochs", "started", "seconds")


def _row(trial: TrialView) -> dict[str, Any]:
    ending = trial.ending
    known = (
        trial.name,
        trial.loss,
        trial.number,
        trial.shown_state,
        ending.reason if ending else None,
        ending.best if ending else None,
        ending.best_epoch if ending else None,
        trial.epochs,
        pd.Timestamp(trial.started, unit="s", tz="UTC"),
        trial.finished - trial.started if trial.finished else None,
    )
    return {**dict(zip(_COLUMNS, known, strict=True)), **{f"params_{name}": v for name, v in trial.point.items()}}
