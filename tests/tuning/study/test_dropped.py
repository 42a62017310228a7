"""A loss that is out of the race, as the truth keeps it."""

import json
from dataclasses import replace

import pytest

from losstune.tuning.study.dropped import Dropped

A_DROP = Dropped("mse", 0.241, 0.262, 0.001, 810, "infonce", 0.337, 21, 1620, "epochs")
WITHOUT_A_VALUE = replace(A_DROP, best=None, upper=None, slope=None)


def test_a_reason_is_a_plain_sentence() -> None:
    sentence = "after 810 epochs: best 0.2410, at its recent slope at most 0.2620 by the end; infonce has 0.3370"
    assert (A_DROP.reason, str(A_DROP)) == (sentence, f"mse {sentence}")
    assert replace(A_DROP, spent=1, unit="trials").reason.startswith("after 1 trial: best")
    assert WITHOUT_A_VALUE.reason == "after 810 epochs: no trial had a value; infonce has 0.3370"


@pytest.mark.parametrize("drop", [A_DROP, WITHOUT_A_VALUE])
def test_a_drop_survives_json(drop: Dropped) -> None:
    assert Dropped.from_dict(json.loads(json.dumps(drop.to_dict(), allow_nan=False))) == drop


def test_a_drop_that_an_earlier_release_stored_is_read() -> None:
    stored = A_DROP.to_dict()
    stored["loss_fn"] = stored.pop("loss")
    assert Dropped.from_dict(stored) == A_DROP


def test_a_stored_drop_with_other_keys_is_refused() -> None:
    stored = A_DROP.to_dict()
    for wrong in ({**stored, "why": "slow"}, {key: stored[key] for key in stored if key != "upper"}):
        with pytest.raises(ValueError, match=r"a dropped loss has the keys \['best'.*found \['best'"):
            Dropped.from_dict(wrong)
