"""What a budget is good for: the figures of ``tuning/search/budget_worth.py``, from those that are kept.

    python benchmarks/budget_worth.py

For each of losstune's searches it prints, from ``shares.json`` (infonce, 27 epochs, the model between settings), the
lowest, mean and highest share of the five data sets after each budget; and the noise of seeds, that more search has to
gain more than. It is that of the settings that were trained six times, most of them good ones: the test value at the
epoch that is best in validation, its standard deviation relative to the mean, the root mean square over settings and
sets. These seeds have one split between them; a confirmation's have each their own, so its noise is no smaller.

``shares.json`` has the larger budgets, of tpe up to 40, by

    python benchmarks/search.py --only '*_infonce_27' --between model --searches SEARCHES \\
        --budgets 2 5 10 20 40 80 --json benchmarks/shares.json
"""

import json
from pathlib import Path

import numpy as np
from search import KEPT
from search_curves import Curves, read_curves

from losstune.tuning.search.budget_worth import Shares

FILES = sorted(KEPT.glob("*_infonce_27.npz"))
FIGURES = Path(__file__).parent / "shares.json"
SAMPLERS = ("gp", "tpe", "random")
SEEDS = 10
PLACES = 3


def kept_shares(search: str) -> dict[int, Shares]:
    """Over data sets, after each budget in full trainings that all of them have."""
    figures = json.loads(FIGURES.read_text())["model"]
    by_file = [figures[file.stem][search]["epochs"] for file in FILES]
    found = {}
    for budget in sorted(int(own) for own in set(by_file[0]).intersection(*by_file)):
        each = [own[str(budget)]["mean"] for own in by_file]
        found[budget] = Shares(*(round(float(own), PLACES) for own in (min(each), np.mean(each), max(each))))
    return found


def noise(curves: Curves) -> float:
    """Relative standard deviation of what a run of one setting is worth, over seeds."""
    found = []
    for rows in curves.runs:
        if len(rows) > 1:
            values = curves.test[rows, curves.val[rows].argmax(axis=1)]
            found.append(values.std(ddof=1) / values.mean())
    return float(np.sqrt(np.mean(np.square(found))))


def noise_of_ten() -> float:
    """Relative standard error of a mean over SEEDS, over all data sets."""
    each = [noise(read_curves(file)) for file in FILES]
    return round(float(np.sqrt(np.mean(np.square(each)) / SEEDS)), PLACES)


def main() -> None:
    """Print."""
    for search in SAMPLERS:
        for budget, shares in kept_shares(search).items():
            print(f"{search} {budget}: {shares}")
    print(f"standard error of a mean over {SEEDS} seeds, relative to it: {noise_of_ten()}")


if __name__ == "__main__":
    main()
