"""What several tests of MLflow's picture begin with."""

from pathlib import Path

import pytest

from losstune.tuning.study.study import Study
from losstune.tuning.track.mlflow_sync import Tracker
from tests.tuning.reported import searched


@pytest.fixture
def logged(tmp_path: Path) -> tuple[Study, str]:
    study, uri = searched(tmp_path, (3, 2)), f"sqlite:///{tmp_path}/mlflow.db"
    Tracker(study, uri).sync(None)
    return study, uri
