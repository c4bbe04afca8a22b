"""The admission check of an initial state: is it weather, and of the kind that a checkpoint was trained on?

Limits are the extremes of the training years times a margin. A state beyond the first limit is used with a warning; one
beyond the second, which no weather reaches, is refused. Checkpoints without extremes have the limits of
`weather.plausibility` alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from weather.extremes import Range, TrainingExtremes
from weather.manifest import ModelSpec
from weather.measures import (
    Frames,
    Values,
    bands_of,
    measure_bands,
    measure_change,
    measure_roughness,
    measure_wind_speed,
)
from weather.pattern import Pattern, coarsen
from weather.plausibility import find_equal_frames, find_frame_problems, find_one_sided_winds, find_time_warnings
from weather.times import format_time

_TINY = 1e-30


@dataclass(frozen=True)
class Margin:
    """By how much a statistic must exceed the extremes of the training years for a warning, and for a refusal."""

    warning: float
    refusal: float


MEAN = Margin(0.5, 3.0)
"""Of the mean of a band of latitudes: distance from the extremes, in units of the band's largest spread."""
SPREAD = Margin(1.25, 3.0)
"""Of the spread of a band of latitudes: factor to the extremes, both ways."""
ROUGHNESS = Margin(2.0, 4.0)
"""Of the roughness: factor to its largest value. The Earth is rougher than a simulated planet, by up to 1.9."""
CHANGE = Margin(1.5, 5.0)
"""Of the difference between a frame and the one before: factor to the extremes, both ways. One may be a forecast."""
WIND_SPEED = Margin(1.25, 2.0)
"""Of the largest wind speed: factor to its largest value."""
DISSIMILARITY = Margin(0.1, 0.3)
"""Of the correlation with the average of the training years: warning below the smallest one less 0.1; refusal below
-0.3, or the smallest one less 0.3 if that is negative."""

PAIR_CORRELATION, PAIR_ADVANTAGE = 0.8, 0.3
"""Frames one time step apart are refused if their correlation is above 0.8 with one of them in a wrong arrangement, and
more than 0.3 above that of the frames as they are."""

ARRANGEMENT_MARGIN = 0.05
"""Of the correlation of a wrong arrangement less that of the fields as they are: a warning if it exceeds 0, and the
largest one of the training years by 0.05."""


@dataclass(frozen=True)
class Findings:
    """Sentences: the reasons to refuse an initial state, and warnings about it."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Statistic:
    """One statistic of every frame, its extremes in the training years, and how far each frame exceeds them.

    Of all statistics of one `group`, only the worst is reported.
    """

    group: str
    name: str
    units: str
    values: Values
    known: Range
    excess: Values
    margin: Margin

    @property
    def severity(self) -> float:
        """The largest excess in units of the margin: a warning from 1."""
        return float(self.excess.max() / self.margin.warning)

    def describe(self, labels: Sequence[str]) -> str:
        """Return a sentence about the worst frame; `labels` say which frame is which."""
        worst, units = int(self.excess.argmax()), f" {self.units}" if self.units else ""
        return (
            f"The {self.name} is {self.values[worst]:.3g}{units} {labels[worst]}; in the training years, it was "
            f"{self.known.low:.3g} to {self.known.high:.3g}{units}."
        )


def check_state(frames: Sequence[Frames], init_time: np.datetime64, spec: ModelSpec, now: np.datetime64) -> Findings:
    """Check finite frames (analysis, variable, latitude, longitude) in physical units on the checkpoint's grid.

    They are newest first, from `init_time` on, one time step apart. `now` is the present time in UTC: an analysis
    cannot be of the future.
    """
    findings, num_analyses, together = Findings(), len(frames[0]), np.concatenate(frames)
    times = [init_time - index * spec.time_step for index in range(len(frames))]
    labels = [
        f"at {format_time(time)}" + (f" in analysis {index + 1} of {num_analyses}" if num_analyses > 1 else "")
        for time in times
        for index in range(num_analyses)
    ]
    findings.problems.extend(find_frame_problems(together, labels, spec.known_variables, spec.grid.grid))
    findings.problems.extend(() if findings.problems else find_equal_frames(frames, times, spec.known_variables))
    findings.warnings.extend(find_time_warnings(init_time, now))
    findings.problems.extend(() if findings.problems else _find_wrong_pairs(frames, labels, spec))
    if spec.extremes is not None and not findings.problems:
        _compare_statistics(findings, [*_statistics(frames, spec, spec.extremes)], labels)
        _compare_pattern(findings, together, labels, spec, spec.extremes)
    findings.problems.extend(() if findings.problems else find_one_sided_winds(together, labels, spec.known_variables))
    return findings


def _find_wrong_pairs(frames: Sequence[Frames], labels: Sequence[str], spec: ModelSpec) -> Iterator[str]:
    """Yield a sentence for each frame of which it, or the one before it, is alone mirrored, turned or exchanged.

    Frames are compared with the one before of the same analysis.
    """
    scale, num_analyses = [(variable.mean, variable.std) for variable in spec.variables], len(frames[0])
    coarse = coarsen(np.concatenate(frames), spec.grid.grid)
    for index in range(len(coarse) - num_analyses):
        earlier = coarse[[index + num_analyses]]
        similarity, arranged = Pattern(coarse[index], scale, spec.variable_names).compare(earlier)
        as_they_are, (description, best) = similarity[0], max(arranged.items(), key=lambda item: item[1][0])
        if best[0] > PAIR_CORRELATION and best[0] - as_they_are > PAIR_ADVANTAGE:
            yield (
                f"The fields {labels[num_analyses + index]} resemble those {labels[index]} more {description} "
                f"(correlation {best[0]:.2f}) than as they are ({as_they_are:.2f}): one of the frames is arranged "
                "wrongly."
            )


def _compare_statistics(findings: Findings, statistics: Sequence[Statistic], labels: Sequence[str]) -> None:
    """Add the worst statistic of each group that is beyond a margin."""
    for group in dict.fromkeys(statistic.group for statistic in statistics):
        worst = max((item for item in statistics if item.group == group), key=lambda item: item.severity)
        if worst.excess.max() > worst.margin.refusal:
            findings.problems.append(worst.describe(labels))
        elif worst.excess.max() > worst.margin.warning:
            findings.warnings.append(worst.describe(labels))


def _statistics(frames: Sequence[Frames], spec: ModelSpec, extremes: TrainingExtremes) -> Iterator[Statistic]:
    """Yield every statistic of a state with its range in training.

    The values are one per frame, the newest frames before the older ones, or one per frame that has one before it.
    """
    together, grid, names = np.concatenate(frames), spec.grid.grid, spec.variable_names
    means, spreads = measure_bands(together, grid)
    num_changes = len(together) - len(frames[-1])
    change = measure_change(together[len(frames[0]) :], together[:num_changes], grid)
    roughness = measure_roughness(together, grid)
    for channel, (variable, known) in enumerate(zip(spec.known_variables, extremes.variables, strict=True)):
        name, units = f"`{variable.name}`", variable.units
        for index, band in enumerate(bands_of(grid)):
            mean, spread = known.mean[index], known.spread[index]
            values = means[:, channel, index]
            distance = np.maximum(values - mean.high, mean.low - values) / max(spread.high, _TINY)
            yield Statistic(f"mean {name}", f"mean of {name} from {band}", units, values, mean, distance, MEAN)
            values, title = spreads[:, channel, index], f"standard deviation of {name} from {band}"
            yield Statistic(f"spread {name}", title, units, values, spread, _factor(values, spread), SPREAD)
        values, title = roughness[:, channel], f"roughness of {name}, which is 1 for white noise,"
        factor = values / max(known.roughness.high, _TINY)
        yield Statistic(f"roughness {name}", title, "", values, known.roughness, factor, ROUGHNESS)
        values, title = change[:, channel], f"root mean square difference of {name} from the frame before"
        factor = _factor(values, known.change)
        yield Statistic(f"change {name}", title, units, values, known.change, factor, CHANGE)
    speeds = measure_wind_speed(together, names)
    if speeds is not None and extremes.wind_speed is not None:
        factor = speeds / max(extremes.wind_speed.high, _TINY)
        yield Statistic("speed", "largest wind speed", "m s-1", speeds, extremes.wind_speed, factor, WIND_SPEED)


def _factor(values: Values, known: Range) -> Values:
    """Return the factor by which values are above or below their extremes; they are positive."""
    return np.asarray(np.maximum(values / max(known.high, _TINY), known.low / np.maximum(values, _TINY)))


def _compare_pattern(
    findings: Findings, frames: Frames, labels: Sequence[str], spec: ModelSpec, extremes: TrainingExtremes
) -> None:
    """Compare frames, as they are and in wrong arrangements, with the average of the training years."""
    average = np.array([variable.average for variable in extremes.variables])
    scale = [(variable.mean, variable.std) for variable in spec.variables]
    similarity, arranged = Pattern(average, scale, spec.variable_names).compare(coarsen(frames, spec.grid.grid))
    descriptions, others = list(arranged), np.stack(list(arranged.values()))
    low, best = extremes.similarity.low, others.max(axis=0)
    worst = int((best - similarity).argmax())
    is_better = best[worst] - similarity[worst] > max(0.0, ARRANGEMENT_MARGIN - extremes.advantage.low)
    if is_better and best[worst] > low - DISSIMILARITY.warning:
        sentence = (
            f"The fields {labels[worst]} resemble the average of the training years more "
            f"{descriptions[int(others[:, worst].argmax())]} (correlation {best[worst]:.2f}) than as they are "
            f"({similarity[worst]:.2f}): they may be arranged wrongly."
        )
    elif similarity.min() < low - DISSIMILARITY.warning:
        sentence = (
            f"The fields {labels[int(similarity.argmin())]} are unlike the average of the training years: their "
            f"correlation is {similarity.min():.2f}, that of the frames of these years {low:.2f} or more."
        )
    else:
        return
    is_refused = similarity.min() < min(low, 0.0) - DISSIMILARITY.refusal
    (findings.problems if is_refused else findings.warnings).append(sentence)
