import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from jobs import deliveries as delivery_rows
from jobs.callback_hosts import AllowedHosts
from jobs.callbacks import Callback, CallbackEvent
from jobs.deliveries import RETRY_SECONDS, Delivery, claim_due
from jobs.forecasts import ForecastRecord
from jobs.handling import Handling
from jobs.retention import delete_data
from jobs.rows.database import Database
from jobs.rows.delivery_table import deliveries
from jobs.rows.states import DeliveryState, EventKind
from jobs.settings import Settings
from service.app import create_app
from service.webhook_requests import post_delivery
from service.webhooks import WebhookSender
from tests.clock import MovableClock
from tests.helpers import wait_until
from tests.in_process import InProcess, run_in_process
from tests.receivers import SECRET, Receiver, receiving
from tests.rows import append_event, cancel_forecast, create_key, list_events, revoke_key, rotate_key, succeed
from tests.served import small_request
from tests.servers import free_port

Submit = Callable[..., ForecastRecord]

_LOCAL = AllowedHosts.parse("localhost,127.0.0.0/8", allows_http=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def _callback(url: str, *events: CallbackEvent) -> Handling:
    chosen = events or ("dismissed",)
    return Handling(callback=Callback(url=url, events=chosen, secret=SecretStr(SECRET)))


def _send(database: Database, hosts: AllowedHosts = _LOCAL) -> list[str]:
    """Send all deliveries that are due, and return what came of them."""
    results = list[str]()
    with WebhookSender(database, hosts, results.append) as sender:
        sender.send_due()
    return results


def _rows(database: Database) -> list[Any]:
    with database.read() as connection:
        return [*connection.execute(select(deliveries).order_by(deliveries.c.id))]


def _cancel(database: Database, submit_forecast: Submit, url: str, **options: Any) -> ForecastRecord:
    """Submit a forecast with a callback, and cancel it, so that one delivery is due."""
    record = submit_forecast(handling=_callback(url), **options)
    cancel_forecast(database, record.id, record.owner)
    return record


def test_each_chosen_event_is_delivered_once_with_a_valid_signature(
    database: Database, submit_forecast: Submit, receiver: Receiver
) -> None:
    record = submit_forecast(handling=_callback(receiver.url, "started", "successful"))
    succeed(database, record)
    assert _send(database) == ["delivered", "delivered"]
    assert _send(database) == []
    bodies = [json.loads(body) for _, body in receiver.received]
    assert {body["type"] for body in bodies} == {"forecast.started", "forecast.successful"}
    assert {body["data"]["id"] for body in bodies} == {record.id}
    assert all(receiver.is_signed(index) for index in range(2))
    assert len(set(receiver.ids())) == 2
    headers = receiver.received[0][0]
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert headers["host"] == f"localhost:{receiver.port}"
    assert not {"cookie", "authorization"} & headers.keys()


def test_a_failed_delivery_is_repeated_later_under_the_same_id(
    database: Database, submit_forecast: Submit, receiver: Receiver, clock: MovableClock
) -> None:
    record = _cancel(database, submit_forecast, receiver.url)
    receiver.statuses += [500, 302]
    assert (_send(database), _send(database)) == (["retry"], [])
    assert _rows(database)[0].error == "the status 500"
    clock.advance(7)
    assert _send(database) == ["retry"]
    assert _rows(database)[0].error == "a redirect (302), which is not followed"
    clock.advance(73)
    assert _send(database) == ["delivered"]
    assert len(set(receiver.ids())) == 1
    assert len(receiver.received) == 3, "no redirect was followed"
    (row,) = _rows(database)
    assert (row.state, row.attempts, row.status_code, row.error, row.next_attempt) == ("delivered", 3, 204, None, None)
    assert [event.kind for event in list_events(database, record.id)][-1] == EventKind.DELIVERY


def test_a_receiver_that_is_down_is_given_up_after_hours(
    database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    record = _cancel(database, submit_forecast, f"http://localhost:{free_port()}/")
    results = list[str]()
    for pause in (*RETRY_SECONDS, 0.0):
        results += _send(database)
        clock.advance(1.2 * pause)
    assert results == ["retry"] * len(RETRY_SECONDS) + ["given_up"]
    clock.advance(1e6)
    assert _send(database) == []
    assert _rows(database)[0].error == "the connection failed or broke"
    assert list_events(database, record.id)[-1].detail["state"] == "given_up"


def test_the_answer_410_ends_all_deliveries_of_the_forecast(
    database: Database, submit_forecast: Submit, receiver: Receiver
) -> None:
    record = submit_forecast(handling=_callback(receiver.url, "alert"))
    append_event(database, record.id, EventKind.ALERT, number=1)
    receiver.statuses.append(410)
    assert _send(database) == ["stopped"]
    for number in (2, 3):
        append_event(database, record.id, EventKind.ALERT, number=number)
    receiver.statuses.append(410)
    _send(database)
    assert "waiting" not in [row.state for row in _rows(database)]


def test_a_process_that_is_lost_before_the_answer_is_stored_sends_again(
    database: Database, submit_forecast: Submit, receiver: Receiver, clock: MovableClock
) -> None:
    _cancel(database, submit_forecast, receiver.url)
    with database.write() as connection:
        (lost,) = claim_due(connection, 8, 2, {})
    assert post_delivery(lost, _LOCAL).status_code == 204
    assert _send(database) == [], "it is claimed"
    clock.advance(delivery_rows.CLAIM_SECONDS + 1)
    assert _send(database) == ["delivered"]
    assert receiver.ids() == [lost.webhook_id] * 2


def test_an_event_that_is_rolled_back_has_no_delivery_and_a_committed_one_has_one(
    database: Database, submit_forecast: Submit, receiver: Receiver
) -> None:
    record = submit_forecast(handling=_callback(receiver.url, "alert"))

    def add(*, is_killed: bool) -> None:
        with database.write() as connection:
            delivery_rows.add_delivery(connection, record.id, EventKind.ALERT, {})
            if is_killed:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(is_killed=True)
    assert _rows(database) == []
    add(is_killed=False)
    assert [row.state for row in _rows(database)] == [DeliveryState.WAITING]


def test_two_processes_send_no_delivery_twice(database: Database, submit_forecast: Submit, receiver: Receiver) -> None:
    for number in range(4):
        _cancel(database, submit_forecast, receiver.url, owner=f"key_{number}")
    start, claimed = threading.Barrier(4), list[Delivery]()

    def claim() -> None:
        start.wait(10)
        with database.write() as connection:
            claimed.extend(claim_due(connection, 8, 2, {}))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({each.id for each in claimed}) == len(claimed) == 4


def test_a_slow_receiver_delays_no_other_owner(database: Database, submit_forecast: Submit, receiver: Receiver) -> None:
    release = threading.Event()
    receiver.before_answer = lambda: release.wait(20)
    with receiving() as fast:
        for _ in range(5):
            _cancel(database, submit_forecast, receiver.url, owner="key_slow")
        _cancel(database, submit_forecast, fast.url, owner="key_fast")
        with WebhookSender(database, _LOCAL, lambda _: None) as sender:
            sender.send_due()
            wait_until(lambda: len(fast.received) == 1, 10)
            sender.send_due()
            wait_until(lambda: len(receiver.received) == 2, 10)
            release.set()
        assert len(receiver.received) == 2, "of one owner, two at a time"


def test_a_receiver_that_sends_no_end_is_left(database: Database, submit_forecast: Submit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://localhost:{server.getsockname()[1]}/"
        delivery = Delivery(1, "fc_1", "local", "msg_1", "alert", "{}", 1, url, SECRET)
        began = time.monotonic()
        outcome = post_delivery(delivery, _LOCAL, total_seconds=0.2)
    assert outcome.status_code is None
    assert time.monotonic() - began < 5


def test_the_address_that_was_checked_is_the_one_that_is_connected(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that answers with a public address first and with this machine afterwards leads nowhere."""
    answers, connected = ["93.184.216.34", "127.0.0.1"], list[Any]()

    def resolve(_host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    def connect(address: tuple[str, int], **_: Any) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    hosts = AllowedHosts.parse("*", allows_http=True)
    delivery = Delivery(1, "fc_1", "local", "msg_1", "alert", "{}", 1, "http://rebind.example/", SECRET)
    assert post_delivery(delivery, hosts).error == "the connection failed or broke"
    assert (connected, len(answers)) == (["93.184.216.34"], 1)
    assert post_delivery(delivery, hosts).error == "the host has no address that is allowed"
    assert receiver.received == []


def test_attempts_end_whatever_goes_wrong(
    database: Database, submit_forecast: Submit, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that has no encoding raises an error of its own kind."""
    _cancel(database, submit_forecast, "http://localhost/")
    for error, expected in (
        (UnicodeError("label too long"), "the host has no address"),
        (RuntimeError("unexpected"), "an internal error"),
    ):
        monkeypatch.setattr(socket, "getaddrinfo", MagicMock(side_effect=error))
        assert _send(database) == ["retry"]
        assert _rows(database)[0].error == expected
        clock.advance(100)
    monkeypatch.setattr(delivery_rows, "RETRY_SECONDS", RETRY_SECONDS[:2])
    assert _send(database) == ["given_up"]


@pytest.mark.parametrize("hosts", ["localhost", "*", "example.org,127.0.0.0/8"])
def test_this_machine_is_never_reached_unless_its_name_and_its_network_are_allowed(
    database: Database, submit_forecast: Submit, receiver: Receiver, hosts: str
) -> None:
    _cancel(database, submit_forecast, receiver.url)
    assert _send(database, AllowedHosts.parse(hosts, allows_http=True)) == ["retry"]
    assert receiver.received == []


def test_a_receiver_without_a_valid_certificate_receives_nothing(receiver: Receiver) -> None:
    url = receiver.url.replace("http:", "https:")
    delivery = Delivery(1, "fc_1", "local", "msg_1", "alert", "{}", 1, url, SECRET)
    assert post_delivery(delivery, _LOCAL).error == "the certificate or the encryption is not valid"
    assert receiver.received == []


def test_nothing_is_sent_for_a_revoked_key(database: Database, submit_forecast: Submit, receiver: Receiver) -> None:
    key, _ = create_key(database, "desk")
    _cancel(database, submit_forecast, receiver.url, owner=key.id)
    revoke_key(database, key.id)
    assert (_send(database), receiver.received) == (["stopped"], [])
    assert _rows(database)[0].error == "the API key was revoked"


def test_nothing_is_sent_for_an_expired_key_until_it_is_given_another_time(
    database: Database, submit_forecast: Submit, receiver: Receiver, clock: MovableClock
) -> None:
    key, _ = create_key(database, "desk", expires="1h")
    record = submit_forecast(handling=_callback(receiver.url, "alert"), owner=key.id)
    append_event(database, record.id, EventKind.ALERT, number=1)
    append_event(database, record.id, EventKind.ALERT, number=2)
    clock.advance(3601)
    _send(database)
    assert ({row.state for row in _rows(database)}, receiver.received) == ({"stopped"}, [])
    assert "the API key has expired" in {row.error for row in _rows(database)}
    rotate_key(database, key.id, expires="1h")
    append_event(database, record.id, EventKind.ALERT, number=3)
    assert (_send(database), len(receiver.received)) == (["delivered"], 1)


def test_neither_a_rotated_key_nor_deleted_data_ends_the_deliveries(
    database: Database, submit_forecast: Submit, receiver: Receiver, clock: MovableClock, tmp_path: Path
) -> None:
    key, _ = create_key(database, "desk")
    record = _cancel(database, submit_forecast, receiver.url, owner=key.id)
    rotate_key(database, key.id, overlap="1h")
    clock.advance(2 * 3600)
    delete_data(database, tmp_path, record.id, key.id)
    assert (_send(database), len(receiver.received)) == (["delivered"], 1)


@pytest.fixture
def sending(settings: Settings, database: Database) -> Iterator[InProcess]:
    """A service that sends callbacks to this machine."""
    allowed = settings.replace(webhook_hosts="localhost,127.0.0.0/8", webhook_http=True)
    with run_in_process(create_app(allowed, with_worker=False)) as api:
        yield api


def test_the_service_delivers_and_tells_the_owner_but_neither_the_url_nor_the_secret(
    sending: InProcess, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    callback = {"url": receiver.url, "events": ["dismissed"], "secret": SECRET}
    view = sending.post("/v1/forecast", json=small_request(callback=callback, labels={"a": "1"})).json()
    home = f"/v1/forecast/{view['id']}"
    assert view["callback"] == {"host": "localhost", "events": ["dismissed"]}
    assert view["request"]["callback"] is None
    sending.delete(home)
    wait_until(lambda: sending.get(f"{home}/deliveries").json()["deliveries"][0]["state"] == "delivered", 20)
    assert json.loads(receiver.received[0][1])["data"]["labels"] == {"a": "1"}
    (delivery,) = sending.get(f"{home}/deliveries").json()["deliveries"]
    assert (delivery["webhook_id"], delivery["attempts"], delivery["status_code"]) == (receiver.ids()[0], 1, 204)
    texts = [sending.get(f"{home}{path}").text for path in ("", "/deliveries", "/log", "/events")]
    assert "has received the event dismissed" in texts[2]
    for text in (*texts, sending.get("/v1/forecast").text, caplog.text):
        assert SECRET not in text
        assert "token=hidden" not in text
    assert 'warmcast_webhook_deliveries_total{result="delivered"} 1.0' in sending.get("/metrics").text


def test_the_restarted_parts_of_a_batch_keep_the_callback_and_nobody_sees_it(
    sending: InProcess, submit_forecast: Submit, receiver: Receiver
) -> None:
    body = small_request(members=1, callback={"url": receiver.url, "events": ["dismissed"], "secret": SECRET})
    del body["initial_state"]
    sources = [{"source": "forecast", "id": submit_forecast(init_time=f"2018-09-1{day}T00:00:00").id} for day in (5, 6)]
    view = sending.post("/v1/batch", json=body | {"initial_states": sources}).json()
    home = f"/v1/batch/{view['id']}"
    sending.delete(home)
    wait_until(lambda: len(receiver.received) == 2, 20)
    restarted = sending.post(f"{home}/restart")
    assert restarted.status_code == 202
    sending.delete(home)
    wait_until(lambda: len(receiver.received) == 4, 20)
    new = [part["id"] for part in restarted.json()["parts"]]
    assert {json.loads(content)["data"]["id"] for _, content in receiver.received[2:]} == set(new)
    assert receiver.is_signed(2)
    assert receiver.is_signed(3)
    views = [sending.get(f"/v1/forecast/{name}") for name in new]
    assert [part.json()["callback"] for part in views] == [{"host": "localhost", "events": ["dismissed"]}] * 2
    lists = (home, "/v1/batch", f"/v1/forecast?batch={view['id']}", f"/v1/forecast/{new[0]}/deliveries", "/v1/audit")
    for text in (restarted.text, *(each.text for each in views), *(sending.get(path).text for path in lists)):
        assert SECRET not in text
        assert "token=hidden" not in text


def test_a_batch_with_another_secret_is_another_request(sending: InProcess, submit_forecast: Submit) -> None:
    body = small_request(members=1, initial_states=[{"source": "forecast", "id": submit_forecast().id}])
    del body["initial_state"]
    callback = {"url": "http://localhost/", "secret": SECRET}
    other = callback | {"secret": "whsec_" + base64.b64encode(bytes(32)).decode()}
    headers = {"Idempotency-Key": "one"}
    first = sending.post("/v1/batch", json=body | {"callback": callback}, headers=headers)
    assert first.status_code == 202
    assert sending.post("/v1/batch", json=body | {"callback": callback}, headers=headers).status_code == 200
    refused = sending.post("/v1/batch", json=body | {"callback": other}, headers=headers)
    assert refused.json()["type"] == "/problems/idempotency-key-reuse"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"url": "https://localhost.evil.org/"}, "/callback/url"),
        ({"url": "file://localhost/weather.nc"}, "/callback/url"),
        ({"events": []}, "/callback/events"),
        ({"events": ["lead_time"]}, "/callback/events/0"),
        ({"secret": "whsec_c2hvcnQ="}, "/callback/secret"),
        ({"secret": "not-a-secret-at-all"}, "/callback/secret"),
    ],
)
def test_a_wrong_callback_is_named_without_its_secret(sending: InProcess, fields: dict[str, Any], pointer: str) -> None:
    callback = {"url": "http://localhost/", "events": ["failed"], "secret": SECRET} | fields
    refused = sending.post("/v1/forecast", json=small_request(callback=callback))
    assert (refused.status_code, [error["pointer"] for error in refused.json()["errors"]]) == (422, [pointer])
    assert callback["secret"] not in refused.text


def test_callbacks_are_off_by_default(api: InProcess) -> None:
    callback = {"url": "https://example.org/", "secret": SECRET}
    refused = api.post("/v1/forecast", json=small_request(callback=callback))
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/callback")
    inputs = {name: value for name, value in small_request(callback=callback).items() if name != "model"}
    job = api.post("/api/retrieve/v1/processes/untrained/execution", json={"inputs": inputs})
    assert (job.status_code, job.json()["errors"][0]["pointer"]) == (422, "/inputs/callback")
