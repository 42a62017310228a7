"""How often a test split was looked at, by all studies at one place."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.confirm.test_split_uses import TEST_USES_FILE, BucketUses, FolderUses, SplitUses, split_uses
from losstune.tuning.storage.bucket import Stored
from losstune.tuning.storage.home import Home


@dataclass
class Shelf:
    """A bucket in memory: objects by key, in the order in which they were written."""

    content: dict[str, bytes] = field(default_factory=dict)

    def write(self, key: str, content: bytes) -> None:
        self.content[key] = content

    def objects(self, prefix: str) -> list[Stored]:
        found = [key for key in self.content if key.startswith(f"{prefix}/")]
        return [Stored(key, len(self.content[key]), list(self.content).index(key)) for key in sorted(found)]

    def read_many(self, keys: list[str]) -> dict[str, bytes]:
        return {key: self.content[key] for key in keys}

    def __str__(self) -> str:
        return "s3://shelf"


@pytest.fixture(params=["folder", "bucket"])
def uses(request: pytest.FixtureRequest, tmp_path: Path) -> SplitUses:
    return FolderUses(tmp_path) if request.param == "folder" else BucketUses(Shelf())  # type: ignore[arg-type]


def use(number: int) -> dict[str, object]:
    return {"study": "study", "created": "2026-01-01T00:00:00Z", "confirmation": number}


def test_a_use_is_counted_once_and_knows_what_was_before_it(uses: SplitUses) -> None:
    assert [uses.record("aa", use(number)) for number in (1, 2, 3, 2, 1)] == [0, 1, 2, 1, 0]
    assert uses.of("aa") == [use(1), use(2), use(3)]


def test_other_data_has_a_count_of_its_own(uses: SplitUses) -> None:
    assert uses.of("aa") == []
    assert (uses.record("aa", use(1)), uses.record("bb", use(1))) == (0, 0)
    assert uses.of("bb") == [use(1)]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    uses = split_uses(Home(tmp_path))
    uses.record("aa", use(1))
    uses.record("aa", use(2))
    path = tmp_path / TEST_USES_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b"study", b"stud\xff", 1))
    with pytest.raises(UserError) as refused:
        uses.of("aa")
    assert str(refused.value) == f"{path}:2: damaged, its checksum does not match; restore it from a backup"


def test_a_use_that_can_not_be_counted_is_not_written_over(tmp_path: Path) -> None:
    uses = FolderUses(tmp_path)
    uses.record("aa", use(1))
    path = tmp_path / TEST_USES_FILE
    path.write_bytes(path.read_bytes()[:-5] + b"\n")
    before = path.read_bytes()
    with pytest.raises(UserError):
        uses.record("aa", use(2))
    assert path.read_bytes() == before
