"""What forecasts can be made of: checkpoints and catalogue states."""

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from service.callers import owner_of
from service.context import ServiceHere
from service.problems import DOCUMENTED
from weather.bundled import find_checkpoint, known_checkpoints
from weather.catalogue import catalogue
from weather.manifest import Manifest, read_manifest

router = APIRouter(tags=["models"], responses=DOCUMENTED, dependencies=[Depends(owner_of)])


class Model(BaseModel):
    """A checkpoint: what it forecasts, on what, and where it comes from."""

    id: str
    digest: str
    variables: list[str]
    time_step_hours: int
    grid: dict[str, int]
    sampling: dict[str, Any]
    provenance: dict[str, Any]
    max_members: int
    max_lead_hours: int


class State(BaseModel):
    """A state of the catalogue."""

    dataset: str
    init_time: str


@router.get("/models")
def models(service: ServiceHere) -> list[Model]:
    """Return the checkpoints that forecasts can be asked of."""
    folders = service.settings.checkpoint_folders
    return [_model(service, name, read_manifest(find_checkpoint(name, folders))) for name in known_checkpoints(folders)]


@router.get("/models/{model}")
def model(model: str, service: ServiceHere) -> Model:
    """Return one checkpoint."""
    name = next((known for known in known_checkpoints(service.settings.checkpoint_folders) if known == model), "")
    return _model(
        service, model, read_manifest(find_checkpoint(name or f"{model!r}", service.settings.checkpoint_folders))
    )


@router.get("/catalogue")
def states() -> list[State]:
    """Return the initial states that are at hand."""
    return [State(dataset=state.dataset, init_time=state.init_time) for state in catalogue()]


def _model(service: ServiceHere, name: str, manifest: Manifest) -> Model:
    spec = manifest.model
    latitudes, longitudes = spec.grid.grid.shape
    return Model(
        id=name,
        digest=manifest.digest,
        variables=list(spec.variable_names),
        time_step_hours=spec.time_step_hours,
        grid={"latitudes": latitudes, "longitudes": longitudes},
        sampling=manifest.sampling.model_dump(mode="json"),
        provenance=manifest.provenance.model_dump(mode="json"),
        max_members=service.settings.max_members,
        max_lead_hours=service.settings.max_lead_hours,
    )
