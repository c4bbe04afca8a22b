"""Refuse query parameters that a route does not have, and single ones that are repeated."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from service.faults import Faults
from storage.errors import ConfigurationError


async def check_parameters(request: Request) -> None:
    """Raise `ConfigurationError` or `RequestFaultsError` that names each unknown or repeated query parameter.

    An unknown parameter is usually a misspelt one; if it were ignored, the response would differ without notice.
    """
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    accepted = dict(_parameters(route.dependant))
    expected = f"one of: {', '.join(accepted)}" if accepted else "none"
    faults = Faults()
    for name in dict.fromkeys(request.query_params):
        values = request.query_params.getlist(name)
        if name not in accepted:
            message = f"The query parameter `{name}` is unknown. Expected {expected}."
        elif len(values) > 1 and not accepted[name]:
            message = f"The query parameter `{name}` may be given once. Got: {', '.join(map(repr, values))}."
        else:
            continue
        faults.add(ConfigurationError(message, ("query", name)))
    faults.check()


KNOWN_PARAMETERS = Depends(check_parameters)


def _parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Yield the name of each query parameter of a route and of its dependencies, and whether it may be repeated."""
    for field in dependant.query_params:
        yield field.alias, _is_list(field.field_info.annotation)
    for dependency in dependant.dependencies:
        yield from _parameters(dependency)


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(_is_list(argument) for argument in get_args(annotation))
