"""Storage that is full, read-only or gone: one error, no trial ended for it, and the same command goes on."""

import errno
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from losstune.trainer.config.config_file import read_run_settings
from losstune.trainer.run.checkpoint import load_checkpoint
from losstune.trainer.run.history import read_history, read_whole_lines
from losstune.tuning.confirm.plan import RESULTS_FILE
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import open_study
from tests.reliability.studies import LOSSTUNE, STUDY, check_ended, leaderboard, run, start, undisturbed, wait_for
from tests.reliability.tallies import Recorder
from tests.trainer.samples import timeless
from tests.tuning.reported import SPACES
from tests.tuning.samples import settings_of, space_of, sqlite
from tests.tuning.simulation import Launch

Test = TypeVar("Test", bound=Callable[..., None])


def on_its_own_disk(test: Test) -> Test:
    """Takes a minute, and mounts file systems, which only root can."""
    as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems of its own, which only root can")
    return pytest.mark.torture(as_root(test))


ENOUGH = 200_000_000
TRIALS = ["launch", *STUDY, "--concurrency", "1", "--epochs-per-loss", "18", "--max-epochs", "9"]
CONFIRM = ["confirm", "study", "--top", "1", "--seeds", "2", "--concurrency", "1"]
TRAIN = ["train", "--data", "digits", "--loss_fn", "infonce", "--num_epochs", "500", "--threads", "1"]
"""Some ten seconds: it saves every two, and the second last.pt is the one for which there is no room."""
FULL = "No space left on device|database or disk is full|disk I/O error"


@contextmanager
def place() -> Iterator[Path]:
    """An empty folder to mount on, with a short path; what is mounted there is unmounted."""
    folder = Path(tempfile.mkdtemp(prefix="ltm", dir="/tmp"))
    try:
        yield folder
    finally:
        while os.path.ismount(folder):
            subprocess.run(["umount", "-l", folder], check=True)
        shutil.rmtree(folder)


@contextmanager
def disk_in_memory(size: int = ENOUGH) -> Iterator[Path]:
    """A file system that holds so many bytes."""
    with place() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
        yield folder


def leave_room(disk: Path, size: int) -> None:
    """Let a file system in memory have room for so many bytes more than it holds."""
    room = os.statvfs(disk)
    used = (room.f_blocks - room.f_bfree) * room.f_frsize
    subprocess.run(["mount", "-o", f"remount,size={used + size}", disk], check=True)


@contextmanager
def disk_in_a_file() -> Iterator[tuple[Path, Path]]:
    """An ext4 file system, where it is mounted, and the file it is in."""
    with place() as folder, tempfile.NamedTemporaryFile(prefix="ltm") as image:
        os.truncate(image.name, 100_000_000)
        subprocess.run(["mkfs.ext4", "-q", image.name], check=True)
        mount_file(Path(image.name), folder)
        yield folder, Path(image.name)


def mount_file(image: Path, folder: Path) -> None:
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, folder], check=True)


def fail(disk: Path) -> None:
    """The file system makes itself read-only, as it does when it finds an error."""
    device = Path(subprocess.check_output(["findmnt", "-n", "-o", "SOURCE", disk], text=True).strip()).name
    assert device.startswith("loop")
    Path("/sys/fs/ext4", device, "trigger_fs_error").write_text("1")


def refused(root: Path, *command: str) -> str:
    """The one error that a command ends with."""
    return one_error(start(root, *command))


def one_error(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 2, out
    assert "Traceback" not in out, out
    assert len(re.findall(r"^error: ", out, re.MULTILINE)) == 1, out
    return out[out.index("error: ") :]


def in_progress(root: Path, **environment: str) -> subprocess.Popen[str]:
    """A launch that has trials behind it, and one in training."""
    process = start(root, *TRIALS, **environment)
    wait_for(lambda: any(root.glob("studies/study/trials/*-0001/last.pt")), 60, "two trials of a loss have begun")
    assert process.poll() is None
    return process


def check_unharmed(root: Path) -> None:
    """Every trial that has ended has the end of an undisturbed run, and every file of ours is whole."""
    if not (root / "studies/study/study.yaml").exists():
        return
    folder = open_study(Home(root), "study").folder
    if (folder / "optuna.db").exists():
        expected = leaderboard(undisturbed(*TRIALS), "study")
        ended = [row for row in leaderboard(root, "study") if row[3] not in ("RUNNING", "WAITING")]
        assert [row for row in ended if row not in expected] == []
    for path in folder.rglob("*"):
        if path.suffix == ".pt":
            load_checkpoint(path)
        if path.name == "config.yaml":
            read_run_settings(path)
        if path.name == "history.jsonl":
            assert read_whole_lines(path)[1] == []


def check_goes_on(root: Path) -> None:
    """The same command ends with the numbers of an undisturbed run."""
    run(root, *TRIALS)
    assert leaderboard(root, "study") == leaderboard(undisturbed(*TRIALS), "study")
    check_ended(root, "study", 1, 18, 9)


@on_its_own_disk
def test_a_disk_that_fills_up_again_and_again(record: Recorder) -> None:
    """Too small for the study's own files, then for a trial's, again and again; MLflow's files are on it too."""
    rooms = [16_000, 400_000, 1_000_000]
    errors = []
    with disk_in_memory() as disk:
        for room in rooms:
            leave_room(disk, room)
            errors.append(refused(disk, *TRIALS))
            assert re.search(FULL, errors[-1]), errors
            leave_room(disk, 500_000)  # without room for its log a database can not be read
            check_unharmed(disk)
        assert any("studies/study/trials/" in error for error in errors), errors
        leave_room(disk, ENOUGH)
        check_goes_on(disk)
    record(4, "full, a search", injected=len(rooms), note="16 kB to 1 MB left")


@on_its_own_disk
def test_a_disk_that_turns_read_only(tmp_path: Path, record: Recorder) -> None:
    with disk_in_a_file() as (disk, image):
        elsewhere = {"LOSSTUNE_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}  # or it waits for MLflow at its end
        launched = in_progress(disk, **elsewhere)
        fail(disk)
        first = "Read-only file system|readonly|disk I/O error|Input/output error"  # of what is written as it fails
        assert re.search(first, error := one_error(launched)), error
        assert "Read-only file system" in (error := refused(disk, *TRIALS)), error
        subprocess.run(["umount", disk], check=True)
        assert subprocess.run(["e2fsck", "-fy", image], capture_output=True).returncode in (0, 1)
        mount_file(image, disk)
        check_unharmed(disk)
        check_goes_on(disk)
    record(4, "read-only, a search", injected=2)


@on_its_own_disk
def test_a_disk_that_goes_and_comes_back(record: Recorder) -> None:
    """What is under the mount point, or a new folder of the old name, gets nothing."""
    with disk_in_memory() as disk, place() as mounted:
        subprocess.run(["mount", "--bind", disk, mounted], check=True)
        launched = in_progress(mounted)
        subprocess.run(["umount", "-l", mounted], check=True)
        one_error(launched)
        assert not (mounted / "studies").exists()
        subprocess.run(["mount", "--bind", disk, mounted], check=True)
        check_unharmed(mounted)
        launched = start(mounted, *TRIALS)
        trials = len(list(mounted.glob("studies/study/trials/*")))
        wait_for(lambda: len(list(mounted.glob("studies/study/trials/*"))) > trials, 60, "a trial more")
        (mounted / "studies").rename(mounted / "moved")
        one_error(launched)
        assert not (mounted / "studies").exists()
        (mounted / "moved").rename(mounted / "studies")
        check_unharmed(mounted)
        check_goes_on(mounted)
    record(4, "gone and back, a search", injected=2)


@on_its_own_disk
def test_a_full_disk_in_a_confirmation(record: Recorder) -> None:
    root = undisturbed(*TRIALS)
    found = []
    with disk_in_memory() as calm, disk_in_memory() as disk:
        for folder in (calm, disk):
            shutil.copytree(root / "studies", folder / "studies")
        run(calm, *CONFIRM)
        leave_room(disk, 1_500_000)
        assert re.search(FULL, error := refused(disk, *CONFIRM)), error
        leave_room(disk, ENOUGH)
        run(disk, *CONFIRM)
        for folder in (calm, disk):
            results = json.loads((folder / "studies/study/confirm/1" / RESULTS_FILE).read_text())
            found.append([(arm["name"], arm["validation"], arm["ends"], arm["epochs"]) for arm in results["arms"]])
            assert len((folder / "test_uses.jsonl").read_text().splitlines()) == 1
    assert found[0] == found[1]
    record(4, "full, a confirmation")


@on_its_own_disk
def test_a_full_disk_in_a_training(tmp_path: Path, record: Recorder) -> None:
    train = [LOSSTUNE, *TRAIN, "--output_dir"]
    subprocess.run([*train, tmp_path / "calm"], check=True, capture_output=True)
    with disk_in_memory(2_000_000) as disk:
        ended = subprocess.run([*train, disk / "run"], capture_output=True, text=True)
        assert ended.returncode == 2
        assert ended.stderr == f"error: {disk / 'run'}: can not be written: No space left on device\n"
        leave_room(disk, ENOUGH)
        subprocess.run([*train, disk / "run", "--resume"], check=True, capture_output=True)
        histories = [timeless(read_history(folder / "history.jsonl")) for folder in (tmp_path / "calm", disk / "run")]
        bests = [load_checkpoint(folder / "best.pt")["value"] for folder in (tmp_path / "calm", disk / "run")]
    assert histories[0] == histories[1]
    assert bests[0] == bests[1]
    record(4, "full, losstune train")


def test_a_search_that_can_not_write_the_next_trial_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to wait while nothing runs, Tune would ask again for ten minutes, and not look whether to stop."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    search = Launch(sqlite(tmp_path), [space_of(SPACES["cosine"])], settings_of(trials=3), tmp_path)
    monkeypatch.setattr(search.trials["cosine"], "add", full)
    assert search.start() == "FINISHED"
    assert "No space left on device" in search.searcher.storage_error
    assert search.start() == "FINISHED"
