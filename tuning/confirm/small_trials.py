"""What all trials of a search cost, and the smallest model among them that may be as good as the best trial's."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.matryoshka import trained_dims
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import BEST_FILE, HISTORY_FILE
from losstune.trainer.score.names import at_dims
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


class SmallModel(NamedTuple):
    """A trial's model: its whole embeddings, or the first dimensions of them; ``value`` is what the search knows."""

    dims: int
    parameters: int
    value: float
    trial: TrialView

    @property
    def size(self) -> tuple[int, int]:
        """Fewer dimensions are smaller, and of as many fewer parameters."""
        return self.dims, self.parameters


def models_of(study: Study, trials: Iterable[TrialView], shape: Shape) -> list[SmallModel]:
    """All models of the trials whose size is known: the best trial first, and the whole before its prefixes."""
    order = ranked(trials)
    sizes = trial_sizes(study, order, shape)
    dims = shape[1]
    found: list[SmallModel] = []
    for trial in order:
        if (parameters := sizes.get(trial.name)) is not None:
            values = {dims: trial.rank_value, **dict(_prefix_values(study, trial, dims))}
            found += [SmallModel(size, parameters, value, trial) for size, value in values.items()]
    return found


def _prefix_values(study: Study, trial: TrialView, dims: int) -> Iterator[tuple[int, float]]:
    """What the trial's best epoch had by each prefix that it was trained for."""
    settings = study.spec.search_spaces()[trial.loss].settings(trial.point)
    shorter = trained_dims(TrainConfig.from_flat(settings).prefixes, dims)[:-1]
    if not shorter or trial.ending is None:
        return
    history = read_history(study.trials_folder / trial.name / HISTORY_FILE)
    best = next((record for record in history if record["epoch"] == trial.ending.best_epoch), {})
    for size in shorter:
        value = best.get(f"val/{at_dims(size, study.spec.settings.measure)}")
        if value is not None:
            yield size, float(value)


def smallest_within(models: Sequence[SmallModel], margin: float) -> SmallModel | None:
    """The smallest of those at most the margin below the best trial's; None where none is smaller than that.

    Smaller is what has no more dimensions and no more parameters, and fewer of one. The best value is too good, having
    been picked for being high; so the bar is set rather high. Whether the model holds what it promises is for a
    confirmation to say.
    """
    if not models:
        return None
    best = models[0]
    near = [
        model
        for model in models
        if model.value >= best.value - margin and model.size != best.size
        if model.dims <= best.dims and model.parameters <= best.parameters
    ]
    return min(near, key=lambda model: (model.size, -model.value), default=None)
