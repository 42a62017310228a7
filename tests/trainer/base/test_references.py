"""What a user names as package.module:name is found, or refused with the setting that it stands in."""

from pathlib import Path

import pytest

from losstune.trainer.base.references import is_reference, resolve
from tests.trainer.samples import refusal


@pytest.mark.parametrize("text", ["a:b", "a.b.c:d", "_a:_b"])
def test_references_have_this_form(text: str) -> None:
    assert is_reference(text)


@pytest.mark.parametrize("text", ["a", "a:", ":b", "a.:b", ".a:b", "a b:c", "a:b:c", "a:b.c", "", 5, None])
def test_nothing_else_is_one(text: object) -> None:
    assert not is_reference(text)


class TestResolving:
    @pytest.fixture(autouse=True)
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("named_here.py").write_text("LIMIT = 3\n")
        Path("broken_here.py").write_text("1 / 0\n")

    def test_a_module_of_the_working_directory_is_found(self) -> None:
        assert resolve("named_here:LIMIT", "loss_fn") == 3

    @pytest.mark.parametrize(
        ("reference", "message"),
        [
            ("named_here", "loss_fn: found 'named_here'; expected package.module:name"),
            ("named_here:OTHER", "loss_fn named_here:OTHER: module 'named_here' has no attribute 'OTHER'"),
            ("nowhere_here:x", "loss_fn nowhere_here:x: No module named 'nowhere_here'"),
            (
                "broken_here:x",
                "loss_fn broken_here:x: importing broken_here failed: ZeroDivisionError: division by zero",
            ),
        ],
    )
    def test_what_can_not_be_had_is_refused(self, reference: str, message: str) -> None:
        assert refusal(resolve, reference, "loss_fn") == message
