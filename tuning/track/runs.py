"""What MLflow is to show of a study: its runs as plain values, made from the truth and nothing else.

One experiment per study. A parent run per loss with a child per trial; a parent run ``confirm`` with a child per
confirmed setting and seed, and one per baseline.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from losstune.trainer.run.layout import BEST_FILE, CONFIG_FILE, HISTORY_FILE
from losstune.tuning.confirm.confirm_runs import ConfirmRun, RunResult, began, runs_of
from losstune.tuning.confirm.plan import RESULTS_FILE, Plan, is_finished, latest_finished, plan_folder, plans
from losstune.tuning.confirm.results import Results, Scores, load_results
from losstune.tuning.storage.study_files import SPEC_FILE
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView, best_trial
from losstune.tuning.track.description import confirm_note, loss_note

STUDY_TAG = "losstune.study"
RUN_TAG = "losstune.run"
LOSS_TAG = "losstune.loss"
TRIAL_TAG = "losstune.trial"
STATE_TAG = "losstune.state"
REASON_TAG = "losstune.reason"
CONFIRM = "confirm"
REPORT_FILE = "report.html"

BEST, WINNER, CONFIRMED = "best", "winner", "confirmed"
"""What begins the name of the number that a run is ranked by: of a trial, of a loss's best one, of a confirmed run.
Each has its own, so that sorting by one of them lists nothing twice."""

RunStatus = Literal["RUNNING", "FINISHED", "KILLED", "FAILED"]
Activity = Literal["search", "confirm"]
"""What goes on in a study now, if anything does."""


@dataclass(frozen=True)
class MetricPoint:
    """One value of a metric; ``time`` in Unix seconds."""

    metric: str
    value: float
    step: int
    time: float


@dataclass(frozen=True)
class RunPicture:
    """One run as MLflow should have it.

    Attributes:
        key: its name within the study; no two runs share it.
        parent: key of the run that it is shown under.
        note: its description, in Markdown; that of a user's stays.
        params: parameters of a run without a config.
        config: file whose settings are its parameters; logged once it exists.
        history: file whose epochs are its metrics; logged as it grows.
        tags, points, artifacts: written when the run closes, and again when they have changed.
    """

    key: str
    parent: str | None
    status: RunStatus
    started: float
    finished: float | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    config: Path | None = None
    history: Path | None = None
    points: tuple[MetricPoint, ...] = ()
    artifacts: tuple[Path, ...] = ()


def ranked_by(study: Study, kind: str) -> str:
    """The metric that runs of a kind are ranked by, named after the objective: ``best/mrr`` after ``val/mrr``."""
    return f"{kind}/{study.spec.settings.objective.removeprefix('val/')}"


def study_picture(
    study: Study, trials: Mapping[str, list[TrialView]], activity: Activity | None
) -> Iterator[RunPicture]:
    """All runs of a study, parents before children; only runs of what goes on now are RUNNING.

    A run is there once the truth knows when it began: made now or later, it is the same run.
    """
    for loss, own in trials.items():
        if not own:  # when its run begins is not known yet
            continue
        best = best_trial(own)
        yield _loss_run(study, loss, own, best, live=activity == "search")
        for trial in own:
            is_best = activity is None and trial is best
            yield _trial_run(study, trial, is_best=is_best, live=activity == "search")
    known = list(plans(study))
    if known:
        yield from _confirmation(study, known, live=activity == "confirm")


def _loss_run(study: Study, loss: str, trials: list[TrialView], best: TrialView | None, *, live: bool) -> RunPicture:
    unfinished = any(trial.ending is None for trial in trials)
    points: tuple[MetricPoint, ...] = ()
    tags = {}
    if best is not None:
        points = (MetricPoint(ranked_by(study, WINNER), best.rank_value, 0, best.finished or 0.0),)
        tags = {"losstune.best_trial": best.name}
    return RunPicture(
        key=loss,
        parent=None,
        status="RUNNING" if live else "KILLED" if unfinished else "FINISHED",
        started=min(trial.started for trial in trials),
        finished=max(trial.finished or trial.started for trial in trials),
        identity={LOSS_TAG: loss},
        note=loss_note(study, loss, trials, best),
        params={"loss_fn": study.spec.loss_fns[loss]},
        tags=tags,
        points=points,
        artifacts=() if live else (study.folder / SPEC_FILE,),
    )


def _trial_run(study: Study, trial: TrialView, *, is_best: bool, live: bool) -> RunPicture:
    folder = study.trials_folder / trial.name
    ending = trial.ending
    points: tuple[MetricPoint, ...] = ()
    if ending is not None and math.isfinite(trial.rank_value):  # one that diverged or failed has no rank
        points = (MetricPoint(ranked_by(study, BEST), trial.rank_value, ending.best_epoch, trial.finished or 0.0),)
    files = (folder / BEST_FILE, folder / CONFIG_FILE) if is_best else ()
    if is_best:
        study.files.keep(folder / BEST_FILE)
    return RunPicture(
        key=trial.name,
        parent=trial.loss,
        status=_trial_status(trial, live=live),
        started=trial.started,
        finished=trial.finished,
        identity={LOSS_TAG: trial.loss, TRIAL_TAG: trial.name},
        tags={STATE_TAG: trial.state, REASON_TAG: ending.reason if ending else ""},
        config=folder / CONFIG_FILE,
        history=folder / HISTORY_FILE,
        points=points,
        artifacts=tuple(path for path in files if path.exists()),
    )


def _trial_status(trial: TrialView, *, live: bool) -> RunStatus:
    match trial.state:
        case "running":
            return "RUNNING" if live else "KILLED"
        case "paused" | "pruned":
            return "KILLED"
        case "complete":
            return "FINISHED"
        case "failed":
            return "FAILED"


def _confirmation(study: Study, known: list[Plan], *, live: bool) -> Iterator[RunPicture]:
    """The newest plan's runs with what the newest results say of them."""
    done = latest_finished(study)
    results, scores = load_results(study, done) if done else (None, {})
    runs = {run.name: run for plan in known for run in runs_of(study, plan)}
    ended = {name: result for name, run in runs.items() if (result := run.result()) is not None}
    summary = _summary(results, scores, done.number) if results is not None and done is not None else {}
    yield _confirm_parent(study, known, results, summary, ended, live=live)
    for name, run in runs.items():
        if (started := began(run, ended.get(name))) is not None:
            yield _confirm_run(run, started, ended.get(name), scores.get(run.arm.name, {}), live=live)
    if results is not None and done is not None:
        finished = (plan_folder(study, done.number) / RESULTS_FILE).stat().st_mtime
        for arm in results.arms:
            if arm.role == "baseline":
                points = _seed_points(scores[arm.name], finished)
                yield RunPicture(
                    key=f"{CONFIRM}/{arm.name}",
                    parent=CONFIRM,
                    status="FINISHED",
                    started=finished,
                    finished=finished,
                    identity={"losstune.arm": arm.name},
                    points=points,
                )


def _confirm_parent(
    study: Study,
    known: list[Plan],
    results: Results | None,
    summary: Mapping[str, tuple[float, int]],
    ended: Mapping[str, RunResult],
    *,
    live: bool,
) -> RunPicture:
    newest, started = known[-1], known[0].created_at
    finished = max((result.finished for result in ended.values()), default=started)
    tags = {"losstune.seeds": str(newest.seeds), "losstune.top": str(newest.top)}
    if results is not None:
        tags |= {f"losstune.pick.{loss}": name for loss, name in results.picks.items()}
        tags["losstune.winner"] = results.winner
    report = study.folder / REPORT_FILE
    return RunPicture(
        key=CONFIRM,
        parent=None,
        status="RUNNING" if live else "FINISHED" if is_finished(study, newest) else "KILLED",
        started=started,
        finished=finished,
        note=confirm_note(study, newest, done=is_finished(study, newest)),
        tags=tags,
        points=tuple(MetricPoint(name, value, step, finished) for name, (value, step) in summary.items()),
        artifacts=(report,) if report.exists() and not live else (),
    )


def _summary(results: Results, scores: Mapping[str, Scores], number: int) -> dict[str, tuple[float, int]]:
    """Means over seeds of each loss's pick: the numbers that ``losstune compare`` shows, one step a confirmation."""
    means: dict[str, tuple[float, int]] = {}
    for loss, name in results.picks.items():
        means[f"{loss}/confirmed"] = (results.arm(name).validation_mean, number)
        means |= {f"{loss}/test/{metric}": (float(own.mean()), number) for metric, own in scores[name].items()}
    return means


def _confirm_run(
    run: ConfirmRun, started: float, result: RunResult | None, scores: Scores, *, live: bool
) -> RunPicture:
    status: RunStatus = "RUNNING" if live else "KILLED"
    points: list[MetricPoint] = []
    if result is not None:
        status = "FAILED" if result.end == "failed" else "FINISHED"
        if (value := run.value(result)) is not None:
            points.append(MetricPoint(ranked_by(run.study, CONFIRMED), value, result.best_epoch, result.finished))
            points += [
                MetricPoint(f"test/{metric}", float(values[run.seed].mean()), result.best_epoch, result.finished)
                for metric, values in scores.items()
                if run.seed < len(values)
            ]
    return RunPicture(
        key=run.name,
        parent=CONFIRM,
        status=status,
        started=started,
        finished=result.finished if result else None,
        identity={LOSS_TAG: run.arm.loss, "losstune.arm": run.arm.name},
        tags={STATE_TAG: result.end if result else "running", REASON_TAG: result.reason if result else ""},
        config=run.folder / CONFIG_FILE,
        history=run.folder / HISTORY_FILE,
        points=tuple(points),
    )


def _seed_points(scores: Scores, at: float) -> tuple[MetricPoint, ...]:
    """A baseline's test metrics, one step a seed."""
    return tuple(
        MetricPoint(f"test/{metric}", float(row.mean()), seed, at)
        for metric, values in scores.items()
        for seed, row in enumerate(values)
        if math.isfinite(float(row.mean()))
    )
