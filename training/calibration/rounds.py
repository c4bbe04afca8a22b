"""Rounds of a fit, each with what the one before leads to, kept in a file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from training.evaluation.records_file import RecordsFile

Round = Mapping[str, Any]
"""A value of what is fitted (`colour` or `damping`), the `excess` that it leaves, its sampling `error`, and Σ|1 − η|
(`deviation`); as JSON."""

Fitted = TypeVar("Fitted")


class Rounds(Generic[Fitted]):
    """The rounds of a fit in a file: `first` is tried first, then what `follow` returns after some rounds, or None.

    `measure` returns the round of a value.
    """

    def __init__(
        self,
        file: RecordsFile,
        first: Fitted,
        follow: Callable[[Sequence[Round]], Fitted | None],
        measure: Callable[[Fitted], dict[str, Any]],
    ) -> None:
        self._file, self._first, self._follow, self._measure = file, first, follow, measure

    def run(
        self, num_rounds: int, report_progress: Callable[[int], None], report_cost: Callable[[int], None]
    ) -> Sequence[Round]:
        """Compute the rounds up to `num_rounds` that are not in the file, until they change nothing more; return all.

        `report_cost` is called before the first with the number of those that are left, `report_progress` after each.
        """
        rounds = self._file.records
        value = self._follow(rounds) if rounds else self._first
        if value is not None and len(rounds) < num_rounds:
            report_cost(num_rounds - len(rounds))
        while value is not None and len(rounds) < num_rounds:
            self._file.append(self._measure(value))
            report_progress(len(rounds))
            value = self._follow(rounds)
        return rounds

    @property
    def best(self) -> Round | None:
        """The round with the least deviation; None if that is the first, which changes nothing."""
        rounds = self._file.records
        best = min(rounds, key=lambda each: float(each["deviation"]))
        return None if best is rounds[0] else best

    @property
    def first_deviation(self) -> float:
        """The deviation of the first round."""
        return float(self._file.records[0]["deviation"])
