"""What a child process of the service runs; it imports nothing, so that imports have low priority too."""

import os
import pickle
import tempfile
from typing import Any

_NICENESS = 10
"""Priority of child processes: a tenth of the CPU remains to them while other processes want all of it."""


def call_at_low_priority(call: bytes, folder: str | None) -> Any:
    """Return the result of a pickled function without arguments, at low priority.

    Its temporary files are in `folder`, by default in that of the system.
    """
    os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    tempfile.tempdir = folder
    return pickle.loads(call)()
