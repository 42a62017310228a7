"""Losses of a user's package in spaces and studies: one by its name, one by its path, beside one of ours."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from mlflow.tracking import MlflowClient

from losstune.trainer.base.files import sealed
from losstune.trainer.config.config_file import read_config
from losstune.trainer.config.train_config import TrainConfig
from losstune.tuning.confirm.plan import latest_finished
from losstune.tuning.space.feasibility import load_spaces
from losstune.tuning.storage.home import Home
from losstune.tuning.study.study import create_study, open_study
from tests.conftest import Command, Outcome
from tests.trainer.losses.packages import TILTED, install
from tests.trainer.samples import refusal
from tests.tuning.samples import settings_of, space_of

PATH = "own_study.tilted:TiltedConfig"
SPACE = f"""
    loss_fn: {PATH}
    space: {{gamma: {{low: 0.5, high: 5.0}}, batch_size: {{choices: [8, 16]}}}}
"""


@pytest.fixture
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "own_study", {"tilted": TILTED}, {})
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("_package")
class TestSpaces:
    def test_a_space_has_the_short_name_and_its_settings_the_reference(self) -> None:
        space = space_of(SPACE)
        assert space.loss_fn == "tilted"
        assert space.settings({"gamma": 2.0}) == {"loss_fn": PATH, "gamma": 2.0}
        assert space.source["loss_fn"] == PATH
        assert TrainConfig.from_flat(space.settings({"gamma": 2.0})).flat()["loss_fn"] == PATH

    def test_a_path_of_ours_is_kept_by_its_name(self) -> None:
        space = space_of("loss_fn: trainer.losses.huber:HuberConfig")
        assert space.source == {"loss_fn": "huber"}

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("tilted:Tilted", "tilted:Tipped", "2: loss_fn {path}: module 'own_study.tilted' has no attribute"),
            ("high: 5.0", "high: 6.0", "3: space → gamma → high: found 6.0; should be less than or equal to 5"),
            ("[8, 16]", "[4, 16]", "3: batch_size: found 4; tilted needs at least 8 (16 or more is recommended)"),
            ("gamma", "delta", "3: space → delta: delta belongs to huber, not to tilted"),
        ],
    )
    def test_its_limits_and_rules_are_kept(self, old: str, new: str, message: str) -> None:
        text = SPACE.replace(old, new)
        path = PATH.replace(old, new)
        assert refusal(space_of, text).startswith(f"space.yaml:{message.format(path=path)}")

    def test_two_spaces_for_one_short_name_are_refused(self, tmp_path: Path) -> None:
        install(tmp_path, "own_twin", {"tilted": TILTED}, {})
        for name in ("own_study", "own_twin"):
            Path(tmp_path, f"{name}.yaml").write_text(f"loss_fn: {name}.tilted:TiltedConfig\n")
        files = [str(tmp_path / "own_study.yaml"), str(tmp_path / "own_twin.yaml")]
        message = (
            f"{files[1]} and {files[0]} are both named tilted; a study has one space of a name: let one of them, or a "
            "copy of it, have another, as name: tilted_2"
        )
        assert refusal(load_spaces, files) == message

    def test_a_name_that_can_not_be_shown_is_refused_by_check(self, tmp_path: Path, losstune: Command) -> None:
        install(tmp_path, "own_share", {"own": TILTED.replace("farthest_row", "share %")}, {})
        file = tmp_path / "own.yaml"
        file.write_text("loss_fn: own_share.own:TiltedConfig\nspace: {gamma: {low: 0.5, high: 5.0}}\n")
        ended = losstune("check", file, "--max-epochs", "3")
        assert ended.code == 2
        assert ended.err.startswith("error: loss tilted: its part 'share %': a name has letters, digits, spaces")

    @pytest.mark.parametrize("name", ["confirm", "chance", "ridge", "untrained"])
    def test_a_name_that_stands_beside_losses_is_refused(self, tmp_path: Path, name: str) -> None:
        install(tmp_path, f"own_{name}", {"own": TILTED.replace('"tilted"', f'"{name}"')}, {})
        file = tmp_path / "own.yaml"
        file.write_text(f"loss_fn: own_{name}.own:TiltedConfig\n")
        assert refusal(load_spaces, [str(file)]) == (
            f"{file}:1: loss_fn: no loss of a study can be named any of "
            "confirm, chance, mean_target, ridge, ridge_centered, untrained"
        )


@pytest.mark.usefixtures("_package")
class TestStudies:
    def test_a_study_reads_back_and_is_there_without_the_package(self, tmp_path: Path) -> None:
        create_study(Home(tmp_path), "own", [space_of(SPACE)], settings_of(), "digits", "a1" * 32)
        study = open_study(Home(tmp_path), "own")
        assert list(study.spec.spaces) == ["tilted"]
        assert study.spec.search_spaces()["tilted"].loss_fn == "tilted"
        spec = study.folder / "study.yaml"
        spec.write_text(sealed(spec.read_text().rpartition("# sha256")[0].replace("own_study.", "own_gone.")))
        gone = open_study(Home(tmp_path), "own")
        assert gone.trials() == {"tilted": []}
        expected = "own/study.yaml (tilted):1: loss_fn own_gone.tilted:TiltedConfig: No module named 'own_gone'"
        assert refusal(gone.spec.search_spaces) == expected

    def test_a_loss_that_has_another_name_now_is_refused(self, tmp_path: Path) -> None:
        study = create_study(Home(tmp_path), "own", [space_of(SPACE)], settings_of(), "digits", "a1" * 32)
        spec = study.folder / "study.yaml"
        spec.write_text(sealed(spec.read_text().rpartition("# sha256")[0].replace("  tilted:", "  tipped:")))
        assert refusal(open_study(Home(tmp_path), "own").spec.search_spaces) == (
            f"own/study.yaml (tipped): {PATH} is named 'tilted' now; expected 'tipped'"
        )

    def test_a_name_that_leads_out_is_refused(self, tmp_path: Path) -> None:
        study = create_study(Home(tmp_path), "own", [space_of(SPACE)], settings_of(), "digits", "a1" * 32)
        spec = study.folder / "study.yaml"
        spec.write_text(sealed(spec.read_text().rpartition("# sha256")[0].replace("  tilted:", "  ../../x:")))
        assert refusal(open_study, Home(tmp_path), "own").endswith(f"loss_fn: found '{PATH}'; expected '../../x'")


NAMED = """
loss_fn: tilted
start: [{gamma: 2.0}]
space: {gamma: {low: 0.5, high: 5.0}, lr: {low: 1.0e-3, high: 1.0e-2, log: true}}
"""
BY_PATH = """
loss_fn: own_whole.steep:TiltedConfig
space: {gamma: {choices: [1.0, 2.0, 3.0]}}
"""


@pytest.mark.slow
class TestAWholeStudy:
    @pytest.fixture
    def whole(self, losstune: Command, monkeypatch: pytest.MonkeyPatch, ray_address: str) -> Callable[[str], Outcome]:
        """Commands in a folder that holds a package of two losses, of which it registers one, and spaces for them."""
        here = Path.cwd()
        steep = TILTED.replace('"tilted"', '"steep"')
        install(here, "own_whole", {"tilted": TILTED, "steep": steep}, {"tilted": "own_whole.tilted:TiltedConfig"})
        monkeypatch.syspath_prepend(here)
        Path("named.yaml").write_text(NAMED)
        Path("by_path.yaml").write_text(BY_PATH)
        Path("gentle.yaml").write_text(f"{BY_PATH}name: gentle\n")

        def run(line: str) -> Outcome:
            done = losstune(*shlex.split(line.replace("ADDRESS", ray_address)))
            assert (done.code, done.err) == (0, ""), done.err
            return done

        return run

    def test_from_check_to_the_final_model_with_no_file_of_ours_changed(self, whole: Callable[[str], Outcome]) -> None:
        losses = ("tilted", "steep", "gentle", "full_softmax")
        spaces = "named.yaml by_path.yaml gentle.yaml full_softmax"
        checked = json.loads(whole(f"check {spaces} --trials 2 --json").out)
        assert tuple(checked["losses"]) == losses
        whole(f"launch {spaces} --data digits --study own --trials 2 --max-epochs 3 --address ADDRESS")
        whole(f"launch {spaces} --study own --trials 3 --address ADDRESS")
        study = open_study(Home(Path()), "own")
        for loss in losses:
            trials = optuna.load_study(study_name=loss, storage=f"sqlite:///{study.folder / 'optuna.db'}").trials
            assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
            assert (study.trials_folder / f"{loss}-0002" / "best.pt").exists()
        assert json.loads(whole("status own --json").out)["losses"].keys() == set(losses)

        whole("confirm own --top 1 --seeds 2 --address ADDRESS")
        plan = latest_finished(study)
        assert plan is not None
        references = {arm.loss: arm.settings["loss_fn"] for arm in plan.arms}
        assert references == {
            "tilted": "tilted",
            "steep": "own_whole.steep:TiltedConfig",
            "gentle": "own_whole.steep:TiltedConfig",
            "full_softmax": "full_softmax",
        }
        rows = json.loads(whole("compare own --json").out)["rows"]
        assert {row["loss"] for row in rows if row["role"] == "pick"} == set(losses)
        whole("report own --output report.html")
        page = Path("report.html").read_text()
        assert all(f">{loss}<" in page for loss in ("tilted", "steep", "full_softmax"))
        assert ">gentle (own_whole.steep:TiltedConfig)<" in page

        client = MlflowClient("sqlite:///mlflow.db")
        (experiment,) = [e for e in client.search_experiments() if e.name == "own"]
        names = {run.info.run_name for run in client.search_runs([experiment.experiment_id])}
        assert {"tilted", "steep-0000", "tilted-0001", "gentle", "gentle-0002"} <= names

        assert whole("export own --loss_fn gentle --output best.yaml").out.startswith("Wrote best.yaml: gentle-")
        whole("export own --loss_fn steep --output best.yaml")
        assert read_config(Path("best.yaml")).settings["loss_fn"] == "own_whole.steep:TiltedConfig"
        final = whole("train --config best.yaml --gamma 2.5 --num_epochs 1 --output_dir final --test")
        assert ", Farthest Row: " in final.out
        assert read_config(Path("final/config.yaml")).settings["gamma"] == 2.5
        whole("predict --checkpoint final/best.pt --data digits --output predictions.npy")
