"""How good the setting in hand is after how much training: losstune's search and others on real learning curves.

    python benchmarks/search.py [--curves FOLDER] [--seeds 24] [--only '*_infonce_27'] [--json FIGURES]
                                [--budgets 2 5 10 20]
    python benchmarks/search.py --only senses_infonce_27 --searches gp --warm-start words_infonce_27 [--mirrored]

Nothing is trained. The curves of ``curves.py`` stand in for training, and four simulated workers, each as fast as its
trial's epochs were, run the product's own proposals, rungs and turns on them (``search_simulation.py``). A table has,
for each search, the true test value of the setting in hand as a share of the best known one, in per cent: the mean over
files and seeds, and behind ± the standard error over seeds, which all files share. Budgets are in full trainings: their
epochs, then the worker seconds of a median one. Files of several horizons make a table each. All of it is done twice:
on a stated model between the trained settings, with its error where a setting is left out, and by looking up the
nearest trained setting, since a smooth model flatters smooth searches (``surrogate.py``).

Syne Tune's own schedulers are among the searches where that package is installed (``syne_tune_peers.py``).

With --warm-start, searches know from their start what one of OTHER full trainings found on another file, as after
``launch --warm-start``; --mirrored turns the settings that it tried about the middle of the space, so that what was
good there is bad.

FIGURES keeps what it has of other files and searches, so that a long run can be done in parts;
``shares.json`` beside this script is one, which docs/spaces.md quotes.
"""

import argparse
import fnmatch
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from search_curves import Curves, Landscape, LookUp, Values, read_curves
from search_simulation import PEERS, MakeSearch, Own, simulate
from surrogate import Surrogate

from losstune.tuning.search.cube import Cube
from losstune.tuning.space.search_space import Point, SearchSpace
from losstune.tuning.space.settings import LEARNING, StudySettings
from losstune.tuning.study.trial import TrialView

if importlib.util.find_spec("syne_tune"):
    from syne_tune_peers import SYNE_TUNE
else:
    SYNE_TUNE = {}

KEPT = Path(__file__).parent / "curves"
BUDGETS = (2, 5, 10, 20)
LANDSCAPES: dict[str, Callable[[Curves], Landscape]] = {"model": Surrogate, "nearest": LookUp}
UNITS = ("epochs", "seconds")
OTHER = 10
"""Full trainings of the other study of a warm start."""
LEARNT = 2
"""Settings that are learnt on the other data sets."""
LEARNS = ", learnt start"
KNOWN: dict[str, MakeSearch] = PEERS | SYNE_TUNE
SEARCHES = [*KNOWN, *(f"{name}{LEARNS}" for name in ("tpe", "gp"))]
Shares = dict[str, Values]
"""By search: shares (seeds, units, budgets)."""


def settings_of(curves: Curves, seed: int, most: int = max(BUDGETS)) -> StudySettings:
    """A study's usual settings, with a budget that is large enough for so many full trainings, in seconds too."""
    return StudySettings(max_epochs=curves.epochs, epochs_per_loss=2 * most * curves.epochs, seed=seed)


@dataclass(frozen=True)
class Elsewhere:
    """Another data set, on which a search has ended before."""

    landscape: Landscape
    mirrored: bool = False

    def trials(self, sampler: str, seed: int) -> list[TrialView]:
        """What it tried and found, at its points or at their mirror images."""
        curves = self.landscape.curves
        made = Own([curves.space], settings_of(curves, 1000 + seed).model_copy(update={"sampler": sampler}))
        simulate(made, self.landscape, OTHER * float(curves.epochs), 0.0, 1000 + seed)
        cube = Cube(curves.space)
        turned = partial(mirror_image, cube, curves.space) if self.mirrored else dict
        return [
            replace(trial, point=turned(trial.point))
            for trial in made.trials[curves.space.name]
            if trial.ending is not None
        ]


def mirror_image(cube: Cube, space: SearchSpace, point: Point) -> Point:
    """The point on the other side of the middle of a space; what exists there only is in its own middle."""
    places = 1.0 - cube.places([point])[0]
    everything, found = cube.point(np.where(np.isnan(places), 0.5, places)), Point()
    for parameter in space.parameters:
        if parameter.active(found):
            found[parameter.name] = everything[parameter.name]
    return found


def shares(
    landscape: Landscape,
    search: str,
    seeds: int,
    learnt: Sequence[Point] = (),
    budgets: Sequence[int] = BUDGETS,
    elsewhere: Elsewhere | None = None,
) -> Values:
    """What a search has in hand: shape (seeds, units, budgets); ``learnt`` are tried after the space's own start."""
    curves = landscape.curves
    full = {"epochs": float(curves.epochs), "seconds": curves.epochs * float(np.median(curves.seconds))}
    ends = {unit: max(budgets) * full[unit] for unit in UNITS}
    space = replace(curves.space, start=(*curves.space.start, *learnt))
    result = np.empty((seeds, len(UNITS), len(budgets)))
    for seed in range(seeds):
        settings = settings_of(curves, seed, max(budgets))
        if elsewhere is None:
            made = KNOWN[search](space, settings)
        else:
            earlier = {space.name: elsewhere.trials(search, seed)}
            made = Own([space], settings.model_copy(update={"sampler": search}), earlier)
        trace = simulate(made, landscape, ends["epochs"], ends["seconds"], seed)
        result[seed] = [[trace.at(budget * full[unit], unit) for budget in budgets] for unit in UNITS]
    return result


def learnt_start(own: Landscape, every: Sequence[Landscape]) -> list[Point]:
    """LEARNT settings that were good on the other data sets of a loss and horizon, beside the space's own start.

    Each is the one, of those trained there, that raises most the mean over those sets of the best share in hand.
    """
    kind = own.curves.space.loss_fn, own.curves.epochs
    others = [land for land in every if land is not own and (land.curves.space.loss_fn, land.curves.epochs) == kind]
    points = [point for land in others for point in land.curves.points]
    if not points:
        return []
    told = np.array([[land.truth(point) / land.best for point in points] for land in others])
    in_hand = np.array([max(land.truth(point) / land.best for point in own.curves.space.start) for land in others])
    chosen = []
    for _ in range(LEARNT):
        gains = np.maximum(told, in_hand[:, None]).mean(axis=0)
        chosen.append(points[int(gains.argmax())])
        in_hand = np.maximum(in_hand, told[:, int(gains.argmax())])
    return chosen


def measured(
    lands: Sequence[Landscape],
    searches: Sequence[str],
    seeds: int,
    budgets: Sequence[int],
    elsewhere: Elsewhere | None,
) -> Iterator[tuple[Landscape, Shares]]:
    """Each file's landscape, and the shares of every search on it, with what was learnt on the others."""
    for land in lands:
        start = learnt_start(land, lands)
        yield (
            land,
            {
                own: shares(
                    land, own.removesuffix(LEARNS), seeds, start if own.endswith(LEARNS) else (), budgets, elsewhere
                )
                for own in searches
            },
        )


def table(title: str, found: Mapping[str, Shares], budgets: Sequence[int]) -> Table:
    """A line a search: means over files and seeds, with standard errors, for each budget in epochs and in seconds."""
    columns = [f"{budget} {unit}" for unit in ("full", "in seconds") for budget in budgets]
    result = Table("search", *columns, title=title)
    for search in next(iter(found.values())):
        mean, error = summary([own[search] for own in found.values()])
        result.add_row(search, *(f"{100 * m:.1f} ±{100 * e:.1f}" for m, e in zip(mean, error, strict=True)))
    return result


def summary(own: Sequence[Values]) -> tuple[Values, Values]:
    """Mean over files and seeds, and its standard error over seeds: shape (units · budgets,) each."""
    by_seed = np.mean(own, axis=0).reshape(len(own[0]), -1)
    return by_seed.mean(axis=0), by_seed.std(axis=0, ddof=1) / len(by_seed) ** 0.5


def compared(found: Mapping[str, Shares], base: str, budgets: Sequence[int]) -> Iterator[str]:
    """Where a search is worse than ``base`` by more than two standard errors of the paired difference, per file."""
    for name, own in found.items():
        for search, values in own.items():
            mean, error = summary([values - own[base]])
            for at in map(int, np.flatnonzero(mean < -2 * np.maximum(error, 1e-9))):
                unit, budget = UNITS[at // len(budgets)], budgets[at % len(budgets)]
                yield f"{search} is worse on {name} at {budget} ({unit}): {100 * mean[at]:.1f} ±{100 * error[at]:.1f}"


def keep(file: Path, kind: str, name: str, found: Shares, budgets: Sequence[int] = BUDGETS) -> None:
    """Put into a file of figures what was found on one file of curves: mean and standard error by unit and budget."""

    def one(values: Values) -> dict[str, Any]:
        mean, error = (part.reshape(len(UNITS), -1).round(4).tolist() for part in summary([values]))
        cells = {
            unit: {str(b): {"mean": m, "error": e} for b, m, e in zip(budgets, mean[u], error[u], strict=True)}
            for u, unit in enumerate(UNITS)
        }
        return {"seeds": len(values), **cells}

    kept = json.loads(file.read_text()) if file.exists() else {}
    of_file = kept.setdefault(kind, {}).setdefault(name, {})
    of_file.update({search: one(values) for search, values in found.items()})
    file.write_text(json.dumps(kept).replace("}}}, ", "}}},\n ") + "\n")  # a line a search


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=KEPT, help="folder of files as search_curves.py reads them")
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--only", default="*", help="files by name without .npz, * for any")
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=SEARCHES)
    parser.add_argument("--between", nargs="+", choices=LANDSCAPES, default=list(LANDSCAPES), help="trained settings")
    parser.add_argument("--budgets", nargs="+", type=int, default=BUDGETS, help="full trainings, ascending")
    parser.add_argument("--warm-start", help="the file of --curves, without .npz, that was searched before")
    parser.add_argument("--mirrored", action="store_true", help="with its settings turned about the middle")
    parser.add_argument("--json", type=Path, help="a file for the figures of each data set")
    given = parser.parse_args()
    if given.warm_start and not set(given.searches) <= set(LEARNING):
        parser.error(f"--warm-start is for --searches {' '.join(LEARNING)}")
    console = Console(width=150)
    files = [file for file in sorted(given.curves.glob("*.npz")) if fnmatch.fnmatchcase(file.stem, given.only)]
    for kind in given.between:
        by_horizon: dict[int, dict[str, Shares]] = {}
        other = None
        if given.warm_start:
            curves = read_curves(given.curves / f"{given.warm_start}.npz")
            other = Elsewhere(LANDSCAPES[kind](curves), given.mirrored)
        lands = [LANDSCAPES[kind](read_curves(file)) for file in files]
        for land, found in measured(lands, given.searches, given.seeds, given.budgets, other):
            by_horizon.setdefault(land.curves.epochs, {})[land.curves.name] = found
            if given.json:
                keep(given.json, kind, land.curves.name, found, given.budgets)
            if isinstance(land, Surrogate):
                error = ", ".join(f"{what} {value:.3f}" for what, value in land.error.items())
                console.print(
                    f"{land.curves.name}: {len(land.curves.points)} settings; last test value, left out: {error}"
                )
        for epochs, by_file in by_horizon.items():
            title = f"{len(by_file)} files, {epochs} epochs, {given.seeds} seeds; between trained settings: {kind}"
            console.print(table(title, by_file, given.budgets))
            for line in compared(by_file, given.searches[0], given.budgets):
                console.print(line)


if __name__ == "__main__":
    main()
