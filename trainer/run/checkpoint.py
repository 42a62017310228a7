"""Checkpoint files: written whole or not at all, and known when damaged.

A file is what ``torch.save`` writes, followed by one line with the SHA-256 of all before it. ``torch.load``
ignores that line, so the file opens anywhere; reading it here checks the line first, because a flipped bit
passes ``torch.load`` silently. No pickle is ever executed: ``weights_only``.
"""

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import torch

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import write_whole
from losstune.trainer.base.memory import memory_limit

_MARK = b"\nsha256:"
_FOOTER = len(_MARK) + 64
_PIECE = 1024 * 1024
_SLACK = 512 * 1024 * 1024


class DamagedCheckpointError(UserError):
    """A checkpoint that does not match its own SHA-256, or is none at all."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values; atomic and durable."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getvalue()
    write_whole(path, payload + _MARK + hashlib.sha256(payload).hexdigest().encode())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote, on the CPU.

    Raises:
        UserError: there is no such file.
        DamagedCheckpointError: its content does not match its SHA-256.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"checkpoint {path}: can not be read: not a file")
        with path.open("rb") as stream:
            _check_footer(stream, path)
            return _load(stream, path)
    except OSError as error:
        raise UserError(f"checkpoint {path}: can not be read: {error.strerror}") from None


def _check_footer(stream: BinaryIO, path: Path) -> None:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _FOOTER))
    footer = stream.read()
    if not footer.startswith(_MARK):
        raise DamagedCheckpointError(f"checkpoint {path}: cut short, or not written by losstune")
    stream.seek(0)
    digest, left = hashlib.sha256(), size - _FOOTER
    while left > 0 and (piece := stream.read(min(left, _PIECE))):
        digest.update(piece)
        left -= len(piece)
    if footer != _MARK + digest.hexdigest().encode():
        raise DamagedCheckpointError(f"checkpoint {path}: damaged, its content does not match its SHA-256")


def _load(stream: BinaryIO, path: Path) -> dict[str, Any]:
    """The SHA-256 shows damage, not malice: whoever wrote the file may have meant it to take all memory."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    try:
        with memory_limit(_SLACK + 4 * size):
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DamagedCheckpointError(
            f"checkpoint {path}: can not be loaded: it holds more than tensors and plain values, or is no checkpoint; "
            "pickled objects are never loaded"
        ) from None
    except Exception as error:  # on bytes that are no checkpoint, torch.load raises whatever it stumbles over
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DamagedCheckpointError(f"checkpoint {path}: can not be loaded: {reason}") from None
    if not isinstance(content, dict):
        raise DamagedCheckpointError(f"checkpoint {path}: holds {type(content).__name__}, not a checkpoint")
    return content
