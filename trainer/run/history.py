"""The history of a run: a record an epoch, one line each in ``history.jsonl``, and why the run ended."""

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import with_crc, without_crc

End = Literal["epochs", "patience", "diverged"]
"""Why a run ended: its epochs are used, no new best for ``patience`` epochs, or a number was not finite."""

Record = dict[str, float]
"""One epoch: ``epoch``, ``time`` (Unix seconds), ``seconds``, ``lr`` and the metrics by their full names."""

SYSTEM = "system/"
"""Begins the names of what an epoch of a study took of its machine, which differs when it is trained again."""


def to_json(record: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no NaN or infinity: they are written as the strings ``"nan"``, ``"inf"``, ``"-inf"``."""
    return {name: value if math.isfinite(value) else str(value) for name, value in record.items()}


def history_line(record: Mapping[str, float]) -> str:
    """One epoch as a line of ``history.jsonl``; its last field is the CRC-32 of the JSON without it."""
    return with_crc(json.dumps(to_json(record))) + "\n"


def read_history(path: Path) -> list[Record]:
    """Epochs of a ``history.jsonl``, in order; a last line that was cut short is left out.

    Raises:
        UserError: a line is damaged; says which.
    """
    records, damage = read_whole_lines(path)
    if damage:
        raise UserError(damage[0])
    return records


def read_whole_lines(path: Path) -> tuple[list[Record], list[str]]:
    """The epochs up to the first damaged line, and what is wrong with it, if there is one."""
    if not path.exists():
        return [], []
    records: list[Record] = []
    for line in io.BytesIO(path.read_bytes()):  # splitlines would take a damaged byte for the end of a line
        if not line.endswith(b"\n"):
            break
        body = without_crc(line[:-1])
        if body is None:
            return records, [f"{path}:{len(records) + 1}: damaged, not as it was written: {line[:60]!r}"]
        fields = json.loads(body)
        records.append({name: value if name == "epoch" else float(value) for name, value in fields.items()})
    return records, []
