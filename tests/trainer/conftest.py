"""The command line on a small file of pairs."""

import shlex
from collections.abc import Callable

import numpy as np
import pytest

from tests.conftest import Command, Outcome
from tests.trainer.samples import sample_arrays

Line = Callable[[str], Outcome]


@pytest.fixture
def cli(losstune: Command) -> Line:
    """``cli("predict --checkpoint …")`` in an empty folder that holds ``pairs.npz``."""
    np.savez("pairs.npz", **sample_arrays())
    return lambda line: losstune(*shlex.split(line))


@pytest.fixture
def train(cli: Line) -> Line:
    """``train("--num_epochs 2 --output_dir run")`` on ``pairs.npz``."""
    return lambda line: cli(f"train --data pairs.npz {line}")
