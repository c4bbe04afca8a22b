"""A strict parser of lists of items with parameters in structured fields of HTTP (RFC 9651, section 4.2), for tests."""

import base64
import re

BareItem = str | int | bytes | bool
Item = tuple[BareItem, dict[str, BareItem]]

_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BYTES = re.compile(r":([A-Za-z0-9+/=]*):")


def parse_list(text: str) -> list[Item]:
    """Return the items of a list, each with its parameters; raises `ValueError` for any other text."""
    rest, items = text.strip(" "), list[Item]()
    while True:
        item, rest = _parse_item(rest)
        items.append(item)
        rest = rest.lstrip(" \t")
        if not rest:
            return items
        if not rest.startswith(",") or not rest[1:].strip(" \t"):
            raise ValueError(f"expected a comma and an item: {rest!r}")
        rest = rest[1:].lstrip(" \t")


def _parse_item(text: str) -> tuple[Item, str]:
    value, rest = _parse_bare_item(text)
    parameters: dict[str, BareItem] = {}
    while rest.startswith(";"):
        rest = rest[1:].lstrip(" ")
        key = _KEY.match(rest)
        if key is None:
            raise ValueError(f"expected a key: {rest!r}")
        rest, parameter = rest[key.end() :], True
        if rest.startswith("="):
            parameter, rest = _parse_bare_item(rest[1:])  # type: ignore[assignment] # a flag is only one kind of value
        parameters[key[0]] = parameter
    return (value, parameters), rest


def _parse_bare_item(text: str) -> tuple[BareItem, str]:
    if (found := _STRING.match(text)) is not None:
        return re.sub(r"\\(.)", r"\1", found[1]), text[found.end() :]
    if (found := _INTEGER.match(text)) is not None:
        return int(found[0]), text[found.end() :]
    if (found := _BYTES.match(text)) is not None:
        return base64.b64decode(found[1], validate=True), text[found.end() :]
    raise ValueError(f"expected a string, an integer or bytes: {text!r}")
