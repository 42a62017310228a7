"""Tables whose folder keeps files of earlier versions beside those of now: which is which, only their tools know."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from losstune.trainer.base.errors import UserError


@dataclass(frozen=True)
class _Kind:
    """What a tool makes, what shows that a folder is one, and the call by which the tool writes what it holds now."""

    name: str
    is_at: Callable[[Path], bool]
    way_on: str


_KINDS = (
    _Kind(
        "a Delta Lake table",
        lambda folder: (folder / "_delta_log").is_dir(),
        "pyarrow.parquet.write_table(deltalake.DeltaTable('{}').to_pyarrow_table(), 'pairs.parquet')",
    ),
    _Kind(
        "an Iceberg table",
        lambda folder: any((folder / "metadata").glob("*.metadata.json")),
        "pyarrow.parquet.write_table(catalog.load_table(NAME).scan().to_arrow(), 'pairs.parquet') with pyiceberg",
    ),
    _Kind(
        "a Hudi table",
        lambda folder: (folder / ".hoodie").is_dir(),
        "spark.read.format('hudi').load('{}').write.parquet('pairs')",
    ),
)


def refuse_versioned(files: Iterable[Path]) -> None:
    """Refuse files of rows that lie in a table of versions, at any depth.

    Raises:
        UserError: says which table, and how what it holds now becomes files of its own.
    """
    folders = {folder for parent in {file.parent.resolve() for file in files} for folder in (parent, *parent.parents)}
    for folder in sorted(folders):
        for kind in _KINDS:
            if kind.is_at(folder):
                raise UserError(
                    f"{folder}: is {kind.name}, whose folder also keeps rows that were deleted or replaced; write what "
                    f"it holds now to a place of its own: {kind.way_on.format(folder)}"
                )
