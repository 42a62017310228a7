"""Nothing exposed, nothing phoned: a study and the UI on a machine that has a second address and a way out."""

import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from losstune.tuning.storage.home import Home
from tests.conftest import Command
from tests.reliability.network import ADDRESS, GATEWAY, Network, network
from tests.reliability.tallies import Recorder

pytestmark = [pytest.mark.torture, pytest.mark.always]

LOSSTUNE = str(Path(sys.executable).with_name("losstune"))
LOOPBACK = ("127.0.0.1:", "[::1]:", "[::ffff:127.0.0.1]:")
PORT = 5123
CLUSTER_PORT = 6379
SECRET = "s3cr3t-word"
STRAY = {
    "RAY_ADDRESS": f"{GATEWAY}:6379",
    "MLFLOW_TRACKING_URI": f"http://{GATEWAY}:5000",
    "MLFLOW_REGISTRY_URI": f"http://{GATEWAY}:5000",
    "MLFLOW_REGISTRY_STORE_URI": f"http://{GATEWAY}:5000",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "*",
    "MLFLOW_HOST": "0.0.0.0",
}
"""What may stand in a user's environment for other work, and must not open or divert a local study."""


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    with network() as own:
        yield own


@dataclass
class Watched:
    """A command's end, and what was seen while it ran."""

    code: int
    printed: str
    root: Path
    heard: list[str] = field(default_factory=list)
    ports: set[str] = field(default_factory=set)
    ray_folders: dict[str, int] = field(default_factory=dict)
    commands: set[str] = field(default_factory=set)


def start(net: Network, root: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """``losstune`` in the network, in an environment without CI, pytest or anything else but ``more``."""
    sources = {name: value for name, value in os.environ.items() if name == "PYTHONPATH"}
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(root / "home"), "TMPDIR": str(root), **sources, **more}
    return subprocess.Popen(
        [*net.enter, LOSSTUNE, *arguments, "--storage", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=root,
    )


def watch(net: Network, root: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Watched:
    """Run a command to its end; look every fifth of a second at ports, folders and command lines."""
    seen = Watched(0, "", root)
    net.heard()
    process = start(net, root, *arguments, **(environment or {}))
    while process.poll() is None:
        seen.ports |= net.listening()
        seen.ray_folders |= {path.name: stat.S_IMODE(path.stat().st_mode) for path in root.glob("losstune-*")}
        for other in psutil.process_iter(["cmdline"]):
            seen.commands.add(" ".join(other.info["cmdline"] or ()))
        time.sleep(0.2)
    assert process.stdout is not None
    seen.code, seen.printed, seen.heard = process.returncode, process.stdout.read(), net.heard()
    return seen


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Short, because the paths of Ray's sockets have at most 107 bytes; readable to all, as a user's home may be."""
    with tempfile.TemporaryDirectory(prefix="lt-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        (Path(name) / "home").mkdir()
        yield Path(name)


@pytest.fixture(scope="module")
def launched(net: Network, folder: Path) -> Watched:
    study = ("--study", "one", "--trials", "2", "--max-epochs", "3", "--concurrency", "2")
    return watch(net, folder, "launch", "mse", "infonce", *study, environment=STRAY)


def test_the_ears_are_open(net: Network) -> None:
    net.heard()
    program = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('{GATEWAY}', 9))"
    subprocess.run([*net.enter, sys.executable, "-c", program], check=True)
    assert net.heard() == [GATEWAY]
    lookup = "import socket, contextlib\nwith contextlib.suppress(OSError): socket.gethostbyname('a.example')"
    subprocess.run([*net.enter, "timeout", "1", sys.executable, "-c", lookup], check=False)
    assert GATEWAY in net.heard()


def exposed(seen: Watched) -> list[str]:
    """Ports that can be reached from elsewhere."""
    return [port for port in seen.ports if not port.startswith(LOOPBACK)]


def test_a_launch_opens_ports_on_loopback_only(launched: Watched, record: Recorder) -> None:
    assert launched.code == 0, launched.printed
    assert len(launched.ports) > 5  # Ray was there
    assert exposed(launched) == []
    record(10, "a launch's ports looked at", injected=len(launched.ports))


def test_a_launch_sends_nothing_out_and_follows_no_stray_address(launched: Watched, record: Recorder) -> None:
    assert launched.code == 0, launched.printed
    assert launched.heard == []
    record(10, "a whole study watched, command by command")
    record(10, "stray addresses in the environment", injected=len(STRAY))


def open_to_others(root: Path) -> list[str]:
    """What others may read, write or enter under a folder, the folder itself left out."""
    return [str(path) for path in root.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077]


def test_what_a_launch_writes_is_private(launched: Watched, record: Recorder) -> None:
    root = launched.root
    assert {path.name for path in root.iterdir()} >= {"studies", "mlflow.db", "mlartifacts"}
    assert [path for path in open_to_others(root) if path != str(root / "home")] == []
    record(10, "files' modes looked at", injected=len(list(root.rglob("*"))))


def test_rays_folder_is_private_and_gone_afterwards(launched: Watched) -> None:
    assert set(launched.ray_folders.values()) == {0o700}
    assert list(launched.root.glob("losstune-*")) == []


def test_a_launch_leaves_nothing_in_the_users_home(launched: Watched, record: Recorder) -> None:
    assert list((launched.root / "home").iterdir()) == []
    record(10, "a home looked at")


@pytest.fixture
def open_umask() -> Iterator[None]:
    """What most users have: all may read."""
    former = os.umask(0o022)
    yield
    os.umask(former)


COMMANDS = [
    ["train", "--num_epochs", "1", "--output_dir", "out/run"],
    ["export", "one", "--output", "out/best.yaml"],
    ["sync", "one"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_writes_private_files(
    launched: Watched, losstune: Command, open_umask: None, command: list[str]
) -> None:
    Path("out").mkdir()
    place = {"train": [], "export": ["--storage", launched.root]}
    sync = ["--storage", launched.root, "--tracking-uri", f"sqlite:///{Path('out/m.db').absolute()}"]
    ended = losstune(*command, *place.get(command[0], sync))
    assert ended.code == 0, ended.err
    assert list(Path("out").iterdir())
    assert open_to_others(Path("out")) == []


@pytest.fixture(scope="module")
def ui(net: Network, launched: Watched) -> Iterator[subprocess.Popen[str]]:
    net.heard()
    process = start(net, launched.root, "ui", "--port", str(PORT), **STRAY)
    until = time.monotonic() + 60
    while process.poll() is None and f"127.0.0.1:{PORT}" not in net.listening() and time.monotonic() < until:
        time.sleep(0.1)
    yield process
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def status_of(net: Network, host: str, method: str = "GET", path: str = "experiments/search?max_results=3") -> int:
    """Status of a request whose Host header is ``host``."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    connection.sock = net.socket()
    connection.sock.settimeout(20)
    connection.sock.connect(("127.0.0.1", PORT))
    origin = {"Origin": "http://evil.example", "Content-Type": "application/json"} if method == "POST" else {}
    body = json.dumps({"name": "x"}) if method == "POST" else None
    connection.request(method, f"/api/2.0/mlflow/{path}", body, {"Host": host, **origin})
    return connection.getresponse().status


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}"])
@pytest.mark.parametrize("path", ["experiments/search?max_results=3", "registered-models/search?max_results=3"])
def test_the_ui_serves_its_own_names(net: Network, ui: subprocess.Popen[str], host: str, path: str) -> None:
    assert status_of(net, host, path=path) == 200


FOREIGN = [
    "evil.example",
    f"evil.example:{PORT}",
    "10.evil.example",
    f"192.168.evil.example:{PORT}",
    "172.16.evil.example",
    f"localhost.evil.example:{PORT}",
    f"127.0.0.1.evil.example:{PORT}",
    f"127.0.0.1:{PORT}.evil.example",
    f"{ADDRESS}:{PORT}",
    "localhost:1",
]


@pytest.mark.parametrize("host", FOREIGN)
def test_the_ui_refuses_foreign_names(net: Network, ui: subprocess.Popen[str], host: str, record: Recorder) -> None:
    assert status_of(net, host) == 403
    record(10, "the UI asked by a foreign name")


def test_the_ui_takes_no_changes_from_other_sites(net: Network, ui: subprocess.Popen[str]) -> None:
    assert status_of(net, f"127.0.0.1:{PORT}", "POST", "experiments/create") == 403


def test_the_ui_is_on_loopback_sends_nothing_and_is_one_server(net: Network, ui: subprocess.Popen[str]) -> None:
    assert net.listening() == {f"127.0.0.1:{PORT}"}
    with net.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect((ADDRESS, PORT))
    assert net.heard() == []
    below = psutil.Process(ui.pid).children(recursive=True)
    assert len(below) <= 2, [process.cmdline() for process in below]  # MLflow's command and its one worker


ADDRESSES = [
    f"postgresql://me:{SECRET}@127.0.0.1:1/db",
    f"http://me:{SECRET}@127.0.0.1:1",
    f"mysql://me:{SECRET}@127.0.0.1:1/db?charset=x",
    f"postgresql://127.0.0.1:1/db?user=me&password={SECRET}",
    f"nonsense://me:{SECRET}@host",
]


DATA_WITH_RAY = """
import numpy as np
import ray

def pairs():
    rows = np.random.default_rng(0).standard_normal((400, 8), dtype=np.float32)
    return {"inputs": rows, "targets": rows[:, :4]}
"""


class TestPasswords:
    def test_a_launch_shows_its_password_to_nobody(self, net: Network, launched: Watched, record: Recorder) -> None:
        environment = {"LOSSTUNE_TRACKING_URI": f"http://me:{SECRET}@127.0.0.1:1"}
        (launched.root / "with_ray.py").write_text(DATA_WITH_RAY)
        (launched.root / "with_ray.py").chmod(0o600)
        study = ("--study", "two", "--trials", "1", "--max-epochs", "3", "--concurrency", "1")
        seen = watch(net, launched.root, "launch", "mse", *study, "--data", "with_ray:pairs", environment=environment)
        assert seen.code == 0, seen.printed
        assert exposed(seen) == []  # also where the module of the data has imported Ray first
        assert "MLflow lacks a part of this study" in seen.printed
        log = (launched.root / "studies/two/tracker.log").read_text()
        assert "127.0.0.1" in log  # it tried, and said so
        files = [path for path in launched.root.rglob("*") if path.is_file() and not path.is_symlink()]
        assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
        assert SECRET not in seen.printed
        assert any("losstune.tuning.commands.sync" in command for command in seen.commands)
        assert [command for command in seen.commands if SECRET in command] == []
        record(11, "a password in an address, a whole launch")

    @pytest.mark.parametrize(
        ("command", "address"), [("delete", ADDRESSES[0]), *(("sync", address) for address in ADDRESSES)]
    )
    def test_an_error_names_the_store_without_its_password(
        self, launched: Watched, losstune: Command, record: Recorder, command: str, address: str
    ) -> None:
        yes = ["--yes"] if command == "delete" else []
        ended = losstune(command, "one", "--storage", launched.root, "--tracking-uri", address, *yes)
        assert ended.code == (1 if command == "sync" else 2)  # sync says by its code that MLflow lacks something
        kept = "study one is not deleted, the same command does so once MLflow answers: " if command == "delete" else ""
        assert ended.err.startswith(f"error: {kept}MLflow's store ")
        assert "***" in ended.err
        assert SECRET not in ended.out + ended.err
        assert (launched.root / "studies/one/study.yaml").exists()
        record(11, "a password in an address that fails")

    def test_an_address_is_no_storage_folder(self, losstune: Command) -> None:
        ended = losstune("launch", "mse", "--study", "s", "--storage", f"postgresql://me:{SECRET}@host/db")
        assert ended.code == 2
        assert (
            ended.err
            == "error: --storage: found postgresql://me:***@host/db; expected a folder, or s3://BUCKET/PREFIX\n"
        )
        assert list(Path().iterdir()) == []

    def test_the_ui_gets_its_address_unseen(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        from losstune.tuning.commands import ui

        given: list[object] = []

        class Process:
            returncode = 0

            def __init__(self, command: list[str], env: dict[str, str]) -> None:
                given.extend([command, env["MLFLOW_BACKEND_STORE_URI"]])

            def poll(self) -> int:
                return 0

        monkeypatch.setattr(ui.subprocess, "Popen", Process)
        assert ui.run_ui(Home(tmp_path), ADDRESSES[0], PORT, Console(quiet=True)) == 1  # it ended by itself
        assert given[1] == ADDRESSES[0]
        assert SECRET not in " ".join(given[0])  # type: ignore[arg-type]


def test_a_study_from_its_confirmation_to_its_end_sends_nothing_out(
    net: Network, launched: Watched, record: Recorder
) -> None:
    """With the address of a Ray cluster on this very machine in the environment, which must not be joined."""
    lines = [
        ["confirm", "one", "--top", "1", "--seeds", "2"],
        ["report", "one", "--output", str(launched.root / "report.html")],
        ["export", "one", "--output", str(launched.root / "best.yaml")],
        ["sync", "one"],
        ["delete", "one", "--yes"],
    ]
    with net.socket() as cluster:
        cluster.bind(("127.0.0.1", CLUSTER_PORT))
        cluster.listen()
        cluster.setblocking(False)
        for line in lines:
            seen = watch(net, launched.root, *line, environment={**STRAY, "RAY_ADDRESS": f"127.0.0.1:{CLUSTER_PORT}"})
            assert seen.code == 0, seen.printed
            assert exposed(seen) == [], line
            assert seen.heard == [], line
            with pytest.raises(BlockingIOError):
                cluster.accept()
            record(10, "a whole study watched, command by command")
