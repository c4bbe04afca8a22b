import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from warmcast.cli import app

RATIOS = {
    "engine": {
        "overhead_ratio",
        "convolution_share",
        "convolution_speed",
        "eager_ratio",
        "diagnostics_share",
        "two_worker_ratio",
        "memory_growth",
        "memory_a_member_kb",
    },
    "estimate": {"time_ratio", "bytes_ratio"},
    "networks": {"stem_ratio", "channels_last_ratio"},
    "scores": {"xskillscore_ratio", "scoringrules_ratio", "extra_memory_ratio"},
}


@pytest.mark.parametrize("name", RATIOS)
def test_every_benchmark_runs_and_writes_its_ratios(name: str, tmp_path: Path) -> None:
    arguments = ["bench", name, "--tiny", "--json", str(tmp_path / "out.json")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "out.json").read_text())
    assert set(written) == RATIOS[name] | {"rows"}
    assert len(written["rows"]) >= 3
    assert all(written[ratio] > 0 for ratio in RATIOS[name])


def test_every_benchmark_is_listed_here() -> None:
    output = CliRunner().invoke(app, ["bench", "--help"]).output
    for name in RATIOS:
        assert name in output
