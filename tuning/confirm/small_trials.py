"""Parameters of all trials of a search, and the cheapest trial that may be as good as the best."""

from collections.abc import Iterable, Mapping

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.layout import BEST_FILE
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import TrialView, ranked

Shape = tuple[tuple[int, ...], int]
"""Of one input, without the batch axis, and the dimensions d of a target."""


def trained_shape(study: Study, trials: Iterable[TrialView]) -> Shape | None:
    """The shape of a study's data as one of its checkpoints has it; None where none can be read."""
    from losstune.trainer.run.checkpoint import load_checkpoint  # loads torch, which a report does not start with

    for trial in ranked(trials):
        try:
            with study.files.borrowed(study.trials_folder / trial.name / BEST_FILE) as path:
                content = load_checkpoint(path)
            return tuple(map(int, content["input_shape"])), int(content["output_dim"])
        except (UserError, LookupError, TypeError, ValueError):
            continue
    return None


def trial_sizes(study: Study, trials: Iterable[TrialView], shape: Shape) -> dict[str, int]:
    """Parameters of each trial's model, by the trial's name; without those whose factory is not here, or fails."""
    from losstune.tuning.confirm.measured_cost import parameter_count  # loads torch

    spaces = study.spec.search_spaces()
    counts: dict[str, int | None] = {}
    sizes: dict[str, int] = {}
    for trial in trials:
        try:
            model = TrainConfig.from_flat(spaces[trial.loss].settings(trial.point)).model
            key = model.model_dump_json()
            if key not in counts:
                counts[key] = None
                counts[key] = parameter_count(model, *shape)
        except (UserError, ValueError, TypeError, RuntimeError):  # torch has the last two for what no shape can be
            continue
        if (count := counts[key]) is not None:
            sizes[trial.name] = count
    return sizes


def cheapest_within(trials: Iterable[TrialView], sizes: Mapping[str, int], margin: float) -> TrialView | None:
    """The trial with the fewest parameters of those at most the margin below the best; None where that has the fewest.

    The best value is too good, having been picked for being high; so the bar is set rather high. Whether the trial
    holds what it promises is for a confirmation to say.
    """
    order = [trial for trial in ranked(trials) if trial.name in sizes]
    near = [trial for trial in order if trial.rank_value >= order[0].rank_value - margin]
    smallest = min(near, key=lambda trial: sizes[trial.name], default=None)  # of equals the better one
    if smallest is None or sizes[smallest.name] >= sizes[order[0].name]:
        return None
    return smallest
