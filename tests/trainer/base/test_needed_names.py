"""The names that are taken, by what is installed here."""

from losstune.trainer.base.needed_names import needed_names


def test_what_losstune_requires_is_needed_and_what_that_requires() -> None:
    """``colorlog`` is Optuna's, ``tensorboardX`` that of an extra of Ray's that losstune asks for."""
    assert {"losstune", "torch", "yaml", "sklearn", "colorlog", "tensorboardX"} <= needed_names()


def test_what_stands_beside_it_is_not() -> None:
    assert {"pytest", "hypothesis", "psutil", "boto3"}.isdisjoint(needed_names())
