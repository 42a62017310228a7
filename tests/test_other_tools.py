"""The blocks of docs/metrics.md on other tools: each gives the product's own numbers, and the others that it names.

Those of a tool that is too heavy for CI, as ranx and MTEB, run where it is installed.
"""

import json
import math
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "metrics.md").read_text().partition("## The same numbers in other tools")[2]
FILES = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", PAGE, re.M | re.S))
BY_HAND = {"ranx_evaluate": "ranx", "mteb_scores": "mteb"}
READ_BACK = """
import json
from {block} import other, same
print(json.dumps([{{name: float(value) for name, value in found.items()}} for found in (same, other)]))
"""


def installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


BLOCKS = [name for name in FILES if name != "arrays" and (name not in BY_HAND or installed(BY_HAND[name]))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With what the page's commands write, and its files."""
    folder = tmp_path_factory.mktemp("numbers")
    commands = re.search(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)
    assert commands is not None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-euc", commands[1]], cwd=folder, env={**os.environ, "PATH": path}, check=True)
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_a_tool_gives_the_products_numbers_and_the_others_that_the_page_names(block: str, folder: Path) -> None:
    program = READ_BACK.format(block=block)
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    same, other = json.loads(done.stdout)
    ours = json.loads((folder / "ours.json").read_text())
    assert len(same) >= 2
    assert same == pytest.approx({name: ours[f"test/{name}"] for name in same}, abs=1e-6)
    for name, value in other.items():
        assert abs(value - ours[f"test/{name}"]) > 1e-6


def test_the_page_names_every_version_that_the_tests_have() -> None:
    for package, pinned in re.findall(r"([a-z-]+) (\d+\.\d+(?:\.\d+)?)(?=[,;.]\s)", PAGE.rpartition("Versions:")[2]):
        assert not installed(package) or version(package) == pinned, package


@pytest.mark.slow
class TestTies:
    """One query, two documents with equal scores, the first one right: MRR (1 + 1/2) / 2, nDCG (1 + 1/log₂ 3) / 2."""

    SCORES = np.array([[0.5, 0.5]])
    QRELS, RUN = {"q": {"d0": 1}}, {"q": {"d0": 0.5, "d1": 0.5}}

    def test_scikit_learn(self) -> None:
        from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

        right = np.array([[1, 0]])
        assert ndcg_score(right, self.SCORES) == pytest.approx((1 + 1 / math.log2(3)) / 2)
        assert label_ranking_average_precision_score(right, self.SCORES) == 0.5

    def test_pytrec_eval_takes_ids_descending_and_sees_float32_only(self) -> None:
        import pytrec_eval

        evaluator = pytrec_eval.RelevanceEvaluator(self.QRELS, {"recip_rank"})
        assert evaluator.evaluate(self.RUN)["q"]["recip_rank"] == 0.5
        higher = {"q": {"d0": 0.5 + 1e-9, "d1": 0.5}}
        assert evaluator.evaluate(higher)["q"]["recip_rank"] == 0.5

    def test_ir_measures_takes_ids_descending_without_a_cut_off_and_ascending_with_one(self) -> None:
        from ir_measures import RR, calc_aggregate

        assert calc_aggregate([RR], self.QRELS, self.RUN) == {RR: 0.5}
        assert calc_aggregate([RR @ 10], self.QRELS, self.RUN) == {RR @ 10: 1.0}

    def test_sentence_transformers_takes_ids_ascending(self) -> None:
        from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

        evaluator = InformationRetrievalEvaluator({"q": ""}, {"d0": "", "d1": ""}, {"q": {"d0"}}, mrr_at_k=[10])
        hits = [{"corpus_id": name, "score": score} for name, score in self.RUN["q"].items()]
        assert evaluator.compute_metrics([hits])["mrr@k"][10] == 1
