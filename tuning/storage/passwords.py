"""Passwords in addresses: never shown, never written."""

import re
from urllib.parse import unquote, urlsplit

_HIDDEN = "***"
_USER = re.compile(r"(://[^:@/?#\s]*:)[^@\s]+@")
_FIELD = re.compile(r"((?:pass(?:word|wd)?|pwd|token|secret|access_?key)[\w-]*=)[^&\s'\"]+", re.IGNORECASE)


def masked(text: str, address: str = "") -> str:
    """Text with ``***`` for every password in an address in it, and for the one of ``address`` wherever it stands."""
    text = _FIELD.sub(rf"\1{_HIDDEN}", _USER.sub(rf"\1{_HIDDEN}@", text))
    for secret in _secrets(address):
        text = text.replace(secret, _HIDDEN)
    return text


def _secrets(address: str) -> list[str]:
    try:
        password = urlsplit(address).password
    except ValueError:  # no address at all
        return []
    return [word for word in (password, unquote(password or "")) if word]
