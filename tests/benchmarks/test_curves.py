"""The curves that come with the repository, and what makes them."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from losstune.trainer.base.yaml_file import parse_yaml
from losstune.trainer.config.train_config import TrainConfig
from losstune.tuning.space.reader import load_space, read_space
from losstune.tuning.space.search_space import SearchSpace
from tests.benchmarks.conftest import BENCHMARKS

KEPT = sorted((BENCHMARKS / "curves").glob("*.npz"))
LARGEST = 3 * 2**20

every_file = pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)


def read(file: Path) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}


def test_there_are_five_sets_three_losses_and_little_to_download(curves: ModuleType) -> None:
    names = {file.stem for file in KEPT}
    assert names >= {f"{data}_{loss}_27" for data in curves.ROWS for loss in curves.LOSSES}
    assert sum(file.stat().st_size for file in KEPT) < LARGEST


@every_file
def test_a_file_has_the_promised_form(curves: ModuleType, file: Path) -> None:
    arrays, space = read(file), load_space(str(file.with_suffix(".yaml")))
    data, loss, horizon = file.stem.split("_", 1)[0], space.loss_fn, int(file.stem.rsplit("_", 1)[1])
    runs, kinds = len(arrays["seed"]), len(arrays["average_epochs"])
    assert file.stem == f"{data}_{loss}_{horizon}"
    assert arrays["horizon"] == horizon
    assert list(arrays["names"]) == [parameter.name for parameter in space.parameters]
    assert arrays["settings"].shape == (runs, len(space.parameters))
    assert len({(seed, row.tobytes()) for seed, row in zip(arrays["seed"], arrays["settings"], strict=True)}) == runs
    for split in ("val", "test"):
        for values, shape in ((arrays[split], (runs, horizon)), (arrays[f"{split}_averaged"], (kinds, runs, horizon))):
            assert values.dtype == np.float16
            assert values.shape == shape
            known = ~np.isnan(values)
            assert ((values > 0) & (values <= 1))[known].all()
            assert (known[..., :-1] >= known[..., 1:]).all()  # a run that has diverged stays so
    assert (arrays["seconds"] > 0).all()


@every_file
def test_its_settings_are_points_of_the_space_beside_it_the_start_first(curves: ModuleType, file: Path) -> None:
    arrays, space = read(file), load_space(str(file.with_suffix(".yaml")))
    found = [curves.from_row(row, space.parameters) for row in arrays["settings"]]
    for point in found:
        active = [parameter for parameter in space.parameters if parameter.active(point)]
        assert list(point) == [parameter.name for parameter in active]
        curves.config_of(space, point, 0, int(arrays["horizon"]))
        for parameter in active:
            low, *_, high = (*parameter.domain.extremes, parameter.domain.extremes[-1])
            assert point[parameter.name] in parameter.domain or low < point[parameter.name] < high
    assert found[0] == pytest.approx(space.start[0])
    np.testing.assert_array_equal(curves.rows_of(found, space.parameters), arrays["settings"])


@pytest.mark.parametrize("loss", ["infonce", "cosine"])
def test_a_file_is_what_training_gives(curves: ModuleType, loss: str) -> None:
    """Some epochs again. Another processor adds up in another order, so the last digits may differ there."""
    arrays = read(BENCHMARKS / "curves" / f"digits_{loss}_27.npz")
    space, pairs = load_space(str(BENCHMARKS / "curves" / f"digits_{loss}_27.yaml")), curves.few("digits", 1797)
    epochs = 2
    for row in np.argsort(arrays["seconds"][:20])[[0, 5, 10]]:
        config = curves.config_of(space, curves.from_row(arrays["settings"][row], space.parameters), int(row), 27)
        again = curves.trained(config, *curves.parts(pairs, config), epochs)
        for split, found in (("val", again.val), ("test", again.test)):
            expected = np.concatenate([arrays[split][None], arrays[f"{split}_averaged"]])[:, row, :epochs]
            np.testing.assert_allclose(found, expected, atol=2e-3)


def test_more_points_begin_with_the_same(curves: ModuleType) -> None:
    space = load_space("siglip")
    many = curves.points(space, 40)
    assert curves.points(space, 10) == many[:10]
    assert {point["model.depth"] for point in many} == {0, 1, 2, 3}
    assert {"model.hidden_dim" in point for point in many} == {False, True}
    assert len({tuple(point.items()) for point in many}) == 40


def test_words_among_choices_stand_by_their_position(curves: ModuleType) -> None:
    file = "loss_fn: mse\nspace:\n  schedule: {choices: [cosine, constant]}\n  center: {choices: [true, false]}\n"
    space = space_of(file + "  warmup_epochs: {low: 0, high: 5, int: true, when: {schedule: cosine}}\n")
    found = [{"schedule": "cosine", "center": True, "warmup_epochs": 3}, {"schedule": "constant", "center": False}]
    rows = curves.rows_of(found, space.parameters)
    np.testing.assert_array_equal(rows, [[0, 1, 3], [1, 0, np.nan]])
    assert [curves.from_row(row, space.parameters) for row in rows] == found
    assert isinstance(curves.from_row(rows[0], space.parameters)["warmup_epochs"], int)


def space_of(text: str) -> SearchSpace:
    return read_space(parse_yaml(text, "space.yaml"))


@pytest.fixture
def small(curves: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark with two seeds for two settings, and files written after each two runs."""
    for name, value in {"SEEDS": range(1001, 1003), "RANKS": (0, 1), "AT_ONCE": 2}.items():
        monkeypatch.setattr(curves, name, value)
    return curves


def test_what_was_interrupted_goes_on_and_trains_nothing_twice(
    small: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, job = small.few("digits", 400), small.Job("digits", "cosine", 1, 5)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    small.made(job, pairs, whole)
    trained, calls = small.trained, []

    def breaks(config: TrainConfig, *rest: Any) -> Any:
        calls.append(config.seed)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return trained(config, *rest)

    monkeypatch.setattr(small, "trained", breaks)
    with pytest.raises(KeyboardInterrupt):
        small.made(job, pairs, parts)
    assert list(read(job.file(parts))["seed"]) == [0, 1]
    small.made(job, pairs, parts)
    small.made(job, pairs, parts)
    assert calls == [0, 1, 2, 3, 2, 3, 4]
    for name, array in read(job.file(whole)).items():
        if name != "seconds":
            np.testing.assert_array_equal(read(job.file(parts))[name], array)


def test_the_best_settings_are_trained_with_several_seeds_once(small: ModuleType, tmp_path: Path) -> None:
    pairs = small.few("digits", 400)
    for settings, several in ((4, False), (4, True), (4, True), (5, False), (4, True)):
        small.made(small.Job("digits", "cosine", 1, settings, several), pairs, tmp_path)
    arrays = read(tmp_path / "digits_cosine_1.npz")
    assert list(arrays["seed"]) == [0, 1, 2, 3, 1001, 1002, 1001, 1002, 4]
    best = np.argsort(-arrays["val"][:4, 0].astype(float))[:2]
    np.testing.assert_array_equal(arrays["settings"][4:8], arrays["settings"][np.repeat(best, 2)])
    assert arrays["val_averaged"].shape == (2, 9, 1)


def test_the_plan_names_each_file_once_or_extends_it(curves: ModuleType) -> None:
    plan = list(curves.jobs())
    assert len(set(plan)) == len(plan)
    most = {}
    for job in plan:
        most[job.name] = max(most.get(job.name, 0), job.settings)
    assert {name for name, settings in most.items() if settings < 60} == {f"{data}/siglip/27" for data in curves.ROWS}
    assert {job.data for job in plan if job.horizon == 81} == {"digits", "words"}
    assert sum(job.several for job in plan) == len(curves.ROWS)
