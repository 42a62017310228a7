"""What a user names as ``package.module:name``: a data function, a loss, a model factory."""

import importlib
import sys

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.base.moved_names import keep_former_names

keep_former_names()


def is_reference(text: object) -> bool:
    """Whether this has the form ``package.module:name``; nothing is imported."""
    if not isinstance(text, str):
        return False
    module, _, name = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), name))


def resolve(reference: str, where: str) -> object:
    """Import what a reference names; modules in the working directory are found too.

    Args:
        reference: ``package.module:name``.
        where: the setting that it stands in, put before messages: ``--data``, ``loss_fn``, ``model.factory``.

    Raises:
        UserError: it can not be imported, or the module has no such name; says why.
    """
    if not is_reference(reference):
        raise UserError(f"{where}: found {reference!r}; expected package.module:name")
    module, _, name = reference.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{where} {reference}: {error}") from None
    except Exception as error:  # the user's own module, whatever it stumbles over
        raise UserError(
            f"{where} {reference}: importing {module} failed: {type(error).__name__}: {one_line(error)}"
        ) from None
