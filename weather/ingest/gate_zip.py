"""A zipped Zarr store, looked at before anything of it is decompressed into arrays."""

import json
import math
import re
import stat
import zipfile
from pathlib import Path
from typing import Any

MAX_MEMBERS = 20_000
MAX_BYTES = 4_000_000_000
MAX_RATIO = 200
MAX_JSON_BYTES = 1_000_000
MAX_ARRAY_BYTES = 2_000_000_000

_NAME = re.compile(r"(?:[\w.-]+/)*[\w.-]+/?")
_METADATA = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
_TYPES = re.compile(r"[<>|]?(?:f4|f8|i2|i4|i8|u1)|float32|float64|int16|int32|int64|uint8|bool")
_CODECS = {"bytes", "zstd", "gzip", "zlib", "blosc", "crc32c", "numcodecs.zstd", "numcodecs.blosc", "numcodecs.zlib"}


def zip_problem(path: Path) -> str | None:
    """Return what is wrong with a zip that should hold a Zarr store, or None.

    Two members may have one name, as Zarr's own writer leaves them: each is looked at.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            wrong = _members_problem(members)
            if wrong:
                return wrong
            for member in members:
                if member.filename.rsplit("/", 1)[-1] in _METADATA:
                    if member.file_size > MAX_JSON_BYTES:
                        return (
                            f"`{member.filename}` has {member.file_size} bytes, and at most {MAX_JSON_BYTES} are taken"
                        )
                    wrong = _metadata_problem(json.loads(archive.read(member)))
                    if wrong:
                        return f"`{member.filename}` {wrong}"
    except (
        zipfile.BadZipFile,
        ValueError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        RecursionError,
    ) as error:
        return f"it cannot be read: {error}"
    return None


def _members_problem(members: list[zipfile.ZipInfo]) -> str | None:
    if len(members) > MAX_MEMBERS:
        return f"it has {len(members)} members, and at most {MAX_MEMBERS} are taken"
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES:
        return f"it would have {total} bytes, and at most {MAX_BYTES} are taken"
    for member in members:
        if ".." in member.filename.split("/") or not _NAME.fullmatch(member.filename):
            return f"its member {member.filename[:80]!r} is no key of a Zarr store"
        if stat.S_ISLNK(member.external_attr >> 16):
            return f"its member {member.filename!r} is a link"
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"its member {member.filename!r} is encrypted, or compressed otherwise than deflated"
        if member.file_size > MAX_RATIO * max(member.compress_size, 1000):
            return f"its member {member.filename!r} grows {MAX_RATIO} times and more"
    return None


def _metadata_problem(metadata: Any) -> str | None:
    """Return what is wrong with the metadata of a group or array, of version 2 or 3, also where it holds others'."""
    if not isinstance(metadata, dict):
        return "is no object"
    inner = metadata.get("consolidated_metadata")
    consolidated = (inner.get("metadata") if isinstance(inner, dict) else None) or (
        metadata.get("metadata") if "zarr_consolidated_format" in metadata else None
    )
    for part in (consolidated or {}).values() if isinstance(consolidated, dict | None) else ():
        wrong = _metadata_problem(part) if isinstance(part, dict) else None
        if wrong:
            return wrong
    return _array_problem(metadata) if "shape" in metadata else None


def _array_problem(array: dict[str, Any]) -> str | None:
    kind = array.get("data_type", array.get("dtype"))
    if not isinstance(kind, str) or not _TYPES.fullmatch(kind):
        return f"declares the type {kind!r}; floats of 4 and 8 bytes and whole numbers of 1 to 8 are taken"
    chunks = array.get("chunks", (array.get("chunk_grid") or {}).get("configuration", {}).get("chunk_shape"))
    for shape in (array["shape"], chunks):
        if not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape):
            return f"declares the shape {shape!r}"
        if 8 * math.prod(shape) > MAX_ARRAY_BYTES:
            return f"declares an array or chunk of shape {shape}, and at most {MAX_ARRAY_BYTES} bytes are taken"
    return _codecs_problem(array.get("codecs") or [array.get("compressor"), *(array.get("filters") or [])], depth=0)


def _codecs_problem(codecs: Any, depth: int) -> str | None:
    for codec in codecs if isinstance(codecs, list) else [codecs]:
        if codec is None:
            continue
        name = codec.get("name", codec.get("id")) if isinstance(codec, dict) else codec
        if name == "sharding_indexed" and depth == 0:
            inner = codec.get("configuration", {})
            wrong = _codecs_problem([*inner.get("codecs", []), *inner.get("index_codecs", [])], depth=1)
            if wrong:
                return wrong
        elif name not in _CODECS:
            return f"names the codec {name!r}; {', '.join(sorted(_CODECS))} are taken"
    return None
