"""The document of inputs says what the readers do."""

import ast
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from warmcast.cli import app
from weather.readers.conventions import role_of
from weather.units import conversion
from weather.variables import KNOWN

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/inputs.md").read_text()
COLUMN_NAMES = re.findall(r"^\| [^|]+ \| (.*`.*) \|$", TEXT.partition("## What variables")[2].partition("## ")[0], re.M)
NAMES = {name for names in COLUMN_NAMES for name in re.findall(r"`([^`]+)`", names)}
NO_NAMES = {"ensemble.zarr", "variable", "batch", "u-component_of_wind_height_above_ground"}


@pytest.mark.parametrize("name", sorted(NAMES - NO_NAMES))
def test_every_listed_name_is_known(name: str) -> None:
    aliases = {alias for variable in KNOWN.values() for alias in variable.aliases}
    assert name.casefold().removeprefix("var_") in aliases or role_of(name, {}) != "extra"


def test_every_listed_unit_is_converted() -> None:
    (line,) = re.findall(r"\*\*Units of speed\*\*.*?: (.*) and others", TEXT)
    units = re.findall(r"`([^`]+)`", line)
    assert len(units) > 10
    assert [unit for unit in units if conversion(unit, "m s-1") is None] == []


def test_every_program_can_be_parsed() -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)
    assert len(programs) == 3
    for program in programs:
        ast.parse(program)


def test_the_printed_inspection_is_that_of_the_sample(gfs_files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (printed,) = re.findall(r"^```console\n\$ warmcast inspect [^\n]*\n(.*?)^```$", TEXT, re.M | re.S)
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "110")
    files = [str(path.resolve().relative_to(ROOT)) for path in gfs_files]
    result = CliRunner().invoke(app, ["inspect", *files])
    assert result.exit_code == 0, result.output
    assert result.output.split() == printed.split()
