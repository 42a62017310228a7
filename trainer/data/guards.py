"""What guards the readers of data files: damaged bytes are one clear error, and no file takes more than it may.

A file of a few hundred bytes can unpack to any size. So a reader first adds up what a file says it holds, refuses what
does not fit, and then takes no more than it said.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.memory import free_memory, memory_limit
from losstune.trainer.data.remedies import ON_DISK

MAX_EXPANSION = 200
"""Arrays may take this many times the bytes of their file; dense targets keep real data far below."""
SMALL = 256 * 1024 * 1024
"""Arrays up to this size are read however small their file is."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """A block that reads a file; on damaged bytes a library raises whatever it stumbles over."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a readable {path.suffix} file: {reason}") from None


@contextmanager
def bounded(path: Path, size: int) -> Iterator[None]:
    """A block that unpacks a part of a file of ``size`` bytes, of which nothing says how much it holds.

    Raises:
        UserError: it is damaged, or takes more memory than a file this small may.
    """
    limit = max(SMALL, MAX_EXPANSION * size)
    with readable(path):
        try:
            with memory_limit(limit):
                yield
        except MemoryError:
            raise UserError(
                f"{path}: not a readable {path.suffix} file: its {size:,} bytes take more than "
                f"{min(limit, free_memory()):,} bytes of memory"
            ) from None


def check_size(path: Path, claimed: int, size: int | None = None) -> None:
    """Refuse arrays of ``claimed`` bytes that files this small do not hold in earnest, or that memory does not.

    Args:
        size: of the files together; None is that of ``path``.
    """
    size = path.stat().st_size if size is None else size
    if claimed > max(SMALL, MAX_EXPANSION * size):
        raise UserError(
            f"{path}: not a readable {path.suffix} file: its {size:,} bytes would unpack to {claimed:,}, more than "
            f"{MAX_EXPANSION} times as many; if that is meant, save the arrays uncompressed, with numpy.savez"
        )
    if claimed > (free := free_memory()):
        raise UserError(f"{path}: its arrays take {claimed:,} bytes of memory, and {free:,} are free{ON_DISK}")
