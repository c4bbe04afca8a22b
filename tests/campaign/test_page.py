"""The benchmark of the page in its small form, whose results mean nothing: it runs, and reads each chunk once."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.page import bench_page


@pytest.mark.campaign
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Debian's Chromium is not installed")
def test_the_benchmark_of_the_page_runs(tmp_path: Path) -> None:
    result = bench_page(json=tmp_path / "page.json", tiny=True)
    assert json.loads((tmp_path / "page.json").read_text()) == result
    assert result["chunk_ratio"] == 1
    assert all(row["first pass, frames/s"] > 0 for row in result["rows"])
