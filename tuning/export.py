"""The best trial of a study as one YAML that trains the final model."""

from pathlib import Path
from typing import Any

from trainer.checkpoint import write_whole
from trainer.config import TrainConfig
from trainer.errors import UserError
from trainer.run_dir import CONFIG_FILE, config_yaml, read_config
from tuning.study import Study
from tuning.trials import TrialView, best_trial


def best_of(study: Study, loss_fn: str | None) -> TrialView:
    """The best ended trial of a study, or of one of its losses.

    Raises:
        UserError: the study has no such loss, or no trial with a value yet.
    """
    spec = study.spec
    if loss_fn is not None and loss_fn not in spec.spaces:
        raise UserError(f"--loss-fn: found {loss_fn!r}; study {spec.name!r} has {', '.join(spec.spaces)}")
    candidates = [trial for loss, trials in study.trials().items() if loss_fn in (None, loss) for trial in trials]
    best = best_trial(candidates)
    if best is None:
        raise UserError(f"study {spec.name!r} has no finished trial with a value to export yet")
    return best


def exported_yaml(study: Study, trial: TrialView) -> str:
    """The trial's whole config, and under ``source`` where it came from."""
    config = TrainConfig.from_flat(read_config(study.trials_folder / trial.name / CONFIG_FILE).settings)
    assert trial.ending is not None
    source: dict[str, Any] = {
        "study": study.spec.name,
        "trial": trial.name,
        "metric": study.spec.settings.objective,
        "value": trial.ending.best,
        "best_epoch": trial.ending.best_epoch,
        "trial_epochs": trial.ending.epochs,
        "state": trial.state,
        "data_digest": study.spec.data_digest,
        "versions": study.spec.versions,
        "git_commit": study.spec.git_commit,
    }
    return config_yaml(config, source)


def export(study: Study, loss_fn: str | None, output: Path) -> TrialView:
    """Write the best setting to a file.

    Raises:
        UserError: nothing to export, or the file can not be written.
    """
    trial = best_of(study, loss_fn)
    try:
        write_whole(output, exported_yaml(study, trial).encode())
    except OSError as error:
        raise UserError(f"--output {output}: can not be written: {error.strerror}") from None
    return trial
