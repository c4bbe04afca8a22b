"""Unpack a Zarr store from an untrusted zip, without the arrays whose types, sizes or codecs are not accepted.

Those are refused if they are requested, or coordinates of a field. Others may be of any type: Zarr never gets them.
"""

import json
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from weather.readers.containers import (
    DAMAGE,
    MAX_ARRAYS,
    DamagedError,
    TooLargeError,
    Unpacking,
    UnsupportedError,
    join_lines,
    read_blocks,
)
from weather.readers.conventions import role_of
from weather.readers.zips import printable
from weather.variables import KNOWN

MAX_JSON_BYTES = 1_000_000
MAX_METADATA_BYTES = 50_000_000
MAX_ARRAY_BYTES = 2_000_000_000
MAX_STRINGS = 100_000
MAX_CHUNKS = 100_000
MAX_DIMENSIONS = 32
MAX_TEXT_BYTES = 4000

_NUMBERS = re.compile(r"[<>|=]?(?:[fiu][1248]|b1)|(?:float|u?int)(?:8|16|32|64)|bool|[<>]?[Mm]8(?:\[\w+\])?")
_STRINGS = re.compile(r"[<>|]?[USO]\d{0,3}|string|str|fixed_length_utf32|null_terminated_bytes")
_METADATA = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
_TIMES = {"numpy.datetime64", "numpy.timedelta64"}
_CODECS = {
    *("bytes", "zstd", "gzip", "zlib", "blosc", "lz4", "crc32c", "transpose", "shuffle", "delta", "fixedscaleoffset"),
    *("vlen-utf8", "numcodecs.zstd", "numcodecs.blosc", "numcodecs.zlib", "numcodecs.shuffle"),
}


@dataclass(frozen=True)
class _Array:
    """Metadata of an array of either version: as it is in the zip, its dimensions and attributes."""

    metadata: Mapping[str, Any]
    attributes: Mapping[str, Any]
    dims: tuple[str, ...]


def unpack_store(
    archive: zipfile.ZipFile, root: str, name: str, variables: Sequence[str], unpacking: Unpacking
) -> Path:
    """Write the store in the folder `root` of a zip to a folder, and return that; messages call the store `name`.

    Raises `SourceError` if an array of `variables`, or a coordinate, is of a type, size or codec that is not accepted.
    Of two members of one name, which Zarr's own writer may leave, the last counts.
    """
    prefix = f"{root}/" if root else ""
    members = {
        member.filename.removeprefix(prefix): member
        for member in archive.infolist()
        if member.filename.startswith(prefix) and not member.is_dir()
    }
    metadata = _read_metadata(archive, members, name)
    arrays = _list_arrays(metadata)
    if len(arrays) > MAX_ARRAYS:
        raise TooLargeError(f"`{name}` has {len(arrays)} arrays, and at most {MAX_ARRAYS} are accepted.")
    problems = {key: problem for key, array in arrays.items() if (problem := _find_problem(array)) is not None}
    for key, problem in problems.items():
        if _is_requested(key, arrays[key], variables) or _is_coordinate(key, arrays, problems, metadata):
            raise UnsupportedError(f"`{name}`: its array `{printable(key)}` {problem}.")
    accepted = {"", *(arrays.keys() - problems.keys())}
    folder = unpacking.new_path()
    try:
        folder.mkdir()
        for key, member in members.items():
            if key in metadata and key.rpartition("/")[0] in accepted:
                _write(folder / key, metadata[key])
            elif key.partition("/")[0] in accepted and key.rpartition("/")[2] not in _METADATA:
                with archive.open(member) as packed:
                    target = folder / key
                    target.parent.mkdir(parents=True, exist_ok=True)
                    unpacking.save(read_blocks(cast(BinaryIO, packed)), name, member.compress_size, target)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DamagedError(f"`{name}`: a name in it is that of a file and of a folder. {DAMAGE}") from error
    return folder


def _read_metadata(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], name: str
) -> dict[str, dict[str, Any]]:
    """Return the metadata of the group and its arrays by key; what lies deeper is left out."""
    result, total = dict[str, dict[str, Any]](), 0
    for key, member in members.items():
        folder, _, file = key.rpartition("/")
        if "/" in folder or file not in _METADATA - {".zmetadata"}:
            continue
        total += member.file_size
        if member.file_size > MAX_JSON_BYTES or total > MAX_METADATA_BYTES:
            raise TooLargeError(
                f"`{name}`: `{printable(key)}` has {member.file_size} bytes of metadata, and at most {MAX_JSON_BYTES} "
                f"are accepted, and {MAX_METADATA_BYTES} in all."
            )
        try:
            parsed = json.loads(archive.read(member))
        except (ValueError, RecursionError) as error:
            text = f"`{name}`: `{printable(key)}` is not JSON: {join_lines(error)}. {DAMAGE}"
            raise DamagedError(text) from error
        if not isinstance(parsed, dict):
            raise DamagedError(f"`{name}`: `{printable(key)}` is not a JSON object. {DAMAGE}")
        result[key] = {field: value for field, value in parsed.items() if field != "consolidated_metadata"}
    return result


def _list_arrays(metadata: Mapping[str, Mapping[str, Any]]) -> dict[str, _Array]:
    arrays = {}
    for key, content in metadata.items():
        owner, _, file = key.rpartition("/")
        if owner == "" or file == ".zgroup" or "shape" not in content:
            continue
        if file == ".zarray":
            attributes = metadata.get(f"{owner}/.zattrs", {})
            dims = attributes.get("_ARRAY_DIMENSIONS")
        else:
            attributes, dims = content.get("attributes") or {}, content.get("dimension_names")
        if not isinstance(attributes, dict):
            attributes = {}
        names = tuple(map(str, dims)) if isinstance(dims, list) else ()
        arrays[owner] = _Array(content, attributes, names)
    return arrays


def _is_requested(key: str, array: _Array, variables: Sequence[str]) -> bool:
    wanted = [KNOWN[name] for name in variables]
    name, attributes = key.casefold().removeprefix("var_"), array.attributes
    return any(
        name in variable.aliases
        or attributes.get("GRIB_paramId") == variable.param_id
        or attributes.get("standard_name") == variable.standard_name
        for variable in wanted
    )


def _is_coordinate(
    key: str, arrays: Mapping[str, _Array], problems: Mapping[str, str], metadata: Mapping[str, Mapping[str, Any]]
) -> bool:
    """Return whether an array is a coordinate of an accepted field of two or more dimensions."""
    group = metadata.get("zarr.json", {}).get("attributes") or metadata.get(".zattrs", {})
    owners = [group, *(array.attributes for array in arrays.values())]
    listed = {name for owner in owners if isinstance(owner, dict) for name in str(owner.get("coordinates", "")).split()}
    fields = [array.dims for other, array in arrays.items() if other not in problems and len(array.dims) > 1]
    is_named = key in listed or role_of(key, arrays[key].attributes) != "extra"
    return any(key in dims or (is_named and set(arrays[key].dims) <= set(dims)) for dims in fields)


def _find_problem(array: _Array) -> str | None:
    """Return why an array cannot be read safely, or None."""
    metadata, configuration = array.metadata, _configuration(array.metadata.get("chunk_grid"))
    shape, chunks = metadata["shape"], metadata.get("chunks", configuration.get("chunk_shape"))
    problem = _find_shape_problem(shape, chunks)
    if problem:
        return problem
    data_type = metadata.get("data_type", metadata.get("dtype"))
    kind = data_type.get("name") if isinstance(data_type, dict) else data_type
    is_text = isinstance(kind, str) and bool(_STRINGS.fullmatch(kind))
    if not isinstance(kind, str) or not (is_text or kind in _TIMES or _NUMBERS.fullmatch(kind)):
        return f"is of type {str(kind)[:80]!r}, and numbers, times and texts are accepted"
    length = _configuration(data_type).get("length_bytes", 0)
    if type(length) is not int or not 0 <= length <= MAX_TEXT_BYTES:
        return f"has texts of {str(length)[:80]} bytes, and at most {MAX_TEXT_BYTES} are accepted"
    if is_text and math.prod(shape) > MAX_STRINGS:
        return f"has {math.prod(shape)} texts, and at most {MAX_STRINGS} are accepted"
    codecs = metadata.get("codecs")
    if codecs is None:
        filters = metadata.get("filters")
        codecs = [metadata.get("compressor"), *(filters if isinstance(filters, list) else [])]
    if kind.endswith("O") and not any(isinstance(codec, dict) and codec.get("id") == "vlen-utf8" for codec in codecs):
        return "is of Python objects, and numbers, times and texts are accepted"
    return _find_codec_problem(codecs, shape, depth=0)


def _find_shape_problem(shape: Any, chunks: Any) -> str | None:
    """Return why an array of a shape in chunks of a shape is not accepted, or None."""
    for sizes, least in ((shape, 0), (chunks, 1)):
        if not isinstance(sizes, list) or not all(type(size) is int and size >= least for size in sizes):
            return f"declares the shape {str(sizes)[:80]}"
        if len(sizes) > MAX_DIMENSIONS or 8 * math.prod(sizes) > MAX_ARRAY_BYTES:
            return (
                f"declares an array or chunk of shape {str(sizes)[:80]}, and at most {MAX_ARRAY_BYTES} bytes in "
                f"{MAX_DIMENSIONS} dimensions are accepted"
            )
    if len(shape) != len(chunks):
        return f"declares the shape {shape} and chunks of shape {chunks}"
    number = math.prod(-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True))
    if number > MAX_CHUNKS:
        return f"declares {number} chunks, and at most {MAX_CHUNKS} are accepted: choose larger ones"
    return None


def _configuration(metadata: Any) -> Mapping[str, Any]:
    """Return the configuration in the metadata of a type, a grid of chunks or a codec; empty if it has none."""
    configuration = metadata.get("configuration") if isinstance(metadata, dict) else None
    return configuration if isinstance(configuration, dict) else {}


def _find_codec_problem(codecs: Any, shape: list[int], depth: int) -> str | None:
    for codec in codecs if isinstance(codecs, list) else [codecs]:
        if codec is None:
            continue
        name = codec.get("name", codec.get("id")) if isinstance(codec, dict) else codec
        if name == "sharding_indexed" and depth == 0:
            inner = _configuration(codec)
            problem = _find_shape_problem(shape, inner.get("chunk_shape"))
            for part in ("codecs", "index_codecs"):
                problem = problem or _find_codec_problem(inner.get(part), shape, depth=1)
            if problem:
                return problem
        elif not isinstance(name, str) or name not in _CODECS:
            return f"names the codec {str(name)[:80]!r}, and {', '.join(sorted(_CODECS))} are accepted"
    return None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
