"""Exchanges without a network: the steps of a generator with scripted results."""

import json
from collections.abc import Iterable
from typing import Any

from warmcast.exchange import Answer, Emit, Failure, Open, Pause, Read, Request, Send, Steps

BROKEN = Failure("connection reset by peer", was_sent=True)
REFUSED = Failure("connection refused", was_sent=False)


def answer(document: Any = None, status: int = 200, **headers: str) -> Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, names, b"" if document is None else json.dumps(document).encode())


def problem(status: int, kind: str = "validation", **fields: Any) -> Answer:
    return answer({"type": f"/problems/{kind}", "detail": "Wrong.", "status": status, **fields}, status)


class Run:
    """An exchange that has ended: its requests, the seconds of its pauses, its emitted values and its result."""

    def __init__(self, steps: Steps[Any], results: Iterable[Any]) -> None:
        self.requests: list[Request] = []
        self.pauses: list[float] = []
        self.emitted: list[Any] = []
        self.result: Any = None
        script, result = iter(results), None
        try:
            while True:
                step = steps.send(result)
                result = None
                match step:
                    case Send(request) | Open(request):
                        self.requests.append(request)
                        result = next(script)
                    case Read():
                        result = next(script)
                    case Pause(seconds):
                        self.pauses.append(seconds)
                    case Emit(value):
                        self.emitted.append(value)
        except StopIteration as end:
            self.result = end.value
        assert list(script) == []
