"""A study on three nodes, none of which was started in the user's folder, where names are unlucky."""

from pathlib import Path
from typing import Any

import losstune
from tests.reliability.studies import LOSSTUNE
from tests.users_folder import UsersFolder


def test_every_node_has_our_modules_and_finds_the_users(three_nodes: Any, tmp_path: Path) -> None:
    users = UsersFolder(tmp_path / "work", trials=3)
    (users.folder / "losstune" / "docs").mkdir(parents=True)
    options = ["--address", three_nodes.address, "--concurrency", "3"]
    users.check_study(Path(LOSSTUNE), Path(losstune.__file__).parent, *options)
