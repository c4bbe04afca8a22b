"""The attributes of a store: those that determine its values, and the descriptive ones that CF requires."""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weather.manifest import Manifest, Sampling
from weather.readers.provenance import ChosenSource

RNG_NAME = "numpy Philox4x64, key (seed, 0), counter (0, 0, member, step), standard_normal float32"
"""The random numbers of `models.noise`."""


def identity_attributes(manifest: Manifest, sampling: Sampling, seed: int, state_digest: str) -> dict[str, Any]:
    """Return the attributes that, with the layout, determine a forecast's values; flat, as NetCDF requires."""
    identity = {
        "checkpoint": manifest.name,
        "checkpoint_digest": manifest.digest,
        "initial_state_digest": state_digest,
        "seed": seed,
        "rng": RNG_NAME,
        **sampling.model_dump(mode="json"),
    }
    return {f"warmcast_{field}": value for field, value in identity.items()}


def descriptive_attributes(
    manifest: Manifest, init_time: np.datetime64, sources: Sequence[str], choice: Sequence[ChosenSource] = ()
) -> dict[str, Any]:
    """Return the descriptive attributes: those of the CF conventions, the files of the initial state and the scales.

    `choice` says which records of the files the initial state is.
    """
    version = importlib.metadata.version("warmcast")
    description = {
        "Conventions": "CF-1.11",
        "title": f"Warmcast ensemble forecast from {np.datetime_as_string(init_time, 's')} UTC",
        "institution": "Warmcast",
        "source": f"Warmcast {version}, checkpoint {manifest.name}, trained on {manifest.provenance.data}",
        "history": f"{np.datetime_as_string(np.datetime64('now'), 's')}Z created by Warmcast",
        "references": "Scholz & Turner, Warm Starts Accelerate Conditional Diffusion, arXiv:2507.09212",
        "comment": manifest.provenance.attribution,
        "initial_state": " ".join(Path(source).name for source in sources),
        "warmcast_scales": [variable.std for variable in manifest.model.variables],
    }
    if choice:
        description["initial_state_choice"] = "; ".join(str(source.with_short_file()) for source in choice)
    return description
