"""Tables that lie in many files: a folder of shards, a pattern, a folder of Hugging Face datasets."""

import glob
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import numpy as np

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.data.arrow_tables import ArrowTable, ParquetTable
from losstune.trainer.data.column_names import listed
from losstune.trainer.data.guards import readable
from losstune.trainer.data.json_lines import JsonLines
from losstune.trainer.data.labels import SPLIT_WORDS
from losstune.trainer.data.npy import Array
from losstune.trainer.data.remedies import WITHOUT_COLUMN
from losstune.trainer.data.table import Table, same_shapes
from losstune.trainer.data.versioned_tables import refuse_versioned

TABLES: dict[str, Callable[[Path], Table]] = {
    ".parquet": ParquetTable,
    ".pq": ParquetTable,
    ".arrow": ArrowTable,
    ".feather": ArrowTable,
    ".jsonl": JsonLines,
}
"""What reads a file, by the end of its name in lower case."""
_SPLIT_NAME = re.compile(rf"(?<![a-z0-9])({'|'.join(SPLIT_WORDS)})(?!\d*[a-z])", re.IGNORECASE)
"""A word of its own in a name, with a number or not, as Hugging Face datasets takes it too."""


@dataclass(frozen=True)
class Shard:
    """A file, and the split that its name or a folder's gives to all of its rows, if one does."""

    path: Path
    split: str | None

    @cached_property
    def table(self) -> Table:
        """What is in it, as far as that is known without reading it."""
        if not self.path.is_file():
            raise UserError(f"{self.path}: {'not a regular file' if self.path.exists() else 'no such file'}")
        with readable(self.path):
            return TABLES[self.path.suffix.lower()](self.path)


@dataclass(frozen=True)
class Shards:
    """The rows of some files, one file after the other.

    Attributes:
        source: what they are called together.
        splits: whether their names say the split of each row.
    """

    source: str
    shards: Sequence[Shard]
    splits: bool

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in the order of the first file; ``split`` is one if the files' names say it."""
        own = self.shards[0].table.names
        return (*own, "split") if self.splits and "split" not in own else own

    @property
    def tables(self) -> list[Table]:
        """What the files hold."""
        return [shard.table for shard in self.shards]

    def stored(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Of names by role, those of columns that the files hold."""
        own = self.shards[0].table.names
        return {role: name for role, name in columns.items() if name in own}

    def batches(self, columns: Mapping[str, str]) -> Iterator[dict[str, Array]]:
        """All rows in order, in batches of arrays by role, of those columns that are there.

        Args:
            columns: names by role, of all that are wanted.

        Raises:
            UserError: a column is in some files or rows and not in others, or a value can not be read; names the row
                of its file.
        """
        return same_shapes(self._batches(columns), self.source)

    def _batches(self, columns: Mapping[str, str]) -> Iterator[dict[str, Array]]:
        first = self.shards[0]
        stored = self.stored(columns)
        absent = [name for role, name in columns.items() if role not in stored]
        named = self.splits and columns.get("split") == "split" and "split" in absent
        for shard in self.shards:
            names = shard.table.names
            for name in stored.values():
                if name not in names:
                    raise UserError(
                        f"{shard.path}: no column {name!r}, which {first.path} has; found {listed(names)}: "
                        "a pattern leaves it out, --data 'folder/part-*.parquet'"
                    )
            for name in absent:
                if name in names:
                    mend = WITHOUT_COLUMN.format(name)
                    raise UserError(f"{shard.path}: has a column {name!r}, which {first.path} has not{mend}")
            for batch in shard.table.batches(stored, 0, absent):
                if named:
                    batch["split"] = np.full(len(next(iter(batch.values()))), shard.split, dtype=object)
                yield batch


def in_file(path: Path) -> Shards:
    """The rows of one file, whatever its name says of a split."""
    return Shards(str(path), [Shard(path, None)], splits=False)


def in_folder(folder: Path) -> Shards:
    """The rows of all files of tables in a folder and those below, in the order of their paths.

    Raises:
        UserError: there are none, some of their names say a split and some do not, or they are of a table of versions.
    """
    saved = _saved_dataset(folder)
    files = _files_below(folder) if saved is None else saved
    if not files:
        raise UserError(f"{folder}: holds no .npy files, and no {', '.join(TABLES)} files of rows, here or below")
    refuse_versioned(files)
    return _shards(str(folder), folder, files)


def matching(pattern: str) -> Shards:
    """The rows of all files that a pattern such as ``data/*.parquet`` matches, in the order of their paths.

    Raises:
        UserError: there are none; one is no table, or of one of versions; or some of their names say a split and some
            do not.
    """
    parts = Path(pattern).parts
    fixed = tuple(takewhile(lambda part: not glob.has_magic(part), parts))
    root = Path.cwd().joinpath(*fixed)  # links are not followed: what they are named says the split
    files = sorted(root.glob(str(Path(*parts[len(fixed) :]))))
    if not files:
        raise UserError(f"--data {pattern}: matches no file")
    for file in files:
        if not file.is_file() or file.suffix.lower() not in TABLES:
            raise UserError(f"--data {pattern}: matches {file}; a pattern is for files ending in {', '.join(TABLES)}")
    refuse_versioned(files)
    here = Path(glob.escape(str(Path.cwd())))  # the folder's own brackets are no part of the pattern
    return _shards(str(here / pattern), root, files)


def these(files: Sequence[Path]) -> Shards:
    """The rows of some files, in the order given.

    Raises:
        UserError: one is no table, or some of their names say a split and some do not.
    """
    files = [file.absolute() for file in files]
    for file in files:
        if not file.is_file() or file.suffix.lower() not in TABLES:
            raise UserError(f"{file}: of several, each is to be a file ending in {', '.join(TABLES)}")
    root = Path(os.path.commonpath([file.parent for file in files]))
    return _shards(f"{files[0]} and {len(files) - 1} more", root, files)


def is_pattern(source: str) -> bool:
    """Whether a source is a pattern of paths."""
    return glob.has_magic(source)


def _shards(source: str, root: Path, files: Sequence[Path]) -> Shards:
    shards = [Shard(file, _split_of(file.relative_to(root))) for file in files]
    splits = {shard.split for shard in shards}
    if None in splits and len(splits) > 1:
        said, silent = (next(s.path for s in shards if bool(s.split) is named) for named in (True, False))
        raise UserError(
            f"{source}: the name of {said} says a split, that of {silent} does not; name all, or none: "
            "a pattern leaves some out, --data 'folder/train-*.parquet'"
        )
    return Shards(source, shards, splits=len(splits) > 1)  # of one split alone, the rows are still to be split


def _split_of(path: Path) -> str | None:
    """The split that a path says: ``split=test/…``, ``test/…``, ``test-00000-of-00001.parquet`` or ``mine_test2.pq``.

    Of several words in a name the one at its beginning counts, or else the last.
    """
    for part in reversed(path.parts):
        if words := list(_SPLIT_NAME.finditer(part)):
            return words[0 if words[0].start() == 0 else -1][1].lower()
    return None


def _files_below(folder: Path) -> list[Path]:
    """Files of tables, but for what is hidden or begins with ``_``, as tools name what is no data."""
    found: list[Path] = []
    seen: set[str] = set()
    waiting = [folder]
    while waiting:  # links to folders come after all that is really here, of which they may only be another name
        links: list[Path] = []
        for at, folders, files in (step for start in waiting for step in os.walk(start)):
            if (real := os.path.realpath(at)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if name[0] not in "._"]
            links += (path for name in folders if (path := Path(at, name)).is_symlink())
            found += (Path(at, name) for name in files if name[0] not in "._")
        waiting = sorted(links)
    return sorted(path for path in found if path.suffix.lower() in TABLES or _may_be_a_folder(path))


def _may_be_a_folder(path: Path) -> bool:
    """Whether a file is a link that leads nowhere now, as to a disk that is not mounted: it is opened, and refused."""
    return not path.suffix and path.is_symlink() and not path.exists()


def _saved_dataset(folder: Path) -> list[Path] | None:
    """The files of a dataset, or of several splits, that ``save_to_disk`` of datasets wrote; None if it is none.

    Beside them there may be caches of the same format, so what counts is its own list.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = _json(folder / "dataset_dict.json").get("splits")
        names = splits if isinstance(splits, list) else []
        return [file for name in names for file in _saved_split(folder / str(name))]
    if not (folder / "state.json").is_file():
        return None
    files = _json(folder / "state.json").get("_data_files")
    names = [file.get("filename") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    return [folder / Path(str(name)).name for name in names]


def _saved_split(folder: Path) -> list[Path]:
    files = _saved_dataset(folder)
    if files is None:
        raise UserError(
            f"{folder}: no such dataset, which {folder.parent / 'dataset_dict.json'} lists; copy it too, or name the "
            "folder of one split"
        )
    return files


def _json(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path}: not the JSON that datasets writes: {one_line(error)}") from None
    return found if isinstance(found, dict) else {}
