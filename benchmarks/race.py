"""How often a race of losses drops the best one, and what it buys: losstune's ``--race`` on real learning curves.

    python benchmarks/race.py [--curves FOLDER] [--budgets 10] [--seeds 24] [--json FIGURES]

Nothing is trained. The losses that have curves of one data set and horizon share four simulated workers, which run the
product's own proposals, rungs, turns and race (``search_simulation.py``); the same seed without the race is what it is
compared with. A line a data set, and one for all, has for a budget, in full trainings a loss:

- in how many races the best loss was out at the end, and in how many no loss was left that is as good: the best by
  what its best known setting is truly worth on the test split, as good where it is less by no more than the standard
  deviation of one training between seeds (from the settings that were trained with several);
- the share of all epochs that dropped losses did not use of their equal parts, which the race gives to the others;
- the true value of the setting in hand as a share of the best known of all losses, without the race, by how much that
  rises with it, and by how much if the study ended with what the dropped losses left unused.

All in per cent; behind ± the standard error over seeds, which all data sets share. Done between the trained settings by
a model, and by looking up the nearest one, as ``search.py`` says. ``races.json`` beside this script is what it writes.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console
from rich.table import Table
from search import KEPT, LANDSCAPES
from search_curves import Curves, Landscape, Run, Values, read_curves
from search_simulation import LOSS, Own, simulate

from losstune.tuning.space.search_space import Point
from losstune.tuning.space.settings import SAMPLER, StudySettings

MEASURES = ("best dropped", "none as good left", "freed", "in hand without", "rise with it", "rise if freed are saved")
AS_ONE = "all"


@dataclass(frozen=True)
class Field:
    """The losses that race on one data set, by their names."""

    lands: Mapping[str, Landscape]

    def run(self, point: Point, random: np.random.Generator) -> Run:
        """A training of the loss that the point is of."""
        return self._of(point).run(point, random)

    def truth(self, point: Point) -> float:
        """What the point's loss says of it."""
        return self._of(point).truth(point)

    @property
    def best(self) -> float:
        """The highest truth that is known of any loss."""
        return max(land.best for land in self.lands.values())

    def as_good(self) -> tuple[str, set[str]]:
        """The best loss, and all that are as good as it within the noise between seeds."""
        noise = seed_noise([land.curves for land in self.lands.values()])
        best = max(self.lands, key=lambda loss: self.lands[loss].best)
        return best, {loss for loss, land in self.lands.items() if land.best >= self.best - noise}

    def _of(self, point: Point) -> Landscape:
        return self.lands[cast("str", point[LOSS])]


def seed_noise(files: Sequence[Curves]) -> float:
    """Standard deviation between seeds of a setting's test value where validation is best; 0 if each has one seed."""
    variances = [
        np.take_along_axis(own.test[runs], own.val[runs].argmax(axis=1)[:, None], axis=1).var(ddof=1)
        for own in files
        for runs in own.runs
        if len(runs) > 1 and not np.isnan(own.val[runs]).any()
    ]
    return float(np.mean(variances) ** 0.5) if variances else 0.0


def raced(field: Field, budget: int, seed: int, sampler: str = SAMPLER) -> list[float]:
    """One race and the same study without it: MEASURES, as shares of 1."""
    spaces = [land.curves.space for land in field.lands.values()]
    epochs = next(iter(field.lands.values())).curves.epochs
    given = {"max_epochs": epochs, "epochs_per_loss": budget * epochs, "seed": seed, "sampler": sampler}
    race, level = (Own(spaces, StudySettings.model_validate(given | {"race": race})) for race in (True, False))
    trace, traced_level = (simulate(search, field, np.inf, 0.0, seed) for search in (race, level))
    out = {loss for loss, own in race.trials.items() if own.dropped}
    unused = [budget * epochs - sum(trial.epochs for trial in race.trials[loss]) for loss in out]
    freed = sum(max(0, own) for own in unused)
    best, as_good = field.as_good()
    without = traced_level.at(np.inf, "epochs")
    rise, saved = (trace.at(trace.epochs[-1] - kept, "epochs") - without for kept in (0, freed))
    share = freed / (len(spaces) * budget * epochs)
    return [float(best in out), float(as_good <= out), share, without, rise, saved]


def fields(folder: Path, epochs: int, between: str) -> dict[str, Field]:
    """The data sets of a folder of DATA_LOSS_EPOCHS.npz that have curves of two losses or more."""
    found: dict[str, dict[str, Landscape]] = {}
    for file in sorted(folder.glob(f"*_{epochs}.npz")):
        land = LANDSCAPES[between](read_curves(file))
        loss = land.curves.space.name
        found.setdefault(file.stem.removesuffix(f"_{loss}_{epochs}"), {})[loss] = land
    return {name: Field(lands) for name, lands in found.items() if len(lands) > 1}


def measured(of_sets: Mapping[str, Field], budget: int, seeds: int) -> Iterator[tuple[str, Values]]:
    """MEASURES of each data set, and of their mean: shape (seeds, measures)."""
    every = []
    for name, field in of_sets.items():
        every.append(np.array([raced(field, budget, seed) for seed in range(seeds)]))
        yield name, every[-1]
    yield AS_ONE, np.mean(every, axis=0)


def summary(values: Values) -> dict[str, Any]:
    """The seeds, and of each measure the mean and the standard error over them."""
    means, errors = values.mean(axis=0), values.std(axis=0, ddof=1) / len(values) ** 0.5
    pairs = zip(MEASURES, means.round(4).tolist(), errors.round(4).tolist(), strict=True)
    return {"seeds": len(values), **{name: {"mean": mean, "error": error} for name, mean, error in pairs}}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=KEPT, help="folder of files DATA_LOSS_EPOCHS.npz")
    parser.add_argument("--epochs", type=int, default=27, help="horizon of the files")
    parser.add_argument("--budgets", type=int, nargs="+", default=[10], help="full trainings a loss")
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--between", nargs="+", choices=LANDSCAPES, default=list(LANDSCAPES), help="trained settings")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    given = parser.parse_args()
    kept: dict[str, Any] = {}
    for between in given.between:
        of_sets = fields(given.curves, given.epochs, between)
        for budget in given.budgets:
            title = f"{budget} full trainings a loss, {given.seeds} seeds; between trained settings: {between}"
            table = Table("data", *MEASURES, title=title)
            for name, values in measured(of_sets, budget, given.seeds):
                found = summary(values)
                kept.setdefault(between, {}).setdefault(str(budget), {})[name] = found
                shown = (found[measure] for measure in MEASURES)
                cells = (f"{100 * own['mean']:.1f} ±{100 * own['error']:.1f}" for own in shown)
                table.add_row(name, *cells)
            Console(width=150).print(table)
    if given.json:
        given.json.write_text(json.dumps(kept).replace("}}, ", "}},\n ") + "\n")  # a line a data set


if __name__ == "__main__":
    main()
