"""What a report is made from: trials, the newest finished confirmation, and the trial that stands for each loss."""

from collections.abc import Mapping
from dataclasses import dataclass

from losstune.trainer.run.history import Record, read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.confirm.compare import compare
from losstune.tuning.confirm.confirm_runs import runs_by_arm, runs_of
from losstune.tuning.confirm.findings import Comparison
from losstune.tuning.confirm.plan import Plan, latest_finished
from losstune.tuning.confirm.small_trials import trained_shape, trial_sizes
from losstune.tuning.report.figure_parts import Style, loss_styles
from losstune.tuning.report.loss_figures import level_rows
from losstune.tuning.report.rung_agreement import Agreement, confirm_agreements, search_agreements
from losstune.tuning.show.comparison import ordered_rows
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView, best_trial, ranked


@dataclass(frozen=True)
class Facts:
    """All that a report is made from.

    Attributes:
        trials: of each loss, the best loss first, by what is known.
        chosen: the trial of each loss: its confirmed pick, or else the best of the search.
        sizes: parameters of the trials' models by the trial's name, as far as they are known.
        search, confirm: whether rungs agree with what comes later, in both kinds of run.
    """

    study: Study
    trials: Mapping[str, list[TrialView]]
    plan: Plan | None
    comparison: Comparison | None
    styles: Mapping[str, Style]
    chosen: Mapping[str, TrialView]
    sizes: Mapping[str, int]
    search: list[Agreement]
    confirm: list[Agreement]

    @classmethod
    def of(cls, study: Study) -> "Facts":
        """Read them from a study.

        Raises:
            UserError: its files are damaged.
        """
        found = study.trials()
        plan = latest_finished(study)
        comparison = compare(study) if plan else None
        rungs = study.spec.settings.rungs
        chosen = _picked(comparison, found) if comparison else _best(found)
        return cls(
            study=study,
            trials={loss: found[loss] for loss in [*chosen, *(loss for loss in found if loss not in chosen)]},
            plan=plan,
            comparison=comparison,
            styles=loss_styles(found),
            chosen=chosen,
            sizes=_sizes(study, [trial for own in found.values() for trial in own]),
            search=search_agreements(found, rungs),
            confirm=confirm_agreements(runs_of(study, plan), rungs) if plan else [],
        )

    @property
    def objective(self) -> str:
        """The metric that the study is judged by."""
        return str(self.study.spec.settings.objective)

    @property
    def titles(self) -> dict[str, str]:
        """What tables call each loss."""
        return {loss: self.study.spec.title(loss) for loss in self.trials}

    def levels(self) -> dict[str, float]:
        """What chance and ridge regression reach on the objective, in validation."""
        rows = level_rows(self.comparison) if self.comparison else {}
        return {name: row.validation for name, row in rows.items() if row.validation is not None}

    def histories(self, loss: str) -> list[list[Record]]:
        """The epochs of a pick's runs in the confirmation; without one, of its trial."""
        name = self.chosen[loss].name
        if self.plan is None:
            return [read_history(self.study.trials_folder / name / HISTORY_FILE)]
        runs = runs_by_arm(self.study, self.plan)[name]
        return [read_history(run.folder / HISTORY_FILE) for run in runs]


def _sizes(study: Study, trials: list[TrialView]) -> dict[str, int]:
    shape = trained_shape(study, trials)
    return trial_sizes(study, trials, shape) if shape else {}


def _picked(comparison: Comparison, trials: Mapping[str, list[TrialView]]) -> dict[str, TrialView]:
    by_name = {trial.name: trial for own in trials.values() for trial in own}
    return {str(row.loss): by_name[row.name] for row in ordered_rows(comparison) if row.role == "pick"}


def _best(trials: Mapping[str, list[TrialView]]) -> dict[str, TrialView]:
    best = ranked(trial for own in trials.values() if (trial := best_trial(own)) is not None)
    return {trial.loss: trial for trial in best}
