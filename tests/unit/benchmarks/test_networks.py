import json
from pathlib import Path

from typer.testing import CliRunner

from warmcast.cli import app


def test_the_benchmark_of_networks_runs_and_writes_its_ratios(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["bench", "networks", "--tiny", "--json", str(tmp_path / "out.json")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "out.json").read_text())
    assert {"stem_ratio", "channels_last_ratio"} <= set(written)
    assert len(written["rows"]) == 3
