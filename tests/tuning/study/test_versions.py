"""The versions that a study runs on: going on with others is a decision, on record."""

import pytest

from losstune.tuning.study.versions import PACKAGES, check_versions, versions_now
from tests.trainer.samples import refusal


def test_the_versions_are_python_s_and_the_packages() -> None:
    assert list(versions_now()) == ["python", *PACKAGES]


@pytest.mark.parametrize("accepted", [False, True])
def test_the_same_versions_need_no_word(accepted: bool) -> None:
    assert check_versions("study 'first'", versions_now(), accepted=accepted) is None


def test_another_version_is_refused_with_both_numbers_or_put_on_record() -> None:
    before = versions_now() | {"torch": "1.0", "apex": "2.0"}
    before.pop("numpy")
    now = versions_now()
    assert refusal(check_versions, "study 'first'", before, accepted=False) == (
        "study 'first' began with other versions; install those, or go on with --accept-change, "
        "which keeps the change on record:\n"
        f"torch: 1.0 in the study, {now['torch']} now\n"
        "apex: 2.0 in the study, none now\n"
        f"numpy: none in the study, {now['numpy']} now"
    )
    assert check_versions("study 'first'", before, accepted=True) == {
        "torch": f"1.0 in the study, {now['torch']} now",
        "apex": "2.0 in the study, none now",
        "numpy": f"none in the study, {now['numpy']} now",
    }


def test_python_s_patch_releases_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions_now() | {"python": "3.11.1"}
    monkeypatch.setattr("platform.python_version", lambda: "3.11.99")
    assert check_versions("study 'first'", before, accepted=False) is None
    monkeypatch.setattr("platform.python_version", lambda: "3.12.1")
    assert "python: 3.11.1 in the study, 3.12.1 now" in refusal(check_versions, "x", before, accepted=False)
