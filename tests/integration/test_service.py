import subprocess
import sys
import threading
from collections.abc import Callable

import httpx

from tests.helpers import wait_until
from tests.served import Served, small_request
from tests.servers import free_port

Serve = Callable[..., Served]


def test_each_event_is_sent_once_and_a_reconnected_client_gets_the_rest(served: Served) -> None:
    forecast = served.submit()
    with served.client.stream("GET", f"/forecast/{forecast['id']}/events") as stream:
        lines = list(stream.iter_lines())
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert events == ["accepted", "running", *["lead_time"] * 4, "successful"]
    ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    again = served.client.get(f"/forecast/{forecast['id']}/events", headers={"Last-Event-ID": ids[-3]})
    assert [line for line in again.text.splitlines() if line.startswith("id: ")] == [f"id: {id_}" for id_ in ids[-2:]]


def test_an_unchanged_status_is_not_sent_again(served: Served) -> None:
    forecast = served.submit()
    served.wait(forecast["id"])
    address = f"/forecast/{forecast['id']}"
    first = served.client.get(address)
    assert "retry-after" not in first.headers
    again = served.client.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_concurrent_requests_with_one_idempotency_key_make_one_forecast(served: Served) -> None:
    answers: list[httpx.Response] = []

    def post() -> None:
        with httpx.Client(timeout=60) as client:
            body = small_request(members=1, seed=None)
            answers.append(client.post(f"{served.url}/forecast", json=body, headers={"Idempotency-Key": "one"}))

    threads = [threading.Thread(target=post) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
    other = served.client.post("/forecast", json=small_request(members=2), headers={"Idempotency-Key": "one"})
    assert other.status_code == 422
    assert other.json()["type"] == "/problems/idempotency-key-reuse"


def test_a_priority_is_part_of_the_forecast_but_does_not_distinguish_requests(served: Served) -> None:
    headers = {"Idempotency-Key": "priority"}
    answers = [
        served.client.post("/forecast", json=small_request(**fields), headers=headers)
        for fields in ({"priority": "low"}, {}, {"priority": "high"})
    ]
    assert [answer.status_code for answer in answers] == [202, 200, 200]
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    assert {answer.json()["priority"] for answer in answers} == {"low"}
    assert {answer.json()["request"]["priority"] for answer in answers} == {"low"}
    assert served.submit()["priority"] == "normal"


def test_an_estimate_creates_no_forecast(served: Served) -> None:
    for forecast in served.client.get("/forecast?limit=200").json()["forecasts"]:
        served.wait(forecast["id"])
    before = served.client.get("/forecast?limit=200").json()
    response = served.client.post("/forecast?validate_only=true", json=small_request(seed=None))
    assert response.status_code == 200
    estimate = response.json()
    assert estimate["network_evaluations"] == 3 * 4 * 3
    assert estimate["request"]["seed"] >= 0
    assert served.client.get("/forecast?limit=200").json() == before


def test_forecasts_are_listed_newest_first_and_in_pages(serve: Serve) -> None:
    served = serve()
    ids = [served.submit(members=1)["id"] for _ in range(5)]
    for forecast_id in ids:
        served.wait(forecast_id)
    first = served.client.get("/forecast", params={"limit": 3}).json()
    more = served.client.get(next(link["href"] for link in first["links"] if link["rel"] == "next")).json()
    assert [forecast["id"] for forecast in first["forecasts"] + more["forecasts"]] == ids[::-1]
    assert served.client.get("/forecast", params={"status": "failed"}).json()["forecasts"] == []


def test_a_restarted_service_finishes_open_forecasts_and_not_cancelled_ones(serve: Serve) -> None:
    served = serve()
    running = served.submit(lead_time="240h", members=16, sampler={"nfe": 20})
    waiting = [served.submit(seed=seed) for seed in range(3)]
    wait_until(lambda: served.status(running["id"])["progress_detail"]["lead_times"] >= 3)
    dismissed = served.client.delete(f"/forecast/{waiting[1]['id']}")
    assert (dismissed.status_code, dismissed.json()["status"]) == (202, "dismissed")
    served.kill()
    served.start()
    for forecast in (running, waiting[0], waiting[2]):
        assert served.wait(forecast["id"], 120)["status"] == "successful"
    cancelled = served.status(waiting[1]["id"])
    assert (cancelled["status"], cancelled["started"]) == ("dismissed", None)
    again = served.client.delete(f"/forecast/{waiting[1]['id']}", params={"keep_data": True})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/forecast-over")


def test_a_second_service_on_the_same_data_refuses_to_start(served: Served) -> None:
    command = [sys.executable, "-c", "from warmcast.cli import main; main()", "serve", "--data", str(served.data)]
    second = subprocess.run([*command, "--port", str(free_port())], capture_output=True, text=True, timeout=60)
    assert (second.returncode, len(second.stderr.splitlines())) == (2, 1)
    assert "is served by another process" in second.stderr
    port = served.url.rpartition(":")[2]
    third = subprocess.run([*command, "--port", port], capture_output=True, text=True, timeout=60)
    assert (third.returncode, third.stderr) == (
        2,
        f"Error: Port {port} of 127.0.0.1 is in use. Stop the program that uses it, or choose another --port.\n",
    )
    assert served.client.get("/healthz").status_code == 200


def test_models_catalogue_and_readiness_are_listed(served: Served) -> None:
    names = [model["id"] for model in served.client.get("/models").json()]
    assert names == ["earth", "planet", "untrained"]
    one = served.client.get("/models/untrained").json()
    assert (one["variables"], one["max_members"]) == (["u10", "v10"], 1000)
    assert served.client.get("/models/nobody").status_code == 404
    assert {state["dataset"] for state in served.client.get("/catalogue").json()} == {"gfs", "nature-run"}
    served.wait_for_worker()
    health = served.client.get("/readyz").json()
    assert health["checks"].items() >= {"database": True, "data": True, "worker": True}.items()
    assert (health["ready"], health["details"]) == (True, {})


def test_pages_of_other_origins_change_nothing(served: Served) -> None:
    foreign = {"Origin": "https://example.org"}
    refused = served.client.post("/forecast", json=small_request(), headers=foreign)
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/foreign-origin")
    assert served.client.get("/forecast", headers=foreign).status_code == 200
    rebound = served.client.get("/forecast", headers={"Host": "attacker.example:8000"})
    assert (rebound.status_code, rebound.json()["type"]) == (421, "/problems/foreign-host")
    own = served.client.post("/forecast?validate_only=true", json=small_request(), headers={"Origin": served.url})
    assert own.status_code == 200


def test_a_submission_waits_for_the_end_if_it_prefers_to(served: Served) -> None:
    body = small_request(lead_time="6h", members=1, seed=77)
    answer = served.client.post("/v1/forecast", json=body, headers={"Prefer": "respond-async, wait=30"})
    assert (answer.status_code, answer.json()["status"]) == (201, "successful")
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert answer.headers["Location"].endswith(answer.json()["id"])
    assert "Retry-After" not in answer.headers
    long = small_request(lead_time="360h", members=16, sampler={"nfe": 40})
    answer = served.client.post("/v1/forecast", json=long, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "wait=1")
    assert served.client.delete(f"/v1/forecast/{answer.json()['id']}").status_code == 202
    for prefer in ("respond-async", "wait=0", "wait=soon", "await=5", "wait=-1", ""):
        short = small_request(lead_time="6h", members=1)
        answer = served.client.post("/v1/forecast", json=short, headers={"Prefer": prefer})
        assert (answer.status_code, "Preference-Applied" in answer.headers) == (202, False), prefer
