"""What an evaluation is of: a checkpoint with a sampler and noise, and the one that it is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from models.checkpoint import load_checkpoint
from models.forecaster import Forecaster
from storage.errors import ConfigurationError
from weather.bundled import find_checkpoint
from weather.damping_spec import DampingSpec
from weather.manifest import Manifest, NoiseSpec, Sampling
from weather.noise_colour import NoiseColour
from weather.noise_scale import check_scale
from weather.schema import first_error_sentence

_SAMPLER = tuple(Sampling.model_fields)
_NOISE = tuple(field for field in NoiseSpec.model_fields if field != "fitted_on")


@dataclass(frozen=True)
class Subject:
    """A checkpoint with a sampler; the noise is that of `manifest`."""

    forecaster: Forecaster
    manifest: Manifest

    @classmethod
    def load(cls, folder: Path, changes: Mapping[str, Any]) -> "Subject":
        """Return the checkpoint of a folder, with `changes` to the fields of its sampling and noise.

        Raises `ConfigurationError` for a wrong value. The device is the GPU, if there is one.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        networks, manifest = load_checkpoint(folder, device)
        sampling = manifest.sampling.replace(**{name: changes.get(name) for name in _SAMPLER})
        noise = {name: changes[name] for name in _NOISE if changes.get(name) is not None}
        if noise:
            try:
                spec = NoiseSpec.model_validate(manifest.noise.model_dump(exclude={"fitted_on"}) | noise)
                check_scale(spec.scale, manifest.model.variable_names)
            except ValidationError as error:
                raise ConfigurationError(first_error_sentence(error)) from error
            except ValueError as error:
                raise ConfigurationError(f"{error}.") from error
            manifest = manifest.model_copy(update={"noise": spec})
        return cls(Forecaster(networks, sampling, device), manifest)

    def with_colour(self, colour: NoiseColour | None) -> "Subject":
        """Return the checkpoint with another colour of its noise."""
        return self._with_forecaster(self.forecaster.with_colour(colour))

    def with_damping(self, damping: DampingSpec | None) -> "Subject":
        """Return the checkpoint with another damping."""
        return self._with_forecaster(self.forecaster.with_damping(damping))

    def _with_forecaster(self, forecaster: Forecaster) -> "Subject":
        return Subject(forecaster, self.manifest.model_copy(update={"model": forecaster.spec}))

    def describe(self) -> str:
        """Return name, sampler, noise and its colour in a few words."""
        sampling = self.forecaster.sampling
        warmth = "" if sampling.warmth == 1 else f", warmth {sampling.warmth:g}"
        power = "" if sampling.power == 1 else f", power {sampling.power:g}"
        colour = self.manifest.model.colour
        coloured = "" if colour is None else f", {colour}"
        noise = f"noise {self.manifest.noise}{coloured}"
        return f"{self.manifest.name}, {sampling.solver}, NFE {sampling.nfe}{power}{warmth}, {noise}"

    def check_comparable(self, other: "Subject") -> None:
        """Raise `ConfigurationError` unless both forecast the same variables on the same grid with one time step."""
        mine, its = self.manifest.model, other.manifest.model
        for name, one, two in (
            ("variables", mine.variable_names, its.variable_names),
            ("grid", mine.grid.grid.matches(its.grid.grid), True),
            ("time step", mine.time_step_hours, its.time_step_hours),
        ):
            if one != two:
                raise ConfigurationError(
                    f"`against` must have the same {name} as the checkpoint. Got: {self.manifest.name} and "
                    f"{other.manifest.name}."
                )


def load_subjects(
    checkpoint: str,
    folders: Sequence[Path],
    sampler: Mapping[str, Any],
    against: str | None,
    against_sampler: str | None,
) -> tuple[Subject, Subject | None]:
    """Return the checkpoint with `sampler`, and what it is compared with: None without `against` and `against_sampler`.

    The other is the checkpoint `against`, or the same one, with the sampler of its manifest and the changes in
    `against_sampler`, such as `solver=euler,nfe=4` or `correlation=0`.
    """
    subject = Subject.load(find_checkpoint(checkpoint, folders), sampler)
    if against is None and against_sampler is None:
        return subject, None
    other = Subject.load(find_checkpoint(against or checkpoint, folders), parse_sampler(against_sampler or ""))
    subject.check_comparable(other)
    if other.describe() == subject.describe() and other.manifest == subject.manifest:
        raise ConfigurationError(
            "`against` must be another checkpoint, or `against_sampler` another sampler. Got: those of the evaluation, "
            f"{subject.describe()}."
        )
    return subject, other


def parse_sampler(text: str) -> dict[str, Any]:
    """Return the fields in a text such as `solver=euler,nfe=4`; raises `ConfigurationError` for another form.

    The factor on the noise of one variable is `scale.u10=1.03`, and all variables need theirs.
    """
    changes: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        name, equals, value = (part.strip() for part in item.partition("="))
        field, dot, variable = name.partition(".")
        is_known = bool(variable) and field == "scale" if dot else name in (*_SAMPLER, *_NOISE)
        if not is_known or not equals or not value:
            raise ConfigurationError(
                f"`against_sampler` must be a list such as solver=euler,nfe=4 of values of "
                f"{', '.join((*_SAMPLER, *_NOISE))}. Got: {item!r}.",
                ("against_sampler",),
            )
        if dot:
            given = changes.get(field)
            changes[field] = (given if isinstance(given, dict) else {}) | {variable: value}
        else:
            changes[name] = value
    return changes
