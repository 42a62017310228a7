"""What a launch would do: the space, the rungs, the expected epochs, and the time by a probe."""

import math
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError, one_line, translating
from losstune.trainer.data.column_names import Columns
from losstune.trainer.data.leaks import findings
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.data.resident import ResidentData, check_rows, resident_data
from losstune.trainer.data.sources import DIGITS, Source
from losstune.trainer.run.device import pick_device
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.show import say_notes
from losstune.trainer.run.train import set_threads
from losstune.trainer.score.metrics import NonFiniteError
from losstune.tuning.commands.launch import LaunchRequest, as_continued, warm_started
from losstune.tuning.commands.studies import existing
from losstune.tuning.commands.surroundings import check_surroundings
from losstune.tuning.execute.local_ray import usable_cores
from losstune.tuning.search.budget_worth import BudgetWorth, applies, budget_worth
from losstune.tuning.show.progress import time_text
from losstune.tuning.show.table import Column, Table, TableRow, TerminalTable
from losstune.tuning.space.feasibility import Space, check_against_data, load_spaces
from losstune.tuning.space.fitting import fitted
from losstune.tuning.space.merged import merged_settings
from losstune.tuning.space.search_space import MAX_GRID, SearchSpace, typical_point
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.space.validation import Validation, validation, with_queries
from losstune.tuning.study.seeds import derived_seed
from losstune.tuning.study.spec import WarmStart
from losstune.tuning.study.trial import cause_of

PROBE_SECONDS = 1.0
_NOT_THEIRS = ("site-packages", str(Path(__file__).parents[2]))
START_SECONDS = 10.0
"""Ray and its workers starting, and MLflow's last writes."""


@dataclass(frozen=True)
class Estimate:
    """What one loss is expected to cost.

    Attributes:
        trials: expected number.
        epochs: expected number over all trials.
        seconds_per_epoch: measured on a typical setting, one thread.
    """

    trials: float
    epochs: float
    seconds_per_epoch: float


def epochs_per_trial(settings: StudySettings, trials: float) -> float:
    """Expected epochs of a trial under ASHA, if of n trials at a rung about n/η go on, and at least one."""
    epochs, before, reach = 0.0, 0, 1.0
    for rung in (*settings.rungs, settings.max_epochs):
        epochs += reach * (rung - before)
        before = rung
        reach = max(reach / settings.reduction_factor, 1 / max(1.0, trials))
    return epochs


def estimate(space: SearchSpace, settings: StudySettings, pairs: Pairs, *, debug_nan: bool = False) -> Estimate:
    """Expected trials and epochs of a loss, and the time of an epoch measured now."""
    budget = settings.budget
    if budget.trials is not None:
        trials = float(budget.trials)
    else:
        trials = 1.0
        for _ in range(20):  # the cost of a trial depends weakly on their number: iterate to the fixed point
            trials = (budget.epochs or 0) / epochs_per_trial(settings, trials)
    if settings.sampler == "grid" and space.size is not None:
        trials = min(trials, space.size)
    epochs = trials * epochs_per_trial(settings, trials)
    return Estimate(trials, epochs, probe(space, settings, pairs, debug_nan=debug_nan))


def probe(space: SearchSpace, settings: StudySettings, pairs: Pairs, *, debug_nan: bool = False) -> float:
    """Seconds of one epoch: single batches for about a second, scaled up, and one evaluation."""
    managed = settings.training(pairs.source, threads=1, columns=pairs.columns)
    seed = derived_seed(settings.seed, space.name, 0)
    before = torch.get_num_threads()
    try:
        config = set_threads(space.train_config(typical_point(space), **managed, seed=seed))
        data: ResidentData = resident_data(pairs, config, pick_device(config.device))
        check_rows(config, data)
        with translating(Exception, lambda error: _failed_batch(space, error)):
            return _seconds_per_epoch(Trainer(config, data, debug_nan=debug_nan), data)
    finally:
        torch.set_num_threads(before)


def _failed_batch(space: SearchSpace, error: Exception) -> Exception:
    """What the user's model or loss raised, and at which line; a fault of ours stays what it is."""
    if isinstance(error, NonFiniteError):
        return UserError(f"{space.file}: it diverges on its first batches, at a typical setting: {one_line(error)}")
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not any(place in frame.filename for place in _NOT_THEIRS)]
    if not theirs:
        return error
    where = f"{theirs[-1].filename}:{theirs[-1].lineno}"
    return UserError(f"{space.file}: training on a batch fails at {where}: {type(error).__name__}: {one_line(error)}")


def _seconds_per_epoch(trainer: Trainer, data: ResidentData) -> float:
    trainer.run_batches(2)
    began = time.perf_counter()
    batches = 0
    while time.perf_counter() - began < PROBE_SECONDS:
        trainer.run_batches(1)
        batches += 1
    per_batch = (time.perf_counter() - began) / batches
    began = time.perf_counter()
    if data.val is not None:
        try:
            metrics = trainer.evaluate(data.val)
            if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
                raise NonFiniteError(f"{', '.join(bad)} of the validation rows is not finite")
        except NonFiniteError as error:
            trainer.look_for_origin()
            where = cause_of(trainer.origin) or "with --debug-nan it says where the first NaN or infinity arises"
            raise NonFiniteError(f"{error}; {where}") from None
    evaluation = time.perf_counter() - began
    return per_batch * len(data.train) / trainer.config.batch_size + evaluation


@dataclass(frozen=True)
class Checked:
    """Spaces that are valid together, their settings, what trials are scored on, and what each loss is to cost.

    Attributes:
        left_out: what of shipped spaces the data can not carry, a line each.
        within: seconds after which a launch would end.
        continued: whether the study is there already, and may have spent some of its budget.
        warm_start: what is known of another study from the start.
    """

    spaces: list[SearchSpace]
    settings: StudySettings
    validation: Validation
    estimates: list[Estimate]
    slots: int
    pairs: Pairs
    left_out: list[str]
    within: float | None = None
    continued: bool = False
    warm_start: WarmStart | None = None

    @property
    def seconds(self) -> float:
        """Expected time of the whole study: training over all slots, and starting up."""
        training = sum(e.epochs * e.seconds_per_epoch for e in self.estimates)
        return training / self.slots + START_SECONDS

    @property
    def worth(self) -> BudgetWorth | None:
        """What such a budget was good for where it was measured; None where that does not apply, or is not known."""
        if not applies(self.spaces, self.settings):
            return None
        epochs = min(estimate.epochs for estimate in self.estimates)
        if self.within is not None and self.within < self.seconds:
            if self.continued or self.within <= START_SECONDS:
                return None
            epochs *= (self.within - START_SECONDS) / (self.seconds - START_SECONDS)
        return budget_worth(self.settings.sampler, epochs / self.settings.max_epochs)


def check_request(request: LaunchRequest) -> Checked:
    """All that a launch would refuse, or stumble over later: its surroundings, its spaces, a batch of each loss.

    Raises:
        UserError: as ``launch`` would, or a model or a loss that fails on a batch.
    """
    resources = request.execution.resources
    slots = resources.concurrency or max(1, usable_cores() // resources.cpus_per_trial)
    if not check_surroundings(request):
        checked = check_spaces(
            request.spaces, request.data, request.options, slots, request.columns, debug_nan=request.debug_nan
        )
        warm_start, _ = warm_started(request, checked.spaces, checked.settings)
        return replace(checked, within=request.time_budget, warm_start=warm_start)
    study, pairs = as_continued(existing(request.home, request.name), request)
    spaces = list(study.spec.search_spaces().values())
    checked = _checked(spaces, study.spec.settings, pairs, slots, [], debug_nan=request.debug_nan)
    return replace(checked, within=request.time_budget, continued=True, warm_start=study.spec.warm_start)


def check_spaces(
    names: Sequence[Space],
    source: Source | None,
    options: Mapping[str, Any],
    concurrency: int | None,
    columns: Columns = None,
    *,
    debug_nan: bool = False,
) -> Checked:
    """Validate spaces against each other and against the data, and measure.

    Raises:
        UserError: as ``launch`` would.
    """
    spaces = load_spaces(names)
    if not spaces:
        raise UserError("name at least one search space, or with --study a study that is there")
    settings = merged_settings(spaces, options)
    pairs = load_pairs(source or DIGITS, columns, settings.new_rules())
    settings = settings.under(pairs.rules)
    spaces, left_out = fitted(spaces, settings, pairs)
    check_against_data(spaces, settings, pairs)
    settings = with_queries(spaces, settings, pairs)
    return _checked(spaces, settings, pairs, concurrency or usable_cores(), left_out, debug_nan=debug_nan)


def _checked(
    spaces: list[SearchSpace],
    settings: StudySettings,
    pairs: Pairs,
    slots: int,
    left_out: list[str],
    *,
    debug_nan: bool,
) -> Checked:
    estimates = [estimate(space, settings, pairs, debug_nan=debug_nan) for space in spaces]
    return Checked(spaces, settings, validation(settings, pairs), estimates, slots, pairs, left_out)


def checked_json(checked: Checked) -> dict[str, Any]:
    """As plain values."""
    return {
        "settings": checked.settings.model_dump(),
        "rungs": list(checked.settings.rungs),
        "validation": {
            **vars(checked.validation),
            "standard_error": checked.validation.standard_error(checked.settings.objective),
        },
        "left_out": checked.left_out,
        "warm_start": checked.warm_start.model_dump() if checked.warm_start else None,
        "unused_columns": list(checked.pairs.unused),
        "data": [asdict(finding) for finding in findings(checked.pairs, checked.settings.seed)],
        "seconds": checked.seconds,
        "worth": checked.worth and asdict(checked.worth),
        "losses": {
            s.name: {**vars(e), "loss_fn": s.loss_fn} for s, e in zip(checked.spaces, checked.estimates, strict=True)
        },
    }


def _space_table(space: SearchSpace) -> Table:
    """What a space searches, derives and fixes."""
    columns = [
        Column("setting"),
        Column("searched", words=True, wraps=True),
        Column("only when", words=True, wraps=True, spare=1),
        Column("start", words=True, wraps=True, spare=2),
    ]
    rows = []
    for parameter in space.parameters:
        when = ", ".join(f"{n} is {' or '.join(map(str, v))}" for n, v in parameter.when.items())
        starts = dict.fromkeys(str(point[parameter.name]) for point in space.start if parameter.name in point)
        rows.append(TableRow(parameter.name, [str(parameter.domain), when, ", ".join(starts)]))
    rows += [TableRow(name, [f"= {expression.text}", "", ""]) for name, expression in space.derived.items()]
    rows += [TableRow(name, [f"fixed at {value}", "", ""]) for name, value in space.fixed.items()]
    return Table(columns, rows)


def show_checked(checked: Checked, console: Console) -> None:
    """Print the spaces, the rungs and the cost."""
    settings = checked.settings
    say_notes(checked.pairs, settings.seed, console)
    for note in checked.left_out:
        say(console, f"Note: {note}")
    for space, cost in zip(checked.spaces, checked.estimates, strict=True):
        console.print(TerminalTable(_space_table(space), f"{space.title}  ({space.file})"))
        size = f"{space.size:,} points; " if space.size is not None and space.size <= MAX_GRID else ""
        say(
            console,
            f"  {size}about {cost.trials:.0f} trials, {cost.epochs:.0f} epochs of {cost.seconds_per_epoch:.3f} s\n",
        )
    say(console, f"Objective {settings.objective}, sampler {settings.sampler}, {settings.budget} for each loss")
    if checked.warm_start:
        say(console, f"Warm start: {checked.warm_start.text}")
    say(console, _validation_text(checked))
    if settings.rungs:
        rungs = ", ".join(map(str, settings.rungs))
        goes_on = f"where 1 trial in {settings.reduction_factor} goes on"
        say(console, f"Rungs at epochs {rungs}, {goes_on}; the last epoch is {settings.max_epochs}")
    else:
        say(console, f"No rungs: every trial trains its {settings.max_epochs} epochs")
    say(console, f"Expected time on {checked.slots} slots: {time_text(checked.seconds)}")
    for line in checked.worth.lines(settings.max_epochs) if checked.worth else ():
        say(console, line)


def _validation_text(checked: Checked) -> str:
    scored, objective = checked.validation, checked.settings.objective
    if scored.queries == scored.rows:
        return f"A trial is scored on all {scored.rows:,} validation rows, each against all {scored.targets:,} targets"
    return (
        f"A trial is scored on {scored.queries:,} of {scored.rows:,} validation rows, always the same, each against "
        f"all {scored.targets:,} targets: a standard error of at most {scored.standard_error(objective):.3f} in "
        f"{objective}; confirm scores all"
    )
