"""What a shipped space leaves out on small data, and that a user's own space is refused instead."""

import pytest

from losstune.trainer.base.yaml_file import dump_yaml
from losstune.trainer.data.pairs import Pairs, make_pairs
from losstune.tuning.space.feasibility import check_against_data, load_spaces, shortfall_at
from losstune.tuning.space.fitting import fitted
from losstune.tuning.space.reader import shipped_names
from losstune.tuning.space.search_space import SearchSpace
from tests.trainer.data.test_resident import split_arrays
from tests.trainer.samples import refusal, sample_arrays
from tests.tuning.samples import settings_of, space_of


def small(train: int, val: int) -> Pairs:
    return make_pairs(split_arrays(train, val), "small.npz")


def batches(space: SearchSpace) -> list[object]:
    return [*next(p.domain for p in space.parameters if p.name == "batch_size").extremes]


@pytest.mark.parametrize(
    ("name", "kept", "note"),
    [
        ("infonce", [16], "32, 64, 128 left out: the val split has 24 rows, fewer than one batch of 32"),
        ("cosine", [16, 32, 64], "128 left out: the train split has 72 rows, fewer than one batch of 128"),
    ],
)
def test_choices_that_the_data_can_not_carry_are_left_out_of_a_shipped_space_with_one_line(
    name: str, kept: list[int], note: str
) -> None:
    [space], notes = fitted(load_spaces([name]), settings_of(), small(72, 24))
    assert notes == [f"{name}.yaml: batch_size {note}"]
    assert batches(space) == kept
    check_against_data([space], settings_of(), small(72, 24))


def test_a_start_beyond_what_is_left_takes_the_largest_batch_of_it() -> None:
    [infonce, cosine], _ = fitted(load_spaces(["infonce", "cosine"]), settings_of(), small(72, 24))
    shipped = load_spaces(["infonce", "cosine"])
    assert shipped[0].start[0]["batch_size"] == 32
    assert infonce.start == ({**shipped[0].start[0], "batch_size": 16},)
    assert cosine.start == shipped[1].start


def test_nothing_else_of_the_space_is_another() -> None:
    [shipped] = load_spaces(["infonce"])
    [space], _ = fitted([shipped], settings_of(), small(72, 24))
    assert [p for p in space.parameters if p.name != "batch_size"] == [
        p for p in shipped.parameters if p.name != "batch_size"
    ]
    assert (space.study, space.fixed, space.derived, space.shipped) == (shipped.study, {}, shipped.derived, True)
    assert space == space_of(dump_yaml(dict(space.source)), space.file)


def test_what_another_seed_s_split_can_not_carry_is_left_out_too() -> None:
    pairs = make_pairs(sample_arrays(rows=120), "small.npz")
    splits = [settings_of(seed=seed) for seed in range(20)]
    [shipped] = load_spaces(["infonce"])
    least = min(short.most for split in splits if (short := shortfall_at(shipped, split, pairs, 64)))
    roomy = next(split for split in splits if not shortfall_at(shipped, split, pairs, 1 + least))
    assert 16 <= least < 32
    [space], notes = fitted([shipped], settings_of(seed=roomy.seed), pairs)
    assert batches(space) == [16]
    assert notes[0].startswith("infonce.yaml: batch_size 32, 64, 128 left out: ")


@pytest.mark.parametrize("name", shipped_names())
def test_data_of_any_usual_size_leaves_shipped_spaces_as_they_are(name: str) -> None:
    spaces = load_spaces([name])
    assert fitted(spaces, settings_of(), small(400, 130)) == (spaces, [])


@pytest.mark.parametrize(
    ("name", "val", "message"),
    [
        (
            "infonce",
            15,
            "batch_size 16: small.npz: the val split has 15 rows, fewer than one batch of 16; "
            "infonce takes batches of 16 or more: use more data, or leave infonce.yaml out",
        ),
        (
            "guide_template_infonce",
            24,
            "batch_size 32: small.npz: the val split has 24 rows, fewer than one batch of 32; "
            "use more data, or a space of your own with a smaller batch_size",
        ),
    ],
)
def test_where_no_choice_is_left_the_error_is_about_the_smallest(name: str, val: int, message: str) -> None:
    spaces, _ = fitted(load_spaces([name]), settings_of(), small(72, val))
    assert refusal(check_against_data, spaces, settings_of(), small(72, val)) == f"{name}.yaml: {message}"


def test_a_user_s_own_space_does_not_bend() -> None:
    own = space_of("{loss_fn: infonce, space: {batch_size: {choices: [16, 32]}}}")
    assert fitted([own], settings_of(), small(72, 24)) == ([own], [])
    assert refusal(check_against_data, [own], settings_of(), small(72, 24)) == (
        "space.yaml: batch_size 32: small.npz: the val split has 24 rows, fewer than one batch of 32; "
        "let space.yaml have no batch_size above 24, or use more data"
    )
