import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from warmcast.cli import app


@dataclass(frozen=True)
class Benchmark:
    """What `warmcast bench NAME --tiny` wrote and printed."""

    result: dict[str, Any]
    output: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.result["rows"]
        return rows


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Benchmark]:
    """Run a benchmark, with options after its name, in its tiny form, once a session."""

    @cache
    def bench(name: str) -> Benchmark:
        path: Path = tmp_path_factory.mktemp("bench") / "out.json"
        result = CliRunner().invoke(
            app, ["bench", *name.split(), "--tiny", "--json", str(path)], catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
        return Benchmark(json.loads(path.read_text()), result.output)

    return bench
