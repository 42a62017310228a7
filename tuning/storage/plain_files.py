"""A study's folder holds plain files and folders, and nothing that leads out of it."""

import os
from pathlib import Path

from losstune.trainer.base.errors import UserError


def check_inside(folder: Path) -> None:
    """Refuse a folder with links, pipes or devices in it, or that is a link itself; one that is not there is fine.

    Raises:
        UserError: names the first one found.
    """
    if folder.is_symlink():
        raise UserError(f"{folder} is a link; a study is a folder of its own, and --storage says where")
    if folder.exists():
        _check_below(folder)


def _check_below(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                raise UserError(f"{entry.path} is a link; a study holds plain files alone: put the file itself here")
            if entry.is_dir(follow_symlinks=False):
                _check_below(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                raise UserError(f"{entry.path} is not a file")
