"""What an average of the weights changes, on curves of ``curves.py``: each training has both, so they are paired.

    python benchmarks/averaged_curves.py FOLDER

For each file and time constant: the gain in test MRR at the epoch that is best in validation, by the weights' own
validation and by the average's, as a mean over settings with its standard error, over all and over the third that is
best; the test MRR of the setting that is best in validation, which is what a search that tried all of them would hand
over; the mean jump of validation MRR from epoch to epoch in the second half, averaged over that of the weights; and the
rank correlation of the best so far at epoch 9 with that at the end, which is what an early rung is worth.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

Values = npt.NDArray[np.float64]
RUNG = 9


@dataclass(frozen=True)
class Evaluated:
    """Curves (n, E) of runs that did not diverge, by one kind of weights."""

    val: Values
    test: Values

    @property
    def best(self) -> Values:
        """The highest validation value of each run, (n,)."""
        highest: Values = self.val.max(axis=1)
        return highest

    @property
    def held_out(self) -> Values:
        """The test value at that epoch, (n,)."""
        chosen: Values = self.test[np.arange(len(self.test)), self.val.argmax(axis=1)]
        return chosen

    @property
    def jump(self) -> float:
        """How far validation moves from epoch to epoch in the second half."""
        return float(np.abs(np.diff(self.val[:, self.val.shape[1] // 2 :])).mean())

    @property
    def early(self) -> float:
        """The rank correlation of the best so far at the rung with that at the end."""
        return float(spearmanr(self.val[:, :RUNG].max(axis=1), self.best).statistic)


def read(file: Path) -> tuple[Evaluated, dict[float, Evaluated]]:
    """Runs of different settings: by their weights, and by each average of them, by its time constant."""
    with np.load(file, allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in kept.files}
    first = {settings.tobytes(): row for row, settings in reversed(list(enumerate(arrays["settings"])))}
    chosen = [row for row in sorted(first.values()) if not np.isnan(arrays["val"][row]).any()]
    plain = Evaluated(*(arrays[split][chosen].astype(float) for split in ("val", "test")))
    averaged = (arrays[f"{split}_averaged"][:, chosen].astype(float) for split in ("val", "test"))
    by_constant = zip(arrays["average_epochs"].tolist(), *averaged, strict=True)
    return plain, {constant: Evaluated(val, test) for constant, val, test in by_constant}


def gain(plain: Evaluated, averaged: Evaluated, share: float = 1.0) -> tuple[float, float]:
    """Mean gain in test MRR, and its standard error; of the best share only, by both kinds' validation together."""
    kept = np.argsort(-(plain.best + averaged.best), kind="stable")[: max(2, round(share * len(plain.best)))]
    gains = (averaged.held_out - plain.held_out)[kept]
    return float(gains.mean()), float(gains.std(ddof=1) / len(gains) ** 0.5)


def main() -> None:
    """Print the table of a folder."""
    heads = (
        "runs",
        "T",
        "gain, all",
        "± SE",
        "gain, best third",
        "± SE",
        "found",
        "averaged",
        "jumps",
        "rung 9",
        "averaged",
    )
    table = Table("curves", *heads)
    for file in sorted(Path(sys.argv[1]).glob("*.npz")):
        plain, averages = read(file)
        for constant, averaged in averages.items():
            found = (float(kind.held_out[kind.best.argmax()]) for kind in (plain, averaged))
            numbers = (*gain(plain, averaged), *gain(plain, averaged, 1 / 3), *found)
            rungs = averaged.jump / plain.jump, plain.early, averaged.early
            shown = (*(f"{number:.4f}" for number in numbers), *(f"{number:.2f}" for number in rungs))
            table.add_row(file.stem, str(len(plain.val)), f"{constant:g}", *shown)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
