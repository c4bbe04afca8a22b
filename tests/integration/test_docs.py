"""Run every shell and Python block of the documents, from top to bottom, against a service."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from tests.served import Served
from weather.bundled import find_catalogue_state
from weather.grids import Grid
from weather.testing import travelling_waves
from weather.times import parse_time

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
RUN = (
    "quickstart.md",
    "cli.md",
    "client.md",
    "api.md",
    "inspect.md",
    "operations.md",
    "metrics.md",
    "analyst.md",
    "researcher.md",
)
LONG = "operations.md"
"""The page whose blocks take a minute and a half."""
STARTS = r"(make install|\. \.venv/bin/activate|((WARMCAST|AWS)_\w+=\S+ )*warmcast (serve|api|worker))"
"""Commands of the blocks that are not run: they start the processes that the other blocks need."""
DOCTOR = "warmcast doctor "
"""A command that is run with a small checkpoint; `make campaign` runs it with the bundled one."""


def _script(text: str) -> str:
    parts = []
    for language, block in BLOCK.findall(text):
        if language == "sh":
            parts.append(block)
        elif language == "python":
            parts.append(f"export ID\npython - <<'PYTHON'\n{block}PYTHON\n")
    return "set -eux\n" + "\n".join(parts)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.campaign if name == LONG else ()) for name in RUN]
)
def test_every_block_of_a_document_works(
    name: str, request: pytest.FixtureRequest, gfs_files: list[Path], untrained_checkpoint: Path, tmp_path: Path
) -> None:
    text = (DOCS / name).read_text().replace(DOCTOR, f"{DOCTOR}--checkpoint {untrained_checkpoint} ")
    needs_own = "warmcast key create" in text  # from then on the service refuses requests without a key
    served: Served = request.getfixturevalue("serve")() if needs_own else request.getfixturevalue("served")
    for target, source in zip(("gfs.t18z.grib2", "gfs.t00z.grib2"), gfs_files, strict=True):
        (tmp_path / target).symlink_to(source)
    init_time = parse_time(find_catalogue_state("gfs", None).init_time)
    times = [init_time + np.timedelta64(hours, "h") for hours in (0, 6, 12)]
    grid = Grid(tuple(np.linspace(90.0, -90.0, 37)), tuple(np.arange(72) * 5.0))
    travelling_waves(grid, times).to_netcdf(tmp_path / "analyses.nc")
    script = _script(text).replace("http://localhost:8000", served.url)
    script = script.replace("localhost:8000", served.url.removeprefix("http://"))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WARMCAST_URL": served.url,
        "WARMCAST_DATA": str(served.data),
        "ID": "",
    }
    ended = subprocess.run(
        ["bash"], input=script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not [*tmp_path.glob(".*.partial")]
    if "maps.png" in script:
        assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")


def test_the_client_of_the_readme_opens_the_forecast_that_it_submits(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    block = BLOCK.findall((DOCS.parent / "README.md").read_text())
    (code,) = [text for language, text in block if language == "python" and "Client(" in text]
    exec(code.replace("http://localhost:8000", served.url), {})
    assert "latitude" in capsys.readouterr().out


def test_the_cells_of_the_notebook_run_from_top_to_bottom(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMCAST_URL", served.url)
    mpl.use("Agg")
    notebook = json.loads((DOCS / "notebooks/wind_at_a_site.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for cell in cells:
        exec(cell, names)
    assert names["speed"].shape == (9, 8)
    assert names["figure"].axes[0].lines
    assert not any(cell.get("outputs") for cell in notebook["cells"])


@pytest.mark.parametrize("name", RUN)
def test_blocks_that_are_not_run_only_start_processes(name: str) -> None:
    for language, block in BLOCK.findall((DOCS / name).read_text()):
        assert language in {"sh", "python", "console"}
        if language == "console":
            assert all(re.match(STARTS, line) for line in block.splitlines()), block
