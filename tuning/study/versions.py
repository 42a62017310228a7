"""The versions that a study runs on: another one can move its numbers, so going on with it is a decision."""

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from losstune.trainer.base.errors import UserError

PACKAGES = ("losstune", "torch", "ray", "optuna", "mlflow", "numpy")

Versions = dict[str, str]


def versions_now() -> Versions:
    """Of Python and of the packages that a study's numbers come from."""
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


def check_versions(what: str, before: Mapping[str, str], *, accepted: bool) -> dict[str, str] | None:
    """The difference to the versions now, None if there is none.

    Raises:
        UserError: there is one, and it was not accepted.
    """
    differences = dict(_differences(before, versions_now()))
    if differences and not accepted:
        listed = "\n".join(f"{package}: {change}" for package, change in differences.items())
        raise UserError(
            f"{what} began with other versions; install those, or go on with --accept-change, "
            f"which keeps the change on record:\n{listed}"
        )
    return differences or None


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for package in [*before, *(package for package in now if package not in before)]:
        if _relevant(package, before.get(package, "none")) != _relevant(package, now.get(package, "none")):
            yield package, f"{before.get(package, 'none')} in the study, {now.get(package, 'none')} now"


def _relevant(package: str, number: str) -> str:
    """Python's patch releases change no number."""
    return ".".join(number.split(".")[:2]) if package == "python" else number
