"""What whoever talks to a Ray of our own has to show: a token that is made for it, and kept nowhere."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

MODE, TOKEN, TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
"""Environment variables that Ray reads."""


@contextmanager
def own_token() -> Iterator[None]:
    """A Ray that is started in this block, and stopped, has a token of its own.

    Left to itself Ray writes one into ``~/.ray``, where it stays for all clusters that the user starts or joins later.
    What the user's environment says of tokens is left as it is.
    """
    from losstune.tuning.execute.ray_private import read_tokens_anew

    mode = os.environ.get(MODE)
    if (mode or "token").lower() != "token" or TOKEN in os.environ or TOKEN_FILE in os.environ:
        yield
        return
    os.environ |= {MODE: "token", TOKEN: secrets.token_hex(32)}
    read_tokens_anew()
    try:
        yield
    finally:
        del os.environ[TOKEN]
        os.environ.pop(MODE)
        if mode is not None:
            os.environ[MODE] = mode
        read_tokens_anew()
