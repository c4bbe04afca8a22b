import json
import re
from typing import Any

import pytest
from fastapi import FastAPI

from jobs.settings import Settings
from service.app import create_app
from service.openapi import JSON, MULTIPART, file_list, forecast_body, multipart_body, verification_body
from service.requests import ForecastBody
from tests.in_process import describe_api

METHODS = {"get", "post", "put", "delete", "patch"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe_api()


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


def test_a_multipart_body_requires_all_its_parts() -> None:
    text = {"type": "string"}
    schema = multipart_body({"a": text, "b": text})[MULTIPART]["schema"]
    assert (schema["type"], schema["required"]) == ("object", ["a", "b"])
    assert schema["properties"] == {"a": text, "b": text}


def test_a_list_of_files_has_at_least_one_and_a_maximum() -> None:
    schema = file_list(7, "Files.")
    assert (schema["minItems"], schema["maxItems"], schema["description"]) == (1, 7, "Files.")
    assert schema["items"] == {"type": "string", "format": "binary"}


def test_a_forecast_is_submitted_as_json_or_with_files() -> None:
    body = forecast_body(2)
    assert body["required"]
    assert body["content"][JSON]["schema"] == {"$ref": "#/components/schemas/ForecastBody"}
    assert body["content"][MULTIPART]["schema"]["required"] == ["request", "initial_state"]
    assert body["content"][MULTIPART]["schema"]["properties"]["initial_state"]["maxItems"] == 2


def test_a_verification_needs_a_named_truth() -> None:
    content = verification_body(100, "^[a-z]+$")["content"]
    assert list(content) == [MULTIPART]
    schema = content[MULTIPART]["schema"]
    assert schema["required"] == ["truth", "reference"]
    assert schema["properties"]["reference"]["pattern"] == "^[a-z]+$"
    assert schema["properties"]["truth"]["maxItems"] == 100


def test_every_documented_path_exists_once_and_has_a_version(document: dict[str, Any]) -> None:
    paths = list(document["paths"])
    of_others = "/api/retrieve/v1/", "/api/catalogue/v1/", "/api/profiles/v1/", "/api/edr"
    own = {path for path in paths if not path.startswith(of_others)}
    assert {path for path in own if not path.startswith("/v1/")} == {"/", "/healthz", "/readyz", "/metrics"}


def test_every_operation_has_a_summary_a_tag_and_an_id_of_its_own(document: dict[str, Any]) -> None:
    operations = _operations(document)
    ids = [operation["operationId"] for operation in operations.values()]
    assert len(set(ids)) == len(ids)
    for name, operation in operations.items():
        assert operation["summary"], name
        assert operation["description"].strip().endswith("."), name
        assert operation["tags"], name


def test_every_operation_of_the_api_documents_problems_and_both_ways_to_send_a_key(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    for name, operation in _operations(document).items():
        if " /v1/" in name:
            problem = operation["responses"]["default"]["content"]["application/problem+json"]["schema"]
            assert problem == {"$ref": "#/components/schemas/Problem"}, name
            assert {scheme for choice in operation["security"] for scheme in choice} == set(schemes), name


def test_every_reference_in_the_document_has_a_target(document: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])


def test_every_field_of_a_request_is_described_and_bounded(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    schema = schemas["ForecastBody"]
    assert set(schema["properties"]) == set(ForecastBody.model_fields)
    assert schema["additionalProperties"] is False
    for source in ("CatalogueSource", "UploadSource", "Sampler", "Summary", "Output"):
        assert schemas[source]["additionalProperties"] is False, source
    for name, field in schema["properties"].items():
        if name not in {"initial_state", "sampler", "summary", "output"}:
            assert field["description"].endswith("."), name


def test_the_document_is_made_once_and_is_the_one_that_is_served(document: dict[str, Any]) -> None:
    app = create_app(Settings())
    first = app.openapi()
    assert app.openapi() is first
    assert json.loads(json.dumps(first)) == json.loads(json.dumps(document))


def test_the_document_does_not_depend_on_settings(document: dict[str, Any]) -> None:
    other = create_app(Settings.of(max_members=3, max_upload_bytes=10, public_url="https://example.org/w"))
    assert other.openapi() == document


def test_a_schema_of_a_request_replaces_none_of_another_model(document: dict[str, Any]) -> None:
    app = create_app(Settings())
    of_routes, described = FastAPI.openapi(app)["components"]["schemas"], document["components"]["schemas"]
    fields = {name: [*schema.get("properties", ())] for name, schema in of_routes.items()}
    assert {name: [*described[name].get("properties", ())] for name in fields} == fields
