"""A study on disk without a trial, for the tests of its parts."""

from pathlib import Path
from typing import Any

from losstune.tuning.space.merged import merged_settings
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study, create_study
from tests.tuning.samples import space_of

DIGEST = "a1" * 32
PLAIN = """
    loss_fn: mse
    start: [{lr: 1e-3}]
    space: {lr: {low: 1e-4, high: 1e-2, log: true}}
    fixed: {model.depth: 1}
    study: {max_epochs: 27, epochs_per_loss: 270}
"""


def created(root: Path, *texts: str, name: str = "first", **options: Any) -> Study:
    spaces = [space_of(text) for text in texts or (PLAIN,)]
    return create_study(Home(root), name, spaces, merged_settings(spaces, options), "digits", DIGEST)
