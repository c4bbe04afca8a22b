"""Debian's Prometheus for tests: of the path, else unpacked from its package."""

import subprocess
from pathlib import Path

from jobs.testing import debian_program


def run_promtool(*arguments: str, folder: Path | None = None, text: str | None = None) -> str:
    """Return what `promtool` prints; raises `AssertionError` with it where it is not content."""
    ended = subprocess.run(
        [*program("promtool"), *arguments], cwd=folder, input=text, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def program(name: str) -> list[str]:
    """Return the command that runs `prometheus` or `promtool`."""
    return debian_program(name, "prometheus")
