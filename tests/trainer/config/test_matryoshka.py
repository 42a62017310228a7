"""Prefixes as they are written: what is one value, what is refused, and which of them a run has."""

from typing import Any

import pytest

from losstune.trainer.config.matryoshka import Prefix, one_value, trained_dims, with_whole
from losstune.trainer.config.train_config import TrainConfig
from tests.trainer.samples import refusal

SIZES = "should be different whole numbers of at least 1, 16 at most, as 32,64,128"
NUMBERS = "should be numbers of 0 to 100, one for each of matryoshka_dims, as 1,1,0.5"


@pytest.mark.parametrize("written", ["32,64,128", " 32, 64 ,128", [32, 64, 128], (32, 64, 128), ["32", "64", 128]])
def test_a_list_and_its_text_are_one_value(written: object) -> None:
    assert TrainConfig.from_flat({"matryoshka_dims": written}).flat()["matryoshka_dims"] == "32,64,128"


def test_a_list_of_one_may_be_a_number() -> None:
    config = TrainConfig.from_flat({"matryoshka_dims": 64, "matryoshka_weights": 0.5})
    assert config.prefixes == (Prefix(64, 0.5),)


def test_what_is_no_list_stays_as_it_is() -> None:
    assert [one_value("lr", value) for value in (0.1, [1], "1, 2")] == [0.1, [1], "1, 2"]
    assert one_value("matryoshka_dims", None) is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ()),
        ({"matryoshka_dims": [128, 32]}, (Prefix(32, 1), Prefix(128, 1))),
        ({"matryoshka_dims": [128, 32], "matryoshka_weights": [1, 0.25]}, (Prefix(32, 0.25), Prefix(128, 1))),
        ({"matryoshka_dims": [128, 32], "matryoshka_weights": [1e-3, 0]}, (Prefix(32, 0), Prefix(128, 0.001))),
    ],
)
def test_weights_go_with_their_prefixes_in_any_order(settings: dict[str, Any], expected: tuple[Prefix, ...]) -> None:
    assert TrainConfig.from_flat(settings).prefixes == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"matryoshka_dims": [0, 8]}, f"matryoshka_dims: found '0,8'; {SIZES}"),
        ({"matryoshka_dims": [8, 8]}, f"matryoshka_dims: found '8,8'; {SIZES}"),
        ({"matryoshka_dims": [8, 1.5]}, f"matryoshka_dims: found '8,1.5'; {SIZES}"),
        ({"matryoshka_dims": []}, f"matryoshka_dims: found ''; {SIZES}"),
        ({"matryoshka_dims": 10**7}, f"matryoshka_dims: found '10000000'; {SIZES}"),
        ({"matryoshka_dims": "٣"}, f"matryoshka_dims: found '٣'; {SIZES}"),
        ({"matryoshka_dims": list(range(1, 18))}, "matryoshka_dims: found "),
        ({"matryoshka_dims": True}, "matryoshka_dims: found True; should be a valid string"),
        ({"matryoshka_dims": 8, "matryoshka_weights": "a"}, f"matryoshka_weights: found 'a'; {NUMBERS}"),
        ({"matryoshka_dims": 8, "matryoshka_weights": -1}, f"matryoshka_weights: found '-1'; {NUMBERS}"),
        ({"matryoshka_dims": 8, "matryoshka_weights": "nan"}, f"matryoshka_weights: found 'nan'; {NUMBERS}"),
        ({"matryoshka_dims": 8, "matryoshka_weights": 101}, f"matryoshka_weights: found '101'; {NUMBERS}"),
        (
            {"matryoshka_dims": [8, 16], "matryoshka_weights": [1, 1, 1]},
            "matryoshka_weights: found 1,1,1; should be one for each of matryoshka_dims: 8,16",
        ),
        (
            {"matryoshka_weights": 1},
            "matryoshka_weights: found 1; should be one for each of matryoshka_dims: none",
        ),
    ],
)
def test_what_is_no_prefix_or_weight_is_refused(settings: dict[str, Any], message: str) -> None:
    found = refusal(TrainConfig.from_flat, settings)
    assert found.startswith(message) if message.endswith("found ") else found == message


class TestWithTheWhole:
    def test_it_is_always_there_last_and_once(self) -> None:
        assert with_whole((), 32) == ()
        assert with_whole((Prefix(8, 2.0),), 32) == (Prefix(8, 2.0), Prefix(32, 1.0))
        assert with_whole((Prefix(8, 0.0), Prefix(32, 3.0)), 32) == (Prefix(8, 0.0), Prefix(32, 3.0))

    def test_no_prefix_is_longer(self) -> None:
        assert refusal(with_whole, (Prefix(8, 1.0), Prefix(33, 1.0)), 32) == (
            "matryoshka_dims: found 33; the targets have 32 dimensions, and no prefix has more"
        )

    def test_it_has_a_weight(self) -> None:
        assert refusal(with_whole, (Prefix(8, 1.0), Prefix(32, 0.0)), 32) == (
            "matryoshka_weights: found 0 for all 32 dimensions, which a run is judged by; it should be above 0, as 0.1"
        )


def test_a_prefix_without_weight_is_scored_and_not_trained_for() -> None:
    assert trained_dims((Prefix(8, 0.0), Prefix(16, 0.5)), 32) == (16, 32)
    assert trained_dims((), 32) == (32,)
