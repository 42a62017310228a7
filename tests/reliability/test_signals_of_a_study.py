"""SIGINT and SIGTERM at any instant: a quick end with all said, nothing lost, and the same command goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from losstune.trainer.base.signals import SAME_SECONDS
from losstune.trainer.run.checkpoint import load_checkpoint
from losstune.trainer.run.history import read_history
from losstune.tuning.execute.session import STOP_SECONDS
from tests.reliability.studies import (
    SHORT,
    alive,
    catch_up_mlflow,
    check_ended,
    check_histories,
    epochs_on_disk,
    in_time,
    leaderboard,
    optuna_trials,
    private_tmp,
    run,
    run_statuses,
    slowness,
    spawn,
    start,
    told,
    tree,
    undisturbed,
    wait_for,
    wait_until_gone,
)
from tests.reliability.tallies import Recorder

END_SECONDS = 10.0
"""A first signal ends a launch within this time, a second one within the next."""
SECOND_SECONDS = 2.0
BUSY = 1.3
"""From this slowness on, Ray may take longer to stop than a launch waits for it."""
HANGS = 300.0
"""What has not ended after so many seconds never will."""

RAYS_CODE = 1
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture
def tmp() -> Iterator[str]:
    with private_tmp() as folder:
        yield str(folder)


def train_on(process: subprocess.Popen[str], root: Path) -> list[psutil.Process]:
    """Wait until it has trained something new; returns all its processes."""
    before = epochs_on_disk(root, "study")
    wait_for(lambda: epochs_on_disk(root, "study") > before or process.poll() is not None, 60, "it trains")
    assert process.poll() is None, process.communicate()[0]
    return tree(process.pid)


@dataclass(frozen=True)
class End:
    """How a command ended after a signal: what it printed, and after how many seconds."""

    out: str
    seconds: float


def ends(process: subprocess.Popen[str], signum: signal.Signals, within: float, *, ray_too: bool = False) -> End:
    """It ends in time, with the code of the signal, and says what to do in place of a traceback.

    Where Ray got the signal too, Ray's library may hear of the death of its node, and ends the process with its own.
    """
    began = time.monotonic()
    out, _ = process.communicate(timeout=HANGS)
    seconds = time.monotonic() - began
    assert in_time(began, within), out
    assert "Traceback" not in out, out
    # Python that has not come to the first line of ours dies of the signal itself, which a shell calls the same code.
    assert process.returncode in (CODES[signum], -signum, *([RAYS_CODE] if ray_too else [])), out
    return End(out, seconds)


def stopped_all(end: End, below: list[psutil.Process]) -> bool:
    """Whether a launch stopped what it had started, as it must; on a busy machine alone it may give up waiting for Ray.

    No process is left in the end.
    """
    if f"not stopped {STOP_SECONDS:g} s after the signal, and ended" not in end.out:
        assert not alive(below)
        return True
    assert slowness() > BUSY, end.out
    wait_until_gone(below)
    return False


def to_launch(process: subprocess.Popen[str], signum: signal.Signals) -> None:
    process.send_signal(signum)


def to_group(process: subprocess.Popen[str], signum: signal.Signals) -> None:
    """As ``timeout`` does: to the command, and to all in its group, as a terminal and a shell do."""
    process.send_signal(signum)
    os.killpg(process.pid, signum)


def to_all(process: subprocess.Popen[str], signum: signal.Signals) -> None:
    """As systemd and batch systems do: to every process of the job."""
    for one in [psutil.Process(process.pid), *tree(process.pid)]:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signum)


Send = Callable[[subprocess.Popen[str], signal.Signals], None]
WAYS: list[tuple[signal.Signals, str, Send]] = [
    (signal.SIGTERM, "the launch", to_launch),
    (signal.SIGINT, "its group", to_group),
    (signal.SIGTERM, "its group", to_group),
    (signal.SIGTERM, "all processes", to_all),
]


@pytest.mark.torture
def test_a_study_goes_on_after_every_kind_of_signal(tmp_path: Path, tmp: str, record: Recorder) -> None:
    for signum, whom, send in WAYS:
        process = start(tmp_path, *SHORT, TMPDIR=tmp)
        below = train_on(process, tmp_path)
        send(process, signum)
        end = ends(process, signum, END_SECONDS, ray_too=send is to_all)
        if send is to_all:  # Ray died of it: the launch ends without Ray's help, and the next one clears up
            wait_until_gone(below)
        elif stopped_all(end, below):
            assert not list(Path(tmp).iterdir())
            states = {t.state.name for trials in optuna_trials(tmp_path, "study").values() for t in trials}
            assert "RUNNING" not in states
        catch_up_mlflow(end.out)
        assert set(run_statuses(tmp_path).values()) <= {"FINISHED", "KILLED"}
        record(3, f"{signum.name} to {whom}", seconds=end.seconds)
    check_second_signal(tmp_path, tmp, record)
    run(tmp_path, *SHORT, TMPDIR=tmp)
    check_ended(tmp_path, "study", 1, 27, 9)
    assert leaderboard(tmp_path, "study") == leaderboard(undisturbed(*SHORT), "study")


def check_second_signal(root: Path, tmp: str, record: Recorder) -> None:
    """It ends at once: nothing that was told is lost, and nothing of it stays at work."""
    process = start(root, *SHORT, TMPDIR=tmp)
    below = train_on(process, root)
    known = told(root, "study")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2 * SAME_SECONDS)
    process.send_signal(signal.SIGINT)
    end = ends(process, signal.SIGINT, SECOND_SECONDS)
    wait_until_gone(below)
    assert known.items() <= told(root, "study").items()
    check_histories(root, "study")
    record(3, "a second SIGINT", seconds=end.seconds)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_where_python_ignores_exceptions_ends_the_command(signum: signal.Signals) -> None:
    program = f"""
import os, signal
from losstune.tuning.cli import app as cli

class Dying:
    def __del__(self):
        os.kill(os.getpid(), {signum.value})

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
cli.app = Dying  # made, and gone at once
cli.main()
print("went on")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (CODES[signum], "")


@pytest.mark.torture
@pytest.mark.parametrize(
    ("stage", "signum", "send"),
    [
        ("python", signal.SIGTERM, to_group),
        ("gcs_server", signal.SIGINT, to_group),
        ("raylet", signal.SIGINT, to_launch),
        ("raylet", signal.SIGTERM, to_all),
        ("ray::", signal.SIGTERM, to_group),
    ],
)
def test_signals_while_it_starts(
    tmp_path: Path, tmp: str, record: Recorder, stage: str, signum: signal.Signals, send: Send
) -> None:
    process = start(tmp_path, *SHORT, TMPDIR=tmp)
    wait_for(lambda: any(one.name().startswith(stage) for one in started(process)), 60, f"{stage} starts")
    below = tree(process.pid)
    send(process, signum)
    end = ends(process, signum, END_SECONDS, ray_too=send is to_all)
    wait_until_gone(below)
    record(3, f"{signum.name} while it starts", seconds=end.seconds)


@pytest.mark.torture
def test_a_signal_in_the_instant_in_which_rays_library_has_started(tmp_path: Path, tmp: str, record: Recorder) -> None:
    """Before Python can put its own handlers back."""
    program = """
import os, signal, sys
from losstune.tuning.cli import app
import ray

original = ray._raylet.CoreWorker

def hit(*arguments, **options):
    library = original(*arguments, **options)
    os.killpg(0, signal.SIGTERM)
    return library

ray._raylet.CoreWorker = hit
app.main()
"""
    command = [sys.executable, "-c", program, *SHORT, "--storage", str(tmp_path)]
    environment = {**os.environ, "TMPDIR": tmp}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    ) as process:
        wait_for(lambda: any(one.name() == "raylet" for one in started(process)), 60, "raylet starts")
        below = tree(process.pid)
        out, _ = process.communicate(timeout=HANGS)
    assert process.returncode == 143, out
    assert "SIGTERM received" not in out  # as Ray's handler says, which aborts where two threads get one at once
    wait_until_gone(below)
    assert not list(Path(tmp).iterdir())
    record(3, "SIGTERM in the instant in which Ray's library starts")


def started(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All processes of a launch; fails where it has ended."""
    assert process.poll() is None, process.communicate()[0]
    return [psutil.Process(process.pid), *tree(process.pid)]


@pytest.mark.torture
def test_a_confirmation_stops_and_goes_on(tmp_path: Path, tmp: str, record: Recorder) -> None:
    shutil.copytree(undisturbed(*SHORT) / "studies", tmp_path / "studies")
    command = ["confirm", "study", "--top", "1", "--seeds", "2", "--concurrency", "1"]
    process = start(tmp_path, *command, TMPDIR=tmp)
    wait_for(lambda: len(confirm_histories(tmp_path)) > 1 or process.poll() is not None, 60, "a second run trains")
    below = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    end = ends(process, signal.SIGTERM, END_SECONDS)
    stopped_all(end, below)
    catch_up_mlflow(end.out)
    assert set(run_statuses(tmp_path).values()) <= {"FINISHED", "KILLED"}
    kept = {path: [r["time"] for r in read_history(path)] for path in confirm_histories(tmp_path)}
    run(tmp_path, *command, TMPDIR=tmp)
    for path, times in kept.items():
        assert [record["time"] for record in read_history(path)][: len(times)] == times
    assert (tmp_path / "test_uses.jsonl").read_text().count("\n") == 1
    record(3, "SIGTERM during confirm", seconds=end.seconds)


def confirm_histories(root: Path) -> list[Path]:
    study = root / "studies" / "study"
    return [path for path in study.rglob("history.jsonl") if (study / "trials") not in path.parents]


@pytest.mark.parametrize("signum", list(CODES))
def test_two_signals_end_a_training_with_its_run_whole(tmp_path: Path, signum: signal.Signals) -> None:
    folder = tmp_path / "run"
    options = ["--data", "digits", "--loss_fn", "mse", "--num_epochs", "100000", "--output_dir", str(folder)]
    process = spawn("train", *options, "--threads", "1")  # torch's wait for each other: on a busy machine for seconds
    wait_for(lambda: (folder / "last.pt").exists() or process.poll() is not None, 60, "a first state")
    process.send_signal(signum)
    process.send_signal(signum)  # the kernel may make one of both, and the epoch that goes on then ends first
    ends(process, signum, END_SECONDS)
    epoch = load_checkpoint(folder / "last.pt")["state"]["epoch"]
    epochs = [record["epoch"] for record in read_history(folder / "history.jsonl")]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(epochs) >= epoch >= 1
