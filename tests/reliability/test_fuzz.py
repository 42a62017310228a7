"""Whatever stands in a file or on the command line: a result, or one error that says what is wrong."""

import json
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.memory import memory_limit
from losstune.trainer.base.yaml_file import dump_yaml, parse_yaml
from losstune.trainer.data.column_names import ROLES
from losstune.trainer.data.formats import READERS
from losstune.trainer.data.guards import MAX_EXPANSION, SMALL
from losstune.trainer.run.history import history_line, read_whole_lines
from losstune.tuning.search.proposals import propose
from losstune.tuning.space.expression import Expression
from losstune.tuning.space.feasibility import check_grid
from losstune.tuning.space.reader import load_space, shipped_names
from losstune.tuning.space.search_space import typical_point
from losstune.tuning.space.settings import SamplerName
from losstune.tuning.study.loss_trials import LossTrials
from tests.conftest import Command
from tests.reliability.damage import changes
from tests.reliability.tallies import Recorder
from tests.running import sized

GIB = 2**30
SECONDS = 10.0
"""A case takes milliseconds; longer than this, something grows without bound."""
FEW, MANY = 100, sized(2000, 500)


def cases(count: int) -> settings:
    return settings(max_examples=count, suppress_health_check=list(HealthCheck))


@contextmanager
def bounded() -> Iterator[None]:
    """A block that ends in time, of a processor and not of a busy machine, and takes no more than a gigabyte."""
    began = time.process_time()
    with memory_limit(GIB):
        yield
    assert time.process_time() - began < SECONDS


@pytest.fixture
def tally(record: Recorder, request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Counts the cases of a test, and records them once all have passed."""
    count = 0

    def another() -> None:
        nonlocal count
        count += 1

    failed = request.session.testsfailed
    yield another
    if request.session.testsfailed == failed:
        record(11, request.node.name.removeprefix("test_").removesuffix("_at_length").replace("_", " "), injected=count)


Tally = Callable[[], None]


# Search spaces


SHIPPED = [parse_yaml(Path(f"search_spaces/{name}.yaml").read_text(), name).data for name in shipped_names()]
_numbers = st.sampled_from([0, 1, -1, 2, 16, 10**6, 10**12, 2**53, 2**53 + 1, 2**63, 10**39]) | st.integers(-9, 99)
_floats = st.sampled_from([0.0, -0.0, 1e-320, 1e308, float("inf"), float("nan"), 0.1, 1e-4]) | st.floats()
_words = st.sampled_from(
    [
        "lr",
        "patience",
        "mse",
        "infonce",
        "batch_size",
        "seed",
        "cosine",
        "low",
        "high",
        "val/mrr",
        "lr * 2",
        "1 / 0",
        "",
    ]
)
_scalars = st.none() | st.booleans() | _numbers | _floats | _words | st.text(max_size=12)
_keys = _words | st.sampled_from(["loss_fn", "space", "start", "derived", "fixed", "study", "choices", "int", "log"])
_keys |= st.sampled_from(["step", "when", "model", "model.depth", "clip_norm", "warmup_epochs"]) | st.text(max_size=5)
_trees: st.SearchStrategy[Any] = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4), max_leaves=12
)
_ends = st.sampled_from([1, 2, 3, 16, 100, 10**6, 10**12, 2**53, 2**53 + 1, 2**63, 10**39, 0.1, 1e-320, 1e308])
_optional = {"log": st.booleans(), "step": st.sampled_from([1, 2, 0.1]) | _numbers | _floats}
_ranges = st.builds(
    lambda ends, more, whole: {"low": min(ends), "high": max(ends), "int": whole, **more},
    st.tuples(_ends, _ends) | st.tuples(_numbers | _floats, _numbers | _floats),
    st.sampled_from([{}, {}, {"log": True}]) | st.fixed_dictionaries({}, optional=_optional),
    st.booleans(),
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a tree."""
    if path:
        yield path
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from places(value, (*path, key))


def put(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a tree with another value in one place."""
    if not path:
        return value
    key, *rest = path
    if isinstance(tree, list):
        return [put(x, tuple(rest), value) if index == key else x for index, x in enumerate(tree)]
    return {name: put(x, tuple(rest), value) if name == key else x for name, x in tree.items()}


@st.composite
def changed_spaces(draw: st.DrawFn) -> str:
    """A shipped space with one to three of its values replaced, and a searched setting of any range."""
    tree = draw(st.sampled_from(SHIPPED))
    name = draw(st.sampled_from(["patience", "warmup_epochs", "clip_norm", "model.hidden_dim"]))
    if draw(st.booleans()):
        without_start = {key: value for key, value in tree.items() if key != "start"}
        tree = {**without_start, "space": {**tree["space"], name: draw(_ranges | _scalars | _trees)}}
    for _ in range(draw(st.integers(0, 2))):
        tree = put(tree, draw(st.sampled_from(list(places(tree)) or [()])), draw(_ranges | _trees))
    return dump_yaml(tree)


_yaml_like = st.text(alphabet="abls_fnocite: -[]{}\n,\"'#&*!|>%@`?~.0159eE+\t\ufeff\u2028é", max_size=200)
_flipped = st.builds(lambda tree, change: change(dump_yaml(tree).encode()), st.sampled_from(SHIPPED), changes())
_noise = _trees.map(lambda tree: dump_yaml({"loss_fn": "mse", "space": tree})) | _yaml_like
_noise_bytes = _noise.map(lambda text: text.encode(errors="replace")) | _flipped | st.binary(max_size=100)
_whole = st.sampled_from([0, 1, 2, 100, 10**6, 10**12, 2**53, 2**53 + 1, 2**63, 10**30, 10**39])
_real = st.sampled_from([0, 1e-320, 1e-9, 0.1, 1, 3, 1e6, 1e308])
_products = st.builds(
    lambda count, end: "*".join(["patience"] * count) + end,
    st.sampled_from([1, 2, 21]),
    st.sampled_from(["", "/2", "/1e300"]),
)


def range_of(ends: tuple[float, float], log: bool, more: dict[str, Any]) -> dict[str, Any]:
    return {"low": min(ends), "high": max(ends), "log": log, **more}


_small_spaces = st.builds(
    lambda patience, more, derived: {"loss_fn": "mse", "space": {"patience": patience, **more}, "derived": derived},
    st.builds(range_of, st.tuples(_whole, _whole), st.booleans(), st.just({"int": True})),
    st.dictionaries(
        st.sampled_from(["clip_norm", "weight_decay", "lr"]),
        st.builds(range_of, st.tuples(_real, _real), st.booleans(), st.just({})),
        max_size=1,
    ),
    st.just({}) | st.dictionaries(st.sampled_from(["clip_norm", "lr", "model.depth"]), _products, max_size=1),
)
"""Whole numbers as large as they come, and what is computed from them; most of these are valid."""
_KINDS = (changed_spaces(), changed_spaces(), _small_spaces.map(dump_yaml), _small_spaces.map(dump_yaml))
SPACES = st.integers(0, 4).flatmap(lambda n: _KINDS[n].map(str.encode) if n < 4 else _noise_bytes)


SAMPLERS: tuple[SamplerName, ...] = ("gp", "tpe", "random")


def read_any_space(path: Path, content: bytes) -> None:
    """A space that is taken can be proposed from."""
    path.write_bytes(content)
    try:
        with bounded():
            space = load_space(str(path))
            typical_point(space)
            for sampler in SAMPLERS:
                propose(LossTrials(InMemoryStorage(), space.name, space), sampler, 0)
            check_grid(space)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017 - some are valid


@cases(FEW)
@given(content=SPACES)
def test_any_search_space(tmp_path: Path, tally: Tally, content: bytes) -> None:
    tally()
    read_any_space(tmp_path / "a.yaml", content)


@pytest.mark.torture
@cases(MANY)
@given(content=SPACES)
def test_any_search_space_at_length(tmp_path: Path, tally: Tally, content: bytes) -> None:
    tally()
    read_any_space(tmp_path / "a.yaml", content)


def test_a_wide_range_is_not_written_out(tmp_path: Path) -> None:
    text = f"loss_fn: mse\nspace:\n  patience: {{low: 1, high: {10**12}, int: true}}\n"
    (tmp_path / "a.yaml").write_text(text)
    space = load_space(str(tmp_path / "a.yaml"))
    with bounded(), pytest.raises(UserError, match="the grid has more than 100,000 points"):
        check_grid(space)


# Expressions


_operands = st.sampled_from(
    ["lr", "model.depth", "0", "1", "1e308", "9" * 60, "0x" + "f" * 60, ".5", "1j", "True", "''"]
)
_operators = st.sampled_from(["+", "-", "*", "/", "//", "**", "%", "@", "<<", " if ", ",", "."])
_formulas = st.recursive(
    _operands,
    lambda inner: (
        st.tuples(inner, _operators, inner).map("".join)
        | st.tuples(st.sampled_from(["-", "+", "~", "not ", "*"]), inner).map("".join)
        | inner.map(lambda text: f"({text})")
        | inner.map(lambda text: f"lr({text})")
    ),
    max_leaves=20,
)
_deep = st.builds(
    lambda opening, count, text: opening * count + text,
    st.sampled_from(["(", "[", "-", "+", "~", "lr.", "9**", "lr*", "1//", "{", "f'{", "not "]),
    st.integers(1, 199),
    st.sampled_from(["1", "lr", "1)", "", "lr/3"]),
)
FORMULAS = _formulas | _deep | st.text(max_size=60)
_found = _numbers | _floats | st.booleans() | st.text(max_size=3)


def evaluate(text: str, found: Any) -> None:
    with bounded():
        try:
            expression = Expression.parse(text)
            value = expression.value(dict.fromkeys(expression.names, found))
        except ValueError:
            return
    assert isinstance(value, int | float)


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@cases(FEW)
@given(text=FORMULAS, found=_found)
def test_any_expression(tally: Tally, text: str, found: Any) -> None:
    tally()
    evaluate(text, found)


@pytest.mark.torture
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@cases(2 * MANY)
@given(text=FORMULAS, found=_found)
def test_any_expression_at_length(tally: Tally, text: str, found: Any) -> None:
    tally()
    evaluate(text, found)


def test_numbers_beyond_a_double_are_refused() -> None:
    expression = Expression.parse("*".join(["patience"] * 21) + "/2")
    with pytest.raises(ValueError, match="too large a number"):
        expression.value({"patience": 10**39})


# Histories


RECORDS: list[dict[str, float]] = [
    {"epoch": epoch, "train/loss": 1 / epoch, "val/mrr": float("inf") if epoch == 5 else 0.01 * epoch, "time": 1e9}
    for epoch in range(1, 13)
]
HISTORY = "".join(map(history_line, RECORDS)).encode()


def read_any_history(path: Path, content: bytes) -> None:
    """Every epoch that is read was written: damage takes epochs away and changes none."""
    path.write_bytes(content)
    with bounded():
        records, damage = read_whole_lines(path)
    assert all(record in RECORDS for record in records)
    assert len(damage) <= 1
    if content.startswith(HISTORY):
        assert records[: len(RECORDS)] == RECORDS


_histories = changes().map(lambda change: change(HISTORY)) | st.binary(max_size=200).map(lambda more: HISTORY + more)
_histories |= st.binary(max_size=200)


@cases(FEW)
@given(content=_histories)
def test_any_history(tmp_path: Path, tally: Tally, content: bytes) -> None:
    tally()
    read_any_history(tmp_path / "history.jsonl", content)


@pytest.mark.torture
@cases(2 * MANY)
@given(content=_histories)
def test_any_history_at_length(tmp_path: Path, tally: Tally, content: bytes) -> None:
    tally()
    read_any_history(tmp_path / "history.jsonl", content)


# Data files whose headers say anything; those with flipped bytes are among the hostile files


_lengths = st.sampled_from([0, 1, 3, 2**31, 2**40, 2**62, 2**63, 2**64, -1, 10**30]) | st.integers(0, 12)
_bodies = st.binary(max_size=96)
_entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "X", ""]),
        "shape": st.lists(_lengths, max_size=4),
        "data_offsets": st.lists(_lengths, min_size=2, max_size=2),
    }
)
_names = st.sampled_from(["inputs", "targets", "ids", "split", "__metadata__", "../x", ""])


def safetensors_bytes(header: Any, body: bytes, more: int) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", max(0, len(text) + more)) + text + body


def npy_bytes(descr: str, order: Any, shape: Any, body: bytes) -> bytes:
    header = f"{{'descr': {descr!r}, 'fortran_order': {order!r}, 'shape': {shape!r}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def npz_bytes(path: Path, members: dict[str, bytes], method: int) -> bytes:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path.read_bytes()


_npy = st.builds(
    npy_bytes,
    st.sampled_from(["<f4", ">f8", "|O", "<U5", "|S0", "|V8", "<c16", "<M8[s]", "?", "f4,i4", "x", "", "<U999999999"]),
    st.booleans() | st.none(),
    st.lists(_lengths, max_size=4).map(tuple) | st.just("x") | st.just([1]),
    _bodies,
)
_SAFETENSORS = st.builds(
    safetensors_bytes,
    st.dictionaries(_names, _entries | _trees, max_size=4) | _trees,
    _bodies,
    st.sampled_from([0, 0, 0, 1, -1, 2**40]),
).map(lambda content: (".safetensors", content))
_NPZ = st.tuples(
    st.just(".npz"),
    st.dictionaries(_names.filter(bool), _npy, max_size=4),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
_ANY = st.tuples(
    st.sampled_from(sorted(READERS)),
    st.builds(lambda start, body: start + body + start, st.sampled_from([b"", b"PK\x03\x04", b"PAR1"]), _bodies),
)
FILES = _SAFETENSORS | _NPZ | _ANY


@pytest.fixture
def read_any_data(tmp_path: Path) -> Callable[[tuple[Any, ...]], None]:
    def read(file: tuple[Any, ...]) -> None:
        suffix, content, *method = file
        path = tmp_path / f"a{suffix}"
        path.write_bytes(npz_bytes(tmp_path / "b", content, *method) if method else content)
        try:
            with bounded():
                arrays = READERS[suffix](path, {role: role for role in ROLES}).arrays
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017 - some are valid
            return
        taken = sum(array.nbytes for array in arrays.values())
        assert all(isinstance(array, np.ndarray) for array in arrays.values())
        assert taken <= max(SMALL, MAX_EXPANSION * path.stat().st_size)

    return read


@pytest.mark.filterwarnings("ignore")
@cases(FEW)
@given(file=FILES)
def test_any_data_file(read_any_data: Callable[..., None], tally: Tally, file: tuple[Any, ...]) -> None:
    tally()
    read_any_data(file)


@pytest.mark.torture
@pytest.mark.filterwarnings("ignore")
@cases(MANY)
@given(file=FILES)
def test_any_data_file_at_length(read_any_data: Callable[..., None], tally: Tally, file: tuple[Any, ...]) -> None:
    tally()
    read_any_data(file)


# Command lines


LAST = {
    "train": ("--data=missing.npz",),
    "predict": ("--checkpoint=missing.pt",),
    "launch": ("--data=missing.npz",),
    "check": ("--data=missing.npz",),
    "ui": ("--port=0",),
    **dict.fromkeys(("status", "list", "delete", "confirm", "compare", "report", "export", "sync"), ()),
}
"""What ends each command line, so that none starts to train, or serves, or finds a study."""
OPTIONS = """
--data --study --loss-fn --lr --batch_size --num-epochs --seed --temperature --model.depth --depth --dropout
--hidden_dim --patience --clip-norm --config --output_dir --output --checkpoint --resume --test --overwrite
--json --trials --max-epochs --epochs-per-loss --grace-epochs --reduction-factor --sampler --objective --race
--time-budget --concurrency --cpus-per-trial --gpus-per-trial --address --accept-change --tracking-uri --top
--warm-start --seeds --yes --port --no-center --center --schedule --help --nothing --NO-SUCH -x - -- --= ---
"""
_options = st.sampled_from(OPTIONS.split())
_values = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e999999",
        "9" * 5000,
        "x" * 5000,
        "tpe",
        "mse",
        "cosine",
        "30m",
        "-1h",
        "../../x",
        "/dev/null",
        "/",
        ".",
        "a b",
        "é\u202e\u0301",
        "\x1b[2J",
        "\ufeff",
        "🙂" * 50,
        "%s{0}",
        "{}",
        "[red]",
        "\n",
    ]
) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)
_words_of_a_line = st.one_of(
    _options, _values, st.tuples(_options, _values).map("=".join), st.tuples(_options, _values).map(tuple)
)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    command = draw(st.sampled_from(sorted(LAST)))
    line: list[str] = []
    for word in draw(st.lists(_words_of_a_line, max_size=6)):
        line.extend([word] if isinstance(word, str) else word)
    if command in ("train", "predict", "launch", "check", "ui") and "--" in line:
        line.remove("--")  # it would turn what comes last into plain words
        line = [word for word in line if word != "--"]
    return [command, *line, *LAST[command]]


def ends_well(losstune: Command, line: list[str]) -> None:
    """Exit code 0 or 2; and 2 with one message, or what typer says of usage."""
    ended = losstune(*line)
    assert "Traceback" not in ended.err + ended.out
    if ended.code == 0:
        assert "--help" in line or line[0] == "list", line
        return
    assert ended.code == 2, ended
    assert ended.err.startswith(("error: ", "Usage: ", "╭─ Error ─")), ended.err[:200]
    assert not list(Path().glob("*")), "something was written"


@cases(FEW)
@given(line=command_lines())
def test_any_command_line(losstune: Command, tally: Tally, line: list[str]) -> None:
    tally()
    ends_well(losstune, line)


@pytest.mark.torture
@cases(MANY)
@given(line=command_lines())
def test_any_command_line_at_length(losstune: Command, tally: Tally, line: list[str]) -> None:
    tally()
    ends_well(losstune, line)
