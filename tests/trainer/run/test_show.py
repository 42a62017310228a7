"""What a run prints: the guide's two lines, retrieval beside chance, and a bar on a terminal."""

import io
import re

import pytest
import torch
from rich.console import Console

from losstune.trainer.base.console import say
from losstune.trainer.run.scored import Scored
from losstune.trainer.run.show import EpochDisplay, epoch_lines, geometry_line, loss_line, retrieval_line, scored_lines
from losstune.trainer.score.metrics import Chance
from losstune.trainer.score.ranking import OtherPositives
from tests.trainer.samples import sample_config

TRAIN = {"train/loss": 3.2145, "train/cosine_sim": 0.7234}
VAL = {"val/loss": 3.1234, "val/cosine_sim": 0.7456, "val/mse": 0.4512}
RETRIEVAL = {
    "val/mrr": 0.1234,
    "val/recall_at_1": 0.05,
    "val/recall_at_5": 0.2345,
    "val/recall_at_10": 1.0,
    "val/median_rank": 8.5,
}
CHANCE = Chance.of(364)
RECORD = {"epoch": 3, "time": 0.0, "seconds": 0.1, "lr": 1e-3, **TRAIN, **VAL, **RETRIEVAL}


class TestLossLines:
    def test_infonce_prints_the_guides_lines_with_chance_beside_accuracy(self) -> None:
        config = sample_config("infonce", batch_size=32)
        train = loss_line("train", {**TRAIN, "train/infonce_acc": 9 / 32}, config)
        val = loss_line("val", {**VAL, "val/infonce_acc": 0.3125}, config)
        assert train == "Train Loss: 3.2145, Cosine Sim: 0.7234, InfoNCE Acc: 28.12% (chance 3.12%)"
        assert val == "Val Loss: 3.1234, Cosine Sim: 0.7456, MSE: 0.4512, InfoNCE Acc: 31.25% (chance 3.12%)"

    @pytest.mark.parametrize(("batch_size", "chance"), [(16, "6.25%"), (64, "1.56%"), (128, "0.78%")])
    def test_chance_of_in_batch_accuracy_is_one_in_the_batch(self, batch_size: int, chance: str) -> None:
        config = sample_config("infonce", batch_size=batch_size)
        assert loss_line("val", {"val/loss": 1.0, "val/infonce_acc": 0.5}, config).endswith(f"50.00% (chance {chance})")

    @pytest.mark.parametrize("loss_fn", ["mse", "cosine"])
    def test_other_losses_print_no_accuracy(self, loss_fn: str) -> None:
        config = sample_config(loss_fn)
        assert loss_line("train", TRAIN, config) == "Train Loss: 3.2145, Cosine Sim: 0.7234"
        assert loss_line("val", VAL, config) == "Val Loss: 3.1234, Cosine Sim: 0.7456, MSE: 0.4512"

    def test_cosine_mse_prints_each_component_by_its_weight(self) -> None:
        config = sample_config("cosine_mse", cosine_weight=0.8, mse_weight=0.25)
        line = loss_line("train", {**TRAIN, "train/weighted_cosine": 0.2212, "train/weighted_mse": 0.1053}, config)
        assert line == "Train Loss: 3.2145, Cosine Sim: 0.7234, Cosine x 0.8: 0.2212, MSE x 0.25: 0.1053"

    def test_parts_of_any_other_loss_are_printed_by_their_names(self) -> None:
        metrics = {"val/loss": 2.5, "val/gallery_acc": 0.1234, "val/temperature": 0.07, **VAL, **RETRIEVAL}
        line = loss_line("val", metrics, sample_config("full_softmax"))
        assert line == ("Val Loss: 3.1234, Cosine Sim: 0.7456, MSE: 0.4512, Gallery Acc: 0.1234, Temperature: 0.0700")

    def test_infonce_prints_a_learnt_temperature_after_the_guides_line(self) -> None:
        config = sample_config("infonce", batch_size=32, learn_temperature=True)
        line = loss_line("val", {"val/loss": 1.0, "val/infonce_acc": 0.5, "val/temperature": 0.05}, config)
        assert line == "Val Loss: 1.0000, InfoNCE Acc: 50.00% (chance 3.12%), Temperature: 0.0500"

    def test_a_line_without_a_loss_still_names_its_split(self) -> None:
        metrics = {"test/cosine_sim": 0.5, "test/mse": 0.25, "val/loss": 9.0}
        assert loss_line("test", metrics, sample_config()) == "Test Cosine Sim: 0.5000, MSE: 0.2500"


def test_retrieval_is_printed_beside_what_a_random_order_would_score() -> None:
    assert retrieval_line("val", RETRIEVAL, CHANCE) == (
        "Val Retrieval among 364: MRR: 0.1234 (chance 0.0178), Recall@1: 5.00%, Recall@5: 23.45%, Recall@10: 100.00% "
        "(chance@1 0.27%), Median Rank: 8.5"
    )


def test_chance_is_higher_where_inputs_have_several_right_targets() -> None:
    """Of four queries two have one, and two have three and four of the ten targets."""
    others = OtherPositives(torch.tensor([1, 1, 3, 3, 3]), torch.tensor([0, 1, 0, 1, 2]))
    line = retrieval_line("val", RETRIEVAL, Chance.of(10, others, 4))
    assert "among 10: MRR: 0.1234 (chance 0.4369)" in line
    assert "(chance@1 22.50%)" in line


GEOMETRY = {
    "test/effective_rank": 21.34,
    "test/hubness": 0.836,
    "test/alignment": 0.314,
    "test/uniformity": -2.9,
}


def test_geometry_is_printed_beside_the_highest_rank_there_could_be() -> None:
    assert geometry_line("test", GEOMETRY, dim=32) == (
        "Test Geometry: effective rank 21.3 of 32, hubness 0.84, alignment 0.31, uniformity -2.90"
    )


def test_the_test_split_has_its_metrics_retrieval_geometry_and_notes() -> None:
    metrics = {name.replace("val/", "test/"): value for name, value in {**VAL, **RETRIEVAL}.items()}
    scored = Scored({**metrics, **GEOMETRY}, chance=CHANCE, dim=32, flags=["hubs: one", "collapsed: two"])
    lines = scored_lines(scored, sample_config())
    assert [line.split(":")[0] for line in lines[:3]] == ["Test Loss", "Test Retrieval among 364", "Test Geometry"]
    assert lines[3:] == ["Note: hubs: one", "Note: collapsed: two"]


def test_prefixes_have_their_own_line_and_no_part_in_the_loss_s() -> None:
    config = sample_config("infonce", batch_size=32, matryoshka_dims=[8, 16, 32])
    record = {**RECORD, "val/dim_8/loss": 4.0, "val/dim_8/mrr": 0.05, "val/dim_16/mrr": 0.1}
    lines = epoch_lines({**record, "val/infonce_acc": 0.5}, config, CHANCE)
    assert lines[2].endswith("MSE: 0.4512, InfoNCE Acc: 50.00% (chance 3.12%)")
    assert lines[4:] == ["Val MRR of prefixes: 0.0500 at 8, 0.1000 at 16"]
    metrics = {name.replace("val/", "test/"): value for name, value in {**record, **RETRIEVAL}.items()}
    scored = Scored({**metrics, **GEOMETRY}, chance=CHANCE, dim=32, flags=[])
    assert scored_lines(scored, config)[2] == "Test MRR of prefixes: 0.0500 at 8, 0.1000 at 16"


class TestEpochLines:
    def test_an_epoch_is_numbered_of_all_and_has_train_val_and_retrieval(self) -> None:
        lines = epoch_lines(RECORD, sample_config(num_epochs=300), CHANCE)
        assert lines[0] == "Epoch 3/300"
        assert [line.split(":")[0] for line in lines[1:]] == ["Train Loss", "Val Loss", "Val Retrieval among 364"]

    def test_without_validation_there_is_only_the_training_line(self) -> None:
        record = {name: value for name, value in RECORD.items() if not name.startswith("val/")}
        assert len(epoch_lines(record, sample_config(), None)) == 2

    def test_a_diverged_epoch_is_printed_as_far_as_it_went(self) -> None:
        diverged = {"epoch": 3, "train/loss": float("nan"), "train/cosine_sim": 0.1}
        lines = epoch_lines(diverged, sample_config(), CHANCE)
        assert lines == ["Epoch 3/5", "Train Loss: nan, Cosine Sim: 0.1000"]


def shown(*, terminal: bool, **settings: object) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=200)
    with EpochDisplay(sample_config(num_epochs=3, **settings), CHANCE, console) as display:
        for epoch in (1, 2, 3):
            display.show({**RECORD, "epoch": epoch, "val/mrr": epoch / 10})
    return stream.getvalue()


class TestDisplay:
    def test_away_from_a_terminal_every_epoch_has_its_lines(self) -> None:
        text = shown(terminal=False)
        assert re.findall(r"^Epoch (\d)/3$", text, re.MULTILINE) == ["1", "2", "3"]
        assert "\x1b" not in text
        assert "\r" not in text

    def test_on_a_terminal_a_bar_shows_the_objective_and_the_last_epoch_stays(self) -> None:
        text = shown(terminal=True)
        assert "val/mrr 0.3000" in text
        assert re.findall(r"Epoch (\d)/3", text) == ["3"]

    @pytest.mark.parametrize(
        ("record", "latest"),
        [
            ({"epoch": 1, "train/loss": 0.25, "train/cosine_sim": 0.5}, "train/loss 0.2500"),
            ({"epoch": 1, "val/loss": float("nan")}, "diverged"),
        ],
    )
    def test_on_a_terminal_the_bar_shows_what_there_is(self, record: dict[str, float], latest: str) -> None:
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=True, width=200)
        with EpochDisplay(sample_config(fit="train+val"), None, console) as display:
            display.show(record)
        assert latest in stream.getvalue()

    @pytest.mark.parametrize("terminal", [True, False])
    def test_a_quiet_console_shows_nothing_and_leaves_the_users_prints_alone(
        self, terminal: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=terminal, quiet=True)
        with EpochDisplay(sample_config(num_epochs=3), CHANCE, console) as display:
            display.show({**RECORD, "epoch": 1})
            print("the user's own")
        assert stream.getvalue() == ""
        assert capsys.readouterr().out == "the user's own\n"

    def test_a_line_is_printed_as_it_is(self) -> None:
        stream = io.StringIO()
        say(Console(file=stream, force_terminal=True, width=20), "[red]1 [/] " + "x" * 50)
        assert stream.getvalue() == "[red]1 [/] " + "x" * 50 + "\n"
