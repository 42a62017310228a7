"""Which files of a folder hold rows, and what reads them."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.data.arrow_tables import ArrowTable, ParquetTable
from losstune.trainer.data.json_lines import JsonLines
from losstune.trainer.data.table import Table
from losstune.trainer.data.versioned_tables import refuse_versioned

TABLES: dict[str, Callable[[Path], Table]] = {
    ".parquet": ParquetTable,
    ".pq": ParquetTable,
    ".arrow": ArrowTable,
    ".feather": ArrowTable,
    ".jsonl": JsonLines,
}
"""What reads a file, by the end of its name in lower case."""
_PACKED = (".gz", ".zst", ".bz2", ".xz", ".lz4", ".zip")


def files_in(folder: Path) -> list[Path]:
    """The files of tables in a folder and those below, in the order of their paths.

    Raises:
        UserError: there are none; they are of a table of versions; two are one table in two formats; or others would be
            left out, a packed file of rows or what is in a folder that can not be listed.
    """
    if (saved := _saved_dataset(folder)) is not None:
        files = saved
    else:
        below = _below(folder)
        _refuse_packed(below)
        files = _once([path for path in below if path.suffix.lower() in TABLES or _may_be_a_folder(path)])
    if not files:
        raise UserError(f"{folder}: holds no .npy files, and no {', '.join(TABLES)} files of rows, here or below")
    refuse_versioned(files)
    refuse_one_name(files)
    return files


def refuse_one_name(files: Sequence[Path]) -> None:
    """Refuse ``train.jsonl`` beside ``train.parquet``: a table in two formats, each row of which would come twice.

    Raises:
        UserError: says which files.
    """
    named: dict[Path, Path] = {}
    for file in files:
        if (other := named.setdefault(file.with_suffix(""), file)) != file:
            raise UserError(
                f"{file.parent}: by their names {other.name} and {file.name} are one table in two formats, and each of "
                f"its rows would come twice; a pattern takes one of them, --data '{file.parent}/*{file.suffix}'"
            )


def _below(folder: Path) -> list[Path]:
    """All files in a folder and those below; not what is hidden or begins with ``_``, as tools name what is no data.

    A folder counts once, under whatever name.

    Raises:
        UserError: one of the folders can not be listed.
    """
    found: list[Path] = []
    seen: set[str] = set()
    waiting = [folder]
    while waiting:  # links to folders come after all that is really here, of which they may only be another name
        links: list[Path] = []
        for at, folders, files in (step for start in waiting for step in os.walk(start, onerror=_refuse_unlisted)):
            if (real := os.path.realpath(at)) in seen:
                folders.clear()
                continue
            seen.add(real)
            # lost+found is at the root of a disk, and only its owner lists it.
            folders[:] = [name for name in folders if name[0] not in "._" and name != "lost+found"]
            links += (path for name in folders if (path := Path(at, name)).is_symlink())
            found += (Path(at, name) for name in files if name[0] not in "._")
        waiting = sorted(links)
    return sorted(found)


def _refuse_unlisted(error: OSError) -> None:
    mend = "a pattern leaves it out, --data 'folder/part-*.parquet'"
    raise UserError(f"{error.filename}: can not be listed: {error.strerror}; {mend}")


def _once(files: Sequence[Path]) -> list[Path]:
    """Without links to files that are here by another name too."""
    here = {os.path.realpath(path) for path in files if not path.is_symlink()}
    return [path for path in files if not path.is_symlink() or os.path.realpath(path) not in here]


def _refuse_packed(files: Sequence[Path]) -> None:
    for file in files:
        if file.suffix.lower() in _PACKED and Path(file.stem).suffix.lower() in TABLES:
            raise UserError(
                f"{file}: packed files are not read, and its rows would be left out; unpack it, or a pattern of others "
                "leaves it out, --data 'folder/*.parquet'"
            )


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
