"""The parts of the OpenAPI document that FastAPI cannot infer: request bodies with files, and referenced schemas."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from service.batch_requests import BatchBody
from service.problems import Problem
from service.requests import DeletionBody, ExecutionBody, ForecastBody, ReplayBody
from service.schedule_requests import ScheduleBody, ScheduleChange
from service.state_bodies import StateBody

JSON, MULTIPART = "application/json", "multipart/form-data"

_TEMPLATE = "#/components/schemas/{model}"


def multipart_body(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI `content` of a multipart body; `properties` are JSON schemas by name, all required."""
    return {MULTIPART: {"schema": {"type": "object", "required": list(properties), "properties": dict(properties)}}}


def file_list(max_files: int, description: str) -> dict[str, Any]:
    """Return the JSON schema of one or more uploaded files."""
    file = {"type": "string", "format": "binary"}
    return {"type": "array", "minItems": 1, "maxItems": max_files, "items": file, "description": description}


def forecast_body(max_files: int) -> dict[str, Any]:
    """Return the OpenAPI description of the body of `POST /forecast`: JSON, or multipart with files of a state."""
    request = {"type": "string", "description": "The request as JSON, with the source `upload`."}
    files = file_list(max_files, "GRIB, NetCDF or zipped Zarr: one file with all frames, or several.")
    json = {JSON: {"schema": {"$ref": _TEMPLATE.format(model="ForecastBody")}}}
    return {"required": True, "content": json | multipart_body({"request": request, "initial_state": files})}


def state_body(max_files: int) -> dict[str, Any]:
    """Return the OpenAPI description of the body of `POST /states`: files of a state, or JSON that names a source."""
    properties = {
        "request": {"type": "string", "description": "JSON with `model` and `init_time`, both optional."},
        "initial_state": file_list(max_files, "GRIB, NetCDF or zipped Zarr, as for `POST /forecast`."),
    }
    form = {MULTIPART: {"schema": {"type": "object", "required": ["initial_state"], "properties": properties}}}
    return {"required": True, "content": {JSON: {"schema": {"$ref": _TEMPLATE.format(model="StateBody")}}} | form}


def model_body(name: str) -> dict[str, Any]:
    """Return the OpenAPI description of a JSON body of the model with this name."""
    return {"required": True, "content": {JSON: {"schema": {"$ref": _TEMPLATE.format(model=name)}}}}


def inspection_body(max_files: int) -> dict[str, Any]:
    """Return the OpenAPI description of the body of `POST /inspect`: the files of an initial state."""
    files = file_list(max_files, "GRIB, NetCDF or zipped Zarr, as for `POST /forecast`.")
    return {"required": True, "content": multipart_body({"initial_state": files})}


def verification_body(max_files: int, reference_pattern: str) -> dict[str, Any]:
    """Return the OpenAPI description of the body of `POST /forecast/ID/verify`: files of the truth, and its name."""
    truth = file_list(max_files, "Analyses as GRIB, NetCDF or zipped Zarr stores.")
    reference = {"type": "string", "pattern": reference_pattern, "description": "Name of the truth."}
    return {"required": True, "content": multipart_body({"truth": truth, "reference": reference})}


def add_schemas(app: FastAPI) -> None:
    """Add the schemas of request bodies and of `Problem` to the OpenAPI document of `app`."""
    generate = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
                (model, "validation")
                for model in (
                    *(ForecastBody, BatchBody, ReplayBody, ExecutionBody, DeletionBody, StateBody),
                    *(ScheduleBody, ScheduleChange, Problem),
                )
            ]
            _, schemas = models_json_schema(models, ref_template=_TEMPLATE)
            generate()["components"]["schemas"].update(schemas["$defs"])
        return generate()

    app.openapi = document  # type: ignore[method-assign] # FastAPI documents replacing this method
