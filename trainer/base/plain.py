"""What a program has computed, as a file would say it."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The same without NumPy's types, down to what lists and mappings hold: settings are plain numbers."""
    match value:
        case np.generic() | np.ndarray():
            return value.tolist()
        case Mapping():
            return {name: plain(own) for name, own in value.items()}
        case list() | tuple():
            return [plain(own) for own in value]
    return value
