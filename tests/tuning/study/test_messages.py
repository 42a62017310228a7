"""What a worker tells: as a result of Ray's, which stops a trial whose result says done."""

from dataclasses import replace

import pytest

from losstune.tuning.study.messages import Report

GOES_ON = Report("mse", 3, 9, 0.4, 7, None, "", (3,), 1.5, ("best.pt was damaged",))


@pytest.mark.parametrize("end", [None, "epochs", "patience", "diverged", "error", "storage", "memory"])
def test_a_report_comes_back_from_a_result_that_is_done_once_it_has_an_end(end: str | None) -> None:
    report = replace(GOES_ON, end=end)
    result = report.to_result()
    assert result["done"] is (end is not None)
    assert Report.from_result({**result, "trial_id": "x", "time_total_s": 2.0}) == report
