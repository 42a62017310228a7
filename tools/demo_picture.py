"""Draws docs/demo.svg from the study that ``make demo`` leaves: best value so far against epochs spent.

.venv/bin/python tools/demo_picture.py
"""

from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt

from losstune.trainer.run.history import read_history
from losstune.trainer.score.metrics import chance_level
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study, open_study

ROOT = Path(__file__).parent.parent


def best_so_far(study: Study, loss_fn: str) -> tuple[list[int], list[float]]:
    """Epochs spent and best objective after each, over a loss's trials in order of their numbers."""
    spent, best, values = [0], 0.0, [0.0]
    for folder in sorted(study.trials_folder.glob(f"{loss_fn}-*")):
        for record in read_history(folder / "history.jsonl"):
            best = max(best, record[study.spec.settings.objective])
            spent.append(spent[-1] + 1)
            values.append(best)
    return spent, values


def main() -> None:
    """Draw the picture."""
    matplotlib.rcParams["svg.hashsalt"] = "losstune"
    _, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    study = open_study(Home(ROOT / "demo"), "demo")
    for loss_fn in study.spec.spaces:
        axes.step(*best_so_far(study, loss_fn), where="post", label=loss_fn)
    axes.axhline(chance_level(374)["mrr"], color="grey", linestyle=":", label="chance")
    axes.set(xlabel="epochs spent on a loss", ylabel="best val/mrr so far", ylim=(0, None))
    axes.legend(loc="lower right", ncols=3, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    plt.savefig(ROOT / "docs" / "demo.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
