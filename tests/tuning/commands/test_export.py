"""A study's answer as a file: which trial, and where it says it comes from. Whole studies ask it in test_confirm."""

from pathlib import Path

import pytest
import yaml

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.config_file import read_config
from losstune.tuning.commands.export import best_of, export
from losstune.tuning.confirm.compare import compare
from losstune.tuning.confirm.findings import Smallest
from losstune.tuning.confirm.plan import plans
from losstune.tuning.confirm.results import load_results, save_results
from losstune.tuning.study.study import Study
from tests.tuning.confirm.test_cost import COST
from tests.tuning.reported import confirmed, searched


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return searched(tmp_path, (4, 4))


def test_before_a_confirmation_it_is_the_searchs_best(study: Study, tmp_path: Path) -> None:
    for loss in (None, "cosine"):
        exported = export(study, loss, tmp_path / "best.yaml")
        best = best_of(study, loss)
        assert (exported.trial, exported.value, exported.seeds) == (best.name, best.rank_value, 0)
        source = yaml.safe_load((tmp_path / "best.yaml").read_text())["source"]
        assert (source["trial"], source["confirmed"]) == (best.name, False)
        settings = read_config(tmp_path / "best.yaml").settings
        assert {name: settings[name] for name in best.point} == best.point


def test_a_loss_that_stopped_early_is_handed_over_with_the_seeds_that_it_has(study: Study, tmp_path: Path) -> None:
    confirmed(study, top=1, early=True)
    assert export(study, "cosine", tmp_path / "best.yaml").seeds == 4


def test_afterwards_it_is_the_confirmed_winner(study: Study, tmp_path: Path) -> None:
    confirmed(study)
    assert export(study, None, tmp_path / "best.yaml").seeds == 10
    source = yaml.safe_load((tmp_path / "best.yaml").read_text())["source"]
    assert source["trial"].startswith("infonce-")
    assert source["confirmed"] is True


@pytest.mark.parametrize("confirm", [False, True])
def test_the_data_is_where_the_study_has_it_now(study: Study, tmp_path: Path, confirm: bool) -> None:
    if confirm:
        confirmed(study)
    moved = Study(study.home, study.spec.model_copy(update={"data_source": "/new/pairs.npz", "columns": "inputs=a"}))
    export(moved, None, tmp_path / "best.yaml")
    settings = read_config(tmp_path / "best.yaml").settings
    assert (settings["data"], settings["columns"]) == ("/new/pairs.npz", "inputs=a")


def small_one(study: Study, seeds: int = 10) -> Smallest:
    """Confirm a study in which cosine's pick has a quarter of the choice's parameters, and the same scores."""
    plan = next(plans(confirmed(study, seeds=seeds)))
    results, scores = load_results(study, plan)
    choice, other = results.picks["infonce"], results.picks["cosine"]
    sizes, values = {choice: 4000, other: 1000}, results.arm(choice).validation
    changed = [
        arm.model_copy(
            update={"cost": COST.model_copy(update={"parameters": sizes[arm.name]})} if arm.name in sizes else {}
        )
        for arm in results.arms
    ]
    changed = [arm.model_copy(update={"validation": values} if arm.name == other else {}) for arm in changed]
    save_results(study, plan, results.model_copy(update={"arms": changed}), scores | {other: scores[choice]})
    found = compare(study).smallest
    assert found is not None
    return found


def test_the_smallest_that_is_as_good_is_exported_in_place_of_the_winner(study: Study, tmp_path: Path) -> None:
    found = small_one(study)
    exported = export(study, None, tmp_path / "small.yaml", smallest=True)
    assert exported.trial == found.name == yaml.safe_load((tmp_path / "small.yaml").read_text())["source"]["trial"]
    assert (exported.seeds, found.loss_fn) == (10, "cosine")
    assert export(study, None, tmp_path / "best.yaml").trial.startswith("infonce-")


def test_what_is_not_known_to_be_as_good_is_not_handed_over(study: Study, tmp_path: Path) -> None:
    output = tmp_path / "small.yaml"
    with pytest.raises(UserError) as refused:
        export(study, None, output, smallest=True)
    assert str(refused.value) == (
        "--smallest: study 'study' is not confirmed yet, and fresh seeds alone tell what is as good: "
        f"losstune confirm study --storage {study.home.where} --smallest"
    )
    with pytest.raises(UserError, match=r" --smallest --margin 0\.05$"):
        export(study, None, output, smallest=True, margin=0.05)
    small_one(study, seeds=2)
    with pytest.raises(
        UserError, match=r"--smallest: no smaller model is known to be as good. cosine-.* too few seeds"
    ):
        export(study, None, output, smallest=True)
    with pytest.raises(UserError, match="--smallest --loss-fn cosine: the smallest is that of all losses"):
        export(study, "cosine", output, smallest=True)
    confirmed_before = confirmed(searched(tmp_path / "before", (4, 4)))
    with pytest.raises(UserError, match="An earlier release confirmed it, without what models cost"):
        export(confirmed_before, None, output, smallest=True)
    assert not output.exists()


def test_what_can_not_be_exported_is_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--loss-fn: found 'mse'; study 'study' has infonce, cosine"):
        export(study, "mse", tmp_path / "best.yaml")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--output .*file/best.yaml: can not be written: Not a directory"):
        export(study, None, tmp_path / "file" / "best.yaml")
    with pytest.raises(UserError, match="study 'study' has no finished trial with a value to export yet"):
        export(searched(tmp_path / "empty", (0, 0)), None, tmp_path / "best.yaml")
