"""Route of the status of a forecast, which clients poll: it takes little more than reading one row."""

import time

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from service.authentication import owner_of
from service.caching import is_unchanged, state_tag
from service.dependencies import Service, base_url, find_own_forecast
from service.parameters import KNOWN_PARAMETERS, check_parameters
from service.problems import PROBLEM_RESPONSES
from service.views import ForecastView, retry_seconds

_PATH = "/forecast/{forecast_id}"


class PolledRoute(APIRoute):
    """A route whose function takes the request alone, and does itself what its dependencies only describe.

    FastAPI's resolution of dependencies would take longer than all the rest of a short response.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; query parameters are checked as for other routes."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        if scope["query_string"]:
            await check_parameters(request)
        response: Response = await self.endpoint(request)
        await response(scope, receive, send)


async def read_status(request: Request) -> Response:
    """Return a forecast and its progress.

    Poll again after `Retry-After` seconds, with `If-None-Match` set to the last `ETag`.
    """
    service: Service = request.app.state.service
    record = await find_own_forecast(request.path_params["forecast_id"], service, owner_of(request.scope), request)
    now = time.time()
    outlook = await service.outlooks.find(record, now)
    headers = {"ETag": state_tag(record)}
    if (seconds := retry_seconds(record, now, outlook)) is not None:
        headers["Retry-After"] = str(seconds)
    if is_unchanged(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    document = service.views.render(record, base_url(request), now, outlook)
    return Response(document, headers=headers, media_type="application/json")


def add_to(router: APIRouter) -> None:
    """Add the route to a router, under `/v1` and, without a description, at the root."""
    for prefix in ("/v1", ""):
        for method in ("GET", "HEAD"):
            router.add_api_route(
                prefix + _PATH,
                read_status,
                methods=[method],
                response_model=ForecastView,
                responses=PROBLEM_RESPONSES,
                tags=["forecasts"],
                dependencies=[KNOWN_PARAMETERS, Depends(find_own_forecast)],
                include_in_schema=prefix == "/v1" and method == "GET",
                route_class_override=PolledRoute,
            )
