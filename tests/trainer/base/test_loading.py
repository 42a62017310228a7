"""What is loaded for good, the collector leaves alone."""

import subprocess
import sys

PROGRAM = """
import gc
from losstune.trainer.base.loading import loaded_for_good

runs = []
gc.callbacks.append(lambda phase, info: runs.append(phase))
try:
    with loaded_for_good():
        kept = [[] for _ in range(100_000)]
        assert not runs, "garbage was looked for meanwhile"
        {end}
except ImportError:
    pass
assert gc.isenabled()
assert gc.get_freeze_count() > 100_000
assert not any(each is kept for each in gc.get_objects())
"""


def run(end: str) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM.format(end=end)], check=True)


def test_no_garbage_is_looked_for_while_loading_nor_later_in_what_was_loaded() -> None:
    run("pass")


def test_garbage_is_looked_for_again_where_loading_fails() -> None:
    run("raise ImportError")
