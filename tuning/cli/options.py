"""Arguments and options that several commands of ``losstune`` share; those of a study are made from its settings."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from losstune.trainer.cli.field_options import Command, field_option, with_options
from losstune.tuning.commands.wishes import share_of
from losstune.tuning.confirm.margin import MARGIN, margin_of
from losstune.tuning.space.settings import StudySettings

if TYPE_CHECKING:
    from losstune.tuning.storage.home import Home

Name = Annotated[str, typer.Argument(help="name of the study")]
SPACES_HELP = "search spaces: shipped names or paths, one of a name"
Data = Annotated[
    str | None, typer.Option(help="digits, a file or folder, a quoted pattern, or package.module:function")
]
Columns = Annotated[
    str | None, typer.Option(help="names of its arrays where they are not so named: inputs=anchor,targets=positive")
]
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


GpusPerTrial = Annotated[
    Any,
    typer.Option(
        parser=share_of,
        metavar="SHARE|auto",
        help="share of a GPU, for example 0.25; auto: by a short probe",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(envvar="LOSSTUNE_TRACKING_URI", help="MLflow's store  (default: mlflow.db in --storage)"),
]
SystemMetrics = Annotated[
    bool,
    typer.Option("--system-metrics/--no-system-metrics", help="what an epoch takes of CPU, memory and GPU, in MLflow"),
]
AcceptChange = Annotated[
    bool,
    typer.Option(
        "--accept-change",
        help="go on with other versions of the libraries, or in a space that grew, and keep that on record",
    ),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="try failed trials again")]
DebugNan = Annotated[
    bool, typer.Option("--debug-nan", help="of what diverges, say where the first NaN or infinity arose; slower")
]
WarmStart = Annotated[
    str | None,
    typer.Option(
        metavar="STUDY", help="another study, by name or folder, whose trials inform the proposals of a new one"
    ),
]
TimeBudget = Annotated[str | None, typer.Option(help="stop after this long: 90s, 30m, 2h")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for programs")]
EndAsJson = Annotated[
    bool, typer.Option("--json", help="print one JSON object at the end, for programs; all else goes to standard error")
]
Margin = Annotated[
    Any,
    typer.Option(
        parser=margin_of,
        metavar="FLOAT",
        help=f"how much worse in the objective is as good, for a smaller model  (default: as confirmed, else {MARGIN})",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but errors, and what --json prints")]


def study_options(command: Command) -> Command:
    """The command with an option for every setting of a study, where it takes ``**settings``.

    It receives None for those that were not given; what a space says is then what counts.
    """
    options = [field_option(name, info, "Study") for name, info in StudySettings.model_fields.items()]
    return with_options(command, options)


def home_of(context: typer.Context, storage: str, study_storage: str | None) -> "Home":
    """Where the studies are, for the time of this command."""
    from losstune.tuning.storage.home import home_at

    return context.with_resource(home_at(storage, study_storage))
