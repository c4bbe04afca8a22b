"""A run of an evaluation: a checkpoint, what it is compared with, and the stability test, each with its records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.data.training_data import TrainingData
from training.evaluation.evaluator import Evaluator
from training.evaluation.records_file import RecordsFile
from training.evaluation.results import combine_records
from training.evaluation.settings import Evaluation, find_natural_years, start_indices
from training.evaluation.stability import StabilityTest, StabilityTester
from training.evaluation.steppers import fit_control
from training.evaluation.subject import Subject

_RECORDS, _AGAINST, _STABILITY = ".records.jsonl", ".against.records.jsonl", ".stability.records.jsonl"
"""Ends of the names of the files of records, in place of that of the output."""


class EvaluationRun:
    """The parts of an evaluation of `subject` and, if there is one, of `other`, from the same starts.

    Raises the errors of its parts, before anything is computed.
    """

    def __init__(
        self, subject: Subject, other: Subject | None, data: TrainingData, evaluation: Evaluation, *, control: bool
    ) -> None:
        self._subject, self._other, self._data = subject, other, data
        provenance, starts = subject.manifest.provenance, start_indices(data, evaluation, partial=True)
        self._evaluation = replace(
            evaluation, natural_years=find_natural_years(data, evaluation, starts, provenance.train_years)
        )
        self.evaluator = Evaluator(subject.forecaster, subject.manifest, data, self._evaluation, starts)
        if control:
            self.evaluator.add_control(fit_control(subject.forecaster, provenance, data, evaluation.years))
        self._parts: dict[str, Evaluator | StabilityTester] = {_RECORDS: self.evaluator}
        if other is not None:
            alone = replace(evaluation, references=False, natural_years=())
            self._parts[_AGAINST] = Evaluator(other.forecaster, other.manifest, data, alone, starts)

    def add_stability(self, test: StabilityTest) -> None:
        """Add a stability test of the checkpoint."""
        self._parts[_STABILITY] = StabilityTester(self._subject.forecaster, self._subject.manifest, self._data, test)

    def compute(
        self, output: Path, report_progress: Callable[[int, int], None], report_cost: Callable[[float, int], None]
    ) -> dict[str, Any]:
        """Return the result of all parts; each continues from the records of an interrupted run next to `output`."""
        files = {end: RecordsFile(output.with_suffix(end), part.settings()) for end, part in self._parts.items()}
        costs = [part.estimate_cost(len(files[end].records)) for end, part in self._parts.items()]
        report_cost(sum(cost.seconds for cost in costs), sum(cost.evaluations for cost in costs))
        total = sum(len(part.starts) for part in self._parts.values())
        for end, part in self._parts.items():
            for _ in part.run(files[end]):
                report_progress(sum(len(file.records) for file in files.values()), total)
        return self._combine({end: file.records for end, file in files.items()})

    def _combine(self, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
        """Return settings and scores of all parts from their records, by the end of the file's name."""
        manifest, sampling = self._subject.manifest, self._subject.forecaster.sampling
        others = {}
        if self._other is not None:
            others[self._other.describe()] = records[_AGAINST], self._evaluation.num_members
        settings = {
            "subject": self._subject.describe(),
            "evaluations_per_step": sampling.network_evaluations,
        } | self.evaluator.settings()
        result = {"settings": settings, "checkpoint": manifest.name}
        result |= combine_records(records[_RECORDS], self._evaluation, manifest.model.time_step_hours, others)
        if isinstance(tester := self._parts.get(_STABILITY), StabilityTester):
            result["stability"] = tester.combine(records[_STABILITY])
        return result
