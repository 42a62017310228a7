"""What the examples are made of; that they run as written is in test_docs."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.model.encoder import build_model

NOTEBOOK = Path(__file__).parent.parent / "examples" / "notebook.ipynb"
TEXT_PAIRS = Path(__file__).parent.parent / "examples" / "text-pairs"

NOUNS = """\
  1 This software and database is being provided to you, the LICENSEE, by
00000001 05 n 02 dog 0 domestic_dog 0 001 @ 00000009 n 0000 | a member of the genus Canis; barks; "the dog barked"
00000002 05 n 01 lap_dog 0 000 | a small dog that is held in the lap;  "she fed her lap dog"; "a \\"toy\\""
00000003 06 n 01 andiron 0 000 | metal supports for logs in a fireplace
00000004 05 n 01 cad 0 000 | someone who is morally reprehensible; "you dirty dog"
"""

INDEX = """\
  1 This software and database is being provided to you, the LICENSEE, by
andiron n 1 1 @ 1 0 00000003
cad n 1 2 @ + 1 1 00000004
dog n 3 2 @ ~ 3 1 00000001 00000004 00000003
domestic_dog n 1 1 @ 1 1 00000001
lap_dog n 1 0 1 1 00000002
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """A module of the text pairs by name, forgotten after the test."""
    monkeypatch.syspath_prepend(TEXT_PAIRS)

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, TEXT_PAIRS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return load


def test_a_noun_stands_once_with_its_most_frequent_sense_without_examples(module, tmp_path: Path) -> None:
    (tmp_path / "data.noun").write_text(NOUNS)
    (tmp_path / "index.noun").write_text(INDEX)
    assert list(module("pairs").nouns(tmp_path)) == [  # andiron was in no text; domestic dog is another's sense
        ("someone who is morally reprehensible", "cad"),
        ("a member of the genus Canis; barks", "dog"),
        ("a small dog that is held in the lap", "lap dog"),
    ]


def test_a_missing_dictionary_is_told_with_the_package_that_brings_it(module, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"index.noun|data.noun: no such file; sudo apt-get install wordnet-base"):
        list(module("pairs").nouns(tmp_path))


def test_training_starts_at_the_frozen_models_scores(module) -> None:
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    model = module("correction").build(input_shape=(8,), output_dim=8)
    assert torch.equal(model.eval()(x), x)


def test_inputs_and_targets_of_two_widths_can_not_be_corrected(module) -> None:
    module("correction")
    config = TrainConfig.from_flat({"model.factory": "correction:build"})
    with pytest.raises(UserError, match=r"inputs \(7,\) and targets \(8,\) must have one width"):
        build_model(config.model, (7,), 8)


def test_the_nearest_words_come_first(module) -> None:
    words = np.array([[1, 0], [0, 3], [2, 2], [-1, 0]] + [[-1, -1]] * 4, dtype=np.float32)
    found = module("search").nearest(np.array([[1, 0.2]], dtype=np.float32), words)
    assert found[0][:3] == [0, 2, 1]


def test_the_text_pairs_use_the_face_alone() -> None:
    for path in TEXT_PAIRS.glob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) (losstune\S*)", path.read_text(), re.M)
        assert set(imported) <= {"losstune"}, path.name


RUN_CELLS = """
import ast, json, sys

shown, names = [], {"__name__": "__main__"}
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] != "code":
        continue
    *before, last = ast.parse("".join(cell["source"])).body
    exec(compile(ast.Module(before, []), "cell", "exec"), names)
    if not isinstance(last, ast.Expr):
        exec(compile(ast.Module([last], []), "cell", "exec"), names)
        continue
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    bundle = value._repr_mimebundle_(include=None, exclude=None) if hasattr(value, "_repr_mimebundle_") else {}
    html = getattr(value, "_repr_html_", lambda: None)()
    shown.append([type(value).__name__, sorted(bundle), len(html or ""), repr(value)[:300]])
json.dump(shown, open("shown.json", "w"))
"""
"""A notebook's cells in order in one interpreter, and what it would show of each one's last line."""


@pytest.mark.slow
def test_the_notebook_runs_as_it_stands_and_shows_what_it_should(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOSSTUNE_")}
    subprocess.run([sys.executable, "-c", RUN_CELLS, str(NOTEBOOK)], cwd=tmp_path, check=True, env=environment)
    study, frame, curves, slices, confirmed, answer, report, test_mrr, scores = json.loads(
        (tmp_path / "shown.json").read_text()
    )
    assert study[:2] == ["StudyView", ["text/html", "text/plain"]]
    assert frame[0] == "DataFrame"
    assert "infonce-0000" in frame[3]
    assert curves[0] == slices[0] == "Figure"
    assert confirmed[:2] == ["ComparisonView", ["text/html", "text/plain"]]
    assert "infonce" in answer[3]
    assert report[0] == "Reported"
    assert report[2] > 1e6, "the whole page is inside"
    shape, mrr = ast.literal_eval(scores[3])
    assert shape == (1797, 32)
    assert mrr == pytest.approx(float(test_mrr[3]))


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
