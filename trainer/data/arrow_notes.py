"""What tools write beside the columns of a table: pandas its index, Hugging Face datasets the names of classes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.npy import Array
from losstune.trainer.data.remedies import AS_A_COLUMN

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ArrowNotes:
    """Notes in a schema's metadata.

    Attributes:
        ranges: columns of evenly spaced numbers, which pandas writes as a note instead, by name.
        classes: names of the classes of a column that holds their numbers, by column.
    """

    ranges: Mapping[str, range]
    classes: Mapping[str, list[str]]

    @classmethod
    def of(cls, schema: "pa.Schema") -> "ArrowNotes":
        """Those of a schema; what is not as these tools write it says nothing."""
        metadata = schema.metadata or {}
        ranges = {
            column["name"]: range(column["start"], column["stop"], column["step"])
            for column in _listed(_parsed(metadata.get(b"pandas")), "index_columns")
            if isinstance(column, dict) and column.get("kind") == "range" and isinstance(column.get("name"), str)
        }
        features = _below(_below(_parsed(metadata.get(b"huggingface")), "info"), "features")
        classes = {
            name: [str(one) for one in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
        return cls(ranges, classes)

    def check_rows(self, column: str, rows: int, where: str) -> None:
        """Refuse a range that is of another table: rows that were chosen or joined keep the note that they had.

        Raises:
            UserError: it has not as many numbers as there are rows.
        """
        if (noted := len(self.ranges[column])) != rows:
            raise UserError(
                f"{where}: is an index of {noted:,} rows by a note of pandas, and the file has {rows:,}{AS_A_COLUMN}"
            )

    def named(self, column: str, codes: Array) -> Array:
        """The names of the classes of a column, if it has any; a number that is none's, as -1 for none, stays.

        So that what a value means does not depend on the others of its batch.
        """
        names = self.classes.get(column)
        if names is None or codes.dtype.kind not in "iu":
            return codes
        known = (codes >= 0) & (codes < len(names))
        if not known.any():
            return codes
        result = codes.astype(object)
        result[known] = np.array(names, dtype=object)[codes[known]]
        return result


def _parsed(text: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _below(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _listed(found: Mapping[str, Any], key: str) -> list[Any]:
    value = found.get(key)
    return value if isinstance(value, list) else []
