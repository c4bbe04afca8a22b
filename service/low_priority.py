"""What a child process of the service runs; it imports nothing, so that imports have low priority too."""

import gc
import os
import pickle
import sys
import tempfile
from typing import Any

_NICENESS = 10
"""How much nicer children are than their parent: one gets a tenth of a CPU while both want all of it."""


def call_at_low_priority(call: bytes, folder: str) -> Any:
    """Return the result of a pickled function without arguments, at low priority; temporary files are in `folder`."""
    parent = os.getpriority(os.PRIO_PROCESS, os.getppid())
    os.setpriority(os.PRIO_PROCESS, 0, parent + _NICENESS)
    tempfile.tempdir = folder
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stderr.fileno())  # else a pipe that nobody reads: once full, it would stop this process
    os.close(nowhere)
    gc.disable()  # takes a fifth of the time of imports, which make next to no garbage
    function = pickle.loads(call)
    gc.enable()
    return function()
