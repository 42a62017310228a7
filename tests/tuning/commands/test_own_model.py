"""Spaces and studies of a model of the user's own: its options are searched like any other setting."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from rich.console import Console

from losstune.trainer.base.yaml_file import dump_yaml
from losstune.trainer.config.config_file import read_config
from losstune.trainer.config.model_config import FactoryConfig
from losstune.trainer.data.pairs import Pairs
from losstune.trainer.data.resident import resident_data, split_tensors
from losstune.trainer.data.splits import split_rows
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.trained_model import load_model
from losstune.tuning.commands.check import check_spaces
from losstune.tuning.commands.confirm import ConfirmRequest, confirm
from losstune.tuning.commands.launch import launch
from losstune.tuning.confirm.baselines import baseline_scores
from losstune.tuning.confirm.results import load_results
from losstune.tuning.execute.placement import Resources
from losstune.tuning.execute.session import Execution
from losstune.tuning.space.feasibility import check_against_data
from losstune.tuning.space.search_space import Range
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import Study
from tests.conftest import Command
from tests.trainer.own_models import HERE, image_pairs, token_pairs
from tests.trainer.samples import refusal
from tests.tuning.conftest import request_for
from tests.tuning.samples import settings_of, space_of

QUIET = Console(quiet=True)
CONV = f"""
    loss_fn: mse
    fixed: {{model: {{factory: "{HERE}:Conv", pool: max}}}}
    space:
      model.depth: {{low: 1, high: 3, int: true}}
      model.width: {{choices: [2, 4], when: {{model.depth: [2, 3]}}}}
    start:
      - {{model: {{depth: 2}}}}
      - {{}}
"""
BAG = f"""
    loss_fn: cosine
    fixed: {{model.factory: "{HERE}:bag"}}
    space:
      model.words: {{low: 50, high: 60, int: true}}
      model.dropout: {{low: 0, high: 0.5}}
    derived: {{model.dim: model.words // 10}}
    start:
      - {{model.words: 55}}
"""


class TestSpaces:
    def test_options_are_searched_fixed_and_start_at_the_factorys_defaults(self) -> None:
        space = space_of(CONV)
        assert space.parameters[0].domain == Range(1, 3, integer=True)
        assert space.start == ({"model.depth": 2, "model.width": 4}, {"model.depth": 1})
        config = space.train_config(space.start[0]).model
        assert config == FactoryConfig(factory=f"{HERE}:Conv", options={"depth": 2, "width": 4, "pool": "max"})

    def test_options_are_derived_and_one_without_a_default_is_searched(self) -> None:
        space = space_of(BAG)
        assert space.required == {"model.words"}
        assert space.start == ({"model.words": 55, "model.dropout": 0.0},)
        options = space.train_config(space.start[0]).flat()
        assert {name: options[name] for name in ("model.words", "model.dim", "model.dropout")} == {
            "model.words": 55,
            "model.dim": 5,
            "model.dropout": 0.0,
        }

    def test_what_has_no_default_may_be_used_by_nothing_else(self) -> None:
        assert space_of(BAG.replace("derived: {model.dim: model.words // 10}", "")).required == {"model.words"}

    def test_reads_back_from_its_own_source(self) -> None:
        space = space_of(CONV)
        assert space_of(dump_yaml(dict(space.source))) == space

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (
                "model.depth: {low: 1, high: 3",
                "model.depth: {low: 0, high: 3",
                "5: space → model.depth → low: found 0; ",
            ),
            (
                "{low: 1, high: 3, int: true}",
                "{low: 1, high: 3}",
                "5: space → model.depth: takes whole numbers: add int: ",
            ),
            (
                "choices: [2, 4]",
                "choices: [2, x]",
                "6: space → model.width → choices → item 2: found 'x'; should be a ",
            ),
            ("pool: max", "pool: sum", "3: fixed → model → pool: found 'sum'; should be 'mean' or 'max'"),
            (
                "pool: max",
                "poll: max",
                "3: fixed → model → poll: model.poll is not an option of tests.trainer.own_models:",
            ),
            ("model.depth: {low", "model.deep: {low", "5: space → model.deep: model.deep is not an option of tests."),
            (
                "own_models:Conv",
                "own_models:Cone",
                "3: model.factory tests.trainer.own_models:Cone: module 'tests.train",
            ),
            ("- {}", "- {model.pool: max}", "9: start → item 2 → model.pool: model.pool is not searched; searched: "),
            ("- {}", "- {model.depth: 9}", "9: start → item 2 → model.depth: model.depth: 9 is outside whole numbers"),
        ],
    )
    def test_a_mistake_is_named_with_its_line(self, old: str, new: str, message: str) -> None:
        assert CONV.count(old) == 1
        assert refusal(space_of, CONV.replace(old, new)).startswith(f"space.yaml:{message}")

    def test_the_model_itself_is_not_searched(self) -> None:
        text = CONV.replace("space:", f'space:\n      model.factory: {{choices: ["{HERE}:Conv"]}}')
        assert refusal(space_of, text) == (
            "space.yaml:5: space → model.factory: can not stand here: a space is for one model, which fixed names"
        )

    def test_what_has_no_default_has_to_be_in_the_space_and_in_its_starts(self) -> None:
        missing = refusal(
            space_of,
            BAG.replace("model.words: {low: 50, high: 60, int: true}", "lr: {low: 0.1, high: 1.0}").replace(
                "    derived: {model.dim: model.words // 10}\n", ""
            ),
        )
        assert (
            missing == f"space.yaml:4: space: at every point: model.words is missing: {HERE}:bag has no default for it"
        )
        start = refusal(space_of, BAG.replace("- {model.words: 55}", "- {model.dropout: 0.1}"))
        assert start == "space.yaml:9: start → item 1: model.words is not given, and has no default"

    def test_without_a_factory_options_are_the_encoders(self) -> None:
        message = refusal(space_of, CONV.replace(f'factory: "{HERE}:Conv", ', ""))
        assert message.startswith("space.yaml:3: fixed → model → pool: model.pool is not a setting; ")


class TestAgainstData:
    def test_a_model_that_does_not_fit_is_refused_before_anything_starts(self) -> None:
        message = refusal(check_against_data, [space_of(CONV)], settings_of(), token_pairs())
        assert message == (
            f"space.yaml: model.factory {HERE}:Conv: its model failed on int64 inputs (2, 7): "
            "AssertionError: AssertionError"
        )

    @pytest.mark.parametrize(("text", "pairs"), [(CONV, image_pairs()), (BAG, token_pairs())], ids=["images", "tokens"])
    def test_one_that_fits_is_not(self, text: str, pairs: Pairs) -> None:
        before = torch.random.get_rng_state()
        check_against_data([space_of(text)], settings_of(), pairs)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_check_measures_it(self, tmp_path: Path) -> None:
        pairs = token_pairs()
        np.savez(tmp_path / "pairs.npz", inputs=pairs.inputs, targets=pairs.targets)
        (tmp_path / "space.yaml").write_text(BAG)
        checked = check_spaces([str(tmp_path / "space.yaml")], str(tmp_path / "pairs.npz"), {"trials": 1}, 1)
        assert checked.estimates[0].seconds_per_epoch > 0


class TestBaselines:
    @pytest.mark.parametrize("pairs", [image_pairs(), token_pairs()], ids=["images", "tokens"])
    def test_are_there_for_whole_numbers_of_any_shape(self, pairs: Pairs) -> None:
        scores = baseline_scores(pairs, 0, 0, "val/mrr")
        assert set(scores) == {"chance", "mean_target", "ridge", "ridge_centered", "untrained"}

    def test_untrained_is_the_users_own_model(self) -> None:
        pairs, space = image_pairs(), space_of(CONV)
        config = space.train_config({"model.depth": 2, "model.width": 4}, seed=5, device="cpu", precision="float32")
        model = {name: value for name, value in config.flat().items() if name.startswith("model.")}
        found = baseline_scores(pairs, 0, 5, "val/mrr", model=model)["untrained"]
        trainer = Trainer(config, resident_data(pairs, config, torch.device("cpu")))
        test = split_tensors(pairs, split_rows(pairs, 0).test, torch.device("cpu"))
        assert float(found.test["mrr"].mean()) == pytest.approx(trainer.evaluate(test)["mrr"])
        assert found.note == f"{HERE}:Conv before any training, with the weights of seed 5"


MODULE = """
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import nn


def tokens(*, input_shape, output_dim, words: int, depth: Annotated[int, Field(ge=1, le=3)] = 1, width: int = 8):
    layers = [nn.EmbeddingBag(words, width)]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(width, output_dim))


class Branching(nn.Module):
    def __init__(self, input_shape, output_dim, words: int, depth: int = 1):
        super().__init__()
        self.layers = tokens(input_shape=input_shape, output_dim=output_dim, words=words, depth=depth)

    def forward(self, ids):
        return self.layers(ids) if ids.sum() > 0 else self.layers(ids + 1)


def data():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 50, size=(200, 7))
    return {"inputs": ids, "targets": rng.normal(size=(50, 5))[ids].mean(axis=1)}
"""
SPACE = """
loss_fn: cosine
fixed: {model: {factory: "own_of_a_study:FACTORY"}, accumulate: 2, eval_batch: 32}
space:
  model.words: {choices: [50, 60]}
  model.depth: {low: 1, high: 3, int: true}
  lr: {low: 1.0e-3, high: 1.0e-1, log: true}
start: [{model.words: 50, model.depth: 2}]
"""


def study_of(folder: Path, address: str, factory: str, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A small study from a working directory that holds the user's module and space, and nothing else."""
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "own_of_a_study", raising=False)
    Path("own_of_a_study.py").write_text(MODULE)
    Path("space.yaml").write_text(SPACE.replace("FACTORY", factory))
    budget = {"max_epochs": 3, "grace_epochs": 1, "trials": 4}
    return launch(request_for(folder, address, "space.yaml", data="own_of_a_study:data", **budget), QUIET).study


def test_a_study_searches_the_options_of_a_users_model(
    tmp_path: Path, ray_address: str, untracked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path, ray_address, "tokens", monkeypatch)
    trials = study.trials()["cosine"]
    assert {trial.state for trial in trials} <= {"complete", "pruned"}, [trial.ending for trial in trials]
    assert trials[0].point["model.depth"] == 2
    for trial in trials:
        trained = load_model(study.trials_folder / trial.name / "best.pt")
        assert len(trained.model) == 2 * trial.point["model.depth"]
        settings = read_config(study.trials_folder / trial.name / "config.yaml").settings
        assert (settings["model.depth"], settings["model.width"]) == (trial.point["model.depth"], 8)


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["tokens", "Branching"])
def test_it_is_confirmed_exported_and_registered(
    factory: str, tmp_path: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch, losstune: Command
) -> None:
    """What torch can not export, as a branch on the inputs, is registered as its checkpoint."""
    study = study_of(tmp_path, ray_address, factory, monkeypatch)
    confirmed = confirm(
        ConfirmRequest("study", Home(tmp_path), 1, 2, Execution(Resources(2, 1, 0.0), ray_address)), QUIET
    )
    assert confirmed.tracked
    results, _ = load_results(study, confirmed.plan)
    start = next(arm for arm in confirmed.plan.arms if arm.role == "start")
    assert {n: v for n, v in start.settings.items() if n.startswith("model.") and n != "model.words"} == {
        "model.factory": f"own_of_a_study:{factory}",
        "model.depth": 1,
    } | ({"model.width": 8} if factory == "tokens" else {})
    untrained = results.arm("untrained")
    assert untrained.note.startswith(f"own_of_a_study:{factory} before any training")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}", registry_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    source = client.get_model_version_by_alias("study", "champion").source
    assert source.endswith("/best.pt") == (factory == "Branching")
    assert losstune("export", "study", "--storage", tmp_path, "--output", tmp_path / "best.yaml").code == 0
    monkeypatch.chdir(tmp_path)
    done = losstune("train", "--config", "best.yaml", "--output_dir", "final", "--fit", "train+val", "--model.width", 8)
    assert done.code == (0 if factory == "tokens" else 2)
    report = losstune("report", "study", "--output", "report.html")
    assert report.code == 0
