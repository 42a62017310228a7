"""Labels of rows: ids of any kind as whole numbers, and the names of splits."""

import hashlib
import sys
import uuid
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from losstune.trainer.base.errors import UserError, shown
from losstune.trainer.data.npy import Array
from losstune.trainer.data.remedies import WHOLE, another

SPLIT_NAMES = ("train", "val", "test")
SPLIT_WORDS = {"train": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2}
"""What names a split, in any case, as an index into ``SPLIT_NAMES``."""


def whole_ids(ids: Array, rows: int, source: str, name: str = "ids") -> npt.NDArray[np.int64]:
    """Ids (N,), or groups, as int64: whole numbers as they are, all else by a hash that is the same on every machine.

    The hash is the first 64 bits, little-endian and signed, of BLAKE2b with a digest of 8 bytes, over text in UTF-8 or
    over the bytes. A uuid counts as its text. A decimal counts as the whole number that it is, else as its text. A
    number of 64 bits without a sign counts as the same bits with one, whatever holds it; a longer one as its text.

    Raises:
        UserError: another type or shape; or two ids have one hash.
    """
    if ids.shape == (rows,) and np.issubdtype(ids.dtype, np.integer):
        return ids.astype(np.int64)
    if ids.shape != (rows,) or ids.dtype.kind not in "USOT":
        raise UserError(
            f"{source}: {name} has type {ids.dtype} and shape {ids.shape}; "
            f"expected whole numbers, text, uuid or bytes, shape ({rows},)"
            f"{WHOLE.format(name) if ids.dtype.kind == 'f' else another(name)}"
        )
    if ids.dtype.kind == "U" and not _is_text(ids):
        raise UserError(f"{source}: {name} has type {ids.dtype} and characters that no text has; is the file damaged?")
    result = np.empty(rows, dtype=np.int64)
    known: dict[int, object] = {}
    for row, value in enumerate(ids.tolist()):
        result[row] = number = _number(value, row, f"{source}: {name}")
        if known.setdefault(number, value) != value and _bytes(known[number]) != _bytes(value):
            both = f"{shown(known[number])} and {shown(value)}"
            raise UserError(f"{source}: {name} {both} have the same hash; rename one")
    return result


def _number(value: object, row: int, where: str) -> int:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and -(2**63) <= value < 2**64:
        return int(value) if value < 2**63 else int(value) - 2**64
    content = _bytes(value)
    if content is None:
        raise UserError(f"{where} row {row} is {shown(value)}; expected a whole number, text, uuid or bytes")
    return _hash(content)


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


def _bytes(value: object) -> bytes | None:
    match value:
        case bytes():
            return value
        case str():
            return value.encode("utf-8", "surrogatepass")
        case uuid.UUID():
            return str(value).encode()
        case Decimal() if value.is_finite():
            return format(value.normalize(), "f").encode()
        case int() if not isinstance(value, bool):
            return str(value).encode()
    return None


def split_codes(split: Array, source: str) -> npt.NDArray[np.int8]:
    """Each row's split as an index into ``SPLIT_NAMES``, from text or from 0, 1, 2.

    Raises:
        UserError: no such split; names the row.
    """
    if split.dtype.kind in "iu":
        numbers = split.astype(np.int64)
        bad = np.flatnonzero((numbers < 0) | (numbers > 2))
        if len(bad):
            raise UserError(
                f"{source}: split row {bad[0]} is {numbers[bad[0]]}; allowed: 0 train, 1 val, 2 test{another('split')}"
            )
        return numbers.astype(np.int8)
    names = _split_texts(split, source).tolist()
    result = np.array([SPLIT_WORDS.get(name.lower(), -1) for name in names], dtype=np.int8)
    unknown = np.flatnonzero(result < 0)
    if len(unknown):
        found = names[unknown[0]][:40]
        allowed = f"train, val (or validation, valid, dev), test: frame['split'].replace({found!r}, 'train')"
        raise UserError(f"{source}: split row {unknown[0]} is {found!r}; allowed: {allowed}")
    return result


def kept_labels(found: Array, role: str, source: str) -> Array:
    """Labels as a file of NumPy's can hold them, whatever they were: codes of a split, else whole numbers.

    Raises:
        UserError: as of :func:`split_codes` and :func:`whole_ids`.
    """
    if role == "split":
        return split_codes(found, source)
    return whole_ids(found.reshape(-1), found.size, source, role).reshape(found.shape)


def _split_texts(split: Array, source: str) -> Array:
    match split.dtype.kind:
        case "O":  # as an array of text each would take the room of the longest
            texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in split]
            return np.array(texts, dtype=object)
        case "S":
            return np.char.decode(split, "utf-8", "replace")
        case "U" if _is_text(split):
            return split
        case "T":
            return split.astype(object)
    raise UserError(
        f"{source}: split has type {split.dtype}; expected text: {', '.join(SPLIT_NAMES)}{another('split')}"
    )


def _is_text(texts: Array) -> bool:
    """Whether all characters are such as text has: a damaged file may hold some that NumPy fails to show."""
    native = np.ascontiguousarray(texts, dtype=texts.dtype.newbyteorder("="))
    return native.dtype.itemsize == 0 or bool(native.view(np.uint32).max(initial=0) <= sys.maxunicode)
