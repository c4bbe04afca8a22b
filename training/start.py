"""Start a training from the weights of a checkpoint, which may be of other data and take fewer features."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import load_checkpoint, load_static_fields
from models.networks import ContextBuilder, Networks
from models.widening import add_features
from storage.errors import ConfigurationError
from training.config import DataConfig, TrainingConfig
from training.data.training_data import TrainingData
from training.specification import specify_model
from weather.extremes import TrainingExtremes
from weather.grids import Grid
from weather.manifest import FITTED, Manifest, ModelSpec, Normalisation, Provenance, StartedFrom, read_manifest

Scale = tuple[Normalisation, ...]


@dataclass(frozen=True)
class Start:
    """A checkpoint whose weights are trained further, and its manifest."""

    folder: Path
    manifest: Manifest

    @classmethod
    def read(cls, folder: Path) -> "Start":
        """Return the checkpoint in a folder; raises `CheckpointError` if its manifest cannot be read."""
        return cls(folder, read_manifest(folder))

    @property
    def model(self) -> ModelSpec:
        """The specification of its networks."""
        return self.manifest.model

    @property
    def provenance(self) -> StartedFrom:
        """What the manifest of the trained checkpoint says of it."""
        made = self.manifest.provenance
        return StartedFrom(
            name=self.manifest.name,
            digest=self.manifest.digest,
            data=made.data,
            attribution=made.attribution,
            train_years=made.train_years,
        )

    def static_fields(self, config: TrainingConfig) -> NDArray[np.float32] | None:
        """Return its normalised static fields, None if those of the data are to be read.

        Those are read if the configuration names other fields, or a source of them.
        """
        if config.data.static_source is not None or config.static_fields != self.model.static_fields:
            return None
        return load_static_fields(self.folder, self.manifest).numpy()

    def check(self, config: TrainingConfig, grid: Grid) -> TrainingExtremes:
        """Return its extremes; raises `ConfigurationError` if it cannot be trained on `grid` as `config` says.

        Networks, variables and inputs must be those of the configuration, which may have further features. Its colour
        and its damping do not matter.
        """
        model = self.model
        is_known = model.variable_names == config.variables
        spec = specify_model(config, grid, model.variables, None) if is_known else None
        fields = [field for field in ModelSpec.model_fields if field not in ("variables", "extremes", *FITTED)]
        different = ["variables"] if spec is None else [field for field in fields if not _fits(spec, model, field)]
        if different:
            raise ConfigurationError(
                f"`{self.folder}` cannot be trained further with this configuration and data: they differ in "
                f"{', '.join(different)}."
                + (f" `features` must have {', '.join(model.features)}." if "features" in different else "")
                + (f" The data is on {grid}; see `data.grid`." if "grid" in different else "")
            )
        if model.extremes is None:
            raise ConfigurationError(
                f"`{self.folder}` has no extremes of its training years, to which those of this training must be "
                "added. Add them with `warmcast checkpoint extremes`."
            )
        return model.extremes

    def describe(self, config: TrainingConfig) -> Iterator[str]:
        """Yield a sentence for each thing that the training takes from it, or that it lacks."""
        added = [name for name in config.features if name not in self.model.features]
        yield f"The training starts from {self.manifest.name}, SHA-256 {self.manifest.digest}."
        if config.static_fields:
            origin = config.data.static_source or "the checkpoint"
            yield f"Static fields ({', '.join(config.static_fields)}) are those of {origin}."
        if added:
            yield f"New features ({', '.join(added)}) have no effect yet: their weights are 0."
        is_kept = config.data.normalisation == "checkpoint"
        scale = "that of the checkpoint" if is_kept else "computed from the training years"
        yield f"The normalisation of the variables is {scale}."
        for part in FITTED:
            if getattr(self.model, part) is not None:
                fits = "is left out, because it fits its weights alone; `warmcast calibrate` fits one"
                yield f"The {part} of the checkpoint {fits}."


def load_start(
    start: Start,
    config: TrainingConfig,
    data: TrainingData,
    device: torch.device,
    compute: Callable[[Callable[[], tuple[Scale, TrainingExtremes]]], tuple[Scale, TrainingExtremes]],
    cache: Path,
) -> Networks:
    """Return the networks of a checkpoint with the features, static fields and normalisation of a configuration.

    They have no colour and no damping, which are fitted to weights, and the extremes of both records of data, or of
    this one if it holds the training years of the other. `compute` calls a function once for all processes; `cache` is
    where statistics of the data are kept. Raises `ConfigurationError` as `Start.check` does.
    """
    earlier = start.check(config, data.grid)
    networks, _ = load_checkpoint(start.folder, device)
    networks = add_features(networks, config.features)

    def measure() -> tuple[Scale, TrainingExtremes]:
        if config.data.normalisation == "data":
            return data.statistics(config.data.train_years, cache)
        return start.model.variables, data.extremes(start.model.variables, config.data.train_years)

    scale, extremes = compute(measure)
    if not _goes_on(start.manifest.provenance, config.data):
        extremes = earlier.union(extremes)
    spec = networks.spec.without_fits().model_copy(update={"variables": scale, "extremes": extremes})
    return replace(networks, spec=spec, context=ContextBuilder(spec, torch.from_numpy(data.static)).to(device))


def _goes_on(provenance: Provenance, data: DataConfig) -> bool:
    """Return whether the training years of a checkpoint are among those of `data`, of the same record."""
    is_same = (provenance.data, provenance.attribution) == (data.description, data.attribution)
    return is_same and set(provenance.train_years) <= set(data.train_years)


def _fits(spec: ModelSpec, model: ModelSpec, field: str) -> bool:
    """Return whether a field of the specification is that of the checkpoint, or may be different."""
    if field == "grid":
        return spec.grid.grid.matches(model.grid.grid)
    if field == "features":
        return set(model.features) <= set(spec.features)
    return bool(getattr(spec, field) == getattr(model, field))
