"""What a loss is expected to cost: trials and epochs by arithmetic, the time of an epoch by a probe."""

import math
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch

from losstune.trainer.base.errors import UserError, one_line, translating
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import ResidentData, check_rows, resident_data
from losstune.trainer.run.device import pick_device
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.train import set_threads
from losstune.trainer.score.ranking import NonFiniteError
from losstune.tuning.space.search_space import SearchSpace, typical_point
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.study.seeds import derived_seed
from losstune.tuning.study.trial import cause_of

PROBE_SECONDS = 1.0
_NOT_THEIRS = ("site-packages", str(Path(__file__).parents[2]))


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
