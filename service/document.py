"""The OpenAPI document, with the bodies that FastAPI does not see: those of requests in two forms, and problems."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from service.problems import Problem
from service.requests import ForecastBody

_TEMPLATE = "#/components/schemas/{model}"


def install(app: FastAPI) -> None:
    """Let the document of `app` name them."""
    made = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            _, told = models_json_schema(
                [(ForecastBody, "validation"), (Problem, "validation")], ref_template=_TEMPLATE
            )
            made()["components"]["schemas"].update(told["$defs"])
        return made()

    app.openapi = document  # type: ignore[method-assign]
