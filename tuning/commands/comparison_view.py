"""A comparison as a program holds it: its numbers, and the same words that ``losstune compare --all`` prints."""

from typing import Any

from rich.console import Console

from losstune.tuning.confirm.findings import Comparison
from losstune.tuning.show.comparison import comparison_json, show_comparison
from losstune.tuning.show.notebook import shown_forms


class ComparisonView(Comparison):
    """Which loss, by how much and how sure. ``print`` it, or let a notebook show it.

    ``winner`` is the loss whose pick has the best mean validation objective; whether it is surely first is in
    ``pairs``. ``to_dict`` has the sentences too.
    """

    def to_dict(self) -> dict[str, Any]:
        """Every number and every sentence as plain values: as ``losstune compare --json``."""
        return comparison_json(self)

    def __str__(self) -> str:
        return shown_forms(self._show)["text/plain"]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return shown_forms(self._show)

    def _show(self, console: Console) -> None:
        show_comparison(self, console)
