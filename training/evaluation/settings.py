"""The settings of an evaluation, and the initial times that follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.training_data import TrainingData
from weather.climatology import ClimatologyKind
from weather.errors import TrainingDataError
from weather.periods import Period, format_periods


@dataclass(frozen=True)
class Evaluation:
    """The settings of an evaluation: starts evenly spread over `years`, members computed in groups of `group_size`.

    `lead_steps` are the lead times that are scored, ascending, in time steps; forecasts end at the last. With
    `references`, persistence and climatology are scored too. States of climatology are near the date if it is
    `seasonal`, or of all dates of the training years if it is `pooled`; by default, the former where the data has
    enough of them. `natural_years` are the years whose
    spectra are compared with each other, by default the training years, as far as the data holds them. Intervals are
    from blocks of neighbouring starts within `block_days`.
    """

    years: tuple[Period, ...]
    num_starts: int
    num_members: int
    lead_steps: tuple[int, ...]
    group_size: int
    seed: int
    references: bool = True
    climatology: ClimatologyKind | None = None
    natural_years: tuple[Period, ...] | None = None
    block_days: float = 5.0

    @property
    def num_lead_times(self) -> int:
        """The length of a forecast in time steps."""
        return self.lead_steps[-1]


def start_indices(data: TrainingData, evaluation: Evaluation, *, partial: bool = False) -> list[int]:
    """Return the indices of the initial frames, which have truth at all lead times that are scored.

    Truth is in the years of the evaluation, too: what follows them may have been trained on, or be of another record.

    If fewer than `num_starts` frames have that, `partial` takes those with truth at the first lead time: of a short
    record, few starts reach the last one. Raises `TrainingDataError` if there are too few starts still, if none reaches
    the last lead time, or if the data has no frame of the years.
    """
    last, times = evaluation.num_lead_times, data.valid_times
    samples = data.sample_indices(evaluation.years)
    if not len(samples):
        raise TrainingDataError(
            f"The data must have frames of {format_periods(evaluation.years)}, by default the years that validated the "
            f"checkpoint. The data runs from {times[0]} to {times[-1]}. Name other `--years`, or by `--checkpoint` the "
            "one that the data is for."
        )
    has_truth = np.array([data.shift(samples, steps, evaluation.years) >= 0 for steps in evaluation.lead_steps])
    complete = samples[has_truth.all(axis=0)]
    is_enough = not partial or len(complete) >= evaluation.num_starts or not len(complete)
    usable = complete if is_enough else samples[has_truth[0]]
    if len(usable) < evaluation.num_starts:
        which = f"all lead times up to {last} time steps" if is_enough else "the first lead time"
        raise TrainingDataError(
            f"`starts` must be at most {len(usable)}, the frames of {format_periods(evaluation.years)} with truth at "
            f"{which} after them. Got: {evaluation.num_starts}. The data runs from {times[0]} to {times[-1]}."
        )
    return [int(index) for index in spread_ends(usable, evaluation.num_starts)]


def truth_indices(data: TrainingData, starts: Sequence[int], evaluation: Evaluation) -> NDArray[np.int64]:
    """Return the indices of the frames that are the truth of some start at a lead time that is scored."""
    truth = np.concatenate([data.shift(np.array(starts), steps, evaluation.years) for steps in evaluation.lead_steps])
    return truth[truth >= 0]


def spread_ends(indices: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `count` of `indices`, evenly spread, with the first and the last."""
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(np.int64)]


def spread_inside(indices: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `count` of `indices`, evenly spread, each in the middle of its part: 12 of a year are one a month."""
    return indices[((np.arange(count) + 0.5) * len(indices) / count).astype(np.int64)]


def find_natural_years(
    data: TrainingData, evaluation: Evaluation, starts: Sequence[int], train_years: Sequence[Period]
) -> tuple[int, ...]:
    """Return the whole years of `evaluation.natural_years`, or of the training years, that have frames at all dates.

    The dates are those of the truth of all starts and lead times. Raises `TrainingDataError` if one of
    `evaluation.natural_years` lacks a frame. A single year, which cannot be compared, is as good as none.
    """
    wanted = train_years if evaluation.natural_years is None else evaluation.natural_years
    years = tuple(period for period in wanted if isinstance(period, int))
    truth = data.valid_times[truth_indices(data, starts, evaluation)]
    found = [same_date_indices(data, time, years) for time in truth]
    present = [year for year, column in zip(years, np.transpose(found), strict=True) if column.min() >= 0]
    if evaluation.natural_years and (len(present) < len(wanted) or len(present) == 1):
        raise TrainingDataError(
            "`natural_years` must be two or more whole years with frames at all dates of the truth. Got: "
            f"{format_periods(wanted)}, of which the data holds {format_periods(present) or 'none'}."
        )
    return tuple(present) if len(present) > 1 else ()


def same_date_indices(data: TrainingData, valid_time: np.datetime64, years: Sequence[int]) -> NDArray[np.int64]:
    """Return the index of the frame of each of `years` that is as long after 1 January as `valid_time`; -1 for none.

    Where that is missing, as at the end of a leap year or of a record, the frame a day later or earlier is taken.
    """
    day = np.timedelta64(1, "D")
    since = valid_time - valid_time.astype("datetime64[Y]").astype("datetime64[s]")
    result = np.full(len(years), -1, np.int64)
    for shift in (-day, day, 0 * day):
        wanted = np.array([f"{year:04d}-01-01" for year in years], "datetime64[s]") + since + shift
        found = np.minimum(np.searchsorted(data.valid_times, wanted), len(data.valid_times) - 1)
        result = np.where(data.valid_times[found] == wanted, found, result)
    return result
