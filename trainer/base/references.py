"""What a user names as ``package.module:name``: a data function, a loss, a model factory."""

import importlib
from types import ModuleType

from losstune.trainer.base.errors import UserError, one_line
from losstune.trainer.base.moved_names import keep_former_names
from losstune.trainer.base.users_modules import HERE, name_conflict, search_in

keep_former_names()


def is_reference(text: object) -> bool:
    """Whether this has the form ``package.module:name``; nothing is imported."""
    if not isinstance(text, str):
        return False
    module, _, name = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), name))


def resolve(reference: str, where: str) -> object:
    """Import what a reference names; modules in the working folder are found too.

    Args:
        reference: ``package.module:name``.
        where: the setting that it stands in, put before messages: ``--data``, ``loss_fn``, ``model.factory``.

    Raises:
        UserError: it can not be imported, the module has no such name, or a file in the working folder has the name of
            a module that comes first; says why.
    """
    if not is_reference(reference):
        raise UserError(f"{where}: found {reference!r}; expected package.module:name")
    module, _, name = reference.partition(":")
    search_in(HERE)
    try:
        found: object = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise UserError(f"{where} {reference}: {_why_not(module, error)}") from None
    if conflict := name_conflict(module):
        raise UserError(f"{where} {reference}: {conflict}")
    return found


def _why_not(module: str, error: Exception) -> str:
    """Why a module could not be imported; the user's own stumbles over whatever it may."""
    match error:
        case ImportError(name=str(missed)) | AttributeError(obj=ModuleType(__name__=missed)):
            asked = [module, missed]
        case _:
            asked = [module]
    for conflict in filter(None, map(name_conflict, asked)):
        return conflict
    if isinstance(error, ImportError | AttributeError):
        return str(error)
    return f"importing {module} failed: {type(error).__name__}: {one_line(error)}"
