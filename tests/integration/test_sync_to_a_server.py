"""A study comes to MLflow's server in as few requests as there can be, over as few connections."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.connectionpool import HTTPConnectionPool

from losstune.tuning.track.mlflow_sync import SERVER_WRITERS, Tracker
from tests.tuning.reported import searched

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
    tracker.sync(None)
    loss = Counter(dict.fromkeys(OF_A_RUN, 1))
    assert Counter({name: asked[name] for name in OF_A_RUN}) - loss == Counter(dict.fromkeys(OF_A_RUN, TRIALS))
    assert sum(asked.values()) - 4 * (TRIALS + 1) < TRIALS  # descriptions, and files of the loss and of its best trial
    assert len(opened) <= SERVER_WRITERS + 1
    before = sum(asked.values())
    tracker.sync(None)
    assert sum(asked.values()) == before
