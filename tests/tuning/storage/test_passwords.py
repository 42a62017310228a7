"""No password of an address is shown, however it is written."""

import pytest

from losstune.tuning.storage.passwords import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:geheim@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("two: http://a:b@c and https://d:e@f", "two: http://a:***@c and https://d:***@f"),
        ("http://host/?token=geheim&page=2", "http://host/?token=***&page=2"),
        ("password=geheim host=db", "password=*** host=db"),
        ("SECRET_ACCESS_KEY=geheim", "SECRET_ACCESS_KEY=***"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("http://me@host:80/a:b@c", "http://me@host:80/a:b@c"),
        ("studies/first: no such file", "studies/first: no such file"),
    ],
)
def test_passwords_and_nothing_else(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_the_password_of_a_known_address_is_masked_wherever_it_stands() -> None:
    address = "postgresql://me:ge%2Fheim@host/db"
    assert masked("FATAL: ge/heim is wrong for me, as is ge%2Fheim", address) == "FATAL: *** is wrong for me, as is ***"
    assert masked("nothing of it", "http://host") == "nothing of it"
    assert masked("no address", "http://[host") == "no address"
