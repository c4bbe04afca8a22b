from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.analyses import write_analysis
from tests.served import Served


@pytest.fixture(scope="package")
def served(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for the tests of this folder that look only at what they have submitted themselves."""
    with _serve(untrained_checkpoint, tmp_path_factory) as result:
        yield result


@pytest.fixture(scope="module")
def own_served(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service for each module whose tests depend on all that was submitted, or change more than that."""
    with _serve(untrained_checkpoint, tmp_path_factory) as result:
        yield result


@pytest.fixture(scope="module")
def late_served(untrained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with the data set `office`, whose newest analysis is more than a day old, and `away`, a missing one."""
    folder = tmp_path_factory.mktemp("datasets")
    day = np.datetime64("now", "D").astype("datetime64[s]")
    for hours in (24, 30):
        write_analysis(folder, day - np.timedelta64(hours, "h"))
    text = '[{}]\nkind = "folder"\nfolder = "{}"\nfile = "{{yyyymmddhh}}.grib2"\n'
    file = folder / "datasets.toml"
    file.write_text(text.format("office", folder) + text.format("away", folder / "away"))
    with _serve(untrained_checkpoint, tmp_path_factory, datasets="office,away", datasets_file=str(file)) as result:
        yield result


@contextmanager
def _serve(checkpoint: Path, factory: pytest.TempPathFactory, **settings: str) -> Iterator[Served]:
    result = Served(factory.mktemp("served") / "data", checkpoint.parent, **settings)
    try:
        yield result
    finally:
        result.client.close()
        result.stop()
