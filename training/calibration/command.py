"""The command `warmcast calibrate`: fit colour, damping and noise of a checkpoint on validation years."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from storage.atomic import write_text
from storage.errors import ConfigurationError
from storage.lock import claim_output
from training.calibration.colour import ColourFitter
from training.calibration.damping import DampingFitter
from training.calibration.noise import NoiseFitter
from training.calibration.search import count_first
from training.data.sources import load_data_for
from training.data.training_data import TrainingData
from training.evaluation.settings import Evaluation
from training.evaluation.subject import Subject
from weather.bundled import find_checkpoint
from weather.checkpoint_files import LICENSE_NAME, WEIGHT_FILES
from weather.manifest import MANIFEST_NAME, Manifest
from weather.periods import Period, find_shared, format_periods, read_periods
from weather.times import count_lead_times

Round = Mapping[str, Any]
"""A round of the fit of a colour or of a damping."""

LEAD_HOURS = (6, 12, 24, 48, 72, 120, 168, 240)
"""Lead times that are scored, as far as they are of whole time steps and within the forecast; the last always is."""


def calibrate_checkpoint(
    *,
    checkpoint: str,
    checkpoint_folders: Sequence[Path],
    data: Sequence[str | Path],
    years: Sequence[Period | str],
    lead_time: str,
    num_colour_rounds: int,
    colour_decay_hours: float,
    num_damping_rounds: int,
    num_trials: int,
    spread_weight: float,
    scale_only: bool,
    batch_size: int | None,
    threads: int | None,
    output: Path | None,
    in_place: bool,
    report_progress: Callable[[int, int], None],
    report_cost: Callable[[float, int], None],
    **settings: Any,
) -> dict[str, Any]:
    """Fit a checkpoint to its own sampling, write that to a manifest, and return what was tried.

    The colour of the noise is fitted first, with the damping and the scale that the checkpoint has, in
    `num_colour_rounds` rounds; it fades with the e-folding time `colour_decay_hours`. Then the damping is fitted, with
    the noise that the checkpoint has, in `num_damping_rounds` rounds. Both stay without rounds. The noise is fitted in
    `num_trials` trials, and stays if that is 0; with `scale_only` its correlation in time stays, and only the scale of
    each variable is fitted. The manifest is that of a copy in the new folder `output`, or the checkpoint's own if
    `in_place` is set. `settings` are `num_starts`, `num_members` and `seed` of the `Evaluation`. `report_cost` is
    called with the seconds and evaluations of each kind of rounds, then of the trials, `report_progress` after each.
    """
    if threads:
        torch.set_num_threads(threads)
    folder = find_checkpoint(checkpoint, checkpoint_folders)
    target = _choose_target(folder, output, in_place=in_place)
    subject = Subject.load(folder, {})
    num_rounds = num_colour_rounds + num_damping_rounds
    _check_counts(num_rounds, num_trials, count_first(subject.manifest.model, scale_only=scale_only))
    periods = read_periods(years, "years") or subject.manifest.provenance.validation_years
    check_years(subject.manifest, periods)
    steps, group_size = _lead_steps(lead_time, subject.manifest.model.time_step), batch_size or 10
    with load_data_for(subject.manifest.model, data) as frames:
        frames.keep("auto", torch.device("cpu"))
        evaluation = Evaluation(periods, lead_steps=steps, group_size=group_size, references=False, **settings)
        source, total = ", ".join(PurePosixPath(str(each)).name for each in data), num_rounds + num_trials
        weights = colour_decay_hours, spread_weight, scale_only
        calibration = _Calibration(subject, frames, evaluation, target, source, report_cost, *weights)
        lock_path = calibration.path("trials")
        with claim_output(lock_path, ConfigurationError(f"Another calibration writes `{lock_path}`. Wait for it.")):
            colours = calibration.fit_colour(num_colour_rounds, lambda done: report_progress(done, total))
            rounds = calibration.fit_damping(
                num_damping_rounds, lambda done: report_progress(num_colour_rounds + done, total)
            )
            trials = calibration.fit_noise(num_trials, lambda done: report_progress(num_rounds + done, total))
            manifest = _write(folder, target, calibration.subject.manifest)
    fit = {"noise": manifest.noise.model_dump(mode="json"), "trials": trials}
    fit |= {"colour_rounds": list(colours), "damping_rounds": list(rounds)}
    return {"checkpoint": str(target), "digest": manifest.digest, "summary": _describe(manifest)} | fit


@dataclass
class _Calibration:
    """The fits of a checkpoint, which `subject` has from then on; what was tried is in files next to `target`.

    An interrupted calibration continues from them.
    """

    subject: Subject
    data: TrainingData
    evaluation: Evaluation
    target: Path
    source: str
    report_cost: Callable[[float, int], None]
    colour_decay_hours: float
    spread_weight: float
    scale_only: bool

    def path(self, name: str) -> Path:
        """Return the path of the file of what was tried."""
        return self.target.with_name(f"{self.target.name}.{name}.jsonl")

    def fit_colour(self, num_rounds: int, report_progress: Callable[[int], None]) -> Sequence[Round]:
        """Fit the colour in rounds, and return them; without rounds it stays."""
        if not num_rounds:
            return ()
        path = self.path("colour")
        fitter = ColourFitter(self.subject, self.data, self.evaluation, path, decay_hours=self.colour_decay_hours)
        rounds = fitter.run(num_rounds, report_progress, self.report_cost)
        self.subject = self.subject.with_colour(fitter.choose(self.source))
        return rounds

    def fit_damping(self, num_rounds: int, report_progress: Callable[[int], None]) -> Sequence[Round]:
        """Fit the damping in rounds, and return them; without rounds it stays."""
        if not num_rounds:
            return ()
        fitter = DampingFitter(self.subject, self.data, self.evaluation, self.path("damping"))
        rounds = fitter.run(num_rounds, report_progress, self.report_cost)
        self.subject = self.subject.with_damping(fitter.choose(self.source))
        return rounds

    def fit_noise(self, num_trials: int, report_progress: Callable[[int], None]) -> list[dict[str, Any]]:
        """Fit the noise by trials, and return them, the best first; without trials it stays."""
        if not num_trials:
            return []
        fitter = NoiseFitter(
            self.subject,
            self.data,
            self.evaluation,
            self.path("trials"),
            spread_weight=self.spread_weight,
            scale_only=self.scale_only,
        )
        fitter.run(num_trials, report_progress, self.report_cost)
        manifest = self.subject.manifest.model_copy(update={"noise": fitter.choose(self.source)})
        self.subject = replace(self.subject, manifest=manifest)
        return fitter.table()


def _check_counts(num_rounds: int, num_trials: int, num_first: int) -> None:
    """Raise `ConfigurationError` if nothing is fitted, or the noise by fewer trials than white noise and the first."""
    fewest = 1 + num_first
    if 0 < num_trials < fewest:
        raise ConfigurationError(
            f"`trials` must be 0 or at least {fewest}: white noise, and the first {num_first}. Got: {num_trials}.",
            ("trials",),
        )
    if not num_rounds + num_trials:
        raise ConfigurationError(
            "`colour_rounds`, `damping_rounds` and `trials` are all 0, so that nothing is fitted.", ("trials",)
        )


def _describe(manifest: Manifest) -> str:
    colour, damping = manifest.model.colour, manifest.model.damping
    return (
        manifest.noise.describe()
        + ("" if colour is None else f"; {colour.describe()}")
        + ("" if damping is None else f"; damping of {damping.describe()}")
    )


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
