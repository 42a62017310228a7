"""Spaces, settings and data are tried against each other before anything starts."""

from pathlib import Path

import numpy as np
import pytest

from losstune.trainer.data.pairs import Pairs, make_pairs
from losstune.tuning.space.feasibility import check_against_data, check_grid, load_spaces
from losstune.tuning.space.reader import shipped_names
from tests.trainer.samples import refusal, sample_arrays
from tests.tuning.samples import CONDITIONAL, CONTINUOUS, settings_of, space_of

OLDER = """
    loss_fn: cosine
    space: {batch_size: {choices: [4, 8]}}
"""


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return make_pairs(sample_arrays(), "made")


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_shipped_names_and_paths_are_spaces(tmp_path: Path) -> None:
    own = written(tmp_path, "own.yaml", "loss_fn: mse\nspace: {lr: {low: 1e-4, high: 1e-2}}\n")
    spaces = load_spaces(["cosine", own])
    assert [(space.loss_fn, space.file) for space in spaces] == [("cosine", "cosine.yaml"), ("mse", own)]


def test_a_shipped_name_is_the_space_that_a_study_froze_and_a_path_is_its_file(tmp_path: Path) -> None:
    assert "cosine" in shipped_names()
    frozen = {"cosine": space_of(OLDER)}
    assert load_spaces(["cosine"], frozen) == [frozen["cosine"]]
    shipped, *_ = load_spaces(["cosine"])
    assert shipped != frozen["cosine"]
    assert load_spaces(["infonce"], frozen) == load_spaces(["infonce"])
    own = written(tmp_path, "cosine.yaml", "loss_fn: cosine\nspace: {lr: {low: 1e-4, high: 1e-2}}\n")
    assert [parameter.name for parameter in load_spaces([own], frozen)[0].parameters] == ["lr"]


def test_two_spaces_of_one_loss_and_a_loss_with_a_name_of_ours_are_refused(tmp_path: Path) -> None:
    own = written(tmp_path, "own.yaml", "loss_fn: cosine\nspace: {lr: {low: 1e-4, high: 1e-2}}\n")
    assert refusal(load_spaces, ["cosine", own]) == (
        f"{own} and cosine.yaml are both named cosine; a study has one space of a name: let one of them, or a copy of "
        "it, have another, as name: cosine_2"
    )


def test_two_spaces_of_one_loss_go_together_by_name(tmp_path: Path) -> None:
    wide = written(tmp_path, "wide.yaml", "name: wide\nloss_fn: cosine\n")
    spaces = load_spaces([wide, "cosine", {"loss_fn": "cosine", "name": "narrow"}])
    assert [(space.name, space.loss_fn) for space in spaces] == [
        ("wide", "cosine"),
        ("cosine", "cosine"),
        ("narrow", "cosine"),
    ]
    twin = written(tmp_path, "twin.yaml", "name: WIDE\nloss_fn: mse\n")  # one folder, where capitals do not count
    assert refusal(load_spaces, [wide, twin]).startswith(f"{twin} and {wide} are both named wide and WIDE; a study has")


@pytest.mark.parametrize("name", ["mse", "guide_2_infonce"])
def test_a_name_is_not_that_of_another_loss_or_of_its_space(name: str, tmp_path: Path) -> None:
    text = f"loss_fn: cosine\nname: {name}\n"
    own = written(tmp_path, "own.yaml", text)
    assert refusal(load_spaces, [own]) == (
        f"{own}:2: name: {name!r} is the name of another loss, or of its space; this one is for cosine"
    )
    frozen = {name: space_of(text)}  # by a release that had no such loss yet
    assert load_spaces([own], frozen)[0].name == name
    assert load_spaces([name], frozen) == [frozen[name]]


def test_a_name_may_be_that_of_another_space_of_its_loss(tmp_path: Path) -> None:
    own = written(tmp_path, "own.yaml", "loss_fn: infonce\nname: guide_2_infonce\n")
    assert [space.name for space in load_spaces([own, "infonce"])] == ["guide_2_infonce", "infonce"]


@pytest.mark.parametrize("name", ["confirm", "ridge"])
def test_a_name_is_not_that_of_what_stands_beside_losses(name: str, tmp_path: Path) -> None:
    own = written(tmp_path, "own.yaml", f"loss_fn: cosine\nname: {name}\n")
    assert refusal(load_spaces, [own]).startswith(f"{own}:2: name: no loss of a study can be named any of confirm, ")


@pytest.mark.parametrize(
    ("text", "sampler", "message"),
    [
        (CONTINUOUS, "grid", "space.yaml: space → lr: the grid sampler needs choices, int or step; found"),
        (
            "{loss_fn: mse, space: {batch_size: {choices: [16, 4096]}}}",
            "tpe",
            "space.yaml: batch_size 4096: made: the ",
        ),
        (
            "{loss_fn: mse, space: {matryoshka_dims: {choices: [null, [2, 4], [2, 6]]}}}",
            "tpe",
            "space.yaml: matryoshka_dims: found 6; the targets have 5 dimensions, and no prefix has more",
        ),
        (
            "{loss_fn: mse, fixed: {matryoshka_dims: [2, 5]}, space: {matryoshka_weights: {choices: ['1,1', '1,0']}}}",
            "tpe",
            "space.yaml: matryoshka_weights: found 0 for all 5 dimensions",
        ),
        ("{loss_fn: mse, fixed: {batch_size: 4096}, space: {lr: {low: 1e-4, high: 1e-2}}}", "tpe", "space.yaml: batch"),
    ],
)
def test_what_this_data_or_these_settings_can_not_serve(text: str, sampler: str, message: str, pairs: Pairs) -> None:
    assert refusal(check_against_data, [space_of(text)], settings_of(sampler=sampler), pairs).startswith(message)


def test_what_they_can_serve(pairs: Pairs) -> None:
    check_against_data([space_of(CONDITIONAL), space_of(OLDER)], settings_of(sampler="tpe"), pairs)
    weighed = """
        loss_fn: mse
        space:
          matryoshka_dims: {choices: [null, [2, 4], 5]}
          matryoshka_weights: {choices: [[1, 0.5], [0, 1]], when: {matryoshka_dims: "2,4"}}
    """
    check_against_data([space_of(weighed)], settings_of(sampler="grid"), pairs)


def test_a_grid_needs_values_that_can_be_counted() -> None:
    check_grid(space_of("loss_fn: mse\nspace: {batch_size: {choices: [16, 32]}}"))
    continuous = space_of("loss_fn: mse\nspace: {batch_size: {choices: [16]}, lr: {low: 0.1, high: 1, log: true}}")
    assert refusal(check_grid, continuous) == (
        "space.yaml: space → lr: the grid sampler needs choices, int or step; found 0.1 … 1, log"
    )


def test_a_grid_has_an_end() -> None:
    large = "loss_fn: mse\nspace:\n  warmup_epochs: {low: 1, high: 1000, int: true}\n  "
    check_grid(space_of(large + "model.hidden_dim: {low: 1, high: 100, int: true}"))
    message = refusal(check_grid, space_of(large + "model.hidden_dim: {low: 1, high: 101, int: true}"))
    assert message == "space.yaml: the grid has more than 100,000 points"


def test_a_space_of_a_program_may_have_numpys_numbers() -> None:
    computed = {
        "start": ({"lr": np.float32(0.5), "batch_size": np.int64(32), "weight_decay": 0.5},),
        "space": {
            "lr": {"low": np.float64(1e-4), "high": np.float32(0.5), "log": np.bool_(True)},
            "batch_size": {"choices": 2 ** np.arange(4, 7)},
            "weight_decay": {"choices": list(np.linspace(0, 0.5, 3))},
        },
    }
    plain = {
        "start": [{"lr": 0.5, "batch_size": 32, "weight_decay": 0.5}],
        "space": {
            "lr": {"low": 1e-4, "high": 0.5, "log": True},
            "batch_size": {"choices": [16, 32, 64]},
            "weight_decay": {"choices": [0.0, 0.25, 0.5]},
        },
    }
    assert load_spaces([{"loss_fn": "mse"} | computed]) == load_spaces([{"loss_fn": "mse"} | plain])
    assert refusal(load_spaces, ["cosine", {"loss_fn": "mse", "fixed": {"lr": 1j}}]) == (
        "space 2: found 1j; expected what YAML says: numbers, text, lists and mappings"
    )
