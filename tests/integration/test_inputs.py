"""What each input as people have it does, through the reader, the command line, the service and its child process.

The parser of the service runs in a confined process for inputs of `CONFINED`, which are unlike those of
`tests/unit/weather/ingest/test_ingest.py`; `make campaign` confines it for all.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from tests.cases import ACCEPTED, REFUSED, Case
from tests.inputs import INIT_TIME, state, state_spec
from tests.parsing import parse_in_process
from warmcast.cli import app
from weather.errors import InitialStateError
from weather.ingest import parent
from weather.initial_state import InitialState, read_initial_state

pytestmark = pytest.mark.filterwarnings("ignore:.*Consolidated.*", "ignore:Duplicate name", "ignore:.*Zarr V3 spec")
SPEC = state_spec()
INPUTS = ACCEPTED | REFUSED
CONFINED = {"CCSDS packing", "bzip2", "WMO headers", "members by label", "spread of ECMWF", "HEALPix"}


@pytest.fixture
def unconfined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse in this process what the service parses in a confined one."""
    monkeypatch.setattr(parent, "run_parser", parse_in_process)


def _check_accepted(result: InitialState, case: Case) -> None:
    clean = state()
    assert result.init_time == INIT_TIME + np.timedelta64(case.later_hours, "h")
    assert len(result.newest) == len(case.members)
    for analysis, member in enumerate(case.members):
        for channel, name in enumerate(clean):
            for frame, fields in enumerate((result.previous, result.newest)):
                expected = clean[name].values[frame] + member
                np.testing.assert_allclose(fields[analysis, channel], expected, rtol=0, atol=case.tolerance)


def _check_refusal(text: str, case: Case, paths: list[Path]) -> None:
    assert re.search(str(case.refusal), text), text
    assert any(path.name in text for path in paths)
    assert "damaged" not in text


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_input_is_read_as_the_clean_state(tmp_path: Path, name: str) -> None:
    case = ACCEPTED[name]
    _check_accepted(read_initial_state([str(path) for path in case.make(tmp_path)], SPEC), case)


@pytest.mark.parametrize("name", REFUSED)
def test_an_input_is_refused_with_its_reason(tmp_path: Path, name: str) -> None:
    case = REFUSED[name]
    paths = case.make(tmp_path)
    with pytest.raises(InitialStateError) as caught:
        read_initial_state([str(path) for path in paths], SPEC)
    _check_refusal(str(caught.value), case, paths)


def _check_service(case: Case, folder: Path) -> None:
    """Check what the service makes of an input as an upload."""
    paths = case.make(folder)
    names = [path.name for path in paths]
    if case.refusal is None:
        _check_accepted(parent.ingest_initial_state(paths, names, SPEC, None), case)
    else:
        with pytest.raises(InitialStateError) as caught:
            parent.ingest_initial_state(paths, names, SPEC, None)
        _check_refusal(str(caught.value), case, paths)


@pytest.mark.usefixtures("unconfined")
@pytest.mark.parametrize("name", INPUTS)
def test_the_service_reads_the_same_state_or_refuses_with_the_same_reason(tmp_path: Path, name: str) -> None:
    _check_service(INPUTS[name], tmp_path)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in CONFINED else pytest.mark.campaign) for name in INPUTS]
)
def test_the_services_child_does_the_same(tmp_path: Path, name: str) -> None:
    _check_service(INPUTS[name], tmp_path)


def test_every_confined_input_exists() -> None:
    assert {*INPUTS} >= CONFINED


def _forecast(tiny_checkpoint: Path, folder: Path, paths: list[Path]) -> Result:
    options = ["--members", "3", "--lead-time", "6h", "--nfe", "2", "--seed", "1", "--checkpoint", str(tiny_checkpoint)]
    arguments = ["forecast", "--initial-state", *map(str, paths), *options, "--output", str(folder / "out")]
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_command_line_forecasts_from_an_input(tiny_checkpoint: Path, tmp_path: Path, name: str) -> None:
    case = ACCEPTED[name]
    result = _forecast(tiny_checkpoint, tmp_path, case.make(tmp_path))
    assert result.exit_code == 0, result.output
    with xr.open_zarr(tmp_path / "out/ensemble.zarr") as ensemble:
        assert ensemble.init_time.values[0] == INIT_TIME + np.timedelta64(case.later_hours, "h")
        assert bool(np.isfinite(ensemble.u10).all())


@pytest.mark.parametrize("name", REFUSED)
def test_the_command_line_refuses_an_input_in_one_paragraph(tiny_checkpoint: Path, tmp_path: Path, name: str) -> None:
    case = REFUSED[name]
    paths = case.make(tmp_path)
    result = _forecast(tiny_checkpoint, tmp_path, paths)
    assert result.exit_code == 2, result.output
    text = " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert "\n\n" not in result.output.strip()
    _check_refusal(text, case, paths)
