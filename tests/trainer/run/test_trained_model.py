"""A model that comes back from its checkpoint makes what the trained one made."""

from pathlib import Path

import numpy as np
import pytest
import torch

from losstune.trainer.base.errors import LosstuneError
from losstune.trainer.run.run_dir import RunDirectory
from losstune.trainer.run.trained_model import load_model
from tests.trainer.samples import sample_config, sample_trainer, train_to_end


def test_a_saved_model_predicts_what_the_trained_one_did(tmp_path: Path) -> None:
    config = sample_config("mse", num_epochs=1, **{"model.dropout": 0.5})
    trainer = sample_trainer(config)
    folder = RunDirectory(tmp_path)
    folder.start(config)
    folder.save(trainer, [trainer.run_epoch()])
    inputs = trainer.data.train.inputs
    assert torch.equal(load_model(tmp_path / "best.pt").embeddings(inputs), trainer.predict(inputs))


@pytest.mark.parametrize("loss_fn", ["infonce", "cosine"])
def test_averaged_weights_are_those_that_were_evaluated_in_best_and_last_alike(loss_fn: str, tmp_path: Path) -> None:
    trainer = sample_trainer(sample_config(loss_fn, average_epochs=2.0, lr=0.01, num_epochs=3))
    folder = RunDirectory(tmp_path)
    folder.start(trainer.config)
    folder.save(trainer, train_to_end(trainer))
    inputs = trainer.data.train.inputs
    assert torch.equal(load_model(tmp_path / "last.pt").embeddings(inputs), trainer.predict(inputs))
    best = load_model(tmp_path / "best.pt").model.state_dict()
    assert all(torch.equal(best[name], tensor) for name, tensor in trainer.best_state.items())
    assert not torch.equal(best["head.weight"], trainer.model.state_dict()["head.weight"])
    again = sample_trainer(trainer.config)
    RunDirectory(tmp_path).restore(again)
    assert torch.equal(again.predict(inputs), trainer.predict(inputs))


@pytest.mark.parametrize("center", [False, True])
def test_targets_of_another_width_are_no_gallery(center: bool, tmp_path: Path) -> None:
    trainer, folder = sample_trainer(sample_config(center=center)), RunDirectory(tmp_path)
    folder.start(trainer.config)
    folder.save(trainer, [trainer.run_epoch()])
    model = load_model(tmp_path / "best.pt")
    for width in (1, 4):
        with pytest.raises(LosstuneError) as raised:
            model.gallery(np.ones((3, width)))
        assert str(raised.value) == f"targets: targets have {width} dimensions; the model gives 5"
