"""Spaces that come with losstune, without the choices that the data at hand can not carry."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from losstune.trainer.base.yaml_file import dump_yaml, parse_yaml
from losstune.trainer.data.pairs import Pairs
from losstune.tuning.space.feasibility import shortfall_at
from losstune.tuning.space.reader import read_space
from losstune.tuning.space.search_space import Choices, SearchSpace
from losstune.tuning.space.settings import StudySettings

BATCH = "batch_size"
OTHER_SPLITS = 20
"""Each seed of a confirmation draws its own validation rows: a batch is to fit these too, as far as so many tell."""


def fitted(spaces: Sequence[SearchSpace], settings: StudySettings, pairs: Pairs) -> tuple[list[SearchSpace], list[str]]:
    """The spaces for this data, and a line for each that is not what it was.

    Only a shipped one bends: what a user wrote is a wish, and a batch that it can not have an error. The smallest
    choice stays in any case. A start point outside what is left takes the largest batch of it.
    """
    found, notes = [], []
    for space in spaces:
        choices = next((p.domain for p in space.parameters if p.name == BATCH), None)
        if space.shipped and isinstance(choices, Choices):
            sizes = [int(str(size)) for size in choices.values]
            short = {size: _short(space, settings, pairs, size) for size in sizes}
            left_out = [(size, why) for size, why in short.items() if why is not None and size != min(sizes)]
            if left_out:
                listed = ", ".join(str(size) for size, _ in left_out)
                notes.append(f"{space.file}: batch_size {listed} left out: {left_out[0][1]}")
                space = _with_batches(space, [size for size in sizes if size not in dict(left_out)])
        found.append(space)
    return found, notes


def _short(space: SearchSpace, settings: StudySettings, pairs: Pairs, size: int) -> str | None:
    """Why a batch does not fit the study's split, or another seed's; these can not be far from it."""
    if shortfall_at(space, settings, pairs, 2 * size) is None:
        return None
    if short := shortfall_at(space, settings, pairs, size):
        return short.reason
    for seed in range(OTHER_SPLITS):
        if short := shortfall_at(space, settings.model_copy(update={"seed": seed}), pairs, size):
            return f"with another seed {short.reason}"
    return None


def _with_batches(space: SearchSpace, kept: list[Any]) -> SearchSpace:
    source = dict(space.source)
    source["space"] = {**source["space"], BATCH: {"choices": kept}}
    if "start" in source:
        points = source["start"]
        source["start"] = [
            {**point, BATCH: max(kept)} if point.get(BATCH, kept[0]) not in kept else point for point in points
        ]
    return replace(read_space(parse_yaml(dump_yaml(source), space.file)), shipped=True)
