"""What the command says before anything starts, and what it refuses as a launch would."""

import inspect
import json
from dataclasses import asdict, replace
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.splits import split_rows
from losstune.tuning.cli.app import check as check_command
from losstune.tuning.cli.app import launch as launch_command
from losstune.tuning.commands import check, estimate
from losstune.tuning.commands.check import check_spaces, checked_json
from losstune.tuning.search.budget_worth import budget_worth
from tests.conftest import Command
from tests.reliability.made import made
from tests.trainer.samples import sample_arrays
from tests.tuning.reported import SPACES, searched


@pytest.fixture
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "probe", lambda *_, **__: 0.5)


def test_options_override_a_space_as_in_a_launch(quick_probe: None, losstune: Command) -> None:
    options = ("--objective", "val/cosine_sim", "--sampler", "random", "--seed", "4", "--race", "--max_epochs", "9")
    told = json.loads(losstune("check", "mse", "--json", *options).out)
    expected = {"objective": "val/cosine_sim", "sampler": "random", "seed": 4, "race": True, "max_epochs": 9}
    assert expected.items() <= told["settings"].items()
    assert told["rungs"] == [3]
    assert losstune("check", "mse", "--sampler", "best").err.startswith("error: study: sampler: found 'best'; should")


def test_time_is_shared_out_over_the_slots(quick_probe: None) -> None:
    one, four = (check_spaces(["mse"], None, {"trials": 80}, slots) for slots in (1, 4))
    assert one.seconds - check.START_SECONDS == pytest.approx(4 * (four.seconds - check.START_SECONDS))
    assert checked_json(four)["losses"]["mse"]["seconds_per_epoch"] == 0.5


def test_more_slots_do_not_shorten_a_trial(quick_probe: None) -> None:
    many = check_spaces(["mse", "cosine"], None, {"trials": 2, "max_epochs": 27}, 64)
    assert many.seconds - check.START_SECONDS == 27 * 0.5


def test_what_the_data_can_not_carry_of_a_shipped_space_is_said_in_one_line(
    quick_probe: None, losstune: Command
) -> None:
    np.savez("small.npz", **sample_arrays(rows=120))
    note = (
        "cosine.yaml: batch_size 64, 128 left out: with another seed the train split has 63 rows, "
        "fewer than one batch of 64"
    )
    told = losstune("check", "cosine", "--data", "small.npz")
    assert (told.code, f"Note: {note}" in " ".join(told.out.split())) == (0, True)
    assert json.loads(losstune("check", "cosine", "--data", "small.npz", "--json").out)["left_out"] == [note]


def test_a_warm_up_as_long_as_a_trial_is_said(quick_probe: None, losstune: Command) -> None:
    line = ("check", "mse", "cosine", "--max-epochs", "3")
    note = "warmup_epochs is up to 5 in mse, cosine, a trial has 3 epochs: so warmed up it never trains at its lr;"
    assert f"Note: {note}" in " ".join(losstune(*line).out.split())
    assert json.loads(losstune(*line, "--json").out)["warm_up"][0].startswith(note)
    assert json.loads(losstune(*line[:-1], "6", "--json").out)["warm_up"] == []


def test_columns_are_named_and_what_else_there_is_is_said(quick_probe: None, losstune: Command) -> None:
    rng = np.random.default_rng(0)
    named = {name: rng.standard_normal((300, 2)) for name in ("anchor", "positive", "negative")}
    np.savez("named.npz", **named)  # type: ignore[arg-type]
    asked = ("check", "mse", "--data", "named.npz", "--columns", "inputs=anchor,targets=positive")
    assert json.loads(losstune(*asked, "--json").out)["unused_columns"] == ["negative"]
    assert losstune(*asked).out.startswith(f"Note: not used of {Path('named.npz').resolve()}: negative\n")


def test_what_a_launch_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--data none.npz: no such file"):
        check_spaces(["mse"], "none.npz", {}, None)
    with pytest.raises(UserError, match="no search space 'none'"):
        check_spaces(["none"], None, {}, None)


def test_what_a_trial_is_scored_on_is_told_with_its_standard_error(
    quick_probe: None, losstune: Command, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    np.savez("many.npz", **{name: rng.standard_normal((12_000, 2)) for name in ("inputs", "targets")})  # type: ignore[arg-type]
    rows = len(split_rows(load_pairs("many.npz"), 0).val)
    error = 0.5 * ((rows - 1024) / (rows - 1) / 1024) ** 0.5
    lines = losstune("check", "infonce", "--data", "many.npz").out
    assert (
        f"A trial is scored on 1,024 of {rows:,} validation rows, always the same, each against all {rows:,} targets: "
        f"a standard error of at most {error:.3f} in val/mrr; confirm scores all"
    ) in " ".join(lines.split())
    told = json.loads(losstune("check", "infonce", "--data", "many.npz", "--json").out)
    assert told["settings"]["eval_queries"] == told["validation"]["queries"] == 1024
    assert told["validation"] == {
        "queries": 1024, "rows": rows, "targets": rows, "standard_error": pytest.approx(error)
    }  # fmt: skip
    whole = " ".join(losstune("check", "infonce", "--data", "many.npz", "--eval-queries", "all").out.split())
    assert f"A trial is scored on all {rows:,} validation rows, each against all {rows:,} targets" in whole


@pytest.mark.parametrize(
    ("options", "trainings"),
    [
        ((), 30),  # the spaces say 810 epochs
        (("--epochs-per-loss", "162"), 6),
        (("--trials", "9"), 63 / 27),  # 9 trials to epoch 3, 3 on to 9, 1 on to 27
    ],
)
def test_what_the_budget_is_good_for(
    quick_probe: None, losstune: Command, options: tuple[str, ...], trainings: float
) -> None:
    asked = ("check", "infonce", "cosine", "--max-epochs", "27", *options)
    worth = json.loads(losstune(*asked, "--json").out)["worth"]
    expected = budget_worth("gp", trainings)
    assert worth == {name: value and pytest.approx(value) for name, value in asdict(expected).items()}
    assert losstune(*asked).out.splitlines()[-2:] == list(expected.lines(27))


def test_a_time_budget_is_good_for_what_fits_into_it(quick_probe: None, losstune: Command) -> None:
    """Half a second an epoch: 810 epochs of each of two losses on one slot take 810 s, and 10 s to start."""
    asked = ("check", "infonce", "cosine", "--max-epochs", "27", "--concurrency", "1", "--json")

    def trainings(*options: str) -> float | None:
        worth = json.loads(losstune(*asked, *options).out)["worth"]
        return worth and worth["full_trainings"]

    assert trainings("--time-budget", "145s") == pytest.approx(5)
    assert trainings("--time-budget", "1h") == pytest.approx(30)
    assert trainings("--time-budget", "9s") is None


def test_nothing_is_said_of_a_budget_where_nothing_is_known(quick_probe: None, losstune: Command) -> None:
    asked = ("check", "infonce", "--objective", "val/cosine_sim")
    assert json.loads(losstune(*asked, "--json").out)["worth"] is None
    assert losstune(*asked).out.splitlines()[-1].startswith("Expected time on ")


def test_what_a_warm_start_would_take_over_is_said(quick_probe: None, losstune: Command, tmp_path: Path) -> None:
    made(tmp_path)
    asked = ("check", tmp_path / "plain.yaml", "--warm-start", "study", "--storage", tmp_path, "--study", "new")
    line = "trials of infonce of study study fit"
    asked[1].write_text("loss_fn: infonce\nfixed: {model.depth: 1}")
    told = losstune(*asked)
    assert told.code == 2
    assert told.err.startswith("error: --warm-start study: no trial of it is of use here (0 of 6 " + line)
    space = tmp_path / "own.yaml"
    space.write_text(dedent(SPACES["infonce"]))
    told = losstune("check", space, *asked[2:])
    assert (told.code, f"Warm start: 6 of 6 {line}" in told.out) == (0, True)
    found = json.loads(losstune("check", space, *asked[2:], "--json").out)["warm_start"]
    assert found["losses"] == {"infonce": {"losses": ["infonce"], "trials": 6, "of": 6}}
    itself = losstune("check", space, *asked[2:-1], "study")
    assert "warm_start: none in the study, study now" in itself.err
    itself = losstune("check", space, "--warm-start", "new", *asked[4:])
    assert itself.err == "error: --warm-start new: that is the study itself; name another one\n"


def test_it_takes_every_option_of_a_launch_but_those_of_its_output() -> None:
    launched, checked = (set(inspect.signature(command).parameters) for command in (launch_command, check_command))
    assert launched - checked == {"resume", "quiet"}


def test_an_existing_study_is_checked_as_a_launch_would_continue_it(quick_probe: None, losstune: Command) -> None:
    study = searched(Path.cwd(), (1, 1), data="digits")
    digest = load_pairs("digits").digest
    replace(study, spec=study.spec.model_copy(update={"data_digest": digest})).save()
    told = json.loads(losstune("check", "--study", "study", "--trials", "7", "--json").out)
    assert (told["settings"]["trials"], set(told["losses"])) == (7, {"infonce", "cosine"})
    assert told["worth"]["full_trainings"] > 0
    in_time = losstune("check", "--study", "study", "--trials", "7", "--time-budget", "11s", "--json")
    assert json.loads(in_time.out)["worth"] is None  # what it has spent before is not in that time
    refused = losstune("check", "--study", "study", "--seed", "9")
    assert (refused.code, refused.out) == (2, "")
    assert "seed: 0 in the study, 9 now" in refused.err
    assert losstune("check").err == ("error: name at least one search space, or with --study a study that is there\n")


def test_what_an_existing_study_would_go_on_with_is_said(quick_probe: None, losstune: Command) -> None:
    study = searched(Path.cwd(), (1, 1), data="digits")
    digest = load_pairs("digits").digest
    replace(study, spec=study.spec.model_copy(update={"data_digest": digest})).save()
    Path("cosine.yaml").write_text(dedent(SPACES["cosine"]).replace("high: 1.0e-1", "high: 1.0"))
    Path("infonce.yaml").write_text(dedent(SPACES["infonce"]))
    asked = ("check", "infonce.yaml", "cosine.yaml", "--study", "study")
    assert losstune(*asked).code == 2
    (change,) = json.loads(losstune(*asked, "--accept-change", "--json").out)["changes"]
    assert change == "cosine.lr: 0.0001 … 0.1, log before, 0.0001 … 1, log from then on"
    assert f"Note: {change}" in " ".join(losstune(*asked, "--accept-change").out.split())
    assert losstune(*asked).code == 2  # nothing was written


def test_leaks_are_told_and_split_by_inputs_mends_them(quick_probe: None, losstune: Command) -> None:
    arrays = sample_arrays(rows=300)
    np.savez("pairs.npz", inputs=np.repeat(arrays["inputs"][:150], 2, axis=0), targets=arrays["targets"])
    line = ("check", "mse", "--data", "pairs.npz")
    told = json.loads(losstune(*line, "--json").out)
    assert [one["name"] for one in told["data"]] == ["equal_inputs", "inputs_of_several_targets"]
    assert (told["settings"]["split_by"], told["settings"]["answers"]) == ("ids", "any")
    assert f"Warning: {told['data'][0]['text']}" in " ".join(losstune(*line).out.split())
    mended = json.loads(losstune(*line, "--json", "--split-by", "inputs").out)
    assert [one["name"] for one in mended["data"]] == ["inputs_of_several_targets"]
    assert mended["settings"]["split_by"] == "inputs"


def test_groups_of_the_data_are_kept_together_unasked(quick_probe: None, losstune: Command) -> None:
    np.savez("pairs.npz", **sample_arrays(rows=300), user=np.arange(300) // 3)
    line = ("check", "mse", "--data", "pairs.npz", "--json")
    assert json.loads(losstune(*line, "--columns", "groups=user").out)["settings"]["split_by"] == "groups"
    refused = losstune(*line, "--split-by", "groups")
    assert refused.code == 2
    assert "no array 'groups', which --split-by groups needs" in refused.err
