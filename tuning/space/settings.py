"""How a study searches: its objective, budget, rungs and sampler, with their defaults and limits."""

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from losstune.trainer.config.data_rules import ANSWERS_TEXT, SPLIT_BY_TEXT, AnswerRule, DataRules, SplitBy, new_rules
from losstune.trainer.config.eval_queries import EvalQueries
from losstune.trainer.config.objective import Objective

SamplerName = Literal["tpe", "gp", "random", "grid"]
SAMPLER: SamplerName = "gp"
"""What proposes the trials of a new study, where neither its spaces nor options say: docs/spaces.md has the figures."""
LEARNING: tuple[SamplerName, ...] = ("gp", "tpe")
"""Those to which trials say where to look next."""
QUERIES = 1024
"""Validation rows that a new study scores its trials on, where it does not say how many.

Ranking them takes queries x targets, training takes rows, so with a constant number both grow with the rows, and an
epoch's share of validation stays what it is: about an eighth for infonce at 384 -> 384 dimensions and batch 256.
"""


class StudySettings(BaseModel):
    """The ``study:`` part of a search space; options of a launch override it, and are made from these fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    objective: Objective = Field("val/mrr", description="what a trial is judged by, best so far, higher is better")
    max_epochs: int = Field(81, ge=1, le=1_000_000, description="epochs of a trial that is never cut")
    grace_epochs: int = Field(3, ge=1, le=1_000_000, description="epochs before the first cut: the first rung")
    reduction_factor: int = Field(3, ge=2, le=100, description="at a rung, one trial in this many goes on")
    sampler: SamplerName = Field(
        "tpe",  # as in studies begun before there was another default
        description=f"what proposes trials, of a new study  (default: {SAMPLER})",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the proposals, of training and of the train/val split")
    epochs_per_loss: int | None = Field(
        None, ge=1, description="epochs that each loss may spend; null: ten times max_epochs"
    )
    trials: int | None = Field(None, ge=1, description="trials of each loss, instead of epochs")
    eval_queries: EvalQueries = Field(
        "all",  # as in studies begun before there was a choice
        description="validation rows that trials are scored on, each against all of the split's targets  "
        f"(default: {QUERIES}, or more to fill a batch of an in-batch loss)",
    )
    split_by: SplitBy = Field("ids", description=SPLIT_BY_TEXT)  # both as in studies begun before there was a choice
    answers: AnswerRule = Field("own", description=ANSWERS_TEXT)
    race: bool = Field(False, description="losses compete for epochs; one that can no longer win is dropped")

    @model_validator(mode="after")
    def _consistent(self) -> "StudySettings":
        if self.grace_epochs > self.max_epochs:
            raise ValueError(f"grace_epochs {self.grace_epochs} is more than max_epochs {self.max_epochs}")
        if self.epochs_per_loss is not None and self.trials is not None:
            raise ValueError("epochs_per_loss and trials are two budgets: give one")
        if self.epochs_per_loss is not None and self.epochs_per_loss < self.max_epochs:
            raise ValueError(
                f"epochs_per_loss {self.epochs_per_loss} is less than max_epochs {self.max_epochs}: "
                "not one trial could use its epochs"
            )
        return self

    def training(self, data: str, threads: int, columns: str | None = None) -> dict[str, Any]:
        """The training settings that a study gives to each of its runs, which spaces may not name.

        Args:
            data: the study's data, as a source.
            threads: cores, and threads, of a run.
            columns: how the data's arrays are named, where that was said.
        """
        return {
            "data": data,
            **({} if columns is None else {"columns": columns}),
            "num_epochs": self.max_epochs,
            "schedule_epochs": self.max_epochs,
            "objective": self.objective,
            "eval_queries": self.eval_queries,
            "split_seed": self.seed,
            "split_by": self.split_by,
            "answers": self.answers,
            "threads": threads,
        }

    @property
    def measure(self) -> str:
        """The objective's metric, by its name without the split: ``mrr``."""
        return self.objective.removeprefix("val/")

    @property
    def rules(self) -> DataRules:
        """How rows are split, and which targets are right."""
        return DataRules(self.split_by, self.answers)

    def new_rules(self) -> DataRules:
        """The same for a new study, whose data decides what neither spaces nor options say."""
        return new_rules({name: getattr(self, name) for name in self.model_fields_set})

    def under(self, rules: DataRules) -> "StudySettings":
        """These settings with the rules that the data has decided."""
        return self.model_copy(update=asdict(rules))

    @property
    def estimate(self) -> str:
        """Whether trials' values are estimates, and from what, in words; empty where they are of all rows."""
        return "" if self.eval_queries == "all" else f"an estimate from {self.eval_queries:,} validation rows"

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which trials are cut: grace · ηᵏ below max_epochs."""
        result = []
        epoch = self.grace_epochs
        while epoch < self.max_epochs:
            result.append(epoch)
            epoch *= self.reduction_factor
        return tuple(result)

    @property
    def budget(self) -> "Budget":
        """What each loss may spend; without a wish, ten trials' worth of full training."""
        if self.trials is not None:
            return Budget(epochs=None, trials=self.trials)
        return Budget(epochs=self.epochs_per_loss or 10 * self.max_epochs, trials=None)


class Budget(BaseModel):
    """Exactly one of epochs and trials, per loss."""

    model_config = ConfigDict(frozen=True)

    epochs: int | None
    trials: int | None

    def left(self, epochs: int, trials: int) -> bool:
        """Whether a loss that has spent this much may start another trial."""
        return epochs < self.epochs if self.epochs is not None else trials < (self.trials or 0)

    def trials_left(self, epochs: int, trials: int, max_epochs: int) -> int:
        """How many trials a loss that has spent this much starts yet, at the least."""
        if self.epochs is not None:
            return max(0, -(-(self.epochs - epochs) // max_epochs))
        return max(0, (self.trials or 0) - trials)

    def __str__(self) -> str:
        if self.epochs is not None:
            return f"{self.epochs} epochs"
        return f"{self.trials} trial{'' if self.trials == 1 else 's'}"


BUDGET_FIELDS = ("epochs_per_loss", "trials")
"""The settings that a later launch may raise; all others belong to the study for good."""
