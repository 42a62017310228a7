"""What a console shows, as a value: text and HTML, the two forms in which rich shows anything in a notebook."""

import io
from collections.abc import Callable

from rich.console import Console
from rich.jupyter import JUPYTER_HTML_FORMAT

WIDTH = 110


def shown_forms(show: Callable[[Console], None], width: int = WIDTH) -> dict[str, str]:
    """What ``show`` prints, by MIME type, as ``_repr_mimebundle_`` gives it to a notebook.

    Args:
        show: prints to the console that it is given.
        width: columns.
    """
    console = Console(width=width, file=io.StringIO(), record=True, force_jupyter=False, highlight=False)
    show(console)
    html = console.export_html(code_format=JUPYTER_HTML_FORMAT, inline_styles=True, clear=False)
    return {"text/plain": console.export_text(), "text/html": html}
