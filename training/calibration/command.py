"""The command `warmcast calibrate`: fit the noise of a checkpoint on validation years, and write its manifest."""

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from storage.atomic import write_text
from storage.errors import ConfigurationError
from storage.lock import claim_output
from training.calibration.search import guess_noise, search_noise
from training.calibration.trials import Trial, Trials, objective
from training.data.sources import load_data_for
from training.evaluation.records_file import RecordsFile
from training.evaluation.settings import Evaluation
from training.evaluation.subject import Subject
from weather.bundled import find_checkpoint
from weather.checkpoint_files import LICENSE_NAME, WEIGHT_FILES
from weather.manifest import MANIFEST_NAME, WHITE, Manifest, NoiseFit, NoiseSpec
from weather.periods import Period, find_shared, format_periods, read_periods
from weather.times import count_lead_times

LEAD_HOURS = (6, 12, 24, 48, 72, 120, 168, 240)
"""Lead times that are scored, as far as they are of whole time steps and within the forecast; the last always is."""


def calibrate_checkpoint(
    *,
    checkpoint: str,
    checkpoint_folders: Sequence[Path],
    data: Sequence[str | Path],
    years: Sequence[Period | str],
    lead_time: str,
    num_trials: int,
    spread_weight: float,
    batch_size: int | None,
    threads: int | None,
    output: Path | None,
    in_place: bool,
    report_progress: Callable[[int, int], None],
    report_cost: Callable[[float, int], None],
    **settings: Any,
) -> dict[str, Any]:
    """Fit the noise of a checkpoint at its own sampling, write it to a manifest, and return the fit and all trials.

    The manifest is that of a copy in the new folder `output`, or the checkpoint's own if `in_place` is set. `settings`
    are `num_starts`, `num_members` and `seed` of the `Evaluation`. Each trial is appended to a file next to the folder,
    from which an interrupted calibration continues. `report_cost` is called before the first trial with an estimate of
    the remaining seconds and evaluations of networks, `report_progress` after each. Raises `ConfigurationError` for
    years of the training, before anything is computed.
    """
    if threads:
        torch.set_num_threads(threads)
    folder = find_checkpoint(checkpoint, checkpoint_folders)
    target = _choose_target(folder, output, in_place=in_place)
    subject = Subject.load(folder, {})
    periods = read_periods(years, "years") or subject.manifest.provenance.validation_years
    check_years(subject.manifest, periods)
    steps, group_size = _lead_steps(lead_time, subject.manifest.model.time_step), batch_size or 10
    frames = load_data_for(subject.manifest.model, data)
    frames.keep("auto", torch.device("cpu"))
    evaluation = Evaluation(periods, lead_steps=steps, group_size=group_size, references=False, **settings)
    trials, path = Trials(subject, frames, evaluation), target.with_name(f"{target.name}.trials.jsonl")
    with claim_output(path, ConfigurationError(f"Another calibration writes `{path}`. Wait for it.")):
        run = _Run(trials, path, num_trials, spread_weight, report_progress)
        run.report_cost(report_cost)
        run.evaluate(WHITE)
        run.check_white()
        search_noise(run.evaluate, guess_noise(subject, frames, periods), num_trials - 1)
        noise = run.fit(", ".join(PurePosixPath(str(source)).name for source in data))
        manifest = _write(folder, target, subject.manifest.model_copy(update={"noise": noise}))
    fit = {"noise": noise.model_dump(mode="json"), "summary": noise.describe(), "trials": run.table()}
    return {"checkpoint": str(target), "digest": manifest.digest} | fit


def check_years(manifest: Manifest, years: Sequence[Period]) -> None:
    """Raise `ConfigurationError` if there are no years, or if the checkpoint was trained on some of them.

    The years of the checkpoint that its training started from count too.
    """
    made = manifest.provenance
    if not years:
        raise ConfigurationError("`years` must be given: the checkpoint has no validation years.", ("years",))
    earlier = () if made.started_from is None else made.started_from.train_years
    for trained in (made.train_years, earlier):
        if shared := find_shared(trained, years):
            raise ConfigurationError(
                f"`years` must be validation years, on which `{manifest.name}` was not trained: "
                f"{format_periods(trained)} are its training years. Got: {format_periods(years)}, which shares "
                f"{shared}.",
                ("years",),
            )


class _Run:
    """The trials of a calibration, those of an interrupted one included."""

    def __init__(
        self,
        trials: Trials,
        path: Path,
        num_trials: int,
        spread_weight: float,
        report_progress: Callable[[int, int], None],
    ) -> None:
        self._trials, self._num_trials = trials, num_trials
        self._file = RecordsFile(path, trials.settings() | {"spread_weight": spread_weight})
        self._spread_weight, self._report_progress = spread_weight, report_progress

    def report_cost(self, report: Callable[[float, int], None]) -> None:
        """Report the seconds and evaluations of the trials that are left."""
        left = max(self._num_trials - len(self._file.records), 0)
        if left:
            report(left * self._trials.measure_seconds(), left * self._trials.evaluations)

    def evaluate(self, noise: NoiseSpec) -> float:
        """Return the objective of a noise; it is tried unless it has been."""
        known = [trial for trial in self._file.records if trial["noise"] == noise.parameters]
        if not known:
            self._file.append(self._trials.score(noise))
            self._report_progress(min(len(self._file.records), self._num_trials), self._num_trials)
        return self._value((known or self._file.records)[-1])

    def check_white(self) -> None:
        """Raise `ConfigurationError` if forecasts with white noise lose members, so that nothing can be compared."""
        lost = [row["lead_hours"] for row in self._white["lead_times"] if None in row["crps"]]
        if lost:
            raise ConfigurationError(
                f"`lead_time` must be shorter than {lost[0]}h: by then, forecasts with white noise have lost members.",
                ("lead_time",),
            )

    def fit(self, data: str) -> NoiseSpec:
        """Return the best noise of all trials, with what it was fitted on: `data` and the trials' settings."""
        best = min(self._file.records, key=self._value)
        evaluation, sampling = self._trials.evaluation, self._trials.sampling
        fit = NoiseFit(
            data=data,
            years=evaluation.years,
            starts=evaluation.num_starts,
            members=evaluation.num_members,
            lead_hours=self._trials.lead_hours,
            sampling=f"{sampling.solver}, NFE {sampling.nfe}",
            objective=f"CRPS ÷ that with white noise + {self._spread_weight:g} · ln²(spread ÷ skill)",
            value=round(self._value(best), 6),
            white_value=round(self._value(self._white), 6),
        )
        return NoiseSpec(**best["noise"], fitted_on=fit)

    def table(self) -> list[dict[str, Any]]:
        """Return all trials, the best first; the objective of one that lost a member is None."""
        trials = sorted(self._file.records, key=self._value)
        values = [self._value(trial) for trial in trials]
        finite = [value if math.isfinite(value) else None for value in values]
        return [trial | {"objective": value} for trial, value in zip(trials, finite, strict=True)]

    @property
    def _white(self) -> Trial:
        return self._file.records[0]

    def _value(self, trial: Trial) -> float:
        return objective(trial, self._white, self._spread_weight)


def _choose_target(folder: Path, output: Path | None, *, in_place: bool) -> Path:
    """Return the folder whose manifest is written; raises `ConfigurationError` unless it is stated and unused."""
    if (output is None) != in_place:
        raise ConfigurationError("Name a new folder with --output, or change the checkpoint itself with --in-place.")
    if output is not None and (output / MANIFEST_NAME).exists():
        raise ConfigurationError(f"`output` must be a new folder. Got: `{output}`, which holds a checkpoint.")
    return folder if output is None else output


def _lead_steps(lead_time: str, time_step: np.timedelta64) -> tuple[int, ...]:
    """Return the lead times that are scored, in time steps, ascending."""
    last, hours = count_lead_times(lead_time, time_step), int(time_step // np.timedelta64(1, "h"))
    steps = {lead_hours // hours for lead_hours in LEAD_HOURS if lead_hours % hours == 0}
    return tuple(sorted({step for step in steps if step < last} | {last}))


def _write(folder: Path, target: Path, manifest: Manifest) -> Manifest:
    """Write the manifest into `target`, last, after a copy of the weights and the licence if it is another folder.

    A card is not copied: its scores are those of other forecasts.
    """
    if target != folder:
        target.mkdir(parents=True, exist_ok=True)
        for name in (*WEIGHT_FILES, LICENSE_NAME):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, target / name)
    write_text(target / MANIFEST_NAME, manifest.to_json())
    return manifest
