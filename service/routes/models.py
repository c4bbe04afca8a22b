"""Routes for the checkpoints."""

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from service.checkpoints import read_named_manifest, read_valid_manifests
from service.dependencies import Service, ServiceDep, authenticate
from service.problems import PROBLEM_RESPONSES
from weather.manifest import Manifest

router = APIRouter(tags=["models"], responses=PROBLEM_RESPONSES, dependencies=[Depends(authenticate)])


class Model(BaseModel):
    """A checkpoint: variables, grid, time step, sampling, noise, damping, provenance, and the limits of the service.

    `context_frames` is the number of frames of an initial state, one time step apart; `colour` is that of the noise.
    """

    id: str
    digest: str
    variables: list[str]
    time_step_hours: int
    context_frames: int
    grid: dict[str, int]
    sampling: dict[str, Any]
    noise: dict[str, Any]
    colour: dict[str, Any] | None
    damping: dict[str, Any] | None
    provenance: dict[str, Any]
    max_members: int
    max_lead_hours: int


@router.get("/models")
@router.head("/models", include_in_schema=False)
def list_models(service: ServiceDep) -> list[Model]:
    """Return all checkpoints that a forecast may name as its `model`."""
    manifests = read_valid_manifests(service.settings.storage.checkpoint_folders)
    return [_view_model(service, name, manifest) for name, manifest in manifests]


@router.get("/models/{model}")
@router.head("/models/{model}", include_in_schema=False)
def view_model(model: str, service: ServiceDep) -> Model:
    """Return the checkpoint of this name."""
    return _view_model(service, model, read_named_manifest(model, service.settings.storage.checkpoint_folders))


def _view_model(service: Service, name: str, manifest: Manifest) -> Model:
    spec = manifest.model
    latitudes, longitudes = spec.grid.grid.shape
    return Model(
        id=name,
        digest=manifest.digest,
        variables=list(spec.variable_names),
        time_step_hours=spec.time_step_hours,
        context_frames=spec.context_frames,
        grid={"latitudes": latitudes, "longitudes": longitudes},
        sampling=manifest.sampling.model_dump(mode="json"),
        noise=manifest.noise.model_dump(mode="json"),
        colour=None if spec.colour is None else spec.colour.model_dump(mode="json"),
        damping=None if spec.damping is None else spec.damping.model_dump(mode="json"),
        provenance=manifest.provenance.model_dump(mode="json"),
        max_members=service.settings.limits.max_members,
        max_lead_hours=service.settings.limits.max_lead_hours,
    )
