"""Whether spaces, settings and data go together, before anything is started."""

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from yaml.representer import RepresenterError

from losstune.trainer.base.errors import UserError, shown
from losstune.trainer.base.plain import plain
from losstune.trainer.base.yaml_file import YamlFile, dump_yaml, parse_yaml
from losstune.trainer.config.loss_registry import loss_names
from losstune.trainer.config.matryoshka import LISTS, with_whole
from losstune.trainer.config.model_config import FactoryConfig
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import Shortfall, split_shortfall
from losstune.trainer.model.encoder import build_model, check_output
from losstune.tuning.space.reader import load_space, own_file, read_space, shipped_names
from losstune.tuning.space.search_space import MAX_GRID, SearchSpace, typical_point
from losstune.tuning.space.settings import StudySettings

Baseline = Literal["chance", "mean_target", "ridge", "ridge_centered", "untrained"]
"""What needs no training, or none of a loss: a study's losses are measured against them."""

Space = str | os.PathLike[str] | Mapping[str, Any]
"""A search space: a shipped name, the path of a YAML file, or what such a file says."""

OTHER_NAMES = ("confirm", *get_args(Baseline))
"""What stands beside losses in tables and in MLflow: no loss can be named so."""


def load_spaces(given: Sequence[Space], frozen: Mapping[str, SearchSpace] | None = None) -> list[SearchSpace]:
    """Shipped or own spaces, at most one of each name.

    Args:
        given: shipped names, paths, or what such a file says.
        frozen: the spaces of a study that goes on. A shipped name means the one that it has: a later release may ship
            another.

    Raises:
        UserError: one is not valid, two have the same name, or one has the name of something else.
    """
    spaces = [_loaded(space, frozen or {}, f"space {number}") for number, space in enumerate(given, start=1)]
    _refuse_twins(spaces)
    return spaces


def _loaded(space: Space, frozen: Mapping[str, SearchSpace], title: str) -> SearchSpace:
    if isinstance(space, Mapping):
        file = parse_yaml(_as_yaml(space, title), title)
    elif (name := os.fspath(space)) in shipped_names():
        return frozen.get(name) or load_space(name)
    else:
        file = own_file(name)
    own = read_space(file)
    if own.name not in frozen:  # a later release may ship a loss of the name that a study has for another one
        _check_name(own, file)
    return own


def _as_yaml(space: Mapping[str, Any], title: str) -> str:
    try:
        return dump_yaml(plain(space))
    except RepresenterError as error:
        found = shown(error.args[-1])
        raise UserError(f"{title}: found {found}; expected what YAML says: numbers, text, lists and mappings") from None


def _check_name(space: SearchSpace, file: YamlFile) -> None:
    """Refuse a name that stands for something else in tables, in MLflow or on the command line."""
    key = "loss_fn" if space.name == space.loss_fn else "name"
    if space.name in OTHER_NAMES:
        found = "no loss of a study can be named any of " + ", ".join(OTHER_NAMES)
    elif key == "name" and _is_of_another(space):
        found = f"{space.name!r} is the name of another loss, or of its space; this one is for {space.loss_fn}"
    else:
        return
    raise UserError(f"{file.where(key)}: {key}: {found}")


def _is_of_another(space: SearchSpace) -> bool:
    if space.name in shipped_names():
        return load_space(space.name).loss_fn != space.loss_fn
    return space.name in loss_names()


def check_against_data(spaces: list[SearchSpace], settings: StudySettings, pairs: Pairs) -> None:
    """Refuse spaces that this data or these settings can not serve.

    Raises:
        UserError: a grid over a continuum, a batch larger than a split or than what is scored of it, or a user's model
            that does not fit the data.
    """
    for space in spaces:
        if settings.sampler == "grid":
            check_grid(space)
        largest = largest_batch(space)
        if short := shortfall_at(space, settings, pairs, largest):
            way_on = _way_on(space, short)
            raise UserError(f"{space.file}: batch_size {largest}: {pairs.source}: {short.reason}; {way_on}")
        try:
            _check_prefixes(space, pairs)
            _check_model(space, pairs)
        except (UserError, ValueError) as error:
            raise UserError(f"{space.file}: {error}") from error


def check_grid(space: SearchSpace) -> None:
    """Refuse a space that ``sampler: grid`` can not run through.

    Raises:
        UserError: naming the parameter that is a continuum, or the number of points.
    """
    for parameter in space.parameters:
        if parameter.domain.values is None:
            raise UserError(
                f"{space.file}: space → {parameter.name}: the grid sampler needs choices, int or step; "
                f"found {parameter.domain}"
            )
    if (space.size or 0) > MAX_GRID:
        raise UserError(f"{space.file}: the grid has more than {MAX_GRID:,} points")


def shortfall_at(space: SearchSpace, settings: StudySettings, pairs: Pairs, batch_size: int) -> Shortfall | None:
    """Why batches of this size can not be had of the data, None where they can."""
    managed = settings.training(pairs.source, threads=1)
    config = TrainConfig.from_flat({"loss_fn": space.reference, "batch_size": batch_size, **managed})
    return split_shortfall(config, pairs)


def _way_on(space: SearchSpace, short: Shortfall) -> str:
    smallest = space.loss_class.smallest_batch
    if short.most < smallest:
        return f"{space.loss_fn} takes batches of {smallest} or more: use {short.more}, or leave {space.file} out"
    if space.shipped:
        return f"use {short.more}, or a space of your own with a smaller batch_size"
    return f"let {space.file} have no batch_size above {short.most}, or use {short.more}"


def largest_batch(space: SearchSpace) -> int:
    """The largest batch that a trial may have."""
    default = TrainConfig.from_flat({"loss_fn": space.reference}).batch_size
    searched = next((p.domain.extremes for p in space.parameters if p.name == "batch_size"), None)
    return max(searched or (space.fixed.get("batch_size", default),))  # type: ignore[type-var, return-value]


def _check_prefixes(space: SearchSpace, pairs: Pairs) -> None:
    """Refuse prefixes of embeddings that the data's targets do not have, in any point."""
    listed = [p for p in space.parameters if p.name in LISTS]
    if not listed and not any(name in space.fixed for name in LISTS):
        return  # a trial alone may fail of a point that can not be trained
    others = {name: value for name, value in typical_point(space).items() if name not in LISTS}
    for values in itertools.product(*(p.domain.extremes for p in listed)):
        point = dict(others)
        for parameter, value in zip(listed, values, strict=True):
            if parameter.active(point):
                point[parameter.name] = value
        with_whole(space.train_config(point).prefixes, pairs.targets.shape[1])


def _check_model(space: SearchSpace, pairs: Pairs) -> None:
    """Build a user's own model once, at a typical point, and pass two rows through it."""
    if space.factory is None:
        return
    config = space.train_config(typical_point(space)).model
    assert isinstance(config, FactoryConfig)
    output_dim = pairs.targets.shape[1]
    with torch.random.fork_rng([]):
        model = build_model(config, pairs.inputs.shape[1:], output_dim)
        check_output(model, config, torch.from_numpy(np.array(pairs.inputs[:2])), output_dim)


def _refuse_twins(spaces: list[SearchSpace]) -> None:
    seen: dict[str, SearchSpace] = {}
    for space in spaces:
        if twin := seen.get(space.name.lower()):  # folders may not tell capitals from small letters
            names = twin.name if twin.name == space.name else f"{twin.name} and {space.name}"
            raise UserError(
                f"{space.file} and {twin.file} are both named {names}; a study has one space of a name: "
                f"let one of them, or a copy of it, have another, as name: {space.name}_2"
            )
        seen[space.name.lower()] = space
