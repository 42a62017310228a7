"""Loading what a process keeps until it ends."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loaded_for_good() -> Iterator[None]:
    """What is imported in this block stays, and Python looks for no garbage in it, then or later.

    Torch and Ray make a quarter of a million objects when they are loaded. The collector walks through them again and
    again meanwhile, a fifth of the time, and for as long as the process runs. It forgets all that was made before, too:
    this is for a process of our own, not for a user's program.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
