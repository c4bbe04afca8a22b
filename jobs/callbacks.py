"""Callbacks: the URL to which events of a forecast are posted, and the secret that signs them."""

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from weather.schema import FrozenModel

CallbackEvent = Literal["started", "alert", "successful", "failed", "dismissed"]

_PREFIX = "whsec_"


def decode_secret(secret: str) -> bytes:
    """Return the key in a secret of Standard Webhooks: `whsec_` and 24 to 64 bytes in base64; raises `ValueError`."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError("`secret` must be whsec_ and 24 to 64 bytes in base64; the value is not repeated here")
    return key


def _check_secret(secret: SecretStr) -> SecretStr:
    decode_secret(secret.get_secret_value())
    return secret


class Callback(FrozenModel):
    """A URL to which events of the forecast are posted, signed as Standard Webhooks describe."""

    url: str = Field(max_length=1000, examples=["https://hooks.example.org/warmcast"])
    events: tuple[CallbackEvent, ...] = Field(
        ("alert", "successful", "failed", "dismissed"), min_length=1, max_length=5
    )
    secret: Annotated[SecretStr, AfterValidator(_check_secret)] = Field(
        description="`whsec_` and 24 to 64 random bytes in base64, by which the receiver verifies the signature. It is "
        "never returned."
    )

    @property
    def row(self) -> dict[str, Any]:
        """The value that is stored, with the secret."""
        return {"url": self.url, "events": list(self.events), "secret": self.secret.get_secret_value()}


class CallbackView(FrozenModel):
    """What is known of a callback to those who may read the forecast: neither its path nor its secret."""

    host: str
    events: tuple[CallbackEvent, ...]

    @classmethod
    def parse(cls, value: Mapping[str, Any] | None) -> "CallbackView | None":
        """Return the view of the callback in a row, or None."""
        return None if value is None else cls(host=urlsplit(value["url"]).hostname or "", events=tuple(value["events"]))
