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
from training.calibration.rounds import Round
from training.calibration.search import count_first
from training.data.sources import load_data_for
from training.data.training_data import TrainingData
from training.evaluation.settings import Evaluation
from training.evaluation.subject import Subject
from weather.bundled import find_checkpoint
from weather.checkpoint_files import LICENSE_NAME, WEIGHT_FILES
from weather.manifest import MANIFEST_NAME, Manifest, ModelSpec
from weather.periods import Period, find_shared, format_periods, read_periods
from weather.times import count_lead_times

LEAD_HOURS = (6, 12, 24, 48, 72, 120, 168, 240)
"""Lead times that are scored, as far as they are of whole time steps and within the forecast; the last always is."""


@dataclass(frozen=True)
class Fits:
    """What is fitted of a checkpoint, in this order, and how; a part of which no rounds or trials are made stays.

    The colour of the noise is fitted in `num_colour_rounds` rounds, with the damping and the scale that the checkpoint
    has; it fades with the e-folding time `colour_decay_hours`. The damping is fitted in `num_damping_rounds` rounds,
    with the noise that the checkpoint has, and the noise in `num_trials` trials; with `scale_only` its correlation in
    time stays, and only the scale of each variable is fitted.
    """

    num_colour_rounds: int
    colour_decay_hours: float
    num_damping_rounds: int
    num_trials: int
    spread_weight: float
    scale_only: bool

    @property
    def num_rounds(self) -> int:
        """Rounds of both kinds."""
        return self.num_colour_rounds + self.num_damping_rounds

    def check(self, model: ModelSpec) -> None:
        """Raise `ConfigurationError` if nothing is fitted, or the noise by fewer trials than the first ones."""
        first = count_first(model, scale_only=self.scale_only)
        if 0 < self.num_trials < 1 + first:
            raise ConfigurationError(
                f"`trials` must be 0 or at least {1 + first}: white noise, and the first {first}. "
                f"Got: {self.num_trials}.",
                ("trials",),
            )
        if not self.num_rounds + self.num_trials:
            raise ConfigurationError(
                "`colour_rounds`, `damping_rounds` and `trials` are all 0, so that nothing is fitted.", ("trials",)
            )


def calibrate_checkpoint(
    *,
    checkpoint: str,
    checkpoint_folders: Sequence[Path],
    data: Sequence[str | Path],
    years: Sequence[Period | str],
    lead_time: str,
    fits: Mapping[str, Any],
    batch_size: int | None,
    threads: int | None,
    output: Path | None,
    in_place: bool,
    report_progress: Callable[[int, int], None],
    report_cost: Callable[[float, int], None],
    **settings: Any,
) -> dict[str, Any]:
    """Fit a checkpoint to its own sampling, write that to a manifest, and return what was tried.

    `fits` are those of `Fits`. The manifest is that of a copy in the new folder `output`, or the checkpoint's own if
    `in_place` is set. `settings` are `num_starts`, `num_members` and `seed` of the `Evaluation`. `report_cost` is
    called with the seconds and evaluations of each kind of rounds, then of the trials, `report_progress` after each.
    """
    if threads:
        torch.set_num_threads(threads)
    folder, chosen = find_checkpoint(checkpoint, checkpoint_folders), Fits(**fits)
    target = _choose_target(folder, output, in_place=in_place)
    subject = Subject.load(folder, {})
    chosen.check(subject.manifest.model)
    periods = read_periods(years, "years") or subject.manifest.provenance.validation_years
    check_years(subject.manifest, periods)
    steps, group_size = _lead_steps(lead_time, subject.manifest.model.time_step), batch_size or 10
    with load_data_for(subject.manifest.model, data) as frames:
        frames.keep("auto", torch.device("cpu"))
        evaluation = Evaluation(periods, lead_steps=steps, group_size=group_size, references=False, **settings)
        source = ", ".join(PurePosixPath(str(each)).name for each in data)
        calibration = _Calibration(subject, frames, evaluation, target, source, chosen, report_progress, report_cost)
        lock_path = calibration.path("trials")
        with claim_output(lock_path, ConfigurationError(f"Another calibration writes `{lock_path}`. Wait for it.")):
            tried = calibration.run()
            manifest = _write(folder, target, calibration.subject.manifest)
    receipt = {"checkpoint": str(target), "digest": manifest.digest, "summary": _describe(manifest)}
    return receipt | {"noise": manifest.noise.model_dump(mode="json")} | tried


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
    fits: Fits
    report_progress: Callable[[int, int], None]
    report_cost: Callable[[float, int], None]

    def path(self, name: str) -> Path:
        """Return the path of the file of what was tried."""
        return self.target.with_name(f"{self.target.name}.{name}.jsonl")

    def run(self) -> dict[str, Any]:
        """Fit all parts, and return what was tried of each: rounds in their order, and trials, the best first."""
        tried: dict[str, Any] = {"colour_rounds": [], "damping_rounds": [], "trials": []}
        if self.fits.num_colour_rounds:
            tried["colour_rounds"] = list(self._fit_colour())
        if self.fits.num_damping_rounds:
            tried["damping_rounds"] = list(self._fit_damping())
        if self.fits.num_trials:
            tried["trials"] = self._fit_noise()
        return tried

    def _fit_colour(self) -> Sequence[Round]:
        decay_hours = self.fits.colour_decay_hours
        fitter = ColourFitter(self.subject, self.data, self.evaluation, self.path("colour"), decay_hours=decay_hours)
        rounds = fitter.run(self.fits.num_colour_rounds, self._report_after(0), self.report_cost)
        self.subject = self.subject.with_colour(fitter.choose(self.source))
        return rounds

    def _fit_damping(self) -> Sequence[Round]:
        fitter = DampingFitter(self.subject, self.data, self.evaluation, self.path("damping"))
        report = self._report_after(self.fits.num_colour_rounds)
        rounds = fitter.run(self.fits.num_damping_rounds, report, self.report_cost)
        self.subject = self.subject.with_damping(fitter.choose(self.source))
        return rounds

    def _fit_noise(self) -> list[dict[str, Any]]:
        fitter = NoiseFitter(
            self.subject,
            self.data,
            self.evaluation,
            self.path("trials"),
            spread_weight=self.fits.spread_weight,
            scale_only=self.fits.scale_only,
        )
        fitter.run(self.fits.num_trials, self._report_after(self.fits.num_rounds), self.report_cost)
        manifest = self.subject.manifest.model_copy(update={"noise": fitter.choose(self.source)})
        self.subject = replace(self.subject, manifest=manifest)
        return fitter.table()

    def _report_after(self, earlier: int) -> Callable[[int], None]:
        """Return what reports progress when so many rounds of other parts are done."""
        total = self.fits.num_rounds + self.fits.num_trials
        return lambda done: self.report_progress(earlier + done, total)


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
