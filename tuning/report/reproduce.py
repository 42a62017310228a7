"""The commands that repeat a study, from the search to the final model, as the command line takes them."""

import shlex
from dataclasses import dataclass
from typing import Any

from losstune.trainer.config.config_file import read_run_settings
from losstune.trainer.run.layout import CONFIG_FILE
from losstune.tuning.confirm.plan import Plan
from losstune.tuning.space.reader import load_space, shipped_names
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.study import Study


@dataclass(frozen=True)
class Step:
    """A command, and in a few words what it does."""

    purpose: str
    arguments: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The words of one line for a POSIX shell; an option with its value is one."""
        words = ["losstune"]
        for argument in map(shlex.quote, self.arguments):
            if words[-1].startswith("--") and " " not in words[-1] and not argument.startswith("--"):
                words[-1] += f" {argument}"
            else:
                words.append(argument)
        return words


def steps(study: Study, plan: Plan | None) -> list[Step]:
    """Search, confirmation as it was done (else as it is done by default), export, final training, report."""
    name = study.spec.name
    cpus = _cpus(study)
    confirmation = plan.options if plan else ()
    return [
        Step("search", (*_launch(study), *cpus)),
        Step("confirm the best settings with fresh seeds", ("confirm", name, *confirmation, *cpus)),
        Step("this report", ("report", name, "--output", "report.html")),
        Step("the chosen setting as a file", ("export", name, "--output", "best.yaml")),
        Step(
            "the final model, on all rows but the test split",
            ("train", "--config", "best.yaml", "--output-dir", "final", "--fit", "train+val"),
        ),
    ]


def own_spaces(study: Study) -> dict[str, str]:
    """Losses whose space does not ship with the product, and the file that the launch command expects for each."""
    return {loss: name for loss, name in _space_names(study).items() if name.endswith(".yaml")}


def _launch(study: Study) -> tuple[str, ...]:
    spec = study.spec
    spaces = _space_names(study).values()
    columns = ("--columns", spec.columns) if spec.columns else ()
    warm_start = ("--warm-start", spec.warm_start.study) if spec.warm_start else ()
    named = ("--study", spec.name, *warm_start)
    return ("launch", *spaces, "--data", study.data_source, *columns, *named, *_options(spec.settings))


def _options(settings: StudySettings) -> list[str]:
    """Every setting, also what a space's file gives: a file may have changed since."""
    given: dict[str, Any] = {**settings.model_dump(), "epochs_per_loss": settings.budget.epochs}
    options: list[str] = []
    for name, value in given.items():
        if value is not None and value is not False:
            options += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return options


def _space_names(study: Study) -> dict[str, str]:
    """Each loss's space by its shipped name, else by the name of a file to be."""
    shipped = {name: dict(load_space(name).source) for name in shipped_names()}
    return {
        loss: next((name for name, known in shipped.items() if known == source), f"{loss}.yaml")
        for loss, source in study.spec.spaces.items()
    }


def _cpus(study: Study) -> tuple[str, ...]:
    """Threads are part of a setting: sums of floating-point numbers depend on them."""
    config = next(iter(sorted(study.trials_folder.glob(f"*/{CONFIG_FILE}"))), None)
    threads = read_run_settings(config).get("threads") if config else None
    return ("--cpus-per-trial", str(threads)) if threads and threads != 1 else ()
