#!/usr/bin/env bash
# setuptools 84.2.1 with Python 3.11: an editable install loses against an empty folder of the same name.
#
# A repository named as its package, herd/herd/__init__.py, is installed with pip install --editable. From the folder
# that holds the clone, `import herd` gives an empty namespace package: the clone itself, found in the working folder,
# which has no __init__.py. One expects an installed package to win against a folder that is none, and from a wheel it
# does: Python takes a namespace package only if no folder on the whole path has a real one. But for this layout an
# editable install is no folder on the path: it is a finder appended to sys.meta_path, asked only after the path finder
# has answered.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
pip() { venv/bin/python -m pip --quiet --disable-pip-version-check "$@"; }
pip install setuptools==84.2.1

mkdir -p herd/herd herd/docs
echo 'COWS = 3' > herd/herd/__init__.py
cat > herd/pyproject.toml <<'TOML'
[build-system]
requires = ["setuptools==84.2.1"]
build-backend = "setuptools.build_meta"

[project]
name = "herd"
version = "1.0"

[tool.setuptools]
packages = ["herd"]
TOML

imported() { venv/bin/python -c 'import herd; print(getattr(herd, "COWS", "an empty namespace package"))'; }
pip install --no-build-isolation ./herd
wheel=$(imported)
pip uninstall --yes herd
pip install --no-build-isolation --editable ./herd
editable=$(imported)
elsewhere=$(cd herd/docs && ../../venv/bin/python -c 'import herd; print(herd.COWS)')

venv/bin/python -c 'import setuptools, sys; print("setuptools", setuptools.__version__, "Python", sys.version[:6])'
echo "expected: herd.COWS is 3, installed from a wheel or editable, in any working folder"
echo "seen beside the clone, from a wheel: $wheel"
echo "seen beside the clone, editable:     $editable"
echo "seen in another folder, editable:    $elsewhere"
[ "$wheel/$editable/$elsewhere" = "3/an empty namespace package/3" ] || { echo "no longer so" >&2; exit 1; }
