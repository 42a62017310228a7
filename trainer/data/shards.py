"""Tables that lie in many files: a folder of shards, a pattern, a folder of Hugging Face datasets."""

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import numpy as np

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.column_names import listed
from losstune.trainer.data.guards import readable
from losstune.trainer.data.labels import SPLIT_WORDS
from losstune.trainer.data.npy import Array
from losstune.trainer.data.remedies import WITHOUT_COLUMN
from losstune.trainer.data.table import Table, same_shapes
from losstune.trainer.data.table_files import TABLES, files_in, refuse_one_name
from losstune.trainer.data.versioned_tables import refuse_versioned

_NUMBERED = r"(?=\d+[kmb](?![a-z\d]))|(?!\d*[a-z])"
_SPLIT_NAME = re.compile(rf"(?<![a-z0-9])({'|'.join(SPLIT_WORDS)})(?:{_NUMBERED})", re.IGNORECASE)
"""A word of its own in a name, or with a number or a size, ``train2`` or ``train100k``, as datasets takes it too."""


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
        UserError: there are none, some of their names say a split and some do not, or which rows are meant is unclear.
    """
    return _shards(str(folder), folder, files_in(folder))


def matching(pattern: str) -> Shards:
    """The rows of all files that a pattern such as ``data/*.parquet`` matches, in the order of their paths.

    Raises:
        UserError: there are none; one is no table, or of one of versions; two have one name; or some of their names say
            a split and some do not.
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
    refuse_one_name(files)
    here = Path(glob.escape(str(Path.cwd())))  # the folder's own brackets are no part of the pattern
    return _shards(str(here / pattern), root, files)


def these(files: Sequence[Path]) -> Shards:
    """The rows of some files, in the order given; they may come of a pattern that the shell took.

    Raises:
        UserError: as of :func:`matching`.
    """
    files = [file.absolute() for file in files]
    for file in files:
        if not file.is_file() or file.suffix.lower() not in TABLES:
            raise UserError(f"{file}: of several, each is to be a file ending in {', '.join(TABLES)}")
    refuse_versioned(files)
    refuse_one_name(files)
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
