"""The protections that the self-test takes away are in step with the sources: it runs by hand, and rarely."""

from pathlib import Path

import pytest

from tools.removals import REMOVALS, Removal

ROOT = Path(__file__).parent.parent

EACH = pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.protection)


@EACH
def test_what_is_taken_away_stands_once_in_its_file(removal: Removal) -> None:
    assert (ROOT / removal.file).read_text().count(removal.old) == 1


@EACH
def test_the_tests_that_must_notice_are_there(removal: Removal) -> None:
    for test in removal.tests:
        file, *names = test.split("::")
        text = (ROOT / file).read_text()
        assert all(f"def {name}(" in text or f"class {name}" in text for name in names)
