"""A study comes to MLflow's server in as few requests as there can be, over as few connections; its champion too."""

from collections import Counter
from pathlib import Path
from typing import Any

import mlflow.pytorch
import numpy as np
import pytest
import requests
import torch
from urllib3.connectionpool import HTTPConnectionPool

from losstune.trainer.base.errors import UserError
from losstune.trainer.run.layout import BEST_FILE
from losstune.trainer.run.trained_model import load_model
from losstune.tuning.commands.sync import sync_study
from losstune.tuning.confirm.results import confirmed_run
from losstune.tuning.track.mlflow_store import brief_requests, default_store
from losstune.tuning.track.mlflow_sync import SERVER_WRITERS, Tracker
from tests.trainer.samples import sample_arrays
from tests.tuning.reported import confirmed, searched
from tests.tuning.track.test_logged_model import centred_run

TRIALS = 12
OF_A_RUN = ("runs/create", "runs/log-inputs", "runs/log-batch", "runs/update")


def test_four_requests_a_trial_over_connections_that_stay_open(
    mlflow_server_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    opened: list[object] = []
    send, connect = requests.Session.send, HTTPConnectionPool._new_conn

    def counting(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        asked[str(request.url).rpartition("/mlflow/")[2].partition("?")[0]] += 1
        return send(session, request, **options)

    def opening(pool: HTTPConnectionPool) -> Any:
        opened.append(pool)
        return connect(pool)

    tracker = Tracker(searched(tmp_path, (TRIALS, 0)), mlflow_server_uri)
    monkeypatch.setattr(requests.Session, "send", counting)
    monkeypatch.setattr(HTTPConnectionPool, "_new_conn", opening)
    with brief_requests():  # as losstune's commands do: MLflow asks for each run once more to print its address
        tracker.sync(None)
    loss = Counter(dict.fromkeys(OF_A_RUN, 1))
    assert Counter({name: asked[name] for name in OF_A_RUN}) - loss == Counter(dict.fromkeys(OF_A_RUN, TRIALS))
    assert sum(asked.values()) - 4 * (TRIALS + 1) < TRIALS  # descriptions, and files of the loss and of its best trial
    assert len(opened) <= SERVER_WRITERS + 1
    before = sum(asked.values())
    tracker.sync(None)
    assert sum(asked.values()) == before


def test_a_champion_that_the_server_did_not_get_goes_there_with_the_next_sync(
    mlflow_server_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = confirmed(searched(tmp_path, (3, 3)), top=1, seeds=2)
    champion = confirmed_run(study, None)
    assert champion is not None
    checkpoint = (centred_run(tmp_path) / BEST_FILE).replace(champion.folder / BEST_FILE)
    send = requests.Session.send

    def cut_off(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if request.method == "PUT" and "/models/" in str(request.url):
            raise requests.ConnectionError("cut off")
        return send(session, request, **options)

    with monkeypatch.context() as patch:
        patch.setattr(requests.Session, "send", cut_off)
        with pytest.raises(UserError, match=f"MLflow's store {mlflow_server_uri} can not be used: .*cut off"):
            sync_study(study, mlflow_server_uri)
    sync_study(study, mlflow_server_uri)
    inputs, trained = sample_arrays()["inputs"], load_model(checkpoint)
    with default_store(mlflow_server_uri):
        for alias, for_search in (("champion", False), ("champion-for-search", True)):
            served = mlflow.pytorch.load_model(f"models:/study@{alias}")
            found = served(torch.from_numpy(inputs)).detach()
            np.testing.assert_allclose(found, trained.predict(inputs, for_search=for_search), atol=1e-6)
