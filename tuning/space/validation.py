"""What trials are scored on: how many validation rows, of how many, and what an estimate from them is worth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from losstune.trainer.config.objective import Objective
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.splits import query_rows, split_rows
from losstune.tuning.space.feasibility import largest_batch
from losstune.tuning.space.search_space import SearchSpace
from losstune.tuning.space.settings import QUERIES, StudySettings


def with_queries(spaces: Sequence[SearchSpace], settings: StudySettings, pairs: Pairs) -> StudySettings:
    """The settings of a new study, with a number of validation rows where neither spaces nor options give one.

    It follows from shapes alone, so that the same launch makes the same study anywhere: :data:`QUERIES`, or as many as
    the largest batch of a loss that is validated on whole batches; all of a split that has at most twice as many, where
    a sample would save little.
    """
    if "eval_queries" in settings.model_fields_set:
        return settings
    number = max([QUERIES, *(largest_batch(space) for space in spaces if space.loss_class.in_batch)])
    rows = len(split_rows(pairs, settings.seed).val)
    return settings.model_copy(update={"eval_queries": number if rows > 2 * number else "all"})


@dataclass(frozen=True)
class Validation:
    """What a trial is scored on: ``queries`` of the ``rows`` of the split, each against all its distinct targets."""

    queries: int
    rows: int
    targets: int

    def standard_error(self, objective: Objective) -> float:
        """The most that a sample without replacement can have, for the mean over all rows; 0 for all rows.

        A row's value deviates from the mean by at most half of its range, in the root mean square: [0, 1] of a
        reciprocal rank or a hit, [−1, 1] of a cosine.
        """
        half_range = 1.0 if objective == "val/cosine_sim" else 0.5
        left_out = (self.rows - self.queries) / max(1, self.rows - 1)
        return half_range * math.sqrt(left_out / self.queries)


def validation(settings: StudySettings, pairs: Pairs) -> Validation:
    """What a study's trials are scored on."""
    rows = split_rows(pairs, settings.seed).val
    return Validation(len(query_rows(rows, settings.eval_queries)), len(rows), len(np.unique(pairs.ids[rows])))
