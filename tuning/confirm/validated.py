"""The best models of a confirmation's runs: what they predict, and how they score on all validation rows."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.waiting import shown_if_long
from losstune.trainer.data.columns import column, mean_of
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import SplitTensors, split_tensors
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.layout import BEST_FILE
from losstune.trainer.run.trained_model import load_model
from losstune.trainer.score.metrics import row_scores
from losstune.trainer.score.names import at_dims
from losstune.trainer.score.prefixes import prefix_scores
from losstune.trainer.score.ranking import NonFiniteError, refuse_non_finite
from losstune.tuning.confirm.confirm_runs import ConfirmRun, confirm_seeds, runs_of
from losstune.tuning.confirm.plan import Plan
from losstune.tuning.study.study import Study

CPU = torch.device("cpu")


def best_predictions(run: ConfirmRun, pairs: Pairs, split: SplitTensors) -> tuple[Tensor, Tensor | None]:
    """What a run's best model makes of a split, (N, d), and the centre that it is ranked about, (d,), if it has one.

    Raises:
        UserError: it predicts NaN or infinity, which it did for none of the rows by which its epoch was chosen.
    """
    with run.study.files.borrowed(run.folder / BEST_FILE) as checkpoint:
        trained = load_model(checkpoint)
    center = None
    if trained.config.center:
        center = mean_of(column(pairs.targets, split_rows(pairs, trained.config.split_seed).train, CPU)).float()
    predictions = trained.embeddings(split.inputs).cpu()
    try:
        refuse_non_finite(predictions)
    except NonFiniteError as error:
        raise UserError(
            f"{run.folder}: {error} of those to be scored, and in none by which its epoch was chosen, so this "
            "confirmation has no answer; look at these inputs and at the model, and search anew once either is mended"
        ) from None
    return predictions, center


def prefix_values(study: Study, runs: Sequence[ConfirmRun], pairs: Pairs) -> dict[int, list[float]]:
    """By its dimensions, the objective of each prefix of an arm's best models on all validation rows, one a run."""
    sizes = runs[0].arm.shorter(int(pairs.targets.shape[1]))
    found: dict[int, list[float]] = {size: [] for size in sizes}
    for run in runs if sizes else ():
        _, split_seed = confirm_seeds(study.spec.settings, run.seed)
        val = split_tensors(pairs, split_rows(pairs, split_seed).val, CPU)
        predictions, center = best_predictions(run, pairs, val)
        scores = prefix_scores(
            row_scores, sizes, predictions, val.targets, val.gallery, val.positive, center, val.others
        )
        for size, values in found.items():
            values.append(float(scores[at_dims(size, study.spec.settings.measure)].mean()))
    return found


def score_validation(study: Study, plan: Plan, pairs: Pairs) -> None:
    """Score each run that was trained on a sample of its validation rows on all of them, once, at its best epoch.

    The value is kept with the run's result, so that a confirmation which is stopped here goes on with what is left.
    """
    left = [run for run in runs_of(study, plan) if run.is_to_be_scored]
    with shown_if_long("Scoring all validation rows", len(left)) as advance:
        for seed, runs in itertools.groupby(left, key=lambda run: run.seed):
            _, split_seed = confirm_seeds(study.spec.settings, seed)
            val = split_tensors(pairs, split_rows(pairs, split_seed).val, CPU)
            for run in runs:
                predictions, center = best_predictions(run, pairs, val)
                scores = row_scores(predictions, val.targets, val.gallery, val.positive, center, val.others)
                run.scored(float(scores[study.spec.settings.measure].mean()))
                advance(1)
