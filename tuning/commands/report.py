"""The report of a study: one HTML file, kept with the study, and brought to MLflow where that can be reached."""

import html
from dataclasses import dataclass
from pathlib import Path

from losstune.trainer.base.errors import UserError, translating
from losstune.tuning.report.page import write_report
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import best_trial
from losstune.tuning.track.runs import REPORT_FILE
from losstune.tuning.track.tracking_uri import tracking_option, tracking_uri_of

FRAME_HEIGHT = 720
"""Of a report inside a notebook, in pixels."""


@dataclass(frozen=True)
class Reported:
    """What was written: the file, its size in bytes, and why MLflow lacks it, "" where it has it."""

    output: Path
    size: int
    not_in_mlflow: str

    def __fspath__(self) -> str:
        return str(self.output)

    def _repr_html_(self) -> str:
        """The page inside a notebook, whole: what is saved of the notebook has it too."""
        page = html.escape(self.output.read_text("utf-8"))
        return f'<iframe srcdoc="{page}" style="width: 100%; height: {FRAME_HEIGHT}px; border: 0"></iframe>'


def report(study: Study, output: Path, tracking_uri: str | None) -> Reported:
    """Write the whole answer as one file; a study in a bucket has its small files here.

    Args:
        tracking_uri: MLflow's store; None is the one beside the studies.

    Raises:
        UserError: no trial has a value yet, the study's files are damaged, a file can not be written, or the store's
            address is none.
    """
    from losstune.tuning.commands.sync import sync_study  # loads MLflow, which no other command for programs needs

    uri = tracking_uri_of(study.home, tracking_uri)
    if best_trial(trial for own in study.trials().values() for trial in own) is None:
        raise UserError(
            f"study {study.spec.name!r} has no trial with a value yet, so there is nothing to report: "
            f"losstune status {study.spec.name}{study.home.options()} tells how far it is"
        )
    content = write_report(study, output)
    kept = study.folder / REPORT_FILE
    with translating(OSError, lambda error: UserError(_not_kept(study.files.where(kept), error, output))):
        study.files.write(kept, content)
    reason = ""
    try:
        sync_study(study, uri)
    except UserError as error:
        place = f"{study.home.options()}{tracking_option(tracking_uri)}"
        reason = f"MLflow lacks the report ({error}): losstune sync {study.spec.name}{place}"
    return Reported(output, len(content), reason)


def _not_kept(where: str, error: Exception, output: Path) -> str:
    reason = error.strerror if isinstance(error, OSError) else error
    return f"{where}: can not be written: {reason}; the report is in {output} alone, and MLflow lacks it"
