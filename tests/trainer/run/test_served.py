"""A trained model as one module that torch exports: what it takes afterwards, and what it gives."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from losstune.trainer.config.train_config import TrainConfig
from losstune.trainer.data.pairs import Pairs, make_pairs
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.served import ServedModel
from losstune.trainer.run.trained_model import TrainedModel, load_model
from tests.trainer.own_models import HERE, token_pairs
from tests.trainer.samples import sample_arrays, sample_config, sample_trainer


def trained(folder: Path, pairs: Pairs, config: TrainConfig) -> TrainedModel:
    trainer, run = sample_trainer(config, pairs), RunDirectory(folder)
    run.start(config)
    run.save(trainer, [trainer.run_epoch()])
    return load_model(folder / "best.pt")


def away_from_home(model: TrainedModel, inputs: np.ndarray, *, for_search: bool) -> nn.Module:
    """Exported as MLflow does it, and loaded from those bytes."""
    served = ServedModel(model, for_search=for_search).cpu().eval()
    example = torch.zeros((2, *inputs.shape[1:]), dtype=torch.from_numpy(inputs).dtype)
    stream = io.BytesIO()
    torch.export.save(torch.export.export(served, (example,), dynamic_shapes=[{0: Dim.AUTO}]), stream)
    stream.seek(0)
    return torch.export.load(stream).module()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("center", [False, True])
def test_both_ways_predict_what_losstune_does_from_any_type_of_number_and_from_one_row(
    tmp_path: Path, center: bool, whole: bool
) -> None:
    arrays = sample_arrays()
    arrays["targets"] += 3
    if whole:
        arrays["inputs"] = (arrays["inputs"] * 20).astype(np.int8)
    model = trained(tmp_path, make_pairs(arrays, "sample"), sample_config(center=center, device="cpu"))
    inputs = arrays["inputs"]
    for for_search in (False, True):
        served = away_from_home(model, inputs, for_search=for_search)
        expected = model.predict(inputs, for_search=for_search)
        for rows in (inputs, inputs[:1], inputs.astype(np.float64), inputs[:1].astype(np.float64)):
            found = served(torch.from_numpy(rows)).detach()
            assert found.dtype == torch.float32
            np.testing.assert_allclose(found, expected[: len(rows)], atol=1e-6)
        assert for_search == np.allclose(np.linalg.norm(expected, axis=1), 1)


def test_own_models_that_look_whole_numbers_up_get_them_as_they_come(tmp_path: Path) -> None:
    settings = {"model.factory": f"{HERE}:bag", "model.words": 50, "device": "cpu", "loss_fn": "cosine"}
    pairs = token_pairs()
    model = trained(tmp_path, pairs, TrainConfig.from_flat(settings))
    served = away_from_home(model, pairs.inputs[:], for_search=False)
    found = served(torch.from_numpy(pairs.inputs[:3])).detach()
    np.testing.assert_allclose(found, model.predict(pairs.inputs[:3]), atol=1e-6)


@pytest.mark.parametrize("for_search", [False, True])
def test_an_own_model_of_half_precision_gives_float32(tmp_path: Path, for_search: bool) -> None:
    """NumPy, which MLflow answers by, has no bfloat16."""
    settings = {"model.factory": f"{HERE}:Mixed", "device": "cpu", "loss_fn": "cosine"}
    arrays = sample_arrays()
    model = trained(tmp_path, make_pairs(arrays, "sample"), TrainConfig.from_flat(settings))
    found = away_from_home(model, arrays["inputs"], for_search=for_search)(torch.from_numpy(arrays["inputs"])).detach()
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, model.predict(arrays["inputs"], for_search=for_search), atol=1e-6)


def test_torch_does_not_let_an_exported_model_change_its_mode(tmp_path: Path) -> None:
    """So the docs say: call it plainly."""
    arrays = sample_arrays()
    model = trained(tmp_path, make_pairs(arrays, "sample"), sample_config(device="cpu"))
    with pytest.raises(NotImplementedError, match="eval"):
        away_from_home(model, arrays["inputs"], for_search=False).eval()


def test_an_own_model_that_writes_into_whole_numbers_leaves_those_of_the_caller(tmp_path: Path) -> None:
    settings = {"model.factory": f"{HERE}:WritingIds", "device": "cpu", "loss_fn": "cosine"}
    pairs = token_pairs()
    model = trained(tmp_path, pairs, TrainConfig.from_flat(settings))
    inputs = np.asarray(pairs.inputs[:], dtype=np.int64)
    given = torch.from_numpy(inputs.copy())
    found = away_from_home(model, inputs, for_search=False)(given).detach()
    np.testing.assert_array_equal(given, inputs)
    np.testing.assert_allclose(found, model.predict(inputs), atol=1e-6)
