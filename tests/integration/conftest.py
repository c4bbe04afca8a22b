from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

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


@contextmanager
def _serve(checkpoint: Path, factory: pytest.TempPathFactory) -> Iterator[Served]:
    result = Served(factory.mktemp("served") / "data", checkpoint.parent)
    try:
        yield result
    finally:
        result.client.close()
        result.stop()
