"""The files of one study, as the launch and the commands read and write them: in a folder, or in a bucket."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from losstune.trainer.base.files import move, write_whole
from losstune.trainer.run.attempt import newest_attempt
from losstune.trainer.run.layout import ATTEMPT_FILE, BEST_FILE, CONFIG_FILE, HISTORY_FILE
from losstune.tuning.storage.bucket import Bucket, Stored
from losstune.tuning.storage.bucket_layout import Opening, RunObjects, parse_opening
from losstune.tuning.storage.run_places import BucketPlace, FolderPlace, RunPlace

SPEC_FILE = "study.yaml"


class StudyFiles(Protocol):
    """A study's files, known by their paths in its folder."""

    @property
    def folder(self) -> Path:
        """``ROOT/studies/NAME``: where files are read, once they were brought there if they are kept elsewhere."""

    def where(self, path: Path) -> str:
        """Where a file is kept, for messages."""

    def write(self, path: Path, content: bytes) -> None:
        """Replace a file atomically and durably. Its folder exists."""

    def place(self, run: Path) -> RunPlace:
        """Where a worker keeps the run of this folder."""

    def update(self) -> None:
        """Bring all small files to the folder."""

    def update_run(self, run: Path) -> None:
        """Bring one run's config and history to its folder."""

    def keep(self, path: Path) -> None:
        """Bring one file to the folder, however large; it is not there afterwards if it is not kept anywhere."""

    def borrowed(self, path: Path) -> AbstractContextManager[Path]:
        """One file in the folder for the time of the block."""

    def newest_attempt(self) -> int:
        """The highest number of a launch that has opened a run, 0 if none has."""

    def delete(self) -> None:
        """Remove the study: cut short, no part is left that the next study of its name would take for its own."""


@dataclass(frozen=True)
class FolderFiles:
    """Files in a folder of this machine, or of one that all machines share: they are where they are read."""

    folder: Path

    def where(self, path: Path) -> str:
        return str(path)

    def write(self, path: Path, content: bytes) -> None:
        write_whole(path, content)

    def place(self, run: Path) -> RunPlace:
        return FolderPlace(run)

    def update(self) -> None:
        pass

    def update_run(self, run: Path) -> None:
        pass

    def keep(self, path: Path) -> None:
        pass

    @contextmanager
    def borrowed(self, path: Path) -> Iterator[Path]:
        yield path

    def newest_attempt(self) -> int:
        return max((newest_attempt(opened.parent) for opened in self.folder.rglob(ATTEMPT_FILE)), default=0)

    def delete(self) -> None:
        gone = self.folder.parent.with_name(f".deleted-{self.folder.name}")
        shutil.rmtree(gone, ignore_errors=True)  # what a deletion that was cut short has left
        move(self.folder, gone)
        shutil.rmtree(gone)


@dataclass(frozen=True)
class BucketFiles:
    """Files in a bucket, of which this process has a copy of its own in a folder.

    No other process uses the copy, and it starts empty: so it is never older than the process, and needs no lock.

    Attributes:
        folder: the copy.
        bucket: the study's part of it.
        study_id: the study's own; openings of another one are not seen.
    """

    folder: Path
    bucket: Bucket
    study_id: str
    _copied: dict[Path, tuple[Opening, list[str]]] = field(default_factory=dict, repr=False, compare=False)

    def where(self, path: Path) -> str:
        return f"{self.bucket}/{self._key(path)}".removesuffix("/.")

    def write(self, path: Path, content: bytes) -> None:
        self.bucket.write(self._key(path), content)
        path.parent.mkdir(parents=True, exist_ok=True)  # the copy of a study that is about to begin is empty
        write_whole(path, content)

    def place(self, run: Path) -> RunPlace:
        return BucketPlace(self.bucket.below(self._key(run)), self.study_id)

    def update(self) -> None:
        self._bring(self.bucket.objects())

    def update_run(self, run: Path) -> None:
        self._bring(self.bucket.objects(self._key(run)))

    def keep(self, path: Path) -> None:
        stored = self._stored(path)
        if stored is None:
            path.unlink(missing_ok=True)
        elif not _is_copy(path, stored):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.bucket.fetch(stored.key, path)
            _stamp(path, stored)

    @contextmanager
    def borrowed(self, path: Path) -> Iterator[Path]:
        self.keep(path)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def newest_attempt(self) -> int:
        runs = _by_run(self.bucket.objects(), self.study_id).values()
        return max((run.newest_attempt for run in runs), default=0)

    def delete(self) -> None:
        self.bucket.delete_all(last=SPEC_FILE)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _bring(self, objects: list[Stored]) -> None:
        """Fetch what the copy lacks of small files: the study's own, and each run's as its newest opening has it."""
        stored = {one.key: one for one in objects}
        own = [one for one in objects if not _is_of_run(one) and not _is_copy(self.folder / one.key, one)]
        runs = {key: run for key, run in _by_run(objects, self.study_id).items() if run.with_state}
        missing = {key: self._missing(key, run) for key, run in runs.items()}
        content = self.bucket.read_many([one.key for one in own] + [key for keys in missing.values() for key in keys])
        for one in own:
            if one.key in content:
                self._write_copy(self.folder / one.key, content[one.key], one)
        for key, run in runs.items():
            if missing[key]:
                self._write_run(key, run, content, stored)

    def _missing(self, key: str, run: RunObjects) -> list[str]:
        """Keys of the run's newest opening that the copy has not."""
        newest = run.with_state[0]
        opening, known = self._copied.get(self.folder / key, (None, []))
        if opening != newest:
            return [f"{key}/{name}" for name in (f"{newest}/{CONFIG_FILE}", *run.parts(newest))]
        return [f"{key}/{part}" for part in run.parts(newest) if part not in known]

    def _write_run(self, key: str, run: RunObjects, content: dict[str, bytes], stored: dict[str, Stored]) -> None:
        folder, newest = self.folder / key, run.with_state[0]
        opening, _ = self._copied.get(folder, (None, []))
        history = folder / HISTORY_FILE
        before = history.read_bytes() if opening == newest else b""
        parts = run.parts(newest)
        new = b"".join(content.get(f"{key}/{part}", b"") for part in parts)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(history, before + new)
        config = f"{key}/{newest}/{CONFIG_FILE}"
        if config in content:
            self._write_copy(folder / CONFIG_FILE, content[config], stored[config])
        self._copied[folder] = (newest, parts)

    def _write_copy(self, path: Path, content: bytes, stored: Stored) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
        _stamp(path, stored)

    def _stored(self, path: Path) -> Stored | None:
        """The object that a file is kept in."""
        if path.name != BEST_FILE:
            return self.bucket.find(self._key(path))
        objects = self.bucket.objects(self._key(path.parent))
        for run in _by_run(objects, self.study_id).values():
            for opening in run.with_state[:1]:
                key = f"{self._key(path.parent)}/{opening}/{path.name}"
                return next((one for one in objects if one.key == key), None)
        return None

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _is_of_run(stored: Stored) -> bool:
    return parse_opening(PurePosixPath(stored.key).parent.name) is not None


def _by_run(objects: Iterable[Stored], study_id: str) -> dict[str, RunObjects]:
    """The objects of each run, by the key of its folder."""
    keys: dict[str, list[str]] = {}
    for path in (PurePosixPath(stored.key) for stored in objects if _is_of_run(stored)):
        keys.setdefault(path.parent.parent.as_posix(), []).append(f"{path.parent.name}/{path.name}")
    return {key: RunObjects(names, study_id) for key, names in keys.items()}


def _is_copy(path: Path, stored: Stored) -> bool:
    """Whether a file is the copy of this object; YAML may be written again within a second, a bucket's unit of time."""
    if not path.exists() or path.suffix == ".yaml":
        return False
    status = path.stat()
    return (status.st_size, status.st_mtime_ns) == (stored.size, stored.time_ns)


def _stamp(path: Path, stored: Stored) -> None:
    """The copy has the object's time: MLflow's runs carry it."""
    os.utime(path, ns=(stored.time_ns, stored.time_ns))
