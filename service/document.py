"""Add schemas to the OpenAPI document that FastAPI cannot infer: the two-form request body, and problems."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from service.problems import Problem
from service.requests import ForecastBody

_TEMPLATE = "#/components/schemas/{model}"


def add_schemas(app: FastAPI) -> None:
    """Add the schemas of `ForecastBody` and `Problem` to the OpenAPI document of `app`."""
    generate = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            _, schemas = models_json_schema(
                [(ForecastBody, "validation"), (Problem, "validation")], ref_template=_TEMPLATE
            )
            generate()["components"]["schemas"].update(schemas["$defs"])
        return generate()

    app.openapi = document  # type: ignore[method-assign] # FastAPI documents replacing this method
