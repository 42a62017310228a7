"""Learning curves of the shipped spaces on real data: what a search is replayed on, with no training of its own.

    python benchmarks/curves.py FOLDER --data DATA_FOLDER [--only SET/LOSS/HORIZON]

Trains random settings of each loss's shipped space, on the data sets of ``data_sets.py``, so many rows of each drawn
once, and writes FOLDER/SET_LOSS_HORIZON.npz with the space beside it. Settings are the same for all sets and horizons
of a loss, first the space's own start; at last six settings of each set are trained with five seeds more. A file is
written as a whole, again after each ten runs, and what it has is not trained again: an interrupted benchmark goes on.

What a file has, for n settings and E epochs (NaN where a run diverged):

| array | shape | |
|---|---|---|
| settings | (n, k) float32 | by ``names``; NaN: not active; of two or more words the position in the space's choices |
| val, test | (n, E) float16 | MRR after each epoch |
| average_epochs | (m,) | time constants of averages of the weights, kept over the same training |
| val_averaged, test_averaged | (m, n, E) float16 | MRR of the averaged weights |
| seconds | (n,) float32 | median over epochs of one epoch's training and validation without averages |
| seed | (n,) int64 | of weights, batches and dropout; the split is that of seed 0 |
| horizon | () | epochs of the schedule, E |

Seconds are of a single thread's processor time, which other processes on the machine distort least.
"""

import argparse
import fnmatch
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from data_sets import written
from one_curve import AVERAGES, Curve, Floats, parts, trained

import losstune as lt
from losstune.search_spaces import __path__ as shipped
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs
from losstune.tuning.space.reader import load_space
from losstune.tuning.space.search_space import Choices, Parameter, Point, Range, SearchSpace

ROWS = {"digits": 1797, "words": 1000, "senses": 1000, "french": 1000, "photos": 800}
"""Of each data set: all of the smallest, and of the others what some hours of a processor allow."""
LOSSES = ("infonce", "cosine", "full_softmax")
FEW, SETTINGS, MANY = 20, 60, 150
AT_ONCE = 10
LONG = ("digits", "words")
"""Sets that are trained for 81 epochs as well."""
SEEDS = range(1001, 1006)
RANKS = (0, 2, 5, 10, 20, 40)
"""Which settings, by their best validation value with the first seed, are trained with several: most are good ones."""
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Job:
    """Runs of one file: its first settings with a seed each, or some of the first with several."""

    data: str
    loss: str
    horizon: int
    settings: int
    several: bool = False

    @property
    def name(self) -> str:
        """As ``--only`` has it."""
        return f"{self.data}/{self.loss}/{self.horizon}"

    def file(self, folder: Path) -> Path:
        """Where the curves are, or will be."""
        return folder / f"{self.name.replace('/', '_')}.npz"


def jobs() -> Iterator[Job]:
    """What is to be there at the end, what says most first."""
    first, *others = LOSSES
    yield from (Job(name, first, 27, SETTINGS) for name in ROWS)
    yield from (Job(name, loss, 27, FEW) for loss in others for name in ROWS)
    yield from (Job(name, first, 81, FEW) for name in LONG)
    yield from (Job(name, first, 27, SETTINGS, several=True) for name in ROWS)
    yield from (Job(name, loss, 27, SETTINGS) for loss in others for name in ROWS)
    yield from (Job(name, "siglip", 27, FEW) for name in ROWS)
    yield from (Job(name, loss, 81, SETTINGS) for loss in LOSSES for name in LONG)
    yield from (Job("digits", loss, 27, MANY) for loss in LOSSES)
    yield Job("digits", first, 81, MANY)


def points(space: SearchSpace, number: int) -> list[Point]:
    """The start points of a space, and as many random ones as are missing, in numbers that float32 has."""
    rng = np.random.default_rng(0)
    found = [dict(point) for point in space.start]
    while len(found) < number:
        point: Point = {}
        for parameter in space.parameters:
            if parameter.active(point):
                point[parameter.name] = drawn(parameter.domain, rng)
        found.append(point)
    return [from_row(row, space.parameters) for row in rows_of(found[:number], space.parameters)]


def drawn(domain: Range | Choices, rng: np.random.Generator) -> Any:
    """One value, each as likely as any other, in the logarithm where the range says so."""
    values = domain.values
    if values is not None:
        return values[int(rng.integers(len(values)))]
    assert isinstance(domain, Range)
    if domain.log:
        return math.exp(rng.uniform(math.log(domain.low), math.log(domain.high)))
    return float(rng.uniform(domain.low, domain.high))


def rows_of(found: Sequence[Point], parameters: Sequence[Parameter]) -> npt.NDArray[np.float32]:
    """Points as numbers (n, k): of choices that are words the position, NaN where a parameter is not active."""

    def number(parameter: Parameter, point: Point) -> float:
        if parameter.name not in point:
            return math.nan
        value = point[parameter.name]
        return float(parameter.domain.values.index(value) if isinstance(value, str) else value)  # type: ignore[union-attr]

    return np.array([[number(p, point) for p in parameters] for point in found], dtype=np.float32)


def from_row(row: Floats, parameters: Sequence[Parameter]) -> Point:
    """The point of a row of :func:`rows_of`."""
    point: Point = {}
    for parameter, number in zip(parameters, row.tolist(), strict=True):
        if math.isnan(number):
            continue
        values = parameter.domain.values
        if values is None:
            point[parameter.name] = number
        elif isinstance(values[0], str):
            point[parameter.name] = values[int(number)]
        else:
            point[parameter.name] = next(value for value in values if value == number)
    return point


def few(source: str, rows: int) -> Pairs:
    """So many rows of a data set, drawn once, in their order."""
    pairs = lt.load_pairs(source)
    kept = np.sort(np.random.default_rng(0).permutation(len(pairs.ids))[:rows])
    return lt.load_pairs({name: np.asarray(getattr(pairs, name)[kept]) for name in ("inputs", "targets", "ids")})


def config_of(space: SearchSpace, point: Point, seed: int, horizon: int) -> TrainConfig:
    """What a study of such a horizon would train the point with, but that averages are kept beside it."""
    managed = {"num_epochs": horizon, "schedule_epochs": horizon, "seed": seed, "device": "cpu", "threads": 1}
    return space.train_config(point, **managed, average_epochs=None)


def read(file: Path) -> Arrays:
    """The arrays of a file."""
    with np.load(file, allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}


def runs_of(job: Job, space: SearchSpace, before: Arrays) -> tuple[npt.NDArray[np.float32], list[int]]:
    """The settings (n, k) of runs that a file is to have and has not, and their seeds."""
    rows = rows_of(points(space, job.settings), space.parameters)
    wanted = list(enumerate(rows))
    if job.several:
        best = np.nan_to_num(before["val"][: job.settings].astype(np.float64), nan=-1).max(axis=1)
        wanted = [(seed, rows[place]) for place in np.argsort(-best, kind="stable")[list(RANKS)] for seed in SEEDS]
    known = {(seed, row.tobytes()) for seed, row in zip(before["seed"], before["settings"], strict=True)}
    missing = [(seed, row) for seed, row in wanted if (seed, row.tobytes()) not in known]
    return np.array([row for _, row in missing]), [seed for seed, _ in missing]


def made(job: Job, pairs: Pairs, folder: Path) -> None:
    """Train what a file lacks, and write it after some runs and at the end."""
    space, file = load_space(job.loss), job.file(folder)
    names = [parameter.name for parameter in space.parameters]
    arrays = read(file) if file.exists() else empty(job, names)
    rows, seeds = runs_of(job, space, arrays)
    shutil.copyfile(Path(shipped[0]) / f"{job.loss}.yaml", file.with_suffix(".yaml"))
    for start in range(0, len(seeds), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        curves = []
        for row, seed in zip(rows[part], seeds[part], strict=True):
            config = config_of(space, from_row(row, space.parameters), seed, job.horizon)
            curves.append(trained(config, *parts(pairs, config), job.horizon))
        new = {"settings": rows[part], "seed": np.array(seeds[part]), **stacked(curves)}
        for name, values in new.items():
            arrays[name] = np.concatenate([arrays[name], values], axis=int(name.endswith("_averaged")))
        write(file, arrays)
        print(f"{time.strftime('%H:%M:%S')} {job.name}: {len(arrays['seed'])} runs", flush=True)


def empty(job: Job, names: Sequence[str]) -> Arrays:
    """The arrays of a file without a run."""
    curves, constants = np.empty((0, job.horizon), dtype=np.float16), len(AVERAGES)
    return {
        "names": np.array(names),
        "settings": np.empty((0, len(names)), dtype=np.float32),
        "seed": np.empty(0, dtype=np.int64),
        **{"val": curves, "test": curves},
        **dict.fromkeys(("val_averaged", "test_averaged"), np.stack([curves] * constants)),
        "seconds": np.empty(0, dtype=np.float32),
        "average_epochs": np.array(AVERAGES),
        "horizon": np.array(job.horizon),
    }


def stacked(curves: Sequence[Curve]) -> Arrays:
    """Runs as the arrays of a file."""
    val, test = (np.stack([getattr(curve, name) for curve in curves], axis=1) for name in ("val", "test"))
    seconds = np.array([curve.seconds for curve in curves], dtype=np.float32)
    return {"val": val[0], "test": test[0], "val_averaged": val[1:], "test_averaged": test[1:], "seconds": seconds}


def write(file: Path, arrays: Arrays) -> None:
    """Write a file as a whole, or not at all."""
    part = file.with_suffix(".part")
    with part.open("wb") as opened:
        np.savez_compressed(opened, **arrays)  # type: ignore[arg-type]  # taken for allow_pickle
    part.replace(file)


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, help="folder of data_sets.py; default: FOLDER/data")
    parser.add_argument("--only", default="*", help="SET/LOSS/HORIZON, * for any")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    sets = written(given.data or given.folder / "data")
    pairs = {name: few(source, ROWS[name]) for name, source in sets.items()}
    for job in jobs():
        if fnmatch.fnmatchcase(job.name, given.only):
            made(job, pairs[job.data], given.folder)


if __name__ == "__main__":
    main()
