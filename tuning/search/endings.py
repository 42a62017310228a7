"""How a trial ended: by its worker's last report, or by its history where no worker can tell."""

from pathlib import Path
from typing import Literal

from losstune.trainer.base.errors import UserError
from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.messages import Report
from losstune.tuning.study.trial import DIVERGED, Ending


def ending_from_report(report: Report) -> Ending:
    """The end that a last report tells; one without an end of its own was cut at its rung."""
    best = report.best if report.best_epoch > 0 else None
    match report.end:
        case "epochs":
            return Ending("complete", "used its epochs", report.epoch, best, report.best_epoch)
        case "patience":
            return Ending(
                "complete", f"no new best since epoch {report.best_epoch}", report.epoch, best, report.best_epoch
            )
        case "diverged":
            return Ending(
                "pruned",
                f"{DIVERGED}: {report.error}" if report.error else DIVERGED,
                report.epoch,
                best,
                report.best_epoch,
            )
        case "memory":
            reason = f"no room on its GPU, with nothing of this study beside it: {report.error}"
            return Ending("failed", reason, report.epoch, best, report.best_epoch)
        case "error" | "storage":
            return Ending("failed", report.error, report.epoch, best, report.best_epoch)
        case None:
            return Ending("pruned", f"cut at rung {report.epoch}", report.epoch, best, report.best_epoch)


def ending_from_history(
    folder: Path, settings: StudySettings, state: Literal["pruned", "failed"], reason: str
) -> Ending:
    """The end of a trial whose worker can not tell: what its history on disk says of it."""
    try:
        records = read_history(folder / HISTORY_FILE)
    except UserError as error:
        return Ending(state, f"{reason}; {error}", 0, None, 0)
    values = [(record[settings.objective], -int(record["epoch"])) for record in records if settings.objective in record]
    if not values:
        return Ending(state, reason, len(records), None, 0)
    best, negative_epoch = max(values)
    return Ending(state, reason, len(records), best, -negative_epoch)
