"""Workers and nodes that are killed, and workers that outlive their launch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from losstune.tuning.execute.local_ray import ENVIRONMENT
from tests.reliability.studies import (
    SHORT,
    STUDY,
    alive,
    check_ended,
    epochs_on_disk,
    files_digest,
    leaderboard,
    on_disk,
    optuna_trials,
    private_tmp,
    raylet,
    run,
    run_statuses,
    start,
    trained_twice,
    training,
    tree,
    undisturbed,
    wait_for,
    wait_until_gone,
)
from tests.reliability.tallies import Recorder

pytestmark = pytest.mark.torture

LONGEST_STEP = 6
"""Epochs from one rung to the next, at most, in a study of 9 epochs."""


@pytest.fixture
def tmp() -> Iterator[str]:
    with private_tmp() as folder:
        yield str(folder)


def test_a_trial_goes_on_when_its_worker_was_killed(tmp_path: Path, tmp: str, record: Recorder) -> None:
    process = start(tmp_path, *SHORT, TMPDIR=tmp)
    for epochs in (3, 20):
        wait_for_epochs(tmp_path, epochs)
        (worker,) = wait_for(lambda: training(process.pid), 20, "a worker trains")
        worker.kill()
        wait_until_gone([worker])
        at, before = time.time(), on_disk(tmp_path, "study")
        wait_for_epochs(tmp_path, sum(len(trial.times) for trial in before.values()) + 1)
        after = on_disk(tmp_path, "study")
        again = trained_twice(before, after)
        assert again <= LONGEST_STEP
        resumed = min(t for trial in after.values() for t in trial.times if t > at)
        record(2, "a worker killed", seconds=resumed - at, note=f"{again} epochs of a history trained again")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    check_ended(tmp_path, "study", 1, 27, 9)
    assert leaderboard(tmp_path, "study") == leaderboard(undisturbed(*SHORT), "study")


def wait_for_epochs(root: Path, count: int) -> None:
    wait_for(lambda: epochs_on_disk(root, "study") >= count, 60, f"{count} epochs")


def test_siblings_do_not_notice(tmp_path: Path, tmp: str, record: Recorder) -> None:
    command = ["launch", *STUDY, "--concurrency", "2", "--trials", "2"]
    command += ["--max-epochs", "200", "--grace-epochs", "200"]  # long enough for another worker to start meanwhile
    process = start(tmp_path, *command, TMPDIR=tmp)
    victim, sibling = wait_for(lambda: pair(training(process.pid)), 60, "two workers train")
    victim.kill()
    wait_for(lambda: pair(alive(training(process.pid))), 60, "another worker trains")
    assert alive([sibling])
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    for trials in optuna_trials(tmp_path, "study").values():
        assert [t.state.name for t in trials] == ["COMPLETE", "COMPLETE"]
    check_ended(tmp_path, "study", 2, 400, 200)
    record(2, "one of two workers killed")


def pair(found: list[psutil.Process]) -> list[psutil.Process]:
    return found if len(found) == 2 else []


def test_a_trial_whose_worker_always_dies_fails_alone(tmp_path: Path, tmp: str, record: Recorder) -> None:
    command = ["launch", "mse", *STUDY[2:], "--concurrency", "1", "--trials", "2"]
    process = start(tmp_path, *command, "--max-epochs", "40", "--grace-epochs", "40", TMPDIR=tmp)
    killed: set[int] = set()
    for _ in range(4):
        found = wait_for(lambda: [w for w in training(process.pid) if w.pid not in killed], 60, "a worker trains")
        found[0].kill()
        killed.add(found[0].pid)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    first, second = optuna_trials(tmp_path, "study")["mse"]
    assert (first.state.name, first.user_attrs["end"]["reason"]) == ("FAIL", "its worker died")
    assert (second.state.name, second.user_attrs["end"]["epochs"]) == ("COMPLETE", 40)
    assert run_statuses(tmp_path) == {"mse": "FINISHED", "mse-0000": "FAILED", "mse-0001": "FINISHED"}
    record(2, "a trial's worker killed every time", injected=4, note="the trial fails, the study goes on")


OLD_WORKER = """
import sys
from pathlib import Path
from losstune.trainer.config.config_file import read_run_settings
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import load_pairs
from losstune.trainer.data.resident import resident_data
from losstune.trainer.run.attempt import StaleAttemptError
from losstune.trainer.run.device import pick_device
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.run_dir import RunDirectory

folder = RunDirectory(Path(sys.argv[1]), attempt=1)
config = TrainConfig.from_flat(read_run_settings(folder.path / "config.yaml"))
trainer = Trainer(config, resident_data(load_pairs(config.data), config, pick_device("cpu")))
folder.restore(trainer)
records = [trainer.run_epoch()]
print("trained", flush=True)
sys.stdin.readline()
for write in (lambda: folder.save(trainer, records), lambda: folder.restore(trainer), lambda: folder.start(config)):
    try:
        write()
    except StaleAttemptError:
        print("refused", flush=True)
"""
"""A worker of the first launch that has just trained an epoch, and wants to write it much later."""


def test_a_worker_that_outlives_its_launch_changes_nothing(tmp_path: Path, tmp: str, record: Recorder) -> None:
    """Ray's own workers end with their launch, and can not be made to stay; this one does what they do."""
    command = ["launch", "mse", *STUDY[2:], "--concurrency", "1", "--trials", "2"]
    command += ["--max-epochs", "81", "--grace-epochs", "9"]
    process = start(tmp_path, *command, TMPDIR=tmp)
    wait_for(lambda: epochs_on_disk(tmp_path, "study"), 60, "a first step")
    below = tree(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until_gone(below)
    old = subprocess.Popen(
        [sys.executable, "-c", OLD_WORKER, str(tmp_path / "studies" / "study" / "trials" / "mse-0000")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert old.stdout is not None
    assert old.stdout.readline() == "trained\n"
    run(tmp_path, *command, TMPDIR=tmp)
    before = files_digest(tmp_path / "studies")
    out, _ = old.communicate("now\n", timeout=60)
    assert out == "refused\n" * 3
    assert files_digest(tmp_path / "studies") == before
    record(2, "a worker outlives its launch", injected=3, note="its writes are refused")


def test_a_node_dies_and_another_comes(tmp_path: Path, record: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    shape: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 10**8}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **shape})
    try:
        dying, staying = (cluster.add_node(num_cpus=1, **shape) for _ in range(2))
        command = ["launch", *STUDY, "--address", cluster.address, "--concurrency", "2", "--max-epochs", "27"]
        process = start(tmp_path, *command, "--epochs-per-loss", "189")  # long enough for the new node to be needed
        wait_for(lambda: training(raylet(dying)) and training(raylet(staying)), 60, "both nodes train")
        wait_for(lambda: epochs_on_disk(tmp_path, "study") > 6, 30, "some epochs")
        cluster.remove_node(dying, allow_graceful=False)
        at = time.time()
        coming = cluster.add_node(num_cpus=1, **shape)
        used = False
        while process.poll() is None and time.time() - at < 150:
            used = used or bool(training(raylet(coming)))
            time.sleep(0.05)
        out, _ = process.communicate(timeout=1)
        assert process.returncode == 0, out
    finally:
        cluster.shutdown()
    check_ended(tmp_path, "study", 2, 189, 27)
    states = {t.state.name for trials in optuna_trials(tmp_path, "study").values() for t in trials}
    assert states <= {"COMPLETE", "PRUNED"}
    assert used, "nothing was trained on the node that came"
    record(2, "a node killed, another comes", note="the new node is used")
