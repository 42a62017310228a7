"""The scripts of findings/. Each installs packages, so they are run by hand: here is what can be told without that."""

import re
import subprocess
from pathlib import Path

import pytest

FINDINGS = sorted((Path(__file__).parent.parent / "findings").iterdir())


def test_there_are_some() -> None:
    assert len(FINDINGS) >= 4
    assert {path.suffix for path in FINDINGS} == {".sh"}


@pytest.mark.parametrize("script", FINDINGS, ids=lambda path: path.stem)
def test_each_is_about_pinned_public_packages_alone(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert script.stat().st_mode & 0o111
    text = script.read_text()
    header = text[: text.index("set -euo pipefail")]
    assert all(line.startswith("#") for line in header.splitlines())
    assert len(header.split()) > 50
    assert "trap 'rm -rf \"$folder\"' EXIT" in text
    for said in ("expected", "seen", "no longer so"):
        assert said in text
    installs = re.findall(r"^(?:pip|.*-m pip) install (.+)$", text.replace("\\\n", ""), re.MULTILINE)
    packages = [word for line in installs for word in line.split() if not word.startswith(("-", "./"))]
    assert packages
    assert [word for word in packages if not re.fullmatch(r"[\w-]+==[\d.]+", word)] == []
    assert "losstune" not in text
    assert "/tmp/" not in text
