"""A study whose search has ended and whose files agree, made in a moment: no training, no Ray."""

from pathlib import Path

from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.run.history import history_line, read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.storage.home import Home
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study, create_study
from losstune.tuning.study.trial import Ending
from tests.tuning.reported import LAST, LEVEL, RUNGS, SPACES, curve, point_of, write_run
from tests.tuning.samples import settings_of, space_of

TRIALS = 6


def timed(history: Path) -> list[str]:
    """Its lines, each epoch with a time, which MLflow shows."""
    return [history_line(epoch | {"time": 1.7e9 + epoch["epoch"]}) for epoch in read_history(history)]


def made(root: Path, data: str = "digits") -> Study:
    """Two losses, each with trials that used their epochs and some that were cut; launched again, it is at its end."""
    settings = settings_of(max_epochs=LAST, grace_epochs=1, reduction_factor=3, trials=TRIALS)
    spaces = [space_of(text) for text in SPACES.values()]
    study = create_study(Home(root), "study", spaces, settings, data, load_pairs(data).digest)
    for loss_fn, space in study.spec.search_spaces().items():
        own = LossTrials(study.storage(), loss_fn, space)
        for number in range(TRIALS):
            own.add(point_of(loss_fn, number * 0.37 % 1, number), seed=number)
            value, epochs = LEVEL[loss_fn] - 0.01 * number, LAST if number % 3 == 0 else RUNGS[number % 2]
            folder = study.trials_folder / own[number].name
            write_run(folder, space.settings(own[number].point), curve(value, epochs))
            (folder / HISTORY_FILE).write_text("".join(timed(folder / HISTORY_FILE)))
            for rung in (rung for rung in RUNGS if rung <= epochs):
                own.report(number, rung, curve(value, rung)[-1])
            end = ("complete", "used its epochs") if epochs == LAST else ("pruned", f"cut at rung {epochs}")
            own.end(number, Ending(*end, epochs, curve(value, epochs)[-1], epochs))  # type: ignore[arg-type]
    return study
