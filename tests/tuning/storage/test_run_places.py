"""A run in a folder as a worker sees it; in a bucket: test_bucket_run.py."""

import pickle
from pathlib import Path

import pytest

from losstune.trainer.run.attempt import StaleAttemptError
from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import HISTORY_FILE
from losstune.tuning.storage.bucket import Bucket
from losstune.tuning.storage.run_places import BucketPlace, FolderPlace, RunPlace
from tests.trainer.samples import sample_config, sample_trainer


def test_a_run_in_a_folder_begins_is_saved_and_goes_on(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "mse-0000")
    trainer = sample_trainer(sample_config("mse", num_epochs=3))
    with place.opened(1) as run:
        assert not run.holds_run
        run.start(trainer.config)
        run.save(trainer, [trainer.run_epoch()])
    again = sample_trainer(trainer.config)
    with place.opened(2) as run:
        assert run.holds_run
        assert run.restore(again).records == read_history(place.path / HISTORY_FILE)
    assert again.epoch == 1


def test_a_worker_of_an_older_launch_can_not_write(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "mse-0000")
    config = sample_config("mse")
    with place.opened(1) as older, place.opened(2) as newer:
        newer.start(config)
        with pytest.raises(StaleAttemptError, match="launch 2 has taken it over from launch 1"):
            older.start(config)


def test_the_text_of_an_exception_is_kept_whatever_is_in_it(tmp_path: Path) -> None:
    FolderPlace(tmp_path / "mse-0000").keep_error("ValueError: \udcff…")
    assert (tmp_path / "mse-0000" / "error.txt").read_text() == "ValueError: \\udcff…"


@pytest.mark.parametrize("place", [FolderPlace(Path("/studies/a/trials/mse-0000")), BucketPlace(Bucket("a/b"), "ab")])
def test_a_place_travels_to_a_worker(place: RunPlace) -> None:
    assert pickle.loads(pickle.dumps(place)) == place
