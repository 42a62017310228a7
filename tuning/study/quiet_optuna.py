"""Optuna's log has its level for a whole process, whose other studies are the user's own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import optuna

_CHANGING = threading.Lock()
_BEFORE: list[int] = []
"""The level before each block that some thread is in, in the order in which they began: the first one is the user's."""


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """A block, or a function, in which Optuna logs errors alone: not that there is one more study, for each of ours.

    Blocks of several threads may overlap: while one of them is left, it is quiet, and after the last it is as before.
    """
    with _CHANGING:
        _BEFORE.append(optuna.logging.get_verbosity())
        optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        with _CHANGING:
            optuna.logging.set_verbosity(_BEFORE.pop())
