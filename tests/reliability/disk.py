"""A disk that loses on a power cut what was not synced: each state it may be left in, at each call that changes it."""

import gc
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Entries = dict[str, "bytes | str | None"]
"""By path: a file's content, the path that a second name of a file stands for, or None for a folder."""

CALLS = ("replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir", "fsync", "fdatasync")
"""What pathlib and shutil call for all that changes a folder."""


@dataclass(frozen=True)
class Image:
    """What is on the disk after a power cut.

    Attributes:
        entries: all files and folders.
        cut: at which call, and what was lost.
        acknowledged: what had been promised by then, as the test keeps it.
    """

    entries: Entries
    cut: str
    acknowledged: Any

    def write_to(self, folder: Path) -> Path:
        """The image as real files in a new folder; two names of one file stay that."""
        folder.mkdir(parents=True)
        for name, content in sorted(self.entries.items()):
            match content:
                case None:
                    (folder / name).mkdir()
                case bytes():
                    (folder / name).write_bytes(content)
                case str():
                    os.link(folder / content, folder / name)
        return folder


@dataclass(eq=False)
class _File:
    """``synced`` is what the last fsync saw, or nothing."""

    synced: bytes = b""
    live: bytes = b""


@dataclass(eq=False)
class _Folder:
    """``synced`` are its names as the last fsync saw them."""

    synced: "dict[str, _File | _Folder]" = field(default_factory=dict)
    live: "dict[str, _File | _Folder]" = field(default_factory=dict)


_Names = Callable[[_Folder], "dict[str, _File | _Folder]"]
_Content = Callable[[_File], bytes]


class Disk:
    """Follows all below one folder. What is there at first is safe; later changes are what fsync was called for.

    Attributes:
        acknowledged: what was promised up to now; the test sets it, images carry it.
        calls: calls that were followed.
    """

    def __init__(self, root: Path) -> None:
        self.acknowledged: Any = None
        self.calls = 0
        self._path = root
        self._nodes: dict[int, _File | _Folder] = {}
        self._images: dict[tuple[tuple[str, bytes | str | None], ...], Image] = {}
        self._root = self._look()
        for node in self._nodes.values():
            _sync(node)

    @property
    def images(self) -> list[Image]:
        """All that differ, each with the latest promise that was made before it."""
        return list(self._images.values())

    def take(self, moment: str) -> None:
        """Keep every image that a power cut may leave at this moment."""
        self._root = self._look()
        for lost, entries in self._states():
            key = tuple(sorted(entries.items()))
            self._images[key] = Image(entries, f"{moment}, {lost}", self.acknowledged)

    def call(self, name: str, real: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """One call of the operating system, between two moments; fsync is kept on the books only."""
        self.calls += 1
        moment = f"{name} {self.calls}"
        self.take(f"before {moment}")
        try:
            if name not in ("fsync", "fdatasync"):
                return real(*arguments, **named)
            node = self._nodes.get(os.fstat(arguments[0]).st_ino)
            if node is not None:
                _sync(node)
            return None
        finally:
            self.take(f"after {moment}")

    def _look(self) -> _Folder:
        """What is there now. A number of a file that is gone may be given to another: it is forgotten."""
        seen: dict[int, _File | _Folder] = {}
        root = self._look_at(self._path, seen)
        assert isinstance(root, _Folder)
        self._nodes = seen
        return root

    def _look_at(self, path: Path, seen: dict[int, _File | _Folder]) -> _File | _Folder:
        status = path.stat(follow_symlinks=False)
        if status.st_ino in seen:
            return seen[status.st_ino]
        is_folder = stat.S_ISDIR(status.st_mode)
        node = self._nodes.get(status.st_ino) or (_Folder() if is_folder else _File())
        seen[status.st_ino] = node
        match node:
            case _Folder():
                node.live = {inner.name: self._look_at(inner, seen) for inner in sorted(path.iterdir())}
            case _File():
                node.live = path.read_bytes()
        return node

    def _states(self) -> Iterator[tuple[str, Entries]]:
        yield "all unsynced lost", _image(self._root, _synced_names, _synced)
        yield "contents lost", _image(self._root, _live_names, _synced)
        yield "nothing lost", _image(self._root, _live_names, _live)
        yield "half of the contents lost", _image(self._root, _live_names, _half)
        yield "zeros for contents", _image(self._root, _live_names, _zeros)
        for folder in [node for node in self._nodes.values() if isinstance(node, _Folder)]:
            changed = {n for n in {*folder.synced, *folder.live} if folder.synced.get(n) is not folder.live.get(n)}
            for name in sorted(changed) if len(changed) > 1 else ():
                yield f"no name but {name} kept", _image(self._root, _only(folder, {name}), _synced)
                yield f"the name {name} lost", _image(self._root, _only(folder, changed - {name}), _synced)


@contextmanager
def power_cuts(root: Path) -> Iterator[Disk]:
    """Follow what is done below a folder; the images of it are there at the end."""
    gc.collect()  # databases that nobody holds are closed now, and not while their files are looked at
    disk = Disk(root)
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, _followed(disk, name, getattr(os, name)))
        patch.setattr(io, "open", _followed_open(disk, io.open))
        yield disk
        disk.take("at the end")


def _followed(disk: Disk, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **named: disk.call(name, real, *arguments, **named)


def _followed_open(disk: Disk, real: Callable[..., Any]) -> Callable[..., Any]:
    """Opening a file to write it creates it, or empties it."""

    def call(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if not {*mode} & {*"wxa+"}:
            return real(file, mode, *arguments, **named)
        return disk.call("open", real, file, mode, *arguments, **named)

    return call


def _sync(node: _File | _Folder) -> None:
    match node:
        case _Folder():
            node.synced = dict(node.live)
        case _File():
            node.synced = node.live


def _image(root: _Folder, names: _Names, content: _Content) -> Entries:
    entries: Entries = {}
    first: dict[_File, str] = {}

    def add(folder: _Folder, at: str) -> None:
        for name, node in sorted(names(folder).items()):
            path = f"{at}{name}"
            match node:
                case _Folder():
                    entries[path] = None
                    add(node, f"{path}/")
                case _File():
                    entries[path] = first[node] if node in first else content(node)
                    first.setdefault(node, path)

    add(root, "")
    return entries


def _synced_names(folder: _Folder) -> dict[str, _File | _Folder]:
    return folder.synced


def _live_names(folder: _Folder) -> dict[str, _File | _Folder]:
    return folder.live


def _only(changed: _Folder, kept: set[str]) -> _Names:
    """Everywhere as synced, but for some of one folder's names: a disk may put them down in any order."""

    def names(folder: _Folder) -> dict[str, _File | _Folder]:
        if folder is not changed:
            return folder.synced
        found = {name: node for name, node in folder.synced.items() if name not in kept}
        return found | {name: node for name, node in folder.live.items() if name in kept}

    return names


def _synced(file: _File) -> bytes:
    return file.synced


def _live(file: _File) -> bytes:
    return file.live


def _half(file: _File) -> bytes:
    """The first half of what was not synced, over what was."""
    end = (_same(file) + len(file.live)) // 2
    return file.live[:end] + file.synced[end:]


def _zeros(file: _File) -> bytes:
    """The new length is known, the new bytes are not: some file systems give zeros."""
    return file.live[: _same(file)] + bytes(len(file.live) - _same(file))


def _same(file: _File) -> int:
    """How many bytes at the start are as they were synced."""
    if file.live.startswith(file.synced):
        return len(file.synced)
    pairs = zip(file.synced, file.live, strict=False)
    return next((at for at, (old, new) in enumerate(pairs) if old != new), len(file.live))
