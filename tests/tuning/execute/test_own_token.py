"""The token of a Ray of our own, without starting one; what a launch leaves in a home is in tests/reliability."""

import os
from collections.abc import Iterator

import pytest
from ray._raylet import AuthenticationTokenLoader

from losstune.tuning.execute.own_token import MODE, TOKEN, TOKEN_FILE, own_token
from losstune.tuning.execute.ray_private import read_tokens_anew

NAMES = (MODE, TOKEN, TOKEN_FILE)


def said() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    yield
    monkeypatch.undo()
    # Ray keeps what it read: a later test that joins a cluster would have to show a token, and end the process for
    # want of one.
    read_tokens_anew()


def headers() -> dict[str, str]:
    """What Ray's own clients would show."""
    found: dict[str, str] = AuthenticationTokenLoader.instance().get_token_for_http_header()
    return found


@pytest.mark.parametrize("mode", [None, "token"])
def test_each_has_another_and_nothing_is_left(mode: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if mode is not None:
        monkeypatch.setenv(MODE, mode)
    before, tokens = said(), []
    for _ in range(2):
        with own_token():
            assert said().keys() == {MODE, TOKEN}
            assert os.environ[MODE] == "token"
            tokens.append(os.environ[TOKEN])
            assert any(tokens[-1] in shown for shown in headers().values())
        assert said() == before
    assert len(set(tokens)) == 2
    assert all(len(token) == 64 for token in tokens)


@pytest.mark.parametrize("own", [{MODE: "disabled"}, {TOKEN: "mine"}, {TOKEN_FILE: "/mine"}])
def test_what_the_user_says_of_tokens_stays(own: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    with own_token():
        assert said() == own
    assert said() == own
