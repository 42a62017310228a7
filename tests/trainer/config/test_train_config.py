"""The config: defaults, recommended starts, limits, strict types, and its flat form."""

import inspect
import math
from typing import Any, ClassVar, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import create_model

from losstune.trainer.cli.app import train
from losstune.trainer.config.data_rules import AnswerRule, SplitBy
from losstune.trainer.config.loss_registry import loss_config_class, loss_names
from losstune.trainer.config.model_config import ModelConfig
from losstune.trainer.config.objective import Objective
from losstune.trainer.config.train_config import COMMAND_NAMES, Schedule, TrainConfig, flat_fields
from losstune.trainer.losses import LossConfig
from tests.trainer.samples import ALLOWED_LOSSES, refusal


def commas(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))


COMMON: dict[str, SearchStrategy[Any]] = {
    "data": st.text(max_size=20),
    "batch_size": st.integers(16, 1_048_576),
    "accumulate": st.integers(1, 1_048_576),
    "batch_parts": st.integers(1, 1024),
    "num_epochs": st.integers(1, 1_000_000),
    "lr": st.floats(0, 100, exclude_min=True),
    "weight_decay": st.floats(0, 100),
    "clip_norm": st.none() | st.floats(0, 1e300, exclude_min=True),
    "schedule": st.sampled_from(get_args(Schedule)),
    "warmup_epochs": st.integers(0, 1_000_000),
    "schedule_epochs": st.none() | st.integers(1, 1_000_000),
    "average_epochs": st.none() | st.floats(0, 1_000_000, exclude_min=True),
    "objective": st.sampled_from(get_args(Objective)),
    "patience": st.none() | st.integers(1, 10**9),
    "matryoshka_dims": st.none() | st.lists(st.integers(1, 9999), min_size=1, max_size=16, unique=True).map(commas),
    "matryoshka_weights": st.none(),
    "columns": st.none() | st.just("inputs=anchor,targets=positive"),
    "split_by": st.sampled_from(get_args(SplitBy)),
    "answers": st.sampled_from(get_args(AnswerRule)),
    "eval_queries": st.just("all") | st.integers(1000, 10**9),
    "fit": st.sampled_from(["train", "train+val"]),
    "center": st.booleans(),
    "eval_batch": st.integers(1, 1_048_576),
    "precision": st.sampled_from(["auto", "float32", "bfloat16"]),
    "device": st.sampled_from(["auto", "cpu", "cuda"]),
    "threads": st.none() | st.integers(1, 1024),
    "seed": st.integers(0, 2**63 - 1),
    "split_seed": st.integers(0, 2**63 - 1),
    "model.hidden_dim": st.integers(1, 65_536),
    "model.depth": st.integers(0, 64),
    "model.residual": st.booleans(),
    "model.dropout": st.floats(0, 0.95),
    "model.layer_norm": st.booleans(),
    "model.standardize": st.booleans(),
}
TEMPERATURE = {"temperature": st.floats(0.01, 10), "learn_temperature": st.booleans()}
INFONCE = {
    **TEMPERATURE,
    "symmetric": st.booleans(),
    "decoupled": st.booleans(),
    "hardness": st.floats(0, 10),
    "guide_margin": st.none() | st.floats(0, 1),
    "target_temperature": st.none(),
    "hard_negatives": st.integers(0, 256),
    "hard_negatives_every": st.integers(1, 1_000_000),
    "hard_negatives_sample": st.integers(16, 1_048_576),
    "hard_negatives_skip": st.integers(0, 1024),
}
OWN: dict[str, dict[str, SearchStrategy[Any]]] = {
    "mse": {},
    "cosine": {},
    "cosine_mse": {"cosine_weight": st.floats(0.001, 100), "mse_weight": st.floats(0, 100)},
    "infonce": INFONCE,
    "siglip": {"initial_scale": st.floats(0.1, 1000), "initial_bias": st.floats(-100, 100)},
    "full_softmax": TEMPERATURE,
    "infonce_cosine": {**INFONCE, "similarity_weight": st.floats(0, 100)},
    "triplet": {"margin": st.floats(0.001, 2), "negatives": st.sampled_from(["hardest", "semi_hard", "all"])},
    "huber": {"delta": st.floats(1e-4, 1e4)},
}


class Greedy(LossConfig):
    """A base for losses with a parameter that is one too many."""

    name: ClassVar[str] = "greedy"


@st.composite
def flat_settings(draw: st.DrawFn) -> dict[str, Any]:
    loss_fn = draw(st.sampled_from(sorted(OWN)))
    return {"loss_fn": loss_fn, **draw(st.fixed_dictionaries({}, optional=COMMON | OWN[loss_fn]))}


class TestDefaults:
    def test_the_loss_is_cosine(self) -> None:
        assert TrainConfig.from_flat({}).loss.name == "cosine"

    @pytest.mark.parametrize(
        ("loss_fn", "batch_size", "lr"),
        [("mse", 16, 1e-3), ("cosine", 16, 1e-3), ("cosine_mse", 16, 1e-3), ("infonce", 32, 5e-4)],
    )
    def test_each_loss_starts_as_recommended(self, loss_fn: str, batch_size: int, lr: float) -> None:
        config = TrainConfig.from_flat({"loss_fn": loss_fn})
        assert (config.batch_size, config.lr, config.num_epochs) == (batch_size, lr, 300)

    def test_cosine_mse_weighs_70_to_30(self) -> None:
        flat = TrainConfig.from_flat({"loss_fn": "cosine_mse"}).flat()
        assert (flat["cosine_weight"], flat["mse_weight"]) == (0.7, 0.3)

    def test_infonce_has_clips_temperature_and_one_direction(self) -> None:
        flat = TrainConfig.from_flat({"loss_fn": "infonce"}).flat()
        assert (flat["temperature"], flat["symmetric"]) == (0.07, False)

    def test_a_run_is_judged_by_mrr_on_digits(self) -> None:
        config = TrainConfig.from_flat({})
        assert (config.data, config.objective, config.fit) == ("digits", "val/mrr", "train")


class TestFlat:
    @given(flat_settings())
    def test_settings_survive_the_way_in_and_out(self, settings: dict[str, Any]) -> None:
        config = TrainConfig.from_flat(settings)
        flat = config.flat()
        assert {name: flat[name] for name in settings} == settings
        assert TrainConfig.from_flat(flat) == config

    @pytest.mark.parametrize("loss_fn", loss_names())
    def test_every_setting_is_listed_loss_first(self, loss_fn: str) -> None:
        flat = TrainConfig.from_flat({"loss_fn": loss_fn}).flat()
        assert list(flat) == ["loss_fn", *flat_fields(loss_config_class(loss_fn))]
        assert set(flat) == {"loss_fn", *COMMON, *OWN[loss_fn]}

    @pytest.mark.parametrize("taken", ["lr", "loss", "model", "depth", "loss_fn", "source", "test", "resume"])
    def test_a_loss_may_not_reuse_the_name_of_a_training_setting(self, taken: str) -> None:
        greedy = create_model("Greedy", __base__=Greedy, **{taken: (float, 1.0)})  # type: ignore[call-overload]
        message = f"loss greedy: its parameter {taken!r} is a training setting already"
        assert refusal(flat_fields, greedy) == message

    def test_every_option_of_a_training_beside_its_settings_is_kept_free(self) -> None:
        own = [name for name, p in inspect.signature(train).parameters.items() if p.kind is not p.VAR_KEYWORD]
        assert {name.removeprefix("as_") for name in own} < set(COMMAND_NAMES)

    @pytest.mark.parametrize(("settings", "horizon"), [({}, 300), ({"num_epochs": 7, "schedule_epochs": 9}, 9)])
    def test_the_schedule_ends_with_the_run_unless_told(self, settings: dict[str, Any], horizon: int) -> None:
        assert TrainConfig.from_flat(settings).horizon == horizon


class TestBatchRule:
    @pytest.mark.parametrize(
        ("loss_fn", "smallest", "recommended"),
        [
            *((loss_fn, 4, 16) for loss_fn in ("mse", "cosine", "cosine_mse", "huber", "full_softmax")),
            *((loss_fn, 16, 32) for loss_fn in ("infonce", "infonce_cosine", "siglip", "triplet")),
        ],
    )
    def test_a_batch_under_the_smallest_is_refused_with_the_rule(
        self, loss_fn: str, smallest: int, recommended: int
    ) -> None:
        settings = {"loss_fn": loss_fn, "batch_size": smallest}
        assert TrainConfig.from_flat(settings).batch_size == smallest
        message = refusal(TrainConfig.from_flat, {**settings, "batch_size": smallest - 1})
        assert message == (
            f"batch_size: found {smallest - 1}; {loss_fn} needs at least {smallest} "
            f"({recommended} or more is recommended)"
        )


UNKNOWN = [
    ({"batchsize": 16}, "batchsize is not a setting; did you mean batch_size or batch_parts or eval_batch?"),
    ({"temperature": 0.1}, "temperature belongs to full_softmax, infonce, infonce_cosine, not to cosine"),
    ({"loss_fn": "cos"}, "loss_fn: found 'cos'; allowed: " + ALLOWED_LOSSES),
    ({"loss_fn": None}, "loss_fn: found None; allowed: " + ALLOWED_LOSSES),
    ({"loss_fn": ["mse"]}, "loss_fn: found ['mse']; allowed: " + ALLOWED_LOSSES),
]

REFUSED = [
    ("lr", 0.0, "found 0.0; should be greater than 0"),
    ("lr", -1.0, "found -1.0; should be greater than 0"),
    ("lr", 101, "found 101; should be less than or equal to 100"),
    ("lr", math.nan, "found nan; should be a finite number"),
    ("lr", math.inf, "found inf; should be a finite number"),
    ("lr", "0.001", "found '0.001'; should be a valid number"),
    ("lr", True, "found True; should be a valid number"),
    ("lr", None, "found None; should be a valid number"),
    ("batch_size", 0, "found 0; should be greater than or equal to 1"),
    ("batch_size", 16.0, "found 16.0; should be a valid integer"),
    ("batch_size", True, "found True; should be a valid integer"),
    ("batch_size", 2**21, "found 2097152; should be less than or equal to 1048576"),
    ("batch_size", 10**30, f"found {10**30}; should be less than or equal to 1048576"),
    ("num_epochs", 0, "found 0; should be greater than or equal to 1"),
    ("num_epochs", "10", "found '10'; should be a valid integer"),
    ("weight_decay", -0.1, "found -0.1; should be greater than or equal to 0"),
    ("clip_norm", 0.0, "found 0.0; should be greater than 0"),
    ("average_epochs", 0.0, "found 0.0; should be greater than 0"),
    ("patience", 0, "found 0; should be greater than or equal to 1"),
    ("warmup_epochs", -1, "found -1; should be greater than or equal to 0"),
    ("schedule", "linear", "found 'linear'; should be 'constant' or 'cosine'"),
    ("fit", "all", "found 'all'; should be 'train' or 'train+val'"),
    ("precision", "float16", "found 'float16'; should be 'auto', 'float32' or 'bfloat16'"),
    ("device", "tpu", "found 'tpu'; should be 'auto', 'cpu' or 'cuda'"),
    ("threads", 0, "found 0; should be greater than or equal to 1"),
    ("seed", -1, "found -1; should be greater than or equal to 0"),
    ("seed", 2**63, f"found {2**63}; should be less than {2**63}"),
    ("model.hidden_dim", 0, "found 0; should be greater than or equal to 1"),
    ("model.depth", -1, "found -1; should be greater than or equal to 0"),
    ("model.dropout", 0.96, "found 0.96; should be less than or equal to 0.95"),
    ("model.residual", 1, "found 1; should be a valid boolean"),
    ("model.residual", "yes", "found 'yes'; should be a valid boolean"),
    ("model.depth", False, "found False; should be a valid integer"),
    ("data", 5, "found 5; should be a valid string"),
]


class TestRefusals:
    @pytest.mark.parametrize(("settings", "message"), UNKNOWN)
    def test_an_unknown_name_is_refused_with_what_was_meant(self, settings: dict[str, Any], message: str) -> None:
        assert refusal(TrainConfig.from_flat, settings) == message

    def test_a_name_like_no_other_is_refused_with_all_that_are_allowed(self) -> None:
        message = refusal(TrainConfig.from_flat, {"zzz": 1})
        assert message.startswith(
            "zzz is not a setting; allowed: data, columns, batch_size, accumulate, batch_parts, num_epochs, lr, "
        )

    @pytest.mark.parametrize(("name", "value", "finding"), REFUSED)
    def test_a_value_outside_type_or_limits_is_refused_by_name(self, name: str, value: object, finding: str) -> None:
        assert refusal(TrainConfig.from_flat, {name: value}) == f"{name}: {finding}"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"loss_fn": "infonce", "temperature": 11}, "temperature: found 11; should be less than or equal to 10"),
            ({"loss_fn": "infonce", "temperature": "0.07"}, "temperature: found '0.07'; should be a valid number"),
            ({"loss_fn": "cosine_mse", "mse_weight": -1}, "mse_weight: found -1; should be greater than or equal to 0"),
            (
                {"loss_fn": "cosine_mse", "cosine_weight": 0.0, "mse_weight": 0.0},
                "cosine_weight and mse_weight are both 0: nothing would be trained",
            ),
        ],
    )
    def test_a_losss_own_parameters_have_limits_too(self, settings: dict[str, Any], message: str) -> None:
        assert refusal(TrainConfig.from_flat, settings) == message

    def test_each_bad_value_has_its_line(self) -> None:
        message = refusal(TrainConfig.from_flat, {"lr": -1.0, "num_epochs": 0})
        assert sorted(line.split(":")[0] for line in message.splitlines()) == ["lr", "num_epochs"]

    def test_a_long_value_is_shortened(self) -> None:
        assert len(refusal(TrainConfig.from_flat, {"schedule": "x" * 10_000})) < 200

    @pytest.mark.parametrize(
        "settings", [{"loss_fn": "l2"}, {"rl": 0.1}, {"lr": 0.0}, {"batch_size": 3}, {"temperature": 0.1}]
    )
    def test_the_file_is_named_first(self, settings: dict[str, Any]) -> None:
        assert refusal(TrainConfig.from_flat, settings, where="best.yaml").startswith("best.yaml: ")


def test_a_config_can_not_be_changed() -> None:
    config = TrainConfig.from_flat({})
    with pytest.raises(ValueError, match="frozen"):
        config.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("settings_class", [TrainConfig, ModelConfig, *map(loss_config_class, loss_names())])
def test_every_setting_says_what_it_is(settings_class: Any) -> None:
    silent = [name for name, info in settings_class.model_fields.items() if not info.description]
    assert [name for name in silent if name not in ("loss", "model")] == []
