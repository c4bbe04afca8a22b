"""Forecasts as the jobs of OGC API – Processes, in the form that ECMWF's clients read."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from jobs.forecasts import ForecastRecord
from jobs.rows.states import Role, Status
from service.forecast_log import LogLine
from service.requests import ForecastBody
from service.views import Link, format_time
from weather.manifest import Manifest

RETRIEVE = "/api/retrieve/v1"
"""Where these routes are, as in ECMWF's data stores."""

_VERSION = "1.0.0"


class ProcessSummary(BaseModel):
    """A process: forecasts by one checkpoint."""

    id: str
    title: str
    version: str = _VERSION
    job_control_options: list[str] = Field(["async-execute", "dismiss"], serialization_alias="jobControlOptions")
    output_transmission: list[str] = Field(["reference"], serialization_alias="outputTransmission")
    links: list[Link]


class ProcessDescription(ProcessSummary):
    """A process with the JSON schema of its inputs."""

    inputs: dict[str, Any]
    outputs: dict[str, Any] = {"asset": {"title": "Forecast as NetCDF", "schema": {"type": "object"}}}


class VerifiedKey(BaseModel):
    """Whose API key a request has."""

    id: str = Field(description="Id of the key; `local` without keys.")
    role: Role = Field(description="What the key allows.")
    owner: str = Field(description="Id of the key whose forecasts the caller uses.")
    expires: str | None = Field(description="Time (UTC) at which the key expires; null if it does not.")


class ProcessList(BaseModel):
    """All processes."""

    processes: list[ProcessSummary]
    links: list[Link]


class Job(BaseModel):
    """A forecast as a job; `metadata` has its request and, if requested, its log."""

    process_id: str = Field(serialization_alias="processID")
    type: Literal["process"] = "process"
    job_id: str = Field(serialization_alias="jobID")
    status: Status
    created: str
    started: str | None
    finished: str | None
    updated: str
    progress: int
    links: list[Link]
    metadata: dict[str, Any]


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[Job]
    links: list[Link]
    metadata: dict[str, int]


class AssetValue(BaseModel):
    """A file to download."""

    type: str
    href: str
    size: int = Field(serialization_alias="file:size")


class Asset(BaseModel):
    """A file to download."""

    value: AssetValue


class Results(BaseModel):
    """The results of a job."""

    asset: Asset


def describe_process(name: str, manifest: Manifest, base: str) -> ProcessDescription:
    """Return the process of a checkpoint; `base` is the base URL of the service."""
    schema = ForecastBody.model_json_schema()
    home, properties = f"{base}{RETRIEVE}/processes/{name}", dict(schema["properties"])
    del properties["model"]
    required = set(schema["required"])
    inputs = {
        field: {"title": field, "schema": definition | {"$defs": schema["$defs"]}, "minOccurs": int(field in required)}
        for field, definition in properties.items()
    }
    links = [Link(rel="self", href=home), Link(rel="execute", href=f"{home}/execution")]
    return ProcessDescription(id=name, title=f"Ensemble forecasts by {manifest.name}", inputs=inputs, links=links)


def view_job(record: ForecastRecord, base: str, lines: Sequence[LogLine] = ()) -> Job:
    """Return a forecast as a job; `lines` are those of its log, if any.

    The text of a line begins with its level, as ECMWF's clients expect.
    """
    home = f"{base}{RETRIEVE}/jobs/{record.id}"
    links = [Link(rel="self", href=home, type="application/json"), Link(rel="monitor", href=home)]
    if record.status == Status.SUCCESSFUL:
        links.append(Link(rel="results", href=f"{home}/results", type="application/json"))
    request = record.request
    ids = {"init_time": request.init_time, "lead_time": f"{request.lead_hours}h", "members": request.members}
    ids |= {"seed": request.seed, "nfe": request.sampling.nfe}
    changed = format_time(record.finished or record.started or record.created)
    log = [(line.time, f"{line.level.upper()}: {line.message}") for line in lines]
    return Job(
        process_id=request.checkpoint,
        job_id=record.id,
        status=record.status,
        created=format_time(record.created),
        started=None if record.started is None else format_time(record.started),
        finished=None if record.finished is None else format_time(record.finished),
        updated=max([changed, *(line.time for line in lines)]),
        progress=100 * record.lead_times // record.num_lead_times,
        links=links,
        metadata={"origin": "api", "request": {"ids": ids}, "log": log},
    )
