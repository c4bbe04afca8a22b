import subprocess
import sys

import pytest


@pytest.mark.smoke
@pytest.mark.parametrize(
    "module",
    [
        "warmcast",
        "warmcast.cli",
        "weather.initial_state",
        "weather.stores.ensemble",
        "weather.manifest",
        "diagnostics.figures.plot",
        "service.app",
        "jobs.dispatching.supervisor",
    ],
)
def test_all_but_the_workers_load_no_torch(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.smoke
def test_warmcast_alone_loads_nothing_heavy() -> None:
    code = (
        "import warmcast, sys; sys.exit(any(name in sys.modules for name in ('xarray', 'zarr', 'matplotlib', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
