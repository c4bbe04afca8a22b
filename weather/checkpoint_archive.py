"""Checkpoints as one file: written with card and licence, always the same bytes, and read back with checks."""

import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from storage.atomic import build_folder, replace_file
from storage.errors import ConfigurationError
from weather.checkpoint_card import render_card
from weather.checkpoint_files import CARD_NAME, FILE_NAMES, LICENSE_NAME, WEIGHT_FILES, find_file_problems
from weather.errors import CheckpointError
from weather.manifest import MANIFEST_NAME, read_manifest

ARCHIVE_SUFFIX = ".zip"
_TIME = (1980, 1, 1, 0, 0, 0)
"""Time of every entry, the earliest of the format, so that equal checkpoints have equal archives."""
_MODE = 0o100644 << 16
_UNIX = 3
_DEPTH = 2
"""Parts of the path of each entry: the checkpoint's name, and that of the file."""
_BUFFER_BYTES = 1 << 20


def export_files(folder: Path, output: Path, license_file: Path | None) -> dict[str, Any]:
    """Write the files of a checkpoint, its card and its licence to `output`, and return a receipt.

    `output` is an archive if its name ends with `.zip`, else a folder. The archive of a checkpoint has always the same
    bytes. A folder without a card gets one from its manifest; the licence is `license_file`, or the folder's own.
    Raises `ConfigurationError` if `output` exists and is not an archive, or the licence cannot be read.
    """
    manifest = read_manifest(folder)
    texts = {MANIFEST_NAME: manifest.to_json(), LICENSE_NAME: _read_license_file(folder, license_file)}
    card = folder / CARD_NAME
    texts[CARD_NAME] = card.read_text("utf-8") if card.is_file() else render_card(manifest, texts[LICENSE_NAME])
    present = {name: text for name, text in sorted(texts.items()) if text is not None}
    if output.name.endswith(ARCHIVE_SUFFIX):
        with replace_file(output) as partial:
            _write_archive(partial, manifest.name, present, folder)
    else:
        _check_unused(output)
        with build_folder(output) as building:
            for name, text in present.items():
                (building / name).write_text(text, "utf-8")
            for name in WEIGHT_FILES:
                shutil.copyfile(folder / name, building / name)
    return {
        "checkpoint": str(folder),
        "output": str(output),
        "name": manifest.name,
        "digest": manifest.digest,
        "files": sorted((*present, *WEIGHT_FILES)),
        "license": LICENSE_NAME in present,
    }


def import_checkpoint(*, archive: Path, into: Path) -> dict[str, Any]:
    """Unpack an archive into a folder of checkpoints, check its files, and return a receipt.

    The new folder in `into` has the checkpoint's name; it appears whole or not at all. Raises `CheckpointError` if the
    archive is damaged or is not one of a checkpoint, and `ConfigurationError` if the name is taken.
    """
    try:
        with zipfile.ZipFile(archive) as entries:
            name = _find_name(archive, entries)
            _check_unused(into / name)
            with build_folder(into / name) as building:
                _unpack(entries, building)
                digest = _check_unpacked(archive, building, name)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CheckpointError(f"`{archive}` is damaged, or is no zip: {error}. Copy it again.") from error
    return {"checkpoint": str(into / name), "name": name, "digest": digest}


def _write_archive(path: Path, name: str, texts: Mapping[str, str], folder: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file, text in texts.items():
            archive.writestr(_entry(f"{name}/{file}"), text.encode())
        for file in sorted(WEIGHT_FILES):
            entry = _entry(f"{name}/{file}")
            entry.file_size = (folder / file).stat().st_size
            with (folder / file).open("rb") as source, archive.open(entry, "w") as copy:
                shutil.copyfileobj(source, copy, _BUFFER_BYTES)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr, entry.create_system = _MODE, _UNIX
    return entry


def _find_name(archive: Path, entries: zipfile.ZipFile) -> str:
    """Return the name of the checkpoint in an archive: its only folder, which holds nothing but files of a checkpoint.

    Raises `CheckpointError` for any other archive.
    """
    paths = [PurePosixPath(name) for name in entries.namelist() if not name.endswith("/")]
    names = {path.parts[0] for path in paths if len(path.parts) == _DEPTH and path.name in FILE_NAMES}
    strange = [str(path) for path in paths if len(path.parts) != _DEPTH or path.name not in FILE_NAMES]
    if strange or len(names) != 1:
        raise CheckpointError(
            f"`{archive}` must hold one folder with {', '.join(FILE_NAMES)}, as `warmcast checkpoint export` writes "
            f"it. Got: {', '.join((strange or sorted(names))[:3]) or 'nothing'}."
        )
    (name,) = names
    return name


def _unpack(entries: zipfile.ZipFile, building: Path) -> None:
    for entry in entries.infolist():
        if not entry.is_dir():
            with entries.open(entry) as source, (building / PurePosixPath(entry.filename).name).open("wb") as copy:
                shutil.copyfileobj(source, copy, _BUFFER_BYTES)


def _check_unpacked(archive: Path, building: Path, name: str) -> str:
    """Return the digest of the checkpoint in the new folder `building`; raises `CheckpointError` if it is damaged."""
    try:
        manifest = read_manifest(building)
    except CheckpointError as error:
        raise CheckpointError(f"`{archive}`: {_shorten(str(error), building)}") from error
    problems = [_shorten(problem, building) for _, problem in find_file_problems(building, manifest)]
    if manifest.name != name:
        problems.append(f"The folder of the checkpoint must have its name, `{manifest.name}`. Got: `{name}`.")
    if problems:
        raise CheckpointError(f"`{archive}`: " + " ".join(problems))
    return manifest.digest


def _shorten(problem: str, building: Path) -> str:
    """Return a problem without the path of the folder that is being built, which does not remain."""
    return problem.replace(f"{building}/", "").replace(f"`{building}`", "the archive")


def _check_unused(folder: Path) -> None:
    if folder.exists():
        raise ConfigurationError(f"`{folder}` already exists. Remove it, or choose another folder.")


def _read_license_file(folder: Path, license_file: Path | None) -> str | None:
    """Return the text of `license_file`, or else of the checkpoint's own licence; None if it has none."""
    if license_file is None:
        own = folder / LICENSE_NAME
        return own.read_text("utf-8") if own.is_file() else None
    try:
        return license_file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The licence `{license_file}` cannot be read: {error}.") from error
