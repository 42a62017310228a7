"""What a launch would do: the space, the rungs, what is scored, the expected time and what it is good for."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.base.errors import UserError
from losstune.trainer.data.column_names import Columns
from losstune.trainer.data.leaks import findings
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.data.sources import DIGITS, Source
from losstune.trainer.run.show import say_notes
from losstune.tuning.commands.estimate import Estimate, estimate
from losstune.tuning.commands.launch import LaunchRequest, as_continued, warm_started
from losstune.tuning.commands.studies import existing
from losstune.tuning.commands.surroundings import check_surroundings
from losstune.tuning.execute.cores import usable_cores
from losstune.tuning.search.budget_worth import BudgetWorth, applies, budget_worth
from losstune.tuning.show.progress import time_text
from losstune.tuning.show.table import Column, Table, TableRow, TerminalTable
from losstune.tuning.space.feasibility import Space, check_against_data, load_spaces
from losstune.tuning.space.fitting import fitted
from losstune.tuning.space.merged import merged_settings
from losstune.tuning.space.search_space import MAX_GRID, SearchSpace
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.space.validation import Validation, validation, with_queries
from losstune.tuning.space.warm_up import warm_up_notes
from losstune.tuning.study.spec import WarmStart

START_SECONDS = 10.0
"""Ray and its workers starting, and MLflow's last writes."""


@dataclass(frozen=True)
class Checked:
    """Spaces that are valid together, their settings, what trials are scored on, and what each loss is to cost.

    Attributes:
        left_out: what of shipped spaces the data can not carry, a line each.
        within: seconds after which a launch would end.
        continued: whether the study is there already, and may have spent some of its budget.
        changes: what a study would go on with that is not as it was, a line each.
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
    changes: Sequence[str] = ()
    warm_start: WarmStart | None = None

    @property
    def seconds(self) -> float:
        """Expected time of the whole study: training over all slots, but a trial is in one alone, and starting up."""
        training = sum(e.epochs * e.seconds_per_epoch for e in self.estimates)
        longest = self.settings.max_epochs * max(e.seconds_per_epoch for e in self.estimates)
        return max(training / self.slots, longest) + START_SECONDS

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
    before = existing(request.home, request.name)
    study, pairs = as_continued(before, request)
    spaces = list(study.spec.search_spaces().values())
    checked = _checked(spaces, study.spec.settings, pairs, slots, [], debug_nan=request.debug_nan)
    entries = study.spec.changes[len(before.spec.changes) :]
    changes = [f"{what}: {change}" for entry in entries for what, change in entry.items() if what != "at"]
    within = request.time_budget
    return replace(checked, within=within, continued=True, changes=changes, warm_start=study.spec.warm_start)


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
        "warm_up": warm_up_notes(checked.spaces, checked.settings),
        "changes": list(checked.changes),
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
    for note in (*checked.left_out, *warm_up_notes(checked.spaces, settings), *checked.changes):
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
