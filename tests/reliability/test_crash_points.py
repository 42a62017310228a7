"""A power cut at every write of ours: every state that the disk may be left in is gone on from, and nothing is lost."""

import errno
import gc
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch

from losstune.trainer.base.files import make_folder
from losstune.trainer.cli.app import app_for
from losstune.trainer.config.config_file import read_run_settings
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, load_pairs
from losstune.trainer.data.resident import resident_data
from losstune.trainer.run.checkpoint import DamagedCheckpointError, load_checkpoint
from losstune.trainer.run.history import read_history
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.run_dir import RunDirectory
from losstune.tuning.commands.export import export
from losstune.tuning.confirm.confirm_runs import ConfirmRun, RunResult, runs_of
from losstune.tuning.confirm.plan import Plan, is_finished, make_plan, plans, record_test_use, save_plan, saw_test_rows
from losstune.tuning.confirm.results import load_results
from losstune.tuning.confirm.scoring import score_plan
from losstune.tuning.report.page import write_report
from losstune.tuning.storage.home import Home
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.spec import StudySpec
from losstune.tuning.study.study import Study, create_study, open_study
from losstune.tuning.study.trial import Ending
from tests.reliability.disk import Disk, Image, power_cuts
from tests.reliability.tallies import Recorder
from tests.trainer.samples import sample_arrays, sample_config, sample_pairs, sample_trainer, timeless
from tests.tuning.samples import CONTINUOUS, settings_of, space_of

FAULT = "power cut at every write of ours"
Check = Callable[[Image, Path], Iterator[str]]


def losses(images: list[Image], check: Check, scratch: Path) -> Iterator[str]:
    """What a check finds lost or wrong, image by image; being stuck counts too."""
    for number, image in enumerate(images):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: None)  # no cut comes while an image is looked at
            try:
                found = list(check(image, image.write_to(scratch / str(number))))
            except Exception as error:
                found = [f"{type(error).__name__}: {error}"]
        yield from (f"{image.cut}: {loss}" for loss in found)


def check_all(images: list[Image], check: Check, scratch: Path, record: Recorder) -> None:
    """Fails with all that is lost."""
    found = list(losses(images, check, scratch))
    record(4, FAULT, injected=len(images), lost=len(found))
    assert found == []


# A run


def small_config(**settings: Any) -> TrainConfig:
    return sample_config(**{"loss_fn": "mse", "model.hidden_dim": 4, "batch_size": 16, **settings})


CONFIGS = {
    "each epoch is the best": small_config(fit="train+val", num_epochs=3),
    "the first epoch is the best": small_config(lr=1e-30, weight_decay=0.0, num_epochs=3),
    "some are": small_config(lr=0.3, num_epochs=5),
}
RUN = Path("studies", "study", "trials", "mse-0000")


@cache
def pairs() -> Pairs:
    return sample_pairs(rows=60)


def new_trainer(config: TrainConfig) -> Trainer:
    return Trainer(config, resident_data(pairs(), config, torch.device("cpu")))


def restored(folder: RunDirectory, trainer: Trainer) -> bool:
    """As a worker does it: without a whole state, from the first epoch."""
    if not folder.holds_run:
        return False
    try:
        folder.restore(trainer)
    except DamagedCheckpointError:
        return False
    return True


def train(root: Path, config: TrainConfig, attempt: int, epochs: int = 99, disk: Disk | None = None) -> int:
    """Start or go on, saving each epoch, to the end or for some epochs; returns the epoch that it went on from."""
    make_folder((root / RUN).parent)  # as the launch has done it
    trainer, folder = new_trainer(config), RunDirectory(root / RUN, attempt)
    if not restored(folder, trainer):
        folder.start(config)
    began = trainer.epoch
    while trainer.end is None and trainer.epoch < began + epochs:
        folder.save(trainer, [trainer.run_epoch()])
        if disk is not None:
            disk.acknowledged = max(disk.acknowledged, trainer.epoch)
    return began


def images_of_run(root: Path, config: TrainConfig, attempt: int = 1, saved: int = 0, epochs: int = 99) -> list[Image]:
    """Images of a run that starts or goes on; what they acknowledge is the last epoch whose save has returned."""
    root.mkdir(exist_ok=True)
    with power_cuts(root) as disk:
        disk.acknowledged = saved
        train(root, config, attempt, epochs, disk)
    return disk.images


@dataclass(frozen=True)
class Calm:
    """How a run ends that nothing happens to."""

    history: list[dict[str, float]]
    best: tuple[int, float]
    weights: bytes


def outcome(root: Path) -> Calm:
    best = load_checkpoint(root / RUN / "best.pt")
    weights = b"".join(tensor.numpy().tobytes() for tensor in best["model"].values())
    history = timeless(read_history(root / RUN / "history.jsonl"))
    return Calm(history, (best["epoch"], best["value"]), weights)


def run_check(config: TrainConfig, undisturbed: Calm, attempt: int = 2) -> Check:
    """What was saved is there to be read, the run goes on from it, and ends as if nothing had happened."""

    def check(image: Image, root: Path) -> Iterator[str]:
        if image.acknowledged > 0:  # what status, export and confirm read without restoring
            if TrainConfig.from_flat(read_run_settings(root / RUN / "config.yaml")) != config:
                yield "another config"
            if len(read_history(root / RUN / "history.jsonl")) < image.acknowledged:
                yield "the history is short"
            load_checkpoint(root / RUN / "best.pt")
        if (began := train(root, config, attempt)) < image.acknowledged:
            yield f"gone on from epoch {began}, though {image.acknowledged} was saved"
        if outcome(root) != undisturbed:
            yield "other numbers"

    return check


@cache
def calm(name: str) -> Calm:
    with TemporaryDirectory() as folder:
        train(Path(folder), CONFIGS[name], attempt=1)
        return outcome(Path(folder))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_goes_on_from_every_image(tmp_path: Path, record: Recorder, name: str) -> None:
    images = images_of_run(tmp_path / "root", CONFIGS[name])
    assert {image.acknowledged for image in images} == set(range(CONFIGS[name].num_epochs + 1))
    check_all(images, run_check(CONFIGS[name], calm(name)), tmp_path / "images", record)


def test_a_run_on_a_disk_without_second_names_goes_on_from_every_image(
    tmp_path: Path, record: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    name = "some are"
    images = images_of_run(tmp_path / "root", CONFIGS[name])
    assert not any(one_state_twice(image) for image in images)
    assert any(str(RUN / "previous.pt") in image.entries for image in images)
    check_all(images, run_check(CONFIGS[name], calm(name)), tmp_path / "images", record)


def one_state_twice(image: Image) -> bool:
    """Cut between keeping the last state under its second name and writing the next."""
    names = (str(RUN / name) for name in ("last.pt", "previous.pt"))
    return [type(image.entries.get(name)) for name in names] == [bytes, str]


def again(images: list[Image]) -> list[Image]:
    """Some images of a run to go on from and cut again: of all sorts, and from late in the run."""
    late = [image for image in images if image.acknowledged >= 1]
    twice = [image for image in late if one_state_twice(image)]
    torn = [image for image in late if "half of the contents lost" in image.cut]
    return [twice[0], twice[-1], torn[len(torn) // 2]]


def test_a_cut_while_going_on_after_a_cut(tmp_path: Path, record: Recorder) -> None:
    name = "some are"
    config = CONFIGS[name]
    for number, image in enumerate(again(images_of_run(tmp_path / "root", config))):
        root = image.write_to(tmp_path / f"again-{number}")
        images = images_of_run(root, config, attempt=2, saved=image.acknowledged, epochs=2)
        check = run_check(config, calm(name), attempt=3)
        check_all(images, check, tmp_path / f"images-{number}", record)


@pytest.fixture
def copied(tmp_path: Path) -> tuple[list[Image], Check]:
    """``train --resume --checkpoint ONE/last.pt --output-dir OTHER --overwrite``; the best model stays the copied one.

    Returns its images, and a check: OTHER is one run or the other, whole, or none, and the same command ends well.
    """
    data = tmp_path / "pairs.npz"
    np.savez(data, **sample_arrays(rows=60))  # type: ignore[arg-type]
    settings = {"--data": data, "--lr": "1e-30", "--weight-decay": 0, "--hidden-dim": 4, "--threads": 1}
    typed = [str(word) for option in settings.items() for word in option]
    root = tmp_path / "root"
    cli("train", *typed, "--num-epochs", "3", "--output-dir", root / "one")
    cli("train", *typed, "--num-epochs", "2", "--seed", "5", "--output-dir", root / "other")
    discarded = epochs_in(root / "other")

    def resume(folder: Path) -> None:
        into = ("--output-dir", folder / "other", "--overwrite")
        cli("train", "--resume", "--checkpoint", folder / "one" / "last.pt", "--num-epochs", "4", *into)

    with power_cuts(root) as disk:
        disk.acknowledged = 0
        resume(root)
        disk.acknowledged = 4
    whole = epochs_in(root / "other")

    def check(image: Image, folder: Path) -> Iterator[str]:
        state = folder / "other" / "last.pt"
        if state.exists():
            config = load_checkpoint(state)["config"]
            trainer = sample_trainer(TrainConfig.from_flat(config), load_pairs(str(data)))
            if restored(RunDirectory(state.parent), trainer):
                found = epochs_in(state.parent)
                if found != (whole if config["seed"] == 0 else discarded)[: len(found)]:
                    yield "one run's history, the other's state"
            if trainer.epoch < image.acknowledged:
                yield f"gone on from epoch {trainer.epoch}, though {image.acknowledged} was saved"
        elif image.acknowledged:
            yield "no run"
        resume(folder)
        if epochs_in(folder / "other") != whole:
            yield "other numbers"

    return disk.images, check


def epochs_in(run: Path) -> list[dict[str, float]]:
    return timeless(read_history(run / "history.jsonl"))


def test_a_run_copied_to_go_on_elsewhere(tmp_path: Path, record: Recorder, copied: tuple[list[Image], Check]) -> None:
    images, check = copied
    check_all(images, check, tmp_path / "images", record)


def cli(*words: object) -> None:
    arguments = [str(word) for word in words]
    app_for(arguments)(arguments, standalone_mode=False)


# A study


def images_of_study(root: Path) -> tuple[list[Image], list[StudySpec]]:
    """Created, launched three times, each time with a new budget; acknowledged: versions saved, launches numbered."""
    root.mkdir()
    with power_cuts(root) as disk:
        disk.acknowledged = (0, 0)
        with Home(root).locked("study"):
            study = new_study(root)
        specs = [study.spec]
        disk.acknowledged = (1, 0)
        for launch in (1, 2, 3):
            assert study.next_attempt() == launch
            disk.acknowledged = (launch, launch)
            settings = study.spec.settings.model_copy(update={"trials": 5 + launch})
            study = Study(Home(root), study.spec.model_copy(update={"settings": settings}))
            study.save()
            specs.append(study.spec)
            disk.acknowledged = (launch + 1, launch)
    return disk.images, specs


def new_study(root: Path) -> Study:
    settings = settings_of(trials=5, max_epochs=2, grace_epochs=1)
    return create_study(Home(root), "study", [space_of(CONTINUOUS)], settings, "sample", pairs().digest)


def study_check(specs: list[StudySpec]) -> Check:
    """The spec is a whole one, the newest that was saved or a newer; no launch gets a number again."""

    def check(image: Image, root: Path) -> Iterator[str]:
        saved, launches = image.acknowledged
        with Home(root).locked("study"):
            if (root / "studies/study/study.yaml").exists():
                study = open_study(Home(root), "study")
                if study.spec not in specs[max(0, saved - 1) :]:
                    yield "an older spec, or none of those saved"
            else:
                if saved:
                    yield "no spec"
                study = new_study(root)
            if (number := study.next_attempt()) <= launches:
                yield f"launch {number} for the second time"

    return check


def test_a_study_is_whole_in_every_image(tmp_path: Path, record: Recorder) -> None:
    images, specs = images_of_study(tmp_path / "root")
    check_all(images, study_check(specs), tmp_path / "images", record)


def images_of_deletion(root: Path) -> tuple[list[Image], Check]:
    """A study deleted, and a check: it is whole or gone, as half of it would become part of the next of its name."""
    study = searched(root)
    before = content(study.folder)
    with power_cuts(root) as disk:
        disk.acknowledged = False
        study.files.delete()
        disk.acknowledged = True

    def check(image: Image, copy: Path) -> Iterator[str]:
        left = content(copy / "studies" / "study")
        if left and image.acknowledged:
            yield "back again"
        if left not in (before, {}):
            yield f"{len(left)} of {len(before)} files left"

    return disk.images, check


def test_a_deleted_study_is_whole_or_gone(tmp_path: Path, record: Recorder) -> None:
    images, check = images_of_deletion(tmp_path / "root")
    check_all(images, check, tmp_path / "images", record)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# A confirmation


def searched(root: Path) -> Study:
    """A study with one trial, of two epochs."""
    study = new_study(root)
    trials = LossTrials(study.storage(), "mse", study.spec.search_spaces()["mse"])
    trials.add({"lr": 0.01, "model.dropout": 0.1}, seed=0)
    small = {"model.hidden_dim": 4, "model.dropout": 0.1, "num_epochs": 2, "device": "cpu", "lr": 0.01}
    trainer = trained(study.trials_folder / "mse-0000", TrainConfig.from_flat({"loss_fn": "mse", **small}))
    trials.end(0, Ending("complete", "used its epochs", 2, trainer.best_value, trainer.best_epoch))
    del trials
    gc.collect()  # closes the database, which removes its files beside it
    return study


def trained(folder: Path, config: TrainConfig) -> Trainer:
    trainer, run = new_trainer(config), RunDirectory(folder)
    run.start(config)
    run.save(trainer, [trainer.run_epoch() for _ in range(2)])
    return trainer


def result_of(run: ConfirmRun) -> RunResult:
    trainer = trained(run.folder, TrainConfig.from_flat(run.settings))
    return RunResult(
        end="epochs",
        reason="",
        epochs=2,
        best=trainer.best_value,
        best_epoch=trainer.best_epoch,
        seconds=1.0,
        started=0.0,
        finished=1.0,
    )


@dataclass(frozen=True)
class Done:
    """What a confirmation has done so far."""

    planned: tuple[Plan, ...] = ()
    finished: int = 0
    used: int = 0
    scored: bool = False


def images_of_confirmation(study: Study) -> tuple[list[Image], list[tuple[ConfirmRun, RunResult]], dict[str, Any]]:
    """Two confirmations; the first one trained, counted and scored. Also its runs and what it found."""
    first = make_plan(study, 1, top=1, seeds=1, threads=1, split_given=False)
    second = make_plan(study, 2, top=1, seeds=2, threads=1, split_given=False)
    ended = [(run, result_of(run)) for run in runs_of(study, first)]
    with power_cuts(study.home.root) as disk:
        disk.acknowledged = done = Done()
        for count, (run, result) in enumerate(ended, start=1):
            run.finish(result)
            disk.acknowledged = done = replace(done, finished=count)
        save_plan(study, first)
        disk.acknowledged = done = replace(done, planned=(first,))
        record_test_use(study, first)
        disk.acknowledged = done = replace(done, used=1)
        score_plan(study, first, pairs())
        disk.acknowledged = done = replace(done, scored=True)
        save_plan(study, second)
        disk.acknowledged = done = replace(done, planned=(first, second))
        record_test_use(study, second)
        disk.acknowledged = replace(done, used=2)
    return disk.images, ended, scores_of(study, first)


def scores_of(study: Study, plan: Plan) -> dict[str, Any]:
    results, scores = load_results(study, plan)
    tables = {(arm, metric): rows.tolist() for arm, own in scores.items() for metric, rows in own.items()}
    return {"results": results, **{":".join(key): rows for key, rows in tables.items()}}


def confirm_check(ended: list[tuple[ConfirmRun, RunResult]], scores: dict[str, Any]) -> Check:
    """Plans, ends of runs, uses of the test split and scores are there once they were saved, and never in part."""

    def check(image: Image, root: Path) -> Iterator[str]:
        done: Done = image.acknowledged
        study = open_study(Home(root), "study")
        for number, (run, result) in enumerate(ended):
            found = ConfirmRun(study, run.arm, run.seed).result()
            if found != result and (found is not None or number < done.finished):
                yield f"{run.name} ended as {found}"
        planned = list(plans(study))
        if planned[: len(done.planned)] != list(done.planned):
            yield f"{len(planned)} plans"
        for plan in planned:
            before = saw_test_rows(study, plan)
            if plan.number <= done.used and not before:
                yield f"use {plan.number} of the test split is forgotten"
            if is_finished(study, plan) and (not before or scores_of(study, plan) != scores):
                yield "other scores, or scores without a use"
            if record_test_use(study, plan) != plan.number - 1:
                yield "uses counted wrongly"
        if done.scored and not is_finished(study, planned[0]):
            yield "no scores"
        if planned and len((root / "test_uses.jsonl").read_text().splitlines()) != len(planned):
            yield "uses doubled"

    return check


def test_a_confirmation_is_whole_in_every_image(tmp_path: Path, record: Recorder) -> None:
    images, ended, scores = images_of_confirmation(searched(tmp_path / "root"))
    check_all(images, confirm_check(ended, scores), tmp_path / "images", record)


def test_uses_that_two_studies_count_at_once_are_all_kept(tmp_path: Path, record: Recorder) -> None:
    study = searched(tmp_path)
    other = Study(Home(tmp_path), study.spec.model_copy(update={"name": "other"}))
    plan = make_plan(study, 1, top=1, seeds=1, threads=1, split_given=False)

    def count(own: Study) -> None:
        for number in range(1, 21):
            record_test_use(own, plan.model_copy(update={"number": number}))

    with ThreadPoolExecutor() as pool:
        list(pool.map(count, [study, other]))
    kept = len((tmp_path / "test_uses.jsonl").read_text().splitlines())
    record(7, "two confirmations of one root", injected=40, lost=40 - kept)
    assert kept == 40


# What is written for others


def images_of_output(root: Path, write: Callable[[Path], object]) -> tuple[list[Image], bytes]:
    """A file written where an older one was; and the new content."""
    root.mkdir()
    (root / "output").write_bytes(b"old")
    with power_cuts(root) as disk:
        disk.acknowledged = False
        write(root / "output")
        disk.acknowledged = True
    return disk.images, (root / "output").read_bytes()


def output_check(new: bytes) -> Check:
    def check(image: Image, root: Path) -> Iterator[str]:
        found = (root / "output").read_bytes()
        if found != new and (image.acknowledged or found != b"old"):
            yield f"{len(found)} bytes of {len(new)}"

    return check


def predict(study: Study, output: Path) -> None:
    data = output.parent.parent / "pairs.npz"
    np.savez(data, **sample_arrays(rows=60))  # type: ignore[arg-type]
    checkpoint = study.trials_folder / "mse-0000" / "best.pt"
    cli("predict", "--checkpoint", checkpoint, "--data", data, "--output", output)


OUTPUTS: dict[str, Callable[[Study, Path], object]] = {
    "export": lambda study, output: export(study, None, output),
    "report": write_report,
    "predict": predict,
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_the_old_one_or_the_new(tmp_path: Path, record: Recorder, name: str) -> None:
    study = searched(tmp_path / "storage")
    images, new = images_of_output(tmp_path / "root", lambda output: OUTPUTS[name](study, output))
    assert len(images) >= 4
    check_all(images, output_check(new), tmp_path / "images", record)


# The tests themselves


def run_losses(scratch: Path) -> Iterator[str]:
    images = images_of_run(scratch / "root", CONFIGS["some are"])
    yield from losses(images, run_check(CONFIGS["some are"], calm("some are")), scratch / "images")


def rerun_losses(scratch: Path) -> Iterator[str]:
    """Of going on after a kill."""
    config = CONFIGS["some are"]
    (scratch / "root").mkdir()
    train(scratch / "root", config, attempt=1, epochs=3)
    images = images_of_run(scratch / "root", config, attempt=2, saved=3, epochs=1)
    yield from losses(images, run_check(config, calm("some are"), attempt=3), scratch / "images")


def study_losses(scratch: Path) -> Iterator[str]:
    images, specs = images_of_study(scratch / "root")
    yield from losses(images, study_check(specs), scratch / "images")


def confirm_losses(scratch: Path) -> Iterator[str]:
    images, ended, scores = images_of_confirmation(searched(scratch / "root"))
    yield from losses(images, confirm_check(ended, scores), scratch / "images")


def export_losses(scratch: Path) -> Iterator[str]:
    study = searched(scratch / "storage")
    images, new = images_of_output(scratch / "root", lambda output: export(study, None, output))
    yield from losses(images, output_check(new), scratch / "images")


def deletion_losses(scratch: Path) -> Iterator[str]:
    images, check = images_of_deletion(scratch / "root")
    yield from losses(images, check, scratch / "images")


class OsWithout:
    """The module os, but for fsync of one kind of file."""

    def __init__(self, kind: Callable[[int], bool]) -> None:
        self._kind = kind

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        if not self._kind(os.fstat(descriptor).st_mode):
            os.fsync(descriptor)


def append_only(path: Path, content: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(content)


def remove_in_place(path: Path, other: Path) -> None:
    shutil.rmtree(path)
    other.mkdir()


NO_FILE_SYNC = ("losstune.trainer.base.files.os", OsWithout(stat.S_ISREG))
NO_FOLDER_SYNC = ("losstune.trainer.base.files.os", OsWithout(stat.S_ISDIR))
NO_APPEND_SYNC = ("losstune.trainer.run.run_dir.append_durably", append_only)


def plain(module: str, function: str = "write_whole") -> tuple[str, Any]:
    return (f"{module}.{function}", Path.write_bytes)


def plain_folder(module: str) -> tuple[str, Any]:
    return (f"{module}.make_folder", lambda path: path.mkdir(parents=True, exist_ok=True))


REMOVED: dict[str, tuple[tuple[str, Any], Callable[[Path], Iterator[str]]]] = {
    "a run, its files not synced": (NO_FILE_SYNC, run_losses),
    "a run, its folders not synced": (NO_FOLDER_SYNC, run_losses),
    "a run, its history not synced": (NO_APPEND_SYNC, run_losses),
    "a run, its folder made plainly": (plain_folder("losstune.trainer.run.run_dir"), run_losses),
    "a run, its checkpoints written plainly": (plain("losstune.trainer.run.checkpoint"), run_losses),
    "a run, its config written plainly": (plain("losstune.trainer.run.run_dir"), run_losses),
    "going on, history written plainly": (plain("losstune.trainer.run.run_dir"), rerun_losses),
    "going on, files not synced": (NO_FILE_SYNC, rerun_losses),
    "going on, folders not synced": (NO_FOLDER_SYNC, rerun_losses),
    "a study, its files not synced": (NO_FILE_SYNC, study_losses),
    "a study, its folders not synced": (NO_FOLDER_SYNC, study_losses),
    "a study, written plainly": (plain("losstune.tuning.storage.study_files"), study_losses),
    "a study, its folder made plainly": (plain_folder("losstune.tuning.storage.lock"), study_losses),
    "a deletion, its folders not synced": (NO_FOLDER_SYNC, deletion_losses),
    "a deletion, in its place": (("losstune.tuning.storage.study_files.move", remove_in_place), deletion_losses),
    "a confirmation, its files not synced": (NO_FILE_SYNC, confirm_losses),
    "a confirmation, its folders not synced": (NO_FOLDER_SYNC, confirm_losses),
    "a confirmation, written plainly": (plain("losstune.tuning.storage.study_files"), confirm_losses),
    "a confirmation, its folders made plainly": (plain_folder("losstune.tuning.confirm.plan"), confirm_losses),
    "scores written plainly": (plain("losstune.tuning.storage.study_files"), confirm_losses),
    "an export, not synced": (NO_FILE_SYNC, export_losses),
    "an export, its folder not synced": (NO_FOLDER_SYNC, export_losses),
    "an export, written plainly": (plain("losstune.tuning.commands.export", "write_output"), export_losses),
}


@pytest.mark.parametrize("name", REMOVED)
def test_a_removed_protection_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    calm("some are")
    (target, substitute), found = REMOVED[name]
    monkeypatch.setattr(target, substitute)
    assert next(found(tmp_path), None) is not None
