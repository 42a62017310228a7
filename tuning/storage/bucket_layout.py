"""How a run is kept in a bucket: every worker that opens it has a part of its own, and never writes into another's.

    …/infonce-0007/000002-001-5f0c…/config.yaml
    …/infonce-0007/000002-001-5f0c…/history-000001.jsonl     the first epochs, and with them all before this opening
    …/infonce-0007/000002-001-5f0c…/history-000010.jsonl     epochs from the tenth on
    …/infonce-0007/000002-001-5f0c…/best.pt, last.pt

What counts is the newest opening that has a ``last.pt``. A worker that goes on after its launch has died writes into an
older one as soon as another worker has taken the run over, and then changes nothing. An opening also names the study,
so that a worker can not add to another study that has the name of its own, which was deleted.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from losstune.trainer.run.layout import LAST_FILE

_OPENING = re.compile(r"(\d{6,})-(\d{3,})-([0-9a-f]+)")
_PART = re.compile(r"history-(\d{6,})\.jsonl")


@dataclass(frozen=True, order=True)
class Opening:
    """One time that a worker has opened a run: in which launch, and how many others have in that launch."""

    attempt: int
    count: int
    study_id: str

    def __str__(self) -> str:
        return f"{self.attempt:06d}-{self.count:03d}-{self.study_id}"


def part_name(first_epoch: int) -> str:
    """Name of a part of a history."""
    return f"history-{first_epoch:06d}.jsonl"


class RunObjects:
    """What a bucket holds of one run, from a list of keys below its prefix: ``OPENING/last.pt``."""

    def __init__(self, keys: Iterable[str], study_id: str) -> None:
        self._names: dict[Opening, set[str]] = {}
        for key in keys:
            folder, _, name = key.partition("/")
            if (opening := parse_opening(folder)) is not None and opening.study_id == study_id:
                self._names.setdefault(opening, set()).add(name)
        self._study_id = study_id

    @property
    def with_state(self) -> list[Opening]:
        """Openings that a run can go on from, the newest first."""
        return sorted((opening for opening, names in self._names.items() if LAST_FILE in names), reverse=True)

    def parts(self, opening: Opening) -> list[str]:
        """Keys of its history, in order."""
        return [f"{opening}/{name}" for name in sorted(self._names[opening], key=_first_epoch) if _PART.fullmatch(name)]

    def next(self, attempt: int) -> Opening:
        """What a worker of this launch opens now."""
        counts = [opening.count for opening in self._names if opening.attempt == attempt]
        return Opening(attempt, 1 + max(counts, default=0), self._study_id)

    @property
    def newest_attempt(self) -> int:
        """The highest number of a launch that has opened the run, 0 if none has."""
        return max((opening.attempt for opening in self._names), default=0)


def parse_opening(name: str) -> Opening | None:
    """The opening that a folder is named after, None if it is another folder."""
    found = _OPENING.fullmatch(name)
    return Opening(int(found[1]), int(found[2]), found[3]) if found else None


def _first_epoch(name: str) -> int:
    found = _PART.fullmatch(name)
    return int(found[1]) if found else 0
