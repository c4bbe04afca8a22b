import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import Buffer

from storage.paths import storage_path
from weather.stores.chunks import ChunkFormat, open_store

FIELD = ChunkFormat("u10", (1, 1, 3, 4, 6))
MARK = ChunkFormat("complete", (1, 3), "uint8", compressed=False)
COUNT = ChunkFormat("members", (1,), "int32", compressed=False)
DEGREES = ChunkFormat("latitude", (4,), "float64", compressed=False)


def _normal_fields(members: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((members, 4, 6), np.float32)


def _zarr_files(chunk: ChunkFormat, shape: tuple[int, ...], selection: Any, values: NDArray[Any]) -> dict[str, bytes]:
    """Return the chunks that zarr itself writes to the array of `chunk`, by key."""
    files: dict[str, Buffer] = {}
    root = zarr.create_group(zarr.storage.MemoryStore(files), zarr_format=3)
    array = chunk.create_array(root, shape, [f"d{axis}" for axis in range(len(shape))], {})
    array[selection] = values.reshape((1,) * (len(shape) - values.ndim) + values.shape)
    return {key: value.to_bytes() for key, value in files.items() if not key.endswith("zarr.json")}


@pytest.mark.parametrize(
    ("chunk", "shape", "index", "values"),
    [
        (FIELD, (1, 5, 9, 4, 6), (0, 4, 2, 0, 0), _normal_fields(3)),
        (FIELD, (1, 5, 9, 4, 6), (0, 0, 0, 0, 0), np.full((3, 4, 6), 7.25, np.float32)),
        (FIELD, (1, 5, 8, 4, 6), (0, 1, 2, 0, 0), _normal_fields(2)),
        (MARK, (5, 9), (3, 1), np.array([1, 2, 1], np.uint8)),
        (MARK, (5, 7), (3, 2), np.array([1], np.uint8)),
        (COUNT, (5,), (2,), np.array(300, np.int32)),
        (DEGREES, (4,), (0,), np.array([67.5, 22.5, -22.5, -67.5])),
    ],
)
def test_chunks_equal_those_that_zarr_writes(
    chunk: ChunkFormat, shape: tuple[int, ...], index: tuple[int, ...], values: NDArray[Any]
) -> None:
    selection = tuple(slice(i * size, (i + 1) * size) for i, size in zip(index, chunk.shape, strict=True))
    assert {chunk.key(*index): chunk.encode(values)} == _zarr_files(chunk, shape, selection, values)


def test_a_chunk_is_decoded_to_its_whole_shape_bit_for_bit() -> None:
    values = _normal_fields(2)
    values[0, 0, :2] = -0.0, np.array(0x7FC12345, np.uint32).view(np.float32)
    decoded = FIELD.decode(FIELD.encode(values))
    assert (decoded.shape, decoded.dtype) == (FIELD.shape, np.float32)
    np.testing.assert_array_equal(decoded[0, 0, :2].view(np.uint32), values.view(np.uint32))
    assert np.isnan(decoded[0, 0, 2]).all()
    np.testing.assert_array_equal(MARK.decode(MARK.encode([1, 2])), [[1, 2, 0]])


@pytest.mark.parametrize(("chunk", "values"), [(FIELD, _normal_fields(3)), (MARK, np.ones(3))])
def test_a_damaged_chunk_is_not_decoded(chunk: ChunkFormat, values: NDArray[Any]) -> None:
    intact = chunk.encode(values)
    for position in (0, len(intact) // 2, len(intact) - 1):
        damaged = bytearray(intact)
        damaged[position] ^= 4
        with pytest.raises(ValueError, match="its checksum does not match"):
            chunk.decode(bytes(damaged))
    for cut in (b"", intact[:3], intact[:-1]):
        with pytest.raises(ValueError, match="its checksum does not match"):
            chunk.decode(cut)


def test_values_that_do_not_fit_the_chunk_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        FIELD.encode(np.zeros((4, 4, 6), np.float32))


def _write_store(path: Path, **options: Any) -> None:
    root = zarr.create_group(path, zarr_format=3, attributes={"title": "Numbers"})
    for chunk in (FIELD, MARK):
        chunk.create_array(
            root, tuple(2 * size for size in chunk.shape), [f"d{i}" for i in range(len(chunk.shape))], {}
        )
    if options:
        root.create_array("v10", shape=(4,), chunks=(2,), dtype="float32", **options)
    with pytest.warns(UserWarning, match="Consolidated metadata"):
        zarr.consolidate_metadata(path, zarr_format=3)


def test_a_store_opens_with_its_attributes_and_formats(tmp_path: Path) -> None:
    _write_store(tmp_path / "store.zarr")
    assert open_store(storage_path(tmp_path / "store.zarr")) == ({"title": "Numbers"}, {"u10": FIELD, "complete": MARK})


@pytest.mark.parametrize(
    "options",
    [
        {"chunk_key_encoding": {"name": "default", "separator": "/"}},
        {"compressors": [], "chunk_key_encoding": {"name": "default", "separator": "."}},
    ],
)
def test_a_store_with_chunks_of_another_format_does_not_open(tmp_path: Path, options: dict[str, Any]) -> None:
    _write_store(tmp_path / "store.zarr", **options)
    with pytest.raises(ValueError, match="`v10` has chunks of another format"):
        open_store(storage_path(tmp_path / "store.zarr"))


def test_a_store_without_consolidated_metadata_does_not_open(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}))
    with pytest.raises(KeyError):
        open_store(storage_path(tmp_path))


@pytest.mark.parametrize("encodes", [True, False])
def test_other_threads_run_while_a_chunk_is_encoded_or_decoded(encodes: bool) -> None:
    """Otherwise a pool of threads would encode no faster than one: a thread counts while another one works."""
    chunk = ChunkFormat("u10", (1, 1, 100, 240, 400))
    values = np.random.default_rng(0).standard_normal((100, 240, 400), np.float32)
    content = chunk.encode(values)
    working, counted = threading.Event(), 0

    def work() -> None:
        working.set()
        chunk.encode(values) if encodes else chunk.decode(content)
        working.clear()

    thread = threading.Thread(target=work)
    thread.start()
    assert working.wait(10)
    while working.is_set():
        counted += 1
    thread.join()
    assert counted > 10_000, "with the lock held, the other thread counts for a few milliseconds at the ends"
