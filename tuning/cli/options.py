"""Arguments and options that several commands of ``losstune`` share; those of a study are made from its settings."""

import re
from typing import Annotated, Any, Literal

import typer

from losstune.trainer.base.errors import UserError
from losstune.trainer.cli.field_options import Command, field_option, with_options
from losstune.tuning.space.settings import StudySettings

Name = Annotated[str, typer.Argument(help="name of the study")]
SPACES_HELP = "search spaces: shipped names or paths, one a loss"
Data = Annotated[str | None, typer.Option(help="digits, a file, a folder, or package.module:function")]
Concurrency = Annotated[int | None, typer.Option(min=1, help="trials at a time  (default: all slots)")]
CpusPerTrial = Annotated[int, typer.Option(min=1, help="cores, and threads, of a trial")]
Address = Annotated[str | None, typer.Option(help="a running Ray cluster to join")]
Storage = Annotated[
    str,
    typer.Option(
        envvar="LOSSTUNE_STORAGE", metavar="DIR_OR_URI", help="folder, or s3://BUCKET/PREFIX, that holds studies/"
    ),
]
StudyStorage = Annotated[
    str | None,
    typer.Option(
        envvar="LOSSTUNE_STUDY_STORAGE",
        help="postgresql://… that keeps the trials of all studies  (default: SQLite in each study's folder)",
    ),
]


def _share(given: str | float) -> float | Literal["auto"]:
    if given == "auto":
        return "auto"
    try:
        share = float(given)
    except ValueError:
        share = -1.0
    if 0 <= share <= 1 or (share > 1 and share.is_integer()):
        return share
    raise UserError(f"--gpus-per-trial: found {given}; expected a share from 0 to 1, a whole number of GPUs, or auto")


GpusPerTrial = Annotated[
    Any,
    typer.Option(
        parser=_share,
        metavar="SHARE|auto",
        help="share of a GPU, for example 0.25; auto: by a short probe",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(envvar="LOSSTUNE_TRACKING_URI", help="MLflow's store  (default: mlflow.db in --storage)"),
]
AcceptChange = Annotated[
    bool, typer.Option("--accept-change", help="go on with other versions of the libraries, and keep that on record")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for programs")]


def seconds_of(text: str) -> float:
    """``90s``, ``30m``, ``2h`` or a plain number in seconds.

    Raises:
        UserError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not found or float(found[1]) == 0:
        raise UserError(f"--time-budget: found {text!r}; expected a time like 90s, 30m or 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def study_options(command: Command) -> Command:
    """The command with an option for every setting of a study, where it takes ``**settings``.

    It receives None for those that were not given; what a space says is then what counts.
    """
    options = [field_option(name, info, "Study") for name, info in StudySettings.model_fields.items()]
    return with_options(command, options)
