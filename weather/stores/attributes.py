"""What a store says of itself: what its values follow from, and what CF and people expect."""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weather.manifest import Manifest, Sampling

RNG_NAME = "numpy Philox4x64, key (seed, 0), counter (0, 0, member, step), standard_normal float32"
"""The noise of `models.noise`."""


def store_identity(manifest: Manifest, sampling: Sampling, seed: int, state_digest: str) -> dict[str, Any]:
    """Return what a forecast's values follow from, beside its layout: flat, as NetCDF can hold it."""
    recorded = {
        "checkpoint": manifest.name,
        "checkpoint_digest": manifest.digest,
        "initial_state_digest": state_digest,
        "seed": seed,
        "rng": RNG_NAME,
        **sampling.model_dump(mode="json"),
    }
    return {f"warmcast_{field}": value for field, value in recorded.items()}


def store_description(manifest: Manifest, init_time: np.datetime64, sources: Sequence[str]) -> dict[str, Any]:
    """Return what CF and people expect of a store's attributes."""
    version = importlib.metadata.version("warmcast")
    return {
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
