"""Check the frames of a training: whether they are weather at all, and each at its own time."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.data.training_data import TrainingData
from weather.errors import TrainingDataError
from weather.periods import Period, select_times
from weather.plausibility import describe_range_problem, find_frame_problems
from weather.times import format_time
from weather.variables import KNOWN

_NAMED = 5
"""Largest number of problems that a message names."""
_PART_FRAMES = 64


def check_frames(data: TrainingData, years: Sequence[Period]) -> None:
    """Raise `TrainingDataError` that names frames which no analysis has.

    Those are fields that are constant, in part or everywhere, values out of the range of their variable, and fields
    that are equal to those of the frame before. Only frames in memory are checked, because others take long to read.
    """
    if data.kept is None:
        return
    problems = list(_find_problems(data, np.flatnonzero(select_times(data.valid_times, years))))
    if problems:
        more = f" There are {len(problems) - _NAMED} more." if len(problems) > _NAMED else ""
        raise TrainingDataError(
            f"The data cannot be used for training: {' '.join(problems[:_NAMED])}{more} Leave such times out: give the "
            "years of `data` as periods without them."
        )


def _find_problems(data: TrainingData, indices: NDArray[np.int64]) -> Iterator[str]:
    """Yield a sentence for each problem, in order of time."""
    variables = [KNOWN[name] for name in data.variables]
    for first in range(0, len(indices), _PART_FRAMES):
        part = indices[max(first - 1, 0) : first + _PART_FRAMES]
        frames, texts = data.frames(part), [format_time(time) for time in data.valid_times[part]]
        is_new = slice(1 if first else 0, None)
        labels = [f"at {text}" for text in texts[is_new]]
        yield from find_frame_problems(frames[is_new], labels, variables, data.grid)
        for channel, variable in enumerate(variables):
            fields = frames[:, channel]
            for field, label in zip(fields[is_new], labels, strict=True):
                problem = describe_range_problem(variable, float(field.min()), float(field.max()), label)
                yield from () if problem is None else (problem,)
            for (older, newer), (before, after) in zip(pairwise(fields), pairwise(texts), strict=True):
                if np.array_equal(older, newer):
                    yield f"`{variable.name}` is the same at {before} and {after}, at every point."
