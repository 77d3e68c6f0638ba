"""`make compiled`: mypyc takes what pyproject.toml names."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

TRANSLATE = "import sys; from mypyc.build import mypycify; mypycify(sys.argv[2:], target_dir=sys.argv[1])"
"""All but what the C compiler does."""


@pytest.mark.slow
@pytest.mark.interpreted
def test_mypyc_takes_every_module_that_is_to_be_compiled(tmp_path: Path) -> None:
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    hook = targets["targets"]["wheel"]["hooks"]["mypyc"]
    modules = [path.removeprefix("/") for path in hook["include"]]

    words = [sys.executable, "-c", TRANSLATE, str(tmp_path), *hook["mypy-args"], *modules]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    translated = {path.stem for path in tmp_path.rglob("*.c")}
    assert translated
