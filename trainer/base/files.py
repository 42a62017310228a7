"""Files that survive a crash and tell when they are damaged: written whole or not at all, with a checksum inside."""

import errno
import hashlib
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from losstune.trainer.base.errors import UserError

_SEAL = "# sha256: "
_MOST = 1_000_000
"""Bytes of a settings file, at most."""
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""How a file system says that it has no second names for files, or no more of them."""


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file atomically and durably, as :func:`written_whole` does."""
    with written_whole(path) as stream:
        stream.write(content)


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A block that writes what replaces a file at its end: temporary file, fsync, rename, fsync of the folder.

    Where the block raises, the file stays as it was.

    Raises:
        OSError: it can not be written, or is a folder.
    """
    if not path.name:  # as "." has none, which would be a ValueError below
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # a left-over, or a link to somewhere else
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the user has named, as :func:`written_output` does."""
    with written_output(path) as stream:
        stream.write(content)


@contextmanager
def written_output(path: Path) -> Iterator[IO[bytes]]:
    """A block that writes what the user wants at a path: a file whole, as :func:`written_whole`, where links lead to.

    A device or a pipe takes it as it comes, and stays what it is.

    Raises:
        OSError: it can not be written, or is a folder.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as stream:
            yield stream
    else:
        with written_whole(Path(os.path.realpath(path)) if path.is_symlink() else path) as stream:
            yield stream


def append_durably(path: Path, content: bytes) -> None:
    """Add to the end of a file, which is created if it is not there; a link is not followed."""
    created = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    with os.fdopen(descriptor, "ab") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    if created:
        _sync_folder(path.parent)


def keep_as(path: Path, other: Path) -> None:
    """Let a file be known by another name too, in place of what had that name; a copy where it can have one only."""
    if path.exists():
        temporary = other.with_name(f".{other.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with path.open("rb") as stream, written_whole(other) as copy:
                shutil.copyfileobj(stream, copy)
            return
        temporary.replace(other)
        temporary.unlink(missing_ok=True)  # POSIX: renaming one name of a file over another of the same does nothing


def make_folder(path: Path) -> None:
    """Create a folder, and those around it, so that a crash does not undo it."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def move(path: Path, other: Path) -> None:
    """Give a file or a folder another place on the same disk, so that a crash does not undo it."""
    path.rename(other)
    _sync_folder(other.parent)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sealed(text: str) -> str:
    """Text with a last line, a comment in YAML, that holds the SHA-256 of all before it."""
    return f"{text}{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n"


def check_seal(path: Path) -> None:
    """Refuse a file that is not as :func:`sealed` made it.

    Raises:
        UserError: it was damaged or edited, or can not be read.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(_MOST + 1).decode(errors="replace")
    except OSError as error:
        raise UserError(f"{path}: can not be read: {error.strerror}") from None
    body, _, _ = text.rpartition(_SEAL)
    if sealed(body) != text:
        raise UserError(f"{path}: damaged or edited, it does not match the SHA-256 in its last line")


def with_crc(body: str) -> str:
    """A JSON object with one more field at its end, ``crc``: the CRC-32 of the object without it."""
    return f'{body[:-1]}, "crc": {zlib.crc32(body.encode())}}}'


def without_crc(line: bytes) -> bytes | None:
    """The JSON object that :func:`with_crc` was given; None if a byte of it has changed."""
    body, _, crc = line.rpartition(b', "crc": ')
    body += b"}"
    return body if crc == f"{zlib.crc32(body)}}}".encode() else None
