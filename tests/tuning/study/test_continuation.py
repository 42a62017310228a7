"""A study that goes on: the same but for its budget and for spaces that grew, all else is refused with what differs."""

from pathlib import Path
from typing import Any

import pytest

from losstune.trainer.base.yaml_file import read_yaml
from losstune.tuning.storage.home import Home
from losstune.tuning.study.continuation import continued
from losstune.tuning.study.spec import WarmStart
from losstune.tuning.study.study import Study, open_study
from tests.trainer.samples import refusal
from tests.tuning.samples import CONDITIONAL, settings_of, space_of
from tests.tuning.study.created import DIGEST, PLAIN, created


def continued_with(study: Study, *texts: str, digest: str = DIGEST, **options: Any) -> Study:
    return continued(study, [space_of(text) for text in texts], options, digest)


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, CONDITIONAL)
    assert continued_with(study) == study
    assert continued_with(study, PLAIN, CONDITIONAL) == study
    assert continued_with(study, CONDITIONAL, PLAIN) == study
    assert continued_with(study, max_epochs=27, sampler="gp", epochs_per_loss=270) == study


def test_spaces_in_another_order_leave_the_studys_order(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, CONDITIONAL)
    text = WIDER.replace("270", "600")
    assert list(continued_with(study, CONDITIONAL, PLAIN).spec.spaces) == ["mse", "infonce"]
    now = continued(study, [space_of(CONDITIONAL), space_of(text)], {}, DIGEST, accept_change=True)
    assert list(now.spec.spaces) == ["mse", "infonce"]
    assert now.spec.spaces["mse"] == space_of(text).source


TYPED = """
    loss_fn: mse
    start: [{model.dropout: 0.1, lr: 1e-3}]
    space: {model.dropout: {choices: [0, 0.1]}, lr: {low: 1e-4, high: 1e-2, log: true}}
    study: {max_epochs: 27, epochs_per_loss: 270}
"""


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("[0, 0.1]", "[0.0, 0.1]"),
        ("{model.dropout: 0.1, lr: 1e-3}", "{lr: 1e-3, model.dropout: 0.1}"),
        (
            "model.dropout: {choices: [0, 0.1]}, lr: {low: 1e-4, high: 1e-2, log: true}",
            "lr: {low: 1e-4, high: 1e-2, log: true}, model.dropout: {choices: [0, 0.1]}",
        ),
    ],
)
def test_a_space_in_other_words_stays_as_it_was(before: str, now: str, tmp_path: Path) -> None:
    """Samplers go through parameters in their order, and tell 0 from 0.0."""
    study = created(tmp_path, TYPED)
    assert before in TYPED
    assert repr(continued_with(study, TYPED.replace(before, now)).spec) == repr(study.spec)
    again = continued_with(study, TYPED.replace(before, now).replace("270", "600"))
    assert again.spec.settings.epochs_per_loss == 600
    assert repr(again.spec.spaces) == repr(study.spec.spaces).replace("270", "600")
    assert continued_with(again, TYPED.replace("270", "600"), trials=12).spec.settings.trials == 12


def test_settings_that_are_not_given_stay_as_they_were(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, seed=7, max_epochs=9, trials=5)
    before = settings_of(seed=7, max_epochs=9, trials=5, sampler="gp")
    assert continued_with(study, PLAIN).spec.settings == before
    assert continued_with(study, PLAIN, seed=7).spec.settings == before


@pytest.mark.parametrize(
    ("before", "now", "difference"),
    [
        (
            "low: 1e-4",
            "low: 1e-3",
            "spaces.mse.space.lr: 0.0001 … 0.01, log in the study, 0.001 … 0.01, log now; "
            "a range may become wider, not narrower",
        ),
        (
            ", log: true",
            "",
            "spaces.mse.space.lr: 0.0001 … 0.01, log in the study, 0.0001 … 0.01 now; log, int and step stay",
        ),
        (
            "[{lr: 1e-3}]\n    space: {lr: {low: 1e-4, high: 1e-2, log: true}}",
            "[]\n    space: {lr: {low: 1e-4, high: 1e-2, log: true}, patience: {choices: [5, 9]}}",
            "spaces.mse.space.patience: None, its default, in the study, 5 | 9 now; "
            "what all trials had is to be among the values of a new parameter\n"
            "spaces.mse.start: [{'lr': 0.001}] in the study, [] now",
        ),
        (
            "    fixed: {",
            "    derived: {patience: 7}\n    fixed: {",
            "spaces.mse.derived: absent in the study, present now",
        ),
        ("fixed: {model.depth: 1}", "fixed: {model.depth: 2}", "spaces.mse.fixed.model.depth: 1 in the study, 2 now"),
        (
            "fixed: {",
            "fixed: {weight_decay: 0.1, ",
            "spaces.mse.fixed.weight_decay: absent in the study, present now",
        ),
        ("[{lr: 1e-3}]", "[{lr: 2e-3}]", "spaces.mse.start: [{'lr': 0.001}] in the study, [{'lr': 0.002}] now"),
        ("max_epochs: 27", "max_epochs: 81", "spaces.mse.study.max_epochs: 27 in the study, 81 now"),
    ],
)
def test_a_changed_space_is_refused_with_the_change(before: str, now: str, difference: str, tmp_path: Path) -> None:
    study = created(tmp_path)
    assert before in PLAIN
    assert refusal(continued_with, study, PLAIN.replace(before, now)) == (
        "study 'first' exists with other content; use another --study name, with --warm-start first to begin with what "
        f"is known, or undo the change:\n{difference}"
    )


def test_a_warm_start_is_for_good(tmp_path: Path) -> None:
    study = created(tmp_path)
    text = refusal(continued, study, [], {}, DIGEST, warm_start="other")
    assert text.endswith("undo the change:\nwarm_start: none in the study, other now")
    began = WarmStart(study="other", study_id="1", sha256="2", losses={})
    warm = Study(study.home, study.spec.model_copy(update={"warm_start": began}))
    assert continued(warm, [], {}, DIGEST, warm_start="other") == continued(warm, [], {}, DIGEST) == warm
    text = refusal(continued, warm, [], {}, DIGEST, warm_start="third")
    assert text.endswith("undo the change:\nwarm_start: other in the study, third now")


def test_spaces_of_one_loss_are_told_apart_by_name(tmp_path: Path) -> None:
    wide = PLAIN + "    name: wide\n"
    study = created(tmp_path, PLAIN, wide)
    assert continued_with(study, wide, PLAIN) == study
    changed = wide.replace("model.depth: 1", "model.depth: 2")
    assert refusal(continued_with, study, PLAIN, changed).endswith(
        "\nspaces.wide.fixed.model.depth: 1 in the study, 2 now"
    )


def test_another_set_of_losses_is_refused(tmp_path: Path) -> None:
    study = created(tmp_path)
    assert refusal(continued_with, study, PLAIN, CONDITIONAL).endswith(
        "\nspaces.infonce: absent in the study, present now"
    )
    study = created(tmp_path, PLAIN, CONDITIONAL, name="second")
    assert refusal(continued_with, study, PLAIN).endswith("\nspaces.infonce: in the study, absent now")


def test_other_data_is_refused(tmp_path: Path) -> None:
    message = refusal(continued_with, created(tmp_path), digest="b2" * 32)
    assert message.endswith("\ndata: SHA-256 a1a1a1a1a1a1 in the study, b2b2b2b2b2b2 now")


@pytest.mark.parametrize(
    ("option", "value", "difference"),
    [
        ("seed", 1, "seed: 0 in the study, 1 now"),
        ("max_epochs", 81, "max_epochs: 27 in the study, 81 now"),
        ("grace_epochs", 1, "grace_epochs: 3 in the study, 1 now"),
        ("reduction_factor", 2, "reduction_factor: 3 in the study, 2 now"),
        ("sampler", "random", "sampler: gp in the study, random now"),
        ("objective", "val/cosine_sim", "objective: val/mrr in the study, val/cosine_sim now"),
        ("eval_queries", 2048, "eval_queries: 1024 in the study, 2048 now"),
        ("eval_queries", "all", "eval_queries: 1024 in the study, all now"),
    ],
)
def test_another_setting_is_refused(option: str, value: object, difference: str, tmp_path: Path) -> None:
    study = created(tmp_path, eval_queries=1024)
    assert continued_with(study, PLAIN, eval_queries=1024) == continued_with(study, PLAIN) == study
    message = refusal(continued_with, study, PLAIN, **{option: value})
    assert message.splitlines()[1:] == [difference]


def test_all_differences_are_listed(tmp_path: Path) -> None:
    changed = PLAIN.replace("low: 1e-4", "low: 1e-5").replace("high: 1e-2", "high: 1e-1")
    study = created(tmp_path)
    message = refusal(continued_with, study, changed, digest="b2" * 32, seed=1)
    differences = ["data: SHA-256 a1a1a1a1a1a1 in the study, b2b2b2b2b2b2 now", "seed: 0 in the study, 1 now"]
    grew = "spaces.mse.space.lr: 0.0001 … 0.01, log in the study, 1e-05 … 0.1, log now; --accept-change goes on with it"
    assert message.splitlines()[1:] == [*differences, grew]
    accepted = refusal(continued, study, [space_of(changed)], {"seed": 1}, "b2" * 32, accept_change=True)
    assert accepted.splitlines()[1:] == differences


WIDER = PLAIN.replace("high: 1e-2", "high: 1e-1").replace(
    "log: true}}", "log: true}, batch_size: {choices: [16, 32]}, model.depth: {choices: [0, 1]}}"
)
WIDER = WIDER.replace("fixed: {model.depth: 1}", "").replace("[{lr: 1e-3}]", "[{lr: 1e-3, model.depth: 1}]")
GREW = """\
spaces.mse.space.lr: 0.0001 … 0.01, log in the study, 0.0001 … 0.1, log now
spaces.mse.space.batch_size: 16, its default, in the study, 16 | 32 now
spaces.mse.space.model.depth: fixed at 1 in the study, 0 | 1 now"""


def test_a_space_that_grew_is_refused_until_that_is_accepted(tmp_path: Path) -> None:
    study = created(tmp_path)
    assert refusal(continued_with, study, WIDER) == (
        "study 'first': what is searched grew; go on in it with --accept-change, which keeps all trials and puts the "
        f"change on record, or undo the change:\n{GREW}"
    )


def test_other_versions_are_listed_beside_a_space_that_grew(tmp_path: Path) -> None:
    study = created(tmp_path)
    older = Study(study.home, study.spec.model_copy(update={"versions": {**study.spec.versions, "torch": "1.13.0"}}))
    *_, last = refusal(continued_with, older, WIDER).splitlines()
    assert last.startswith("torch: 1.13.0 in the study, ")


def test_a_space_that_grew_is_on_record_and_what_it_was_is_kept(tmp_path: Path) -> None:
    study = created(tmp_path, PLAIN, CONDITIONAL)
    spaces = [space_of(text) for text in (WIDER.replace("270", "600"), CONDITIONAL)]
    now = continued(study, spaces, {}, DIGEST, accept_change=True)
    assert now.spec.spaces["mse"] == spaces[0].source
    assert now.spec.settings.epochs_per_loss == 600
    assert now.spec.grown == {"mse": [study.spec.spaces["mse"]]}
    assert [now.spec.generation(loss) for loss in ("mse", "infonce")] == [2, 1]
    assert (now.optuna_name("mse"), now.optuna_name("mse", 1), now.optuna_name("infonce")) == (
        "mse@2",
        "mse",
        "infonce",
    )
    (change,) = now.spec.changes
    assert list(change) == ["at", "mse.lr", "mse.batch_size", "mse.model.depth"]
    assert change["mse.lr"] == "0.0001 … 0.01, log before, 0.0001 … 0.1, log from then on"
    now.save()
    assert open_study(study.home, "first") == now
    assert continued(now, spaces, {}, DIGEST) == continued(now, [], {}, DIGEST, accept_change=True) == now
    assert "a range may become wider" in refusal(continued_with, now, PLAIN, CONDITIONAL)


def test_other_words_for_the_same_space_are_no_change(tmp_path: Path) -> None:
    study = created(tmp_path)
    text = PLAIN.replace("log: true}", "log: true, int: false}").replace("{model.depth: 1}", "{model: {depth: 1}}")
    assert continued_with(study, text).spec.grown == {}


@pytest.mark.parametrize(
    ("options", "text", "budget"),
    [
        ({"epochs_per_loss": 600}, PLAIN, "600 epochs"),
        ({"trials": 12}, PLAIN, "12 trials"),
        ({"trials": 12}, PLAIN.replace("270", "600"), "12 trials"),
        ({}, PLAIN.replace("270", "600"), "600 epochs"),
        ({}, PLAIN.replace("epochs_per_loss: 270", "trials: 30"), "30 trials"),
        ({}, PLAIN.replace(", epochs_per_loss: 270", ""), "270 epochs"),
    ],
)
def test_a_new_budget_is_accepted_and_saved(options: dict[str, Any], text: str, budget: str, tmp_path: Path) -> None:
    study = continued_with(created(tmp_path), text, **options)
    assert str(study.spec.settings.budget) == budget
    study.save()
    again = open_study(Home(tmp_path), "first")
    assert again == study
    assert continued_with(again, text, **options) == study


def test_a_new_budget_holds_without_being_given_again(tmp_path: Path) -> None:
    study = continued_with(created(tmp_path), trials=12)
    assert str(continued_with(study).spec.settings.budget) == "12 trials"
    assert str(continued_with(study, PLAIN).spec.settings.budget) == "12 trials"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"epochs_per_loss": 26},
            "study: epochs_per_loss 26 is less than max_epochs 27: not one trial could use its epochs",
        ),
        ({"epochs_per_loss": 600, "trials": 12}, "study: epochs_per_loss and trials are two budgets: give one"),
        ({"trials": 0}, "study: trials: found 0; should be greater than or equal to 1"),
    ],
)
def test_a_new_budget_that_can_not_be_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert refusal(continued_with, created(tmp_path), **options) == message


def test_continuing_does_not_touch_the_file(tmp_path: Path) -> None:
    study = created(tmp_path)
    before = (study.folder / "study.yaml").read_bytes()
    continued_with(study, trials=12)
    assert (study.folder / "study.yaml").read_bytes() == before
    assert read_yaml(study.folder / "study.yaml").data["settings"]["epochs_per_loss"] == 270
