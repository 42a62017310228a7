"""Losses by entry point and by path: what is found, what is refused, and that a broken one harms nobody else."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from losstune.trainer.base.errors import UserError
from losstune.trainer.config.config_file import read_config
from losstune.trainer.config.loss_registry import loss_config_class, loss_names, loss_reference
from losstune.trainer.config.train_config import TrainConfig, flat_fields
from losstune.trainer.losses import LossConfig, LossModule, TrainTargets
from losstune.trainer.losses.mse import MseConfig
from tests.trainer.conftest import Line
from tests.trainer.losses.packages import TILTED, install
from tests.trainer.samples import ALLOWED_LOSSES, refusal

OURS = ["cosine", "cosine_mse", "full_softmax", "huber", "infonce", "infonce_cosine", "mse", "siglip", "triplet"]
HERE = __name__
VERSION = version("losstune")


class _Buildable(LossConfig):
    def build(self, train: TrainTargets) -> LossModule:
        raise NotImplementedError


class NamelessConfig(_Buildable):
    pass


class SpacedConfig(_Buildable):
    name: ClassVar[str] = "two words"


class TakenConfig(_Buildable):
    name: ClassVar[str] = "mse"


class UnbuiltConfig(LossConfig):
    name: ClassVar[str] = "unbuilt"


class LargeConfig(_Buildable):
    name: ClassVar[str] = "large"
    smallest_batch: ClassVar[int] = 64


class NeedyConfig(_Buildable):
    name: ClassVar[str] = "needy"
    margin: float = Field(gt=0)


class ListedConfig(_Buildable):
    name: ClassVar[str] = "listed"
    margins: tuple[float, ...] = (0.1, 0.2)


class OptionalConfig(_Buildable):
    name: ClassVar[str] = "optional"
    margin: float | None = None


class Nest:
    class InnerConfig(_Buildable):
        name: ClassVar[str] = "inner"


INNER = Nest.InnerConfig
NOT_A_CLASS = 3


class TestOurs:
    def test_all_eight_are_registered(self) -> None:
        assert loss_names() == OURS

    @pytest.mark.parametrize("name", OURS)
    def test_a_name_and_a_path_find_the_same_class_and_the_name_stands_for_it(self, name: str) -> None:
        found = loss_config_class(name)
        assert found.name == name
        assert loss_config_class(f"{found.__module__}:{found.__qualname__}") is found
        assert loss_reference(found) == name
        assert TrainConfig.from_flat({"loss_fn": f"{found.__module__}:{found.__qualname__}"}).flat()["loss_fn"] == name

    def test_those_in_which_rows_of_a_batch_act_on_each_other(self) -> None:
        in_batch = [name for name in OURS if loss_config_class(name).in_batch]
        assert in_batch == ["infonce", "infonce_cosine", "siglip", "triplet"]

    def test_no_module_of_a_loss_is_imported_before_it_is_asked_for(self) -> None:
        code = (
            "import sys; from losstune.trainer.config.loss_registry import loss_config_class, loss_names\n"
            "loss_names(); assert 'losstune.trainer.losses' not in sys.modules; loss_config_class('mse')\n"
            "print(*sorted(m for m in sys.modules if m.startswith('losstune.trainer.losses.')))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [
            "losstune.trainer.losses.base",
            "losstune.trainer.losses.mse",
        ]


class TestPaths:
    def test_a_loss_that_nobody_registered_is_known_by_its_path(self) -> None:
        reference = f"{HERE}:OptionalConfig"
        assert loss_config_class(reference) is OptionalConfig
        assert loss_reference(OptionalConfig) == reference
        config = TrainConfig.from_flat({"loss_fn": reference, "margin": 0.5})
        assert config.flat()["loss_fn"] == reference
        assert TrainConfig.from_flat(config.flat()) == config
        assert loss_names() == OURS

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("Missing", f"module {HERE!r} has no attribute 'Missing'"),
            ("NOT_A_CLASS", "found int; expected a subclass of losstune.LossConfig"),
            ("Nest", "found Nest; expected a subclass of losstune.LossConfig"),
            ("NamelessConfig", 'name: found None; expected 1 to 40 letters, digits and _, as name: ClassVar[str] = "'),
            ("SpacedConfig", "name: found 'two words'; expected 1 to 40 letters, digits and _"),
            ("TakenConfig", f"its name 'mse' is that of a loss of losstune {VERSION}; choose another"),
            ("UnbuiltConfig", "it has no method build(self, train)"),
            ("LargeConfig", "recommended_batch: found 16; smallest_batch is 64"),
            ("NeedyConfig", "margin: it has no default"),
            ("ListedConfig", "margins: its type is tuple[float, ...]; allowed: bool, int, float, str, Literal of str"),
            ("INNER", "Nest.InnerConfig is not at the top of its module, where workers could import it"),
        ],
    )
    def test_what_is_no_loss_is_refused_with_what_is_missing(self, name: str, message: str) -> None:
        found = refusal(loss_config_class, f"{HERE}:{name}")
        assert found.startswith(f"loss_fn {HERE}:{name}: {message}")

    @pytest.mark.parametrize("reference", ["quadruplet", "", None, 3, ["mse"], "no path:X", "a.b"])
    def test_what_is_neither_name_nor_path_is_refused_with_those_allowed(self, reference: object) -> None:
        assert refusal(loss_config_class, reference) == f"loss_fn: found {reference!r}; allowed: {ALLOWED_LOSSES}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for packages, on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


class TestPackages:
    def test_a_package_adds_its_loss_by_name(self, site: Path) -> None:
        install(site, "adds_losses", {"tilted": TILTED}, {"tilted": "adds_losses.tilted:TiltedConfig"})
        assert loss_names() == sorted([*OURS, "tilted"])
        found = loss_config_class("tilted")
        assert loss_reference(found) == "tilted"
        assert loss_config_class("adds_losses.tilted:TiltedConfig") is found
        assert TrainConfig.from_flat({"loss_fn": "tilted", "gamma": 3.0}).flat()["gamma"] == 3.0
        message = "batch_size: found 7; tilted needs at least 8 (16 or more is recommended)"
        assert refusal(TrainConfig.from_flat, {"loss_fn": "tilted", "batch_size": 7}) == message

    def test_its_parameters_are_known_to_belong_to_it(self, site: Path) -> None:
        install(site, "owns_gamma", {"tilted": TILTED}, {"tilted": "owns_gamma.tilted:TiltedConfig"})
        assert refusal(TrainConfig.from_flat, {"gamma": 1.0}) == "gamma belongs to tilted, not to cosine"

    def test_one_name_of_two_packages_is_refused_with_both(self, site: Path) -> None:
        install(site, "first_mse", {}, {"mse": "first_mse.mse:MseConfig"})
        message = refusal(loss_config_class, "mse")
        assert message == f"loss_fn: 'mse' is registered by first_mse 1.0 and losstune {VERSION}; uninstall one of them"
        assert loss_config_class("cosine").name == "cosine"

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
            ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
            ("x = 1", "AttributeError: module 'broken_{number}.own' has no attribute 'Config'"),
            ("class", "SyntaxError: invalid syntax (own.py, line 1)"),
        ],
        ids=range(4),
    )
    def test_one_that_can_not_be_imported_harms_only_who_asks_for_it(
        self, site: Path, cli: Line, text: str, reason: str, request: pytest.FixtureRequest
    ) -> None:
        number = request.node.callspec.id
        package = f"broken_{number}"
        install(site, package, {"own": text}, {"fragile": f"{package}.own:Config"})
        expected = f"loss_fn fragile: registered by {package} 1.0, but {package}.own:Config can not be imported: "
        expected += reason.format(number=number)
        assert refusal(loss_config_class, "fragile") == expected
        assert cli("train --loss_fn fragile --gamma 3").err == f"error: {expected}\n"
        assert "fragile" in cli("train --help").out
        assert refusal(TrainConfig.from_flat, {"gamma": 1.0}).startswith("gamma is not a setting")

    def test_a_class_of_another_name_than_registered_is_refused(self, site: Path) -> None:
        install(site, "misnamed", {"tilted": TILTED}, {"steep": "misnamed.tilted:TiltedConfig"})
        assert refusal(loss_config_class, "steep") == (
            "loss_fn steep, misnamed.tilted:TiltedConfig of misnamed 1.0: "
            "its name is 'tilted'; it must be 'steep', as it is registered"
        )

    def test_a_parameter_with_the_name_of_a_training_setting_is_refused(self, site: Path, cli: Line) -> None:
        install(site, "greedy", {"own": TILTED.replace("gamma", "lr")}, {"tilted": "greedy.own:TiltedConfig"})
        message = "loss tilted: its parameter 'lr' is a training setting already"
        assert refusal(flat_fields, loss_config_class("tilted")) == message
        assert cli("train --loss_fn tilted").err == f"error: {message}\n"
        assert cli("train --num_epochs 1 --output_dir run").code == 0

    def test_metadata_older_than_the_losses_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "path", ["/nowhere"])
        message = "loss_fn: found 'mse'; allowed: none is registered (install losstune again: its metadata is older"
        assert refusal(loss_config_class, "mse").startswith(message)
        assert loss_reference(MseConfig) == "losstune.trainer.losses.mse:MseConfig"


class TestTheCommandLine:
    PATH = "own_options.tilted:TiltedConfig"

    @pytest.fixture(autouse=True)
    def _package(self, site: Path) -> None:
        install(site, "own_options", {"tilted": TILTED}, {})

    @pytest.mark.parametrize(
        "line",
        [
            f"--loss_fn {PATH} --gamma 3 --num_epochs 1",
            f"--num-epochs=1 --gamma=3 --loss-fn={PATH}",
            "--config own.yaml --gamma 3",
        ],
    )
    def test_options_of_a_loss_by_its_path_work(self, cli: Line, line: str) -> None:
        Path("own.yaml").write_text(f"loss_fn: {self.PATH}\nnum_epochs: 1\n")
        done = cli(f"train --data pairs.npz {line} --output_dir run")
        assert (done.code, done.err) == (0, "")
        found = read_config(Path("run/config.yaml")).settings
        assert (found["loss_fn"], found["gamma"]) == (self.PATH, 3.0)
        assert ", Farthest Row: " in done.out

    def test_the_option_comes_before_the_file(self, cli: Line) -> None:
        Path("own.yaml").write_text("loss_fn: infonce\nnum_epochs: 1\n")
        line = f"train --data pairs.npz --config own.yaml --loss_fn {self.PATH} --gamma 3 --output_dir run"
        assert cli(line).code == 0

    def test_a_run_is_named_shortly_and_goes_on_by_either_name(self, cli: Line) -> None:
        assert cli(f"train --data pairs.npz --loss_fn {self.PATH} --num_epochs 1").code == 0
        resume = "train --resume --checkpoint runs/tilted/last.pt --num_epochs 2"
        done = cli(f"{resume} --loss_fn {self.PATH}")
        assert "Resuming after epoch 1" in done.out
        refused = cli(f"{resume} --loss_fn mse").err
        assert refused == f"error: --resume: the checkpoint was trained with loss_fn {self.PATH}, not mse\n"
        assert cli("predict --checkpoint runs/tilted/best.pt --data pairs.npz --output p.npy").code == 0

    def test_help_shows_them(self, cli: Line) -> None:
        assert "--gamma" in cli(f"train --loss_fn {self.PATH} --help").out
        assert "--gamma" not in cli("train --help").out

    def test_without_the_package_its_checkpoints_name_what_is_missing(
        self, cli: Line, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert cli(f"train --data pairs.npz --loss_fn {self.PATH} --num_epochs 1 --output_dir run").code == 0
        config = Path("run/config.yaml")
        config.write_text(config.read_text().replace("own_options", "gone_options"))
        refused = cli("train --config run/config.yaml --output_dir other").err
        assert refused == (
            "error: run/config.yaml: loss_fn gone_options.tilted:TiltedConfig: No module named 'gone_options'\n"
        )


def test_a_loss_of_the_program_itself_is_refused_because_no_worker_could_import_it() -> None:
    with pytest.raises(UserError, match="loss_fn __main__:Own: workers can not import it from a program that runs"):
        loss_config_class("__main__:Own")
