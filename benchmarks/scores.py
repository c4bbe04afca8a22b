"""`warmcast bench scores`: time and memory of the CRPS, compared with other libraries."""

import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scoringrules
import xarray as xr
import xskillscore

from benchmarks.measurement import publish_results, shortest_seconds_of_each
from diagnostics.scores.crps import crps_biased, crps_fair

_EXACT = (("pwm", "numpy"), ("pwm", "numba"), ("qd", "numba"), ("fair", "numba"))
_DIMENSIONS = ("lead_time", "latitude", "longitude")


def bench_scores(*, json: Path | None, tiny: bool) -> dict[str, Any]:
    """Time the CRPS of 50 members × 20 lead times × 121 × 240 by Warmcast, xskillscore and scoringrules.

    Ratios: the times of xskillscore and of the fastest exact estimator of scoringrules over ours, and our extra memory
    over the size of the input. `tiny` makes everything small for tests; its results mean nothing.
    """
    shape = (5, 2, 12, 24) if tiny else (50, 20, 121, 240)
    draw = np.random.default_rng(0)
    ensemble, truth = draw.normal(size=shape).astype(np.float32), draw.normal(size=shape[1:]).astype(np.float32)
    labelled = xr.DataArray(truth, dims=_DIMENSIONS), xr.DataArray(ensemble, dims=("member", *_DIMENSIONS))
    works = {
        "warmcast fair": partial(crps_fair, ensemble, truth),
        "warmcast biased": partial(crps_biased, ensemble, truth),
        "xskillscore": partial(xskillscore.crps_ensemble, *labelled, dim=[]),
    }
    for estimator, backend in _EXACT:
        works[f"scoringrules {estimator} ({backend})"] = partial(
            scoringrules.crps_ensemble, truth, ensemble, m_axis=0, estimator=estimator, backend=backend
        )
    seconds = shortest_seconds_of_each(works, repeats=7)
    ours = max(seconds["warmcast fair"], seconds["warmcast biased"])
    theirs = min(value for name, value in seconds.items() if name.startswith("scoringrules"))
    ratios = {
        "xskillscore_ratio": seconds["xskillscore"] / ours,
        "scoringrules_ratio": theirs / ours,
        "extra_memory_ratio": extra_bytes(ensemble, truth) / (ensemble.nbytes + truth.nbytes),
    }
    rows = [{"CRPS by": name, "seconds": value} for name, value in seconds.items()]
    return publish_results(f"CRPS of {' × '.join(map(str, shape))} values", rows, ratios, json)


def extra_bytes(ensemble: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> int:
    """Return the peak of memory in bytes that Warmcast's CRPS allocates in addition to its input."""
    tracemalloc.start()
    crps_fair(ensemble, truth)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
