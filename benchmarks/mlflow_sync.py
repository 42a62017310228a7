"""How fast a study comes to MLflow from nothing, and how fast MLflow's own calls could be at best.

A study of ``--trials``, nine epochs of 14 metrics each, made without training. It comes to a new SQLite file, or with
``--server`` to MLflow's server on one, by the tracker of this code and by that of an earlier commit, and its runs come
there by MLflow's calls alone: ``create_run``, ``log_batch`` and ``set_terminated`` of each, with the same content, from
one thread and from as many as the tracker has.

    python benchmarks/mlflow_sync.py [--trials 2000] [--server] [--others 200] [--commit efdaf69]

A trial costs each way the same, however many there are: all but this code's tracker get ``--others`` of them.

Prints trials a second and milliseconds of CPU a trial, without the server's, and one line of JSON.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

from earlier import LAST_RELEASE, installed, python_of
from mlflow.tracking import MlflowClient

from losstune.trainer.base.files import sealed
from losstune.trainer.config.config_file import config_yaml
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.run.history import Record, history_line, read_history
from losstune.tuning.space.reader import load_space
from losstune.tuning.space.search_space import typical_point
from losstune.tuning.space.settings import StudySettings
from losstune.tuning.storage.home import Home
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study, create_study
from losstune.tuning.study.trial import Ending
from losstune.tuning.track.batches import batches, epoch_points, params_of
from losstune.tuning.track.mlflow_store import brief_requests, create_store
from losstune.tuning.track.mlflow_sync import SERVER_WRITERS, Tracker
from losstune.tuning.track.runs import RunPicture, study_picture

EPOCHS, METRICS = 9, 12
SPACE = Path(__file__).parent / "infonce_space.yaml"
EARLIER = """
import json, pathlib, sys, time
import yaml
from trainer.config import TrainConfig, flatten
from trainer.files import sealed
from trainer.run_dir import config_yaml
from trainer.yaml_file import read_yaml
from tuning.home import Home
from tuning.study import Study, StudySpec
from tuning.tracking import Tracker

root, uri = sys.argv[1:]
names = TrainConfig.from_flat({"loss_fn": "infonce"}).flat()
for path in pathlib.Path(root).glob("studies/study/trials/*/config.yaml"):
    settings = flatten(read_yaml(path).data)
    config = TrainConfig.from_flat({name: value for name, value in settings.items() if name in names})
    path.write_text(sealed(config_yaml(config)))
told = yaml.safe_load(open(f"{root}/studies/study/study.yaml"))
known = lambda kind, values: {name: value for name, value in values.items() if name in kind.model_fields}
told["settings"] = known(StudySpec.model_fields["settings"].annotation, told["settings"])
tracker = Tracker(Study(Home(pathlib.Path(root)), StudySpec.model_validate(known(StudySpec, told))), uri)
began, cpu = time.perf_counter(), time.process_time()
tracker.sync(None)
print(json.dumps([time.perf_counter() - began, time.process_time() - cpu]))
"""
"""The last release's tracker on a study of now, less what its files did not know."""
Times = tuple[float, float]
"""Seconds on the clock, and of CPU."""


def made(root: Path, trials: int, more: Record | None = None) -> Study:
    """A search that has ended, of trials that used their epochs; ``more`` are further metrics of each."""
    space, settings = load_space(str(SPACE)), StudySettings(trials=trials, max_epochs=EPOCHS)
    study = create_study(Home(root), "study", [space], settings, "digits", "0" * 64)
    own = LossTrials(study.storage(), space.name, study.spec.search_spaces()[space.name])
    point = typical_point(space)
    config = TrainConfig.from_flat({**space.settings(point), "num_epochs": EPOCHS})
    for seed in range(trials):
        number = own.add(point, seed=seed)
        folder = study.trials_folder / own[number].name
        folder.mkdir()
        (folder / "config.yaml").write_text(sealed(config_yaml(config)))
        (folder / "history.jsonl").write_text("".join(history_line(r | (more or {})) for r in curves(number)))
        own.end(number, Ending("complete", "used its epochs", EPOCHS, 0.4, EPOCHS))
    return study


def curves(number: int) -> list[Record]:
    """The epochs of a trial."""
    metrics = {f"val/metric_{index}": 1 / (1 + index + number) for index in range(METRICS)}
    now = time.time()
    return [
        {"epoch": e, "time": now + e, "seconds": 0.1, "lr": 1e-3, "val/mrr": 0.4, **metrics}
        for e in range(1, EPOCHS + 1)
    ]


def timed(work: Callable[[], object]) -> Times:
    """What a piece of work takes."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu


def by_losstune(study: Study, uri: str) -> Times:
    """From nothing, by the tracker; connecting is not counted."""
    return timed(partial(Tracker(study, uri).sync, None))


def by_calls(threads: int, study: Study, uri: str) -> Times:
    """The store's own limit: three calls a run, from so many threads."""
    client = MlflowClient(uri)
    experiment = client.create_experiment(f"calls-{threads}")

    def log(picture: RunPicture) -> None:
        run_id = client.create_run(experiment, tags=dict(picture.identity), run_name=picture.key).info.run_id
        assert picture.history is not None
        points = [*epoch_points(read_history(picture.history)), *picture.points]
        for batch in batches(points, params_of(picture), picture.tags):
            client.log_batch(run_id, **batch)
        client.set_terminated(run_id)

    runs = [picture for picture in study_picture(study, study.trials(), None) if picture.parent is not None]
    with ThreadPoolExecutor(threads) as pool:
        return timed(lambda: deque(pool.map(log, runs), maxlen=0))


def by_earlier(packages: Path, study: Study, uri: str) -> Times:
    """From nothing, by an earlier commit's tracker."""
    command, environment = python_of(packages, "-c", EARLIER, study.home.where, uri)
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    wall, cpu = json.loads(told.stdout.splitlines()[-1])
    return wall, cpu


@contextmanager
def sqlite_store(folder: Path) -> Iterator[str]:
    """A new SQLite file; its address."""
    create_store(folder / "mlflow.db")
    yield f"sqlite:///{folder}/mlflow.db"


@contextmanager
def server_store(folder: Path) -> Iterator[str]:
    """MLflow's own server on a new SQLite file, as ``mlflow server`` starts it; its address."""
    create_store(folder / "mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder)]
    off = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    null = subprocess.DEVNULL
    with subprocess.Popen(
        command, env={**os.environ, **off}, stdout=null, stderr=null, start_new_session=True
    ) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def _wait(address: str) -> None:
    for _ in range(600):
        with suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.1)
    raise SystemExit(f"MLflow's server does not answer at {address}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="A study to MLflow from nothing.")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--others", type=int, default=200, help="trials for the other ways")
    parser.add_argument("--server", action="store_true", help="to MLflow's server, not into a file")
    parser.add_argument("--commit", default=LAST_RELEASE, help="the earlier code; '' for none")
    asked = parser.parse_args()
    ways: dict[str, Callable[[Study, str], Times]] = {
        "losstune": by_losstune,
        "one thread's calls": partial(by_calls, 1),
    }
    if asked.server:
        ways[f"{SERVER_WRITERS} threads' calls"] = partial(by_calls, SERVER_WRITERS)
    store = server_store if asked.server else sqlite_store
    found = {}
    with brief_requests(), installed(asked.commit) if asked.commit else nullcontext() as earlier:
        if earlier is not None:
            ways[asked.commit] = partial(by_earlier, earlier)
        for name, way in ways.items():
            trials = asked.trials if way is by_losstune else asked.others
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                study = made(Path(folder), trials)
                with store(Path(folder)) as uri:
                    wall, cpu = way(study, uri)
            found[name] = {"trials": trials, "trials_a_second": trials / wall, "cpu_ms": 1000 * cpu / trials}
            line = f"{name}: {trials / wall:.1f} trials a second, {1000 * cpu / trials:.1f} ms of CPU each"
            print(line, file=sys.stderr)
    print(json.dumps({"server": asked.server, **found}))


if __name__ == "__main__":
    main()
