"""The checksum of a file in a second file beside it, to recognise damage to large files that can be made again."""

from pathlib import Path

import google_crc32c

from storage.atomic import write_text

_BLOCK_BYTES = 1 << 20


def sum_path(path: Path) -> Path:
    """Return the path of the file with the checksum of `path`."""
    return path.with_name(f"{path.name}.crc32c")


def write_sum(path: Path, target: Path) -> None:
    """Write the size and the CRC-32C of a file to `target`."""
    write_text(target, _sum(path))


def matches_sum(path: Path) -> bool:
    """Return whether a file exists and its content matches the checksum beside it."""
    try:
        expected = sum_path(path).read_text()
        return path.stat().st_size == int(expected.split()[0]) and _sum(path) == expected
    except (OSError, ValueError, IndexError):
        return False


def _sum(path: Path) -> str:
    checksum, size = 0, 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            checksum, size = google_crc32c.extend(checksum, block), size + len(block)
    return f"{size} {checksum:08x}\n"
