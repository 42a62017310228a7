"""Mined negatives: against a search by plain loops, among training targets alone, and the same after a stop."""

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from losstune.trainer.config.data_rules import DataRules
from losstune.trainer.config.loss_config import Mining, TrainTargets
from losstune.trainer.data.columns import MappedColumn
from losstune.trainer.data.pairs import Pairs, load_pairs, make_pairs
from losstune.trainer.data.splits import split_rows
from losstune.trainer.losses import LossModule, LossOutput
from losstune.trainer.losses.infonce import InfoNceConfig, InfoNceLoss
from losstune.trainer.run.checkpoint import load_checkpoint, save_checkpoint
from losstune.trainer.run.hard_negatives import Miner
from losstune.trainer.run.loop import Trainer
from tests.trainer.losses.reference import cosine_by_loops
from tests.trainer.samples import (
    refusal,
    sample_arrays,
    sample_config,
    sample_pairs,
    sample_trainer,
    timeless,
    train_to_end,
)


def several() -> Pairs:
    """Every third row's input is that of the row before it; every seventh has its target."""
    arrays, rows = sample_arrays(), np.arange(200)
    inputs, ids = rows - (rows % 3 == 2), rows - (rows % 7 == 6)
    arrays = {"inputs": arrays["inputs"][inputs], "targets": arrays["targets"][ids], "ids": ids}
    pairs = make_pairs(arrays, "several", DataRules("inputs"))
    assert pairs.queries is not None
    return pairs


def miner(pairs: Pairs | None = None, **settings: Any) -> Miner:
    trainer = sample_trainer(
        sample_config("infonce", **{"hard_negatives": 3, "hard_negatives_skip": 0, **settings}), pairs
    )
    assert trainer._miner is not None
    return trainer._miner


def some_predictions(miner: Miner) -> Tensor:
    targets = miner.split.targets
    return torch.randn(len(targets), targets.shape[1], generator=torch.Generator().manual_seed(1))


def mined_by_loops(miner: Miner, predictions: Tensor, sample: list[int]) -> list[list[int]]:
    """For each row, of the sample's rows the nearest that are not right: all of them, skipped ones left out."""
    split, mining = miner.split, miner.mining
    ids, inputs = split.ids.tolist(), [tuple(row) for row in split.inputs.index_select(0, torch.arange(len(split)))]
    inputs = [tuple(map(float, row)) for row in inputs]
    targets = miner.centered(split.targets.index_select(0, torch.arange(len(split)))).tolist()
    predicted = miner.centered(predictions).tolist()
    found = []
    for row in range(len(split)):
        right = {ids[other] for other in range(len(split)) if inputs[other] == inputs[row]}
        allowed = [
            place
            for place in sample
            if ids[place] not in right
            and (mining.margin is None or cosine_by_loops(targets[row], targets[place]) <= 1 - mining.margin)
        ]
        allowed.sort(key=lambda place: -cosine_by_loops(predicted[row], targets[place]))
        found.append(allowed[mining.skip : mining.skip + mining.negatives])
    return found


@pytest.mark.parametrize("pairs", [sample_pairs, several])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"center": True, "hard_negatives_sample": 40},
        {"hard_negatives_skip": 4, "guide_margin": 0.4},
        {"hard_negatives": 256},
        {"hard_negatives_skip": 110, "hard_negatives": 16},
        {"guide_margin": 1.0, "hard_negatives": 60},
    ],
    ids=str,
)
def test_they_are_those_of_a_search_by_plain_loops(settings: dict[str, Any], pairs: Any) -> None:
    found = miner(pairs(), **settings)
    predictions = some_predictions(found)
    mined = found.mine(iter(predictions.split(50)))
    sample = mined.sample.tolist()
    expected = mined_by_loops(found, predictions, sample)
    assert [[sample[place] for place in row if place >= 0] for row in mined.picks.tolist()] == expected
    rows = torch.tensor([5, 0, 7])
    own = mined.of(rows)
    assert own.targets.shape == (3, found.mining.negatives, 5)
    assert own.usable.sum(dim=1).tolist() == [len(expected[row]) for row in rows]
    for row, targets in zip(rows.tolist(), own.targets, strict=True):
        wanted = found.aims(found.split.targets.index_select(0, torch.tensor(expected[row], dtype=torch.int64)))
        torch.testing.assert_close(targets[: len(wanted)], wanted)


def test_a_few_scores_at_a_time_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found = miner(several(), guide_margin=0.3)
    torch.manual_seed(0)
    whole = found.mine(iter([some_predictions(found)]))
    monkeypatch.setattr("losstune.trainer.run.hard_negatives.SCORES_AT_ONCE", 1000)
    torch.manual_seed(0)
    assert torch.equal(found.mine(iter([some_predictions(found)])).picks, whole.picks)


def test_the_sample_is_of_distinct_training_targets_and_drawn_anew_each_time() -> None:
    pairs = several()
    found = miner(pairs, hard_negatives_sample=30)
    one, other = (found.mine(iter([some_predictions(found)])).sample for _ in range(2))
    assert not torch.equal(one, other)
    train = split_rows(pairs, 0).train
    for sample in (one, other):
        ids = found.split.ids[sample].tolist()
        assert ids == sorted(set(ids))
        assert len(ids) == 30
        assert set(ids) <= set(pairs.ids[train].tolist())


def test_no_target_of_validation_or_test_rows_is_mined() -> None:
    pairs = sample_pairs()
    splits = split_rows(pairs, 0)
    found = miner(pairs, hard_negatives_sample=1024)
    targets = found.split.targets.index_select(0, found.mine(iter([some_predictions(found)])).sample).numpy()
    own, kept_out = (
        {row.tobytes() for row in pairs.targets[rows]} for rows in (splits.train, [*splits.val, *splits.test])
    )
    mined = {row.tobytes() for row in targets}
    assert mined == own
    assert not mined & kept_out


def test_where_every_target_is_right_there_are_none_and_training_is_that_without() -> None:
    arrays = sample_arrays()
    ids = np.zeros(200, dtype=np.int64)
    split = np.repeat([0, 1, 2], [120, 40, 40])
    one = {**arrays, "targets": arrays["targets"][split], "ids": split + ids}
    pairs = make_pairs({**one, "split": split}, "one target a split")
    trainers = [sample_trainer(sample_config("infonce", hard_negatives=k), pairs) for k in (0, 3)]
    for trainer in trainers:
        trainer.run_epoch()
    mined = trainers[1]._mined
    assert mined is not None
    assert (mined.picks == -1).all()
    for plain, with_none in zip(trainers[0].model.parameters(), trainers[1].model.parameters(), strict=True):
        assert torch.isfinite(with_none).all()
        torch.testing.assert_close(with_none, plain)


def run_of(pairs: Pairs | None = None, **settings: Any) -> Trainer:
    chosen = {"hard_negatives": 4, "hard_negatives_every": 3, "hard_negatives_sample": 50, "num_epochs": 7, **settings}
    return sample_trainer(sample_config("infonce", **chosen), pairs)


def test_they_are_mined_before_the_first_epoch_and_then_every_so_many() -> None:
    trainer, seen = run_of(), []
    for _ in range(7):
        trainer.run_epoch()
        seen.append(trainer._mined)
    changes = [epoch for epoch in range(1, 7) if seen[epoch] is not seen[epoch - 1]]
    assert seen[0] is not None
    assert changes == [3, 6]


@pytest.mark.parametrize("settings", [{}, {"average_epochs": 1.0, "model.dropout": 0.3}, {"batch_parts": 2}], ids=str)
@pytest.mark.parametrize("stop", range(1, 7))
def test_a_run_goes_on_to_the_bit_wherever_it_stopped(stop: int, settings: dict[str, Any], tmp_path: Path) -> None:
    whole, before, after = (run_of(**settings) for _ in range(3))
    expected = timeless(train_to_end(whole))
    for _ in range(stop):
        before.run_epoch()
    save_checkpoint(tmp_path / "last.pt", before.state())
    after.load_state(load_checkpoint(tmp_path / "last.pt"))
    assert timeless(train_to_end(after)) == expected[stop:]
    for one, other in zip(whole.model.parameters(), after.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_state_without_them_is_that_of_a_run_without_them() -> None:
    assert "hard_negatives" not in run_of(hard_negatives=0).state()
    trainer = run_of()
    assert "hard_negatives" not in trainer.state()
    trainer.run_epoch()
    assert trainer.state()["hard_negatives"]["picks"].dtype == torch.int32


def test_those_of_other_data_or_settings_are_refused() -> None:
    trainer = run_of()
    trainer.run_epoch()
    state = copy.deepcopy(trainer.state())
    state["hard_negatives"]["picks"] = state["hard_negatives"]["picks"][:, :2]
    with pytest.raises(ValueError, match=r"found negatives of shape \(\d+, 2\) for \d+ rows"):
        run_of().load_state(state)


def test_they_are_mined_by_the_weights_that_are_evaluated() -> None:
    trainer = run_of(average_epochs=2.0)
    for _ in range(3):
        trainer.run_epoch()
    assert trainer._miner is not None
    asked: list[Tensor] = []
    own = trainer._miner.mine

    def look(pieces: Any) -> Any:
        asked.extend(pieces)
        return own(iter(asked))

    object.__setattr__(trainer._miner, "mine", look)
    expected = trainer.predict(trainer.data.train.inputs)
    trainer.run_epoch()
    torch.testing.assert_close(torch.cat(asked), expected)


def test_rows_on_disk_are_mined_as_those_in_memory(tmp_path: Path) -> None:
    arrays = sample_arrays()
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    on_disk, in_memory = run_of(load_pairs(str(tmp_path))), run_of(make_pairs(arrays, "memory"))
    assert isinstance(on_disk.data.train.targets, MappedColumn)
    assert timeless(train_to_end(on_disk)) == timeless(train_to_end(in_memory))


class UnawareConfig(InfoNceConfig):
    """Has the setting, and a module that takes no negatives."""

    name: ClassVar[str] = "unaware"

    def build(self, train: TrainTargets) -> LossModule:
        return Unaware(self.temperature, self.symmetric)


class Unaware(InfoNceLoss):
    def forward(self, predictions: Tensor, targets: Tensor, ids: Tensor) -> LossOutput:  # type: ignore[override]
        return super().forward(predictions, targets, ids)


@pytest.mark.parametrize("settings", [{}, {"matryoshka_dims": [2]}], ids=str)
def test_a_loss_whose_module_takes_none_is_refused(settings: dict[str, Any]) -> None:
    assert refusal(sample_trainer, sample_config(f"{__name__}:UnawareConfig", hard_negatives=2, **settings)) == (
        "hard_negatives: found 2; forward of Unaware, the module of unaware, takes no argument 'negatives'; allowed: 0"
    )
    sample_trainer(sample_config(f"{__name__}:UnawareConfig")).run_epoch()


@pytest.mark.parametrize("loss", ["cosine", "full_softmax", "siglip", "triplet"])
def test_losses_that_have_none_refuse_the_setting(loss: str) -> None:
    assert refusal(sample_config, loss, hard_negatives=2) == (
        f"hard_negatives belongs to infonce, infonce_cosine, not to {loss}"
    )


def test_validation_goes_without_them() -> None:
    trainers = [run_of(hard_negatives=k, lr=1e-12) for k in (0, 8)]
    plain, other = (trainer.run_epoch() for trainer in trainers)
    assert other["val/loss"] == pytest.approx(plain["val/loss"], rel=1e-5)
    assert other["train/loss"] > plain["train/loss"] + 0.05


def test_settings_name_what_is_mined() -> None:
    assert InfoNceConfig().mining() is None
    assert InfoNceConfig(hard_negatives=4).mining() == Mining(negatives=4, every=5, sample=1024, skip=8, margin=None)
    config = InfoNceConfig(hard_negatives=4, hard_negatives_skip=2, guide_margin=0.1)
    assert config.mining() == Mining(negatives=4, every=5, sample=1024, skip=2, margin=0.1)


def given_pairs(by_id: bool = False, **arrays: Any) -> Pairs:
    """Two negatives a row: any vectors, or the targets of the next two rows by id."""
    ids = np.arange(200)
    vectors = np.random.default_rng(3).normal(size=(200, 2, 5)).astype(np.float32)
    negatives = (ids[:, None] + [1, 2]) % 200 if by_id else vectors
    return make_pairs({**sample_arrays(), "ids": ids, "negatives": negatives, **arrays}, "given")


@pytest.mark.parametrize("loss", ["infonce", "infonce_cosine"])
@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("mined", [0, 3])
def test_those_that_the_data_gives_are_the_row_s_own(mined: int, by_id: bool, loss: str) -> None:
    pairs = given_pairs(by_id)
    trainer = sample_trainer(sample_config(loss, hard_negatives=mined, center=True), pairs)
    trainer.run_epoch()
    rows = torch.tensor([3, 0])
    own = trainer._negatives(rows)
    assert own is not None
    assert own.targets.shape == (2, 2 + mined, 5)
    train = split_rows(pairs, 0).train
    assert pairs.negatives is not None
    assert trainer.center is not None
    for row, targets, usable in zip(train[rows], own.targets, own.usable, strict=True):
        for place in range(2):
            if by_id:
                assert bool(usable[place]) == ((row + 1 + place) % 200 in train)
                vector = pairs.targets[[(row + 1 + place) % 200]][0]
            else:
                assert usable[place]
                assert pairs.negatives.vectors is not None
                vector = pairs.negatives.vectors[[row]][0, place]
            if usable[place]:
                about = torch.from_numpy(vector) - trainer.center
                torch.testing.assert_close(targets[place], about / about.norm())


def test_given_ones_change_training_and_the_same_run_gives_the_same() -> None:
    plain, one, other = (run_of(pairs, hard_negatives=0) for pairs in (sample_pairs(), *[given_pairs()] * 2))
    first, second = timeless(train_to_end(one)), timeless(train_to_end(other))
    assert first == second
    assert first[0]["train/loss"] > plain.run_epoch()["train/loss"] + 0.05


@pytest.mark.parametrize("loss", ["cosine", "siglip", "full_softmax"])
def test_a_loss_that_takes_none_goes_by_the_pairs_alone(loss: str) -> None:
    given = given_pairs()
    plain = make_pairs({name: getattr(given, name) for name in ("inputs", "targets", "ids")}, "plain")
    trainers = [sample_trainer(sample_config(loss), pairs) for pairs in (plain, given)]
    assert trainers[1]._given == []
    assert sample_trainer(sample_config(loss, matryoshka_dims=[2]), given)._given == []
    assert timeless(train_to_end(trainers[0])) == timeless(train_to_end(trainers[1]))


def test_given_ones_on_disk_are_those_in_memory(tmp_path: Path) -> None:
    pairs = given_pairs()
    assert pairs.negatives is not None
    assert pairs.negatives.vectors is not None
    arrays = {name: getattr(pairs, name) for name in ("inputs", "targets", "ids")}
    for name, array in {**arrays, "negatives": pairs.negatives.vectors}.items():
        np.save(tmp_path / f"{name}.npy", array)
    on_disk = run_of(load_pairs(str(tmp_path), "negatives=negatives"))
    assert timeless(train_to_end(on_disk)) == timeless(train_to_end(run_of(pairs)))
