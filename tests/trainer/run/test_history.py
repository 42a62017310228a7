"""The history of a run: what survives in it, and that no damage is read as a number."""

import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from losstune.trainer.run.history import history_line, read_history, read_whole_lines
from tests.trainer.samples import refusal


class TestHistory:
    def test_numbers_that_are_not_finite_survive_in_plain_json(self, tmp_path: Path) -> None:
        record = {"epoch": 1, "train/loss": math.nan, "val/loss": math.inf, "val/mse": -math.inf}
        text = history_line(record)
        (tmp_path / "history.jsonl").write_text(text)
        json.loads(text, parse_constant=pytest.fail)
        found = read_history(tmp_path / "history.jsonl")[0]
        assert math.isnan(found["train/loss"])
        assert (found["val/loss"], found["val/mse"]) == (math.inf, -math.inf)

    def test_there_is_none_before_the_first_epoch(self, tmp_path: Path) -> None:
        assert read_history(tmp_path / "history.jsonl") == []

    @pytest.mark.parametrize("line", ["not json", "[1, 2]", "5", '{"epoch": 2, "train/loss": 0.5}'])
    def test_a_line_that_is_none_of_a_history_is_named(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "history.jsonl"
        path.write_text(history_line({"epoch": 1}) + f"{line}\n")
        assert refusal(read_history, path).startswith(f"{path}:2: damaged, not as it was written: ")

    @given(data=st.data())
    def test_no_changed_byte_is_read_as_a_number(self, data: st.DataObject) -> None:
        lines = [history_line({"epoch": epoch, "val/mrr": 0.123456789 * epoch}) for epoch in (1, 2, 3)]
        whole = "".join(lines).encode()
        position = data.draw(st.integers(0, len(whole) - 1))
        changed = bytearray(whole)
        changed[position] ^= data.draw(st.integers(1, 255))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "history.jsonl")
            path.write_bytes(changed)
            records, damage = read_whole_lines(path)
        expected = [{"epoch": epoch, "val/mrr": 0.123456789 * epoch} for epoch in (1, 2, 3)]
        assert records == expected[: len(records)]
        assert len(records) <= whole[:position].count(b"\n")
        assert damage or position == len(whole) - 1  # the last line without its end counts as cut short
