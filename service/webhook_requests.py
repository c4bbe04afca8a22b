"""Post a signed callback to an address that was checked, without redirects, cookies or proxies, in a limited time."""

import base64
import hashlib
import hmac
import http.client
import importlib.metadata
import ssl
import time
from contextlib import closing

from jobs.callback_hosts import AllowedHosts
from jobs.callbacks import decode_secret
from jobs.deliveries import Delivery, Outcome
from storage.connections import AddressNotAllowedError, connect, resolve
from storage.errors import ConfigurationError

TOTAL_SECONDS = 15.0


def sign(secret: str, webhook_id: str, timestamp: int, body: str) -> str:
    """Return the header `webhook-signature` of Standard Webhooks: HMAC-SHA256 of `ID.TIMESTAMP.BODY`, in base64."""
    message = f"{webhook_id}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.new(decode_secret(secret), message, hashlib.sha256).digest()).decode()


def post_delivery(delivery: Delivery, hosts: AllowedHosts, total_seconds: float = TOTAL_SECONDS) -> Outcome:
    """Send a delivery and return what came of it; only the status of the answer is read.

    The connection is made to the very address that was checked, so that a name which resolves to another address a
    moment later leads nowhere else.
    """
    try:
        target = hosts.find_target(delivery.url)
    except ConfigurationError:
        return Outcome(None, "the service does not allow this host")
    try:
        addresses = resolve(target, hosts)
    except AddressNotAllowedError:
        return Outcome(None, "the host has no address that is allowed")
    except (OSError, UnicodeError):  # the latter of a name that the encoding of names refuses
        return Outcome(None, "the host has no address")
    try:
        with connect(target, addresses, total_seconds) as connection:
            connection.putrequest("POST", target.path, skip_accept_encoding=True)
            for name, value in _headers(delivery).items():
                connection.putheader(name, value)
            connection.endheaders(delivery.body.encode())
            with closing(connection.getresponse()) as response:
                status = response.status
    except ssl.SSLError:
        return Outcome(None, "the certificate or the encryption is not valid")
    except TimeoutError:
        return Outcome(None, "no answer in time")
    except (OSError, http.client.HTTPException, ValueError):
        return Outcome(None, "the connection failed or broke")
    return Outcome(status, _describe(status))


def _headers(delivery: Delivery) -> dict[str, str]:
    timestamp = int(time.time())
    return {
        "Content-Type": "application/json",
        "Content-Length": str(len(delivery.body.encode())),
        "User-Agent": f"warmcast/{importlib.metadata.version('warmcast')}",
        "webhook-id": delivery.webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(delivery.secret, delivery.webhook_id, timestamp, delivery.body),
    }


def _describe(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    return f"a redirect ({status}), which is not followed" if 300 <= status < 400 else f"the status {status}"
