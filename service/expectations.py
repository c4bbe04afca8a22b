"""What a body may have in the places where it is wrong, from the JSON schema of its model."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

Node = dict[str, Any]

_OF_EXAMPLES = frozenset({"string_type", "int_type", "string_pattern_mismatch"})


def explain_errors(model: type[BaseModel], errors: Sequence[ErrorDetails]) -> list[dict[str, Any]]:
    """Return pydantic's errors of a model, whose messages say what is accepted, where the schema knows it."""
    return [{**error, "msg": _explain(_schema_of(model), error)} for error in errors]


@cache
def _schema_of(model: type[BaseModel]) -> Node:
    return model.model_json_schema()


def _explain(schema: Node, error: ErrorDetails) -> str:
    kind, location, message = error["type"], error["loc"], error["msg"]
    if kind == "extra_forbidden":
        names = [name for node in _find(schema, location[:-1]) for name in node.get("properties", ())]
        return f"Unknown field. Expected one of: {', '.join(dict.fromkeys(names))}" if names else message
    nodes = [*_find(schema, location)]
    if kind == "union_tag_not_found":
        tags = [tag for node in nodes for tag in node.get("discriminator", {}).get("mapping", ())]
        return f"The field {error['ctx']['discriminator']} must be one of: {', '.join(tags)}"
    examples = next((node["examples"] for node in nodes if node.get("examples")), None)
    if kind not in _OF_EXAMPLES or examples is None:
        return message
    return f"{message}, such as {' or '.join(map(repr, examples))}"


def _find(schema: Node, location: Sequence[int | str]) -> list[Node]:
    """Return the parts of a schema that describe a location; a step that is no field is one of pydantic's own."""
    nodes = [*_alternatives(schema, schema)]
    for step in location:
        inner = [part for node in nodes for part in _step_into(node, step)]
        if inner:
            nodes = [alternative for part in inner for alternative in _alternatives(schema, part)]
    return nodes


def _step_into(node: Node, step: int | str) -> Iterator[Node]:
    if isinstance(step, str) and step in node.get("properties", ()):
        yield node["properties"][step]
    elif isinstance(step, str) and step in node.get("discriminator", {}).get("mapping", ()):
        yield {"$ref": node["discriminator"]["mapping"][step]}
    elif isinstance(step, int) and isinstance(node.get("items"), dict):
        yield node["items"]


def _alternatives(schema: Node, node: Node) -> Iterator[Node]:
    """Yield a part of a schema, and the parts that it refers to."""
    yield node
    if "$ref" in node:
        yield from _alternatives(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    for each in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())):
        yield from _alternatives(schema, each)
