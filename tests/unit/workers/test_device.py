import os
import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource, numpy as np
from workers.device import keep_freed_memory
assert keep_freed_memory() == {kept}
def block():
    np.ones(400_000).sum()
block()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): block()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 20 * 400_000 * 8 // resource.getpagesize()


def _faults(*, kept: bool, **environment: str) -> int:
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS.format(kept=kept)], env=os.environ | environment, check=True, capture_output=True
    )
    return int(ran.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="no glibc")
def test_freed_memory_is_reused_unless_the_environment_configures_malloc() -> None:
    assert _faults(kept=True) < PAGES / 20
    assert _faults(kept=False, MALLOC_MMAP_THRESHOLD_="1000000") > PAGES * 0.9
