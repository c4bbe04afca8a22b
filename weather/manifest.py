"""The manifest of a checkpoint: architecture of its networks, their inputs and outputs, and their provenance.

It is read without torch; `models.checkpoint` reads the weights whose digests it holds.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from storage.errors import ConfigurationError
from weather.calibration_fit import CalibrationFit
from weather.damping_spec import DampingSpec
from weather.errors import CheckpointError
from weather.extremes import TrainingExtremes
from weather.features import FEATURES
from weather.grids import Grid
from weather.network_specs import NetworkSpec
from weather.noise_colour import NoiseColour
from weather.noise_scale import Scale, check_scale, describe_scale, scale_of
from weather.periods import Periods
from weather.schema import FrozenModel, first_error_sentence
from weather.variables import KNOWN, Variable

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
WARM_START_FILE = "warm_start.safetensors"
FLOW_FILE = "flow.safetensors"
STATIC_FILE = WARM_START_FILE
"""The static fields are tensors `static.NAME` in the warm start's file."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class GridSpec(FrozenModel):
    """Canonical latitudes (north to south) and longitudes (from [0, 360)), degrees."""

    latitude: tuple[float, ...]
    longitude: tuple[float, ...]

    @model_validator(mode="after")
    def _check_grid(self) -> Self:
        Grid(self.latitude, self.longitude)
        return self

    @cached_property
    def grid(self) -> Grid:
        """The `Grid` with these latitudes and longitudes."""
        return Grid(self.latitude, self.longitude)


class Normalisation(FrozenModel):
    """One variable's mean and standard deviation over the training years; a vector component's mean is 0."""

    name: str
    mean: float
    std: float = Field(gt=0)

    @model_validator(mode="after")
    def _check_variable(self) -> Self:
        if self.name not in KNOWN:
            raise ValueError(f"variable `{self.name}` is not one of {', '.join(KNOWN)}")
        if KNOWN[self.name].is_vector and self.mean != 0:
            raise ValueError(f"variable `{self.name}` is a vector component, so its mean must be 0. Got: {self.mean}")
        return self


FITTED = ("colour", "damping")
"""Fields of a model that a calibration fits to its weights, and that other weights do without."""


class ModelSpec(FrozenModel):
    """Everything that determines the shape of both networks and the meaning of their inputs and outputs."""

    grid: GridSpec
    variables: tuple[Normalisation, ...] = Field(min_length=1)
    static_fields: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    time_step_hours: int = Field(default=6, ge=1)
    context_frames: int = Field(default=2, ge=2, le=8, exclude_if=lambda frames: frames == 2)
    """Number of frames in the context, one time step apart, the newest included; left out of the JSON if it is 2."""
    std_floor: float = Field(default=0.01, gt=0)
    warm_start: NetworkSpec
    flow: NetworkSpec
    preconditioning: Literal["gaussian", "none"] = "gaussian"
    colour: NoiseColour | None = Field(default=None, exclude_if=lambda colour: colour is None)
    """Colour of the noise of each time step; left out of the JSON if there is none."""
    damping: DampingSpec | None = Field(default=None, exclude_if=lambda damping: damping is None)
    """Damping of the states after each time step; left out of the JSON if there is none."""
    extremes: TrainingExtremes | None = None
    """Extremes of the training years, which initial states are compared with; None in older manifests."""

    @model_validator(mode="after")
    def _check_features_and_widths(self) -> Self:
        unknown = [name for name in self.features if name not in FEATURES]
        if unknown:
            raise ValueError(f"features {unknown} are not among {', '.join(FEATURES)}")
        if not self.flow.has_flow_time or self.warm_start.has_flow_time:
            raise ValueError(
                "the flow network needs an `embedding_width`, the warm start none; `paper_flow` is a flow network, "
                "`paper_warm_start` a warm start"
            )
        if self.extremes is not None and [known.name for known in self.extremes.variables] != list(self.variable_names):
            raise ValueError(
                f"`extremes` must be those of the variables {', '.join(self.variable_names)}, in this order"
            )
        number, grid = len(self.variables), self.grid.grid
        if self.colour is not None:
            self.colour.check_shape(number, grid.highest_wavenumber + 1)
        if self.damping is not None:
            self.damping.check_shape(number, grid.highest_wavenumber + 1, grid.shape[0])
        return self

    def without_fits(self) -> Self:
        """Return the specification without what was fitted to weights."""
        return self.model_copy(update=dict.fromkeys(FITTED))

    @property
    def variable_names(self) -> tuple[str, ...]:
        """Names of the variables, in channel order."""
        return tuple(variable.name for variable in self.variables)

    @property
    def known_variables(self) -> tuple[Variable, ...]:
        """The entries of `KNOWN` for the variables, in channel order."""
        return tuple(KNOWN[name] for name in self.variable_names)

    @property
    def time_step(self) -> np.timedelta64:
        """Time between two frames, and of one step of the rollout."""
        return np.timedelta64(timedelta(hours=self.time_step_hours))


SolverName = Literal["euler", "midpoint", "single"]

NFE_PER_STEP = MappingProxyType({"euler": 1, "midpoint": 2, "single": 1})
"""Evaluations of the flow network in one step of each solver."""


def largest_nfe(solver: SolverName, maximum: int) -> int:
    """Return the largest number of evaluations of whole steps of a solver up to `maximum`; at least one step."""
    per_step = NFE_PER_STEP[solver]
    return per_step if solver == "single" else max(maximum // per_step, 1) * per_step


class Sampling(FrozenModel):
    """How a checkpoint is sampled by default; `nfe` counts the evaluations of the flow network in a time step.

    The solver `single` makes one step of one evaluation; `nfe` is then 1, else by default 6.
    """

    solver: SolverName = "midpoint"
    nfe: int = Field(default_factory=lambda fields: 1 if fields.get("solver") == "single" else 6, ge=1)
    power: float = Field(default=1.0, gt=0)
    warmth: float = Field(default=1.0, ge=0, le=1)

    @field_validator("nfe")
    @classmethod
    def _check_nfe(cls, nfe: int, info: ValidationInfo) -> int:
        solver = info.data.get("solver")
        if solver == "single" and nfe != 1:
            raise ValueError(f"`nfe` must be 1 for the single solver; the others take more. Got: {nfe}")
        if solver is not None and nfe % NFE_PER_STEP[solver]:
            raise ValueError(
                f"`nfe` must be a positive multiple of {NFE_PER_STEP[solver]} for the {solver} solver. Got: {nfe}"
            )
        return nfe

    @property
    def num_steps(self) -> int:
        """Solver steps that take `nfe` evaluations."""
        return self.nfe // NFE_PER_STEP[self.solver]

    @property
    def network_evaluations(self) -> int:
        """Evaluations of both networks in a time step of a member: those of the flow, and one of the warm start."""
        return self.nfe + 1

    def describe(self) -> str:
        """Return solver and number of evaluations in a few words."""
        return f"{self.solver}, NFE {self.nfe}"

    def replace(self, **changes: str | float | None) -> "Sampling":
        """Return a copy with `changes`, ignoring those that are None; raises `ConfigurationError` for a wrong value.

        A change to or from the solver `single` without `nfe` takes the solver's default.
        """
        present = {name: value for name, value in changes.items() if value is not None}
        solvers = {self.solver, present.get("solver", self.solver)}
        kept = self.model_dump(exclude={"nfe"} if len(solvers) == 2 and "single" in solvers else None)
        try:
            return Sampling.model_validate(kept | present)
        except ValidationError as error:
            location = error.errors(include_url=False)[0]["loc"]
            raise ConfigurationError(first_error_sentence(error), location) from error


class NoiseFit(CalibrationFit):
    """What the noise of a checkpoint was fitted on, and how much it helped.

    `objective` is what was minimised, `value` its value with the noise and `white_value` with white noise. With
    `scale_only` the correlation in time was not fitted.
    """

    objective: str
    value: float
    white_value: float
    scale_only: bool = Field(default=False, exclude_if=lambda is_so: not is_so)

    def describe(self) -> str:
        """Return what the noise was fitted on, and how much it helped, in one sentence without a full stop."""
        helped = f"{self.objective} {self.value:.4g}, with white noise {self.white_value:.4g}"
        return f"{self.describe_forecasts()}; {helped}"


class NoiseSpec(FrozenModel):
    """The noise of a checkpoint's forecasts: how it is correlated in time, and a factor on its standard deviation.

    `correlation` is that of the second time step with the first, `late_correlation` what it tends to over the lead
    times, with the e-folding time `decay_hours`; None is the same throughout. `scale` is one number, or one for each
    variable by name. The default is white noise.
    """

    correlation: float = Field(default=0.0, ge=0, lt=1)
    late_correlation: float | None = Field(default=None, ge=0, lt=1)
    decay_hours: float = Field(default=24.0, gt=0)
    scale: Scale = 1.0
    fitted_on: NoiseFit | None = None

    @property
    def is_white(self) -> bool:
        """Whether the noise of each step is independent of that of all others."""
        return not self.correlation and not self.late_correlation

    @property
    def parameters(self) -> dict[str, float | dict[str, float]]:
        """All that the noise depends on besides random numbers, by name, as JSON."""
        return {
            "correlation": self.correlation,
            "late_correlation": self._late,
            "decay_hours": self.decay_hours,
            "scale": self.scale,
        }

    @property
    def _late(self) -> float:
        return self.correlation if self.late_correlation is None else self.late_correlation

    def scales(self, variables: Sequence[str]) -> tuple[float, ...]:
        """Return the factor of each of the variables; raises `ValueError` if the scale is not one of these."""
        check_scale(self.scale, variables)
        return tuple(scale_of(self.scale, name) for name in variables)

    def correlation_at(self, step: int, time_step_hours: float) -> float:
        """Return the correlation of the noise of a step with that of the step before; steps count from 0.

        φ_k = φ_late + (φ − φ_late)·exp(−(k − 1)·Δt / decay) for k ≥ 1; φ_0 = 0, as no step is before the first.
        """
        if step == 0:
            return 0.0
        return self._late + (self.correlation - self._late) * math.exp((1 - step) * time_step_hours / self.decay_hours)

    def describe(self) -> str:
        """Return the noise in a few words and, if it was fitted, on what."""
        if self.fitted_on is None:
            return str(self)
        part = "scale fitted" if self.fitted_on.scale_only else "fitted"
        return f"{self}, {part} on {self.fitted_on.describe()}"

    def __str__(self) -> str:
        """Return the noise in a few words."""
        if self.is_white:
            kind = "white"
        elif self.late_correlation in (None, self.correlation):
            kind = f"correlation in time {self.correlation:g}"
        else:
            kind = (
                f"correlation in time {self.correlation:g}, tending to {self.late_correlation:g} in "
                f"{self.decay_hours:g} h"
            )
        return kind if self.scale == 1 else f"{kind}, times {describe_scale(self.scale)}"


WHITE = NoiseSpec()
"""Noise that is independent from step to step."""


class Selection(FrozenModel):
    """The weights of a stage of the training that were kept: those after `step`, which had the lowest `score`.

    `value` is that score, of validation.
    """

    stage: str
    step: int = Field(ge=1)
    score: str
    value: float


class StartedFrom(FrozenModel):
    """The checkpoint whose weights a training began with, and the data, years or periods of that one's training."""

    name: str
    digest: Digest
    data: str
    attribution: str
    train_years: Periods


class Provenance(FrozenModel):
    """The data, years or periods, code and computing time from which the weights were trained, and their selection.

    `selections` are in the order of the stages. A stage without one has its last weights. Steps and hours include those
    of the checkpoint `started_from`, if there is one.
    """

    data: str
    attribution: str
    train_years: Periods
    validation_years: Periods
    code_version: str
    warm_start_steps: int = Field(ge=0)
    flow_steps: int = Field(ge=0)
    training_hours: float = Field(ge=0)
    selections: tuple[Selection, ...] = Field(default=(), exclude_if=lambda selections: not selections)
    started_from: StartedFrom | None = Field(default=None, exclude_if=lambda start: start is None)


class Manifest(FrozenModel):
    """The whole manifest; `files` maps each weight file to its SHA-256."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    model: ModelSpec
    sampling: Sampling
    noise: NoiseSpec = Field(default=WHITE, exclude_if=lambda noise: noise == WHITE)
    """The noise of forecasts; left out of the JSON if it is the default."""
    provenance: Provenance
    files: dict[str, Digest]

    @model_validator(mode="after")
    def _check_noise(self) -> Self:
        check_scale(self.noise.scale, self.model.variable_names)
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which contains those of the weights: it identifies the checkpoint."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return the manifest as JSON, exactly as it is written to its file; extremes are left out if it has none."""
        exclude = {"model": {"extremes"}} if self.model.extremes is None else None
        return json.dumps(self.model_dump(mode="json", exclude=exclude), indent=1) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of the checkpoint in `folder`.

    Raises `CheckpointError` if it is missing, of another format version, or has a wrong field.
    """
    path = folder / MANIFEST_NAME
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"`{folder}` is not a checkpoint: it has no {MANIFEST_NAME}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"`{path}` cannot be read as JSON: {error}.") from error
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"`{path}` must have `format_version` {FORMAT_VERSION}. Got: {version!r}. Use the Warmcast that wrote it."
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        raise CheckpointError(f"`{path}`: {first_error_sentence(error)}") from error


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
