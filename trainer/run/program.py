"""Training for programs and notebooks: ``losstune train``, called with arguments."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from losstune.trainer.base.argument_words import ProgramConsole, for_programs
from losstune.trainer.base.errors import UserError
from losstune.trainer.base.plain import plain
from losstune.trainer.base.waiting import bars_shown
from losstune.trainer.config.config_file import ConfigFile, read_config
from losstune.trainer.config.data_rules import AnswerRule, DataRules, SplitBy
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.column_names import Columns, columns_text
from losstune.trainer.data.columns import column, mean_of
from losstune.trainer.data.labels import SPLIT_NAMES
from losstune.trainer.data.pair_checks import as_type
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.data.resident import split_tensors
from losstune.trainer.data.sources import Source, as_array
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.start import RunRequest
from losstune.trainer.run.whole_run import Run, run
from losstune.trainer.score.metrics import embedding_metrics
from losstune.trainer.score.ranking import NonFiniteError


@for_programs
def train(
    settings: Mapping[str, Any] | TrainConfig | str | os.PathLike[str] | None = None,
    data: Source | None = None,
    *,
    columns: Columns = None,
    output_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    test: bool = False,
    overwrite: bool = False,
    debug_nan: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Train one model with one loss.

    Args:
        settings: by flat name, ``{"loss_fn": "infonce", "lr": 1e-3, "model.depth": 2}``, or a YAML file of them, as
            :func:`losstune.export` writes it; what is absent takes its default.
        data: arrays by name, ``digits``, a path, or ``package.module:function``; None is what the settings name.
        columns: names of the arrays where they differ, ``{"inputs": "anchor", "targets": "positive"}``.
        output_dir: folder of the run; None is a new one under ``runs/``.
        resume: continue the run of ``checkpoint`` or of ``output_dir``.
        checkpoint: the ``last.pt`` to resume from.
        test: score the best model on the test split at the end.
        overwrite: start anew in a folder that holds a run.
        debug_nan: if it diverges, say where the first NaN or infinity arose; slower, with the same numbers.
        quiet: print nothing.
        options: settings that override the others: ``loss_fn="cosine"``, ``num_epochs=50``, ``fit="train+val"``.

    Raises:
        LosstuneError: settings, data or a folder that can not be used, before any training.
        KeyboardInterrupt, SystemExit: SIGINT or SIGTERM came, and the run is saved.
    """
    file, own = _settings_of(settings)
    request = RunRequest(
        file=file,
        settings=plain(own | options) | ({} if columns is None else {"columns": columns_text(columns)}),
        output_dir=None if output_dir is None else Path(output_dir),
        resume=resume,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        overwrite=overwrite,
        debug_nan=debug_nan,
        data=data,
        own_process=False,
    )
    threads = torch.get_num_threads()
    try:
        with bars_shown(not quiet):
            done = run(request, ProgramConsole(quiet=quiet), test=test)
    finally:
        torch.set_num_threads(threads)
    done.stopped.leave()
    return done


@for_programs
def score(
    predictions: npt.ArrayLike,
    data: Source | Pairs,
    *,
    split: str = "test",
    split_seed: int = 0,
    center: bool = False,
    split_by: SplitBy | None = None,
    answers: AnswerRule = "any",
) -> dict[str, float]:
    """How any embeddings of the inputs score, by losstune's metrics: ``mrr``, ``recall_at_1`` and so on.

    Args:
        predictions: (N, d), for every row of ``data``, in order; tensors too, wherever they are.
        data: as of :func:`train`, or pairs that were loaded.
        split: the rows to score: ``train``, ``val`` or ``test``.
        split_seed: seed of the split of train and val; the test split has none.
        center: subtract the training split's mean target from both sides first.
        split_by, answers: as settings of a run; of data that is not loaded yet.

    Raises:
        LosstuneError: predictions that are no numbers, of another shape than the targets, or not finite.
    """
    pairs = data if isinstance(data, Pairs) else load_pairs(data, rules=DataRules(split_by, answers))
    given = as_array(predictions, "predictions")
    if given.dtype.kind not in "biuf":
        raise UserError(f"predictions: found type {given.dtype}; expected float")
    embeddings = as_type(given, np.float32)[:]
    if embeddings.shape != pairs.targets.shape:
        raise UserError(f"predictions: found shape {embeddings.shape}; the targets have {pairs.targets.shape}")
    if split not in SPLIT_NAMES:
        raise UserError(f"split: found {split!r}; allowed: {', '.join(SPLIT_NAMES)}")
    cpu, rows = torch.device("cpu"), split_rows(pairs, split_seed)
    chosen = {"train": rows.train, "val": rows.val, "test": rows.test}[split]
    if len(chosen) == 0:
        raise UserError(f"{pairs.source}: the {split} split has no rows to score")
    scored = split_tensors(pairs, chosen, cpu)
    mean = mean_of(column(pairs.targets, rows.train, cpu)).float() if center else None
    try:
        return embedding_metrics(
            torch.from_numpy(embeddings[chosen]), scored.targets, scored.gallery, scored.positive, mean, scored.others
        )
    except NonFiniteError as error:
        raise UserError(f"predictions: {split} split: {error}") from None


def _settings_of(
    settings: Mapping[str, Any] | TrainConfig | str | os.PathLike[str] | None,
) -> tuple[ConfigFile, dict[str, Any]]:
    """What a file says, and what a program says."""
    match settings:
        case None:
            return ConfigFile({}, {}), {}
        case TrainConfig():
            return ConfigFile({}, {}), settings.flat()
        case str() | os.PathLike():
            return read_config(Path(settings)), {}
        case _:
            return ConfigFile({}, {}), dict(settings)
