"""The source keeps the house's style: plain words, short files and functions, reasons for what checks ignore."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests")
AVOIDED = re.compile(r"(?<![a-z])(tol[d]|aske[d]|show[n]|pok[e][sd]?|strange[r]s?)(?![a-z])", re.IGNORECASE)
"""Words of a dialect that the project had; plain English has others."""
_MAX_FILE_LINES, _MAX_FUNCTION_LINES = 400, 50


def _files(*suffixes: str, tests: bool) -> Iterator[Path]:
    for folder in (*PACKAGES, "deploy", "docs", *(("tests",) if tests else ())):
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes)


def test_plain_words_are_used() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in _files(".py", ".md", ".html", ".sh", ".yaml", ".yml", ".toml", tests=True)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if AVOIDED.search(line)
    ]
    assert found == []


def test_files_and_functions_are_short() -> None:
    long = []
    for path in _files(".py", tests=False):
        text = path.read_text("utf-8")
        if text.count("\n") > _MAX_FILE_LINES:
            long.append(str(path.relative_to(ROOT)))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno + 1 > _MAX_FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert long == []


@pytest.mark.parametrize("ignored", ["type: ignore", "fmt: skip", "noqa"])
def test_what_the_checks_ignore_has_a_reason(ignored: str) -> None:
    without = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _files(".py", tests=False)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if f"# {ignored}" in line and not re.search(rf"# {ignored}[^#]*# \S", line)
    ]
    assert without == []
