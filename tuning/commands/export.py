"""A study's answer as one YAML that trains the final model: its confirmed winner, or else its best trial."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import write_output
from losstune.trainer.config.config_file import config_yaml, read_run_settings
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.layout import CONFIG_FILE
from losstune.tuning.confirm.compare import compare
from losstune.tuning.confirm.confirm_runs import ConfirmRun
from losstune.tuning.confirm.margin import smallest_options
from losstune.tuning.confirm.plan import latest_finished
from losstune.tuning.confirm.results import confirmed_run, load_results
from losstune.tuning.confirm.smallest_words import smallest_sentence
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView, best_trial


def check_loss(study: Study, loss_fn: str) -> None:
    """Refuse a loss that a study has not.

    Raises:
        UserError: says which it has.
    """
    if loss_fn not in study.spec.spaces:
        raise UserError(f"--loss-fn: found {loss_fn!r}; study {study.spec.name!r} has {', '.join(study.spec.spaces)}")


def best_of(study: Study, loss_fn: str | None) -> TrialView:
    """The best ended trial of a study, or of one of its losses.

    Raises:
        UserError: the study has no such loss, or no trial with a value yet.
    """
    if loss_fn is not None:
        check_loss(study, loss_fn)
    candidates = [trial for loss, trials in study.trials().items() if loss_fn in (None, loss) for trial in trials]
    best = best_trial(candidates)
    if best is None:
        raise UserError(f"study {study.spec.name!r} has no finished trial with a value to export yet")
    return best


def exported_yaml(study: Study, trial: TrialView) -> str:
    """The trial's whole config, and under ``source`` where it came from."""
    settings = read_run_settings(study.trials_folder / trial.name / CONFIG_FILE)
    config = TrainConfig.from_flat(settings | study.data_settings)
    assert trial.ending is not None
    source: dict[str, Any] = {
        "study": study.spec.name,
        "trial": trial.name,
        "confirmed": False,
        "metric": study.spec.settings.objective,
        "value": trial.ending.best,
        "best_epoch": trial.ending.best_epoch,
        "trial_epochs": trial.ending.epochs,
        "state": trial.state,
    }
    return config_yaml(config, source | _provenance(study))


def confirmed_yaml(run: ConfirmRun, confirmation: int, validation_mean: float, dims: int | None = None) -> str:
    """A confirmed setting's whole config, with the seeds of the run that stands for it.

    Args:
        dims: of the prefix that it is handed over for; None is the whole.
    """
    study, result = run.study, run.result()
    assert result is not None
    source: dict[str, Any] = {
        "study": study.spec.name,
        "trial": run.arm.name,
        "confirmed": True,
        "confirmation": confirmation,
        "run": run.name,
        "metric": study.spec.settings.objective,
        "value": validation_mean,
        "search_value": run.arm.search_value,
        "best_epoch": result.best_epoch,
        "trial_epochs": result.epochs,
        **({} if dims is None else {"dims": dims}),
    }
    return config_yaml(TrainConfig.from_flat(run.settings), source | _provenance(study))


def _provenance(study: Study) -> dict[str, Any]:
    spec = study.spec
    return {"data_digest": spec.data_digest, "versions": spec.versions, "git_commit": spec.git_commit}


def smallest_run(study: Study, loss_fn: str | None, margin: float | None) -> tuple[ConfirmRun, int | None]:
    """The run of the smallest model that was shown to be as good as the winner, and its dimensions if they are cut.

    Raises:
        UserError: a loss is asked for too, nothing is confirmed, or no smaller model was shown to be as good.
    """
    name = study.spec.name
    if loss_fn is not None:
        raise UserError(f"--smallest --loss-fn {loss_fn}: the smallest is that of all losses; leave one of the two out")
    plan = latest_finished(study)
    if plan is None:
        raise UserError(
            f"--smallest: study {name!r} is not confirmed yet, and fresh seeds alone tell what is as good: "
            f"losstune confirm {name}{study.home.options()} {smallest_options(margin)}"
        )
    comparison = compare(study, margin)
    smallest = comparison.smallest
    if smallest is None or smallest.verdict != "as good":
        said = " ".join(smallest_sentence(comparison)) or "An earlier release confirmed it, without what models cost."
        raise UserError(f"--smallest: no smaller model is known to be as good. {said}")
    results, _ = load_results(study, plan)
    arm = next(arm for arm in plan.arms if arm.name == smallest.name)
    run = ConfirmRun(study, arm, results.best_seed(arm.name))
    return run, smallest.cost.dims if smallest.is_cut else None


@dataclass(frozen=True)
class Exported:
    """What was written: the setting's trial, its value, and the seeds that confirm it, 0 if none do.

    ``dims`` are those that its embeddings are as good with, where they are to be cut for that.
    """

    trial: str
    value: float
    seeds: int
    dims: int | None = None


def export(
    study: Study, loss_fn: str | None, output: Path, *, smallest: bool = False, margin: float | None = None
) -> Exported:
    """Write the confirmed winner to a file, or a loss's confirmed setting; before a confirmation, the search's best.

    Args:
        smallest: in place of the winner the smallest confirmed model that is as good within the margin.
        margin: as of :func:`compare`.

    Raises:
        UserError: nothing to export, or the file can not be written.
    """
    best = best_of(study, loss_fn)
    plan = latest_finished(study)
    run, dims = smallest_run(study, loss_fn, margin) if smallest else (confirmed_run(study, loss_fn), None)
    if plan is not None and run is not None:
        results, _ = load_results(study, plan)
        arm = results.arm(run.arm.name)
        text = confirmed_yaml(run, plan.number, arm.validation_mean, dims)
        exported = Exported(run.arm.name, arm.validation_mean, len(arm.validation), dims)
    else:
        text, exported = exported_yaml(study, best), Exported(best.name, best.rank_value, 0)
    try:
        write_output(output, text.encode())
    except OSError as error:
        raise UserError(f"--output {output}: can not be written: {error.strerror}") from None
    return exported
