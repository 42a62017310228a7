"""Every command in the README, the docs and the examples, run as written, in a folder of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *EXAMPLES]
PAGES = [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"]
SLOW = [*EXAMPLES, ROOT / "README.md"] + [
    ROOT / "docs" / name
    for name in ("confirming.md", "losses.md", "own.md", "python.md", "quickstart.md", "spaces.md", "studies.md")
]
"""Whole studies take minutes."""
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
FILE = re.compile(r"^# ([\w./-]+\.\w+)\n")
"""A block that begins with the name of a file is that file."""
TARGETS = re.compile(r"^make (\S+).*\n?", re.M)
PROGRAMS = re.compile(r"^sudo apt-get install (.+)\n?", re.M)
SERVERS = re.compile(r"^losstune ui\b.*\n?", re.M)


def _document(path: Path):
    name = path.parent.name if path in EXAMPLES else path.name
    return pytest.param(path, id=name, marks=[pytest.mark.slow] if path in SLOW else [])


@pytest.mark.parametrize("document", [_document(path) for path in DOCUMENTS])
def test_commands_run_as_written(document: Path, tmp_path: Path) -> None:
    if document in EXAMPLES:
        copy_tracked(document.parent, tmp_path)
    for kind, body in BLOCK.findall(document.read_text()):
        file = FILE.match(body)
        match kind:
            case "python" | "toml" | "yaml" if file:
                (tmp_path / file[1]).write_text(body)
            case "sh":
                run_shell(body, tmp_path)
            case "python":
                subprocess.run([sys.executable, "-c", body], cwd=tmp_path, check=True)
            case "yaml":
                (tmp_path / "mine.yaml").write_text(body)
            case "text":
                continue
            case "bash":  # takes servers and nodes: tests/integration/test_documents.py
                continue
            case _:
                pytest.fail(f"{document.name}: a block of kind {kind} would not be run")


@pytest.mark.slow
def test_the_readme_s_steps_on_shards_that_datasets_wrote(tmp_path: Path) -> None:
    """With other names, text as ids and a column that nobody needs; a shorter study than the README's."""
    write_shards(tmp_path / "pairs")
    section = (ROOT / "README.md").read_text().partition("## Your own data, step by step\n")[2].partition("\n## ")[0]
    steps = next(block for block in BLOCK.findall(section) if block[0] == "sh")[1]
    columns = "--columns inputs=anchor,targets=positive"
    assert f"`--data pairs {columns}`" in section
    steps = steps.replace("--data mine.npz", f"--data pairs {columns}").replace(
        "--targets mine.npz", f"--targets pairs {columns}"
    )
    assert steps.count(columns) == 5
    for long, short in (("--trials 8 --max-epochs 27", "--trials 2 --max-epochs 3"), ("--seeds 3", "--seeds 2")):
        assert long in steps
        steps = steps.replace(long, short)
    run_shell(steps, tmp_path)
    gallery, queries = (np.load(tmp_path / f"{name}.npy") for name in ("gallery", "queries"))
    assert (gallery.shape, queries.shape) == ((600, 8), (600, 8))
    np.testing.assert_allclose(np.linalg.norm(np.vstack([gallery, queries]), axis=1), 1, atol=1e-5)
    recall = {name: recall_at_10(queries, gallery, rows) for name, rows in shard_rows().items()}
    assert all(10 / 600 * 5 < found < 1 for found in recall.values()), recall


def recall_at_10(queries: np.ndarray, gallery: np.ndarray, rows: range) -> float:
    """The share of these rows whose own target is among the first ten of the whole gallery, by inner product."""
    scores = queries[list(rows)] @ gallery.T
    own = scores[np.arange(len(rows)), list(rows)]
    return float(((scores > own[:, None]).sum(axis=1) < 10).mean())


def shard_rows() -> dict[str, range]:
    """Which rows each split has, in the order in which the folder's files are read."""
    return {"test": range(120), "train": range(120, 480), "validation": range(480, 600)}


def write_shards(folder: Path) -> None:
    """``data/train-00000-of-00002.parquet`` and so on, by Hugging Face datasets."""
    from datasets import ClassLabel, Dataset, Features, List, Value

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(600, 20))
    targets = np.tanh(inputs @ rng.normal(size=(20, 8)))
    features = Features(
        anchor=List(Value("float32")), positive=List(Value("float32")), ids=Value("string"), label=ClassLabel(2)
    )
    (folder / "data").mkdir(parents=True)
    for split, rows in shard_rows().items():
        found = {"anchor": inputs[rows], "positive": targets[rows], "label": [0] * len(rows)}
        dataset = Dataset.from_dict({**found, "ids": [f"doc-{row}" for row in rows]}, features=features)
        count = 2 if split == "train" else 1
        for number in range(count):
            shard = dataset.shard(count, number, contiguous=True)
            shard.to_parquet(folder / "data" / f"{split}-{number:05d}-of-{count:05d}.parquet")


def copy_tracked(folder: Path, copy: Path) -> None:
    """What git has of a folder, and what was not yet added: nothing that an earlier run left there."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, copy / name)


def run_shell(body: str, folder: Path) -> None:
    """``make`` targets and Debian's packages are looked up, the MLflow server is only started; all else runs."""
    makefile = (ROOT / "Makefile").read_text()
    for target in TARGETS.findall(body):
        assert re.search(rf"^{target}:", makefile, re.M), f"make has no target {target}"
    for packages in PROGRAMS.findall(body):
        assert set(packages.split()) <= set(makefile.split()), f"make programs does not install {packages}"
    for server in SERVERS.findall(body):
        start_and_stop(server, folder)
    commands = body
    for elsewhere in (TARGETS, PROGRAMS, SERVERS):
        commands = elsewhere.sub("", commands)
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=own_environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{commands}\n{ended.stdout}\n{ended.stderr}"


def own_environment(folder: Path) -> dict[str, str]:
    """Where ``pip install`` reaches this folder only, and nothing is fetched for it."""
    installed = folder / "installed"
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")])),
        "PIP_TARGET": str(installed),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say that there is none
    }


def start_and_stop(command: str, folder: Path) -> None:
    words = command.split("#")[0].split()[1:]
    losstune = str(Path(sys.executable).with_name("losstune"))
    with subprocess.Popen([losstune, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, b"")
        assert any(b"Application startup complete" in line for line in lines), "the server did not start"
        server.send_signal(signal.SIGINT)


def test_commands_inside_text_exist() -> None:
    """Inline ``losstune COMMAND``s name real commands and shipped spaces."""
    from losstune.tuning.cli.app import app
    from losstune.tuning.space.reader import shipped_names

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for document in PAGES:
        for command, rest in re.findall(r"`losstune (\w+)([^`\n]*)`", document.read_text()):
            assert command in known, f"{document.name}: losstune {command}"
            if command == "launch":
                names = [word for word in rest.split("--")[0].split() if word.islower() and "." not in word]
                assert set(names) <= set(shipped_names()), f"{document.name}: {rest}"


def test_links_between_documents_lead_somewhere() -> None:
    for document in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_readme_leads_to_every_page() -> None:
    table = (ROOT / "README.md").read_text().partition("## Where to look")[2]
    led_to = {ROOT / target for target in re.findall(r"\]\(([^)#]+)\)", table)}
    assert {page for page in PAGES if page.parent == ROOT / "docs" or page.parent == ROOT} - led_to == {
        ROOT / "README.md"
    }
