"""The environment that has JCM, and `warmcast nature-run` in it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def find_nature_python() -> str:
    """Return the Python that has JCM, or skip the test if there is none."""
    python = ROOT / ".venv-nature/bin/python"
    if importlib.util.find_spec("jcm") is not None:
        return sys.executable
    if not python.exists():
        pytest.skip("JCM is not installed: `make .venv-nature/.installed`")
    return str(python)


def start_nature_run(python: str, output: Path, cache: Path, *options: str) -> subprocess.Popen[str]:
    """Start a tiny run of two years in a session of its own; what JAX compiles is kept in `cache`."""
    command = [python, "-m", "warmcast", "nature-run", "--output", str(output), "--tiny", "--years", "2", *options]
    variables = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(
        command,
        env=os.environ | variables,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
