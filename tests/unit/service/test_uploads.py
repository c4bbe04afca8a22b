import asyncio
import io
from pathlib import Path

import pytest
from starlette.datastructures import FormData, UploadFile

from service.problems import ServiceError
from service.uploads import save_uploads, split_form


def _upload(name: str | None, content: bytes = b"GRIB") -> UploadFile:
    return UploadFile(io.BytesIO(content), filename=name)


def test_a_form_is_split_into_its_text_and_its_files() -> None:
    files = [_upload("a"), _upload("b")]
    form = FormData([("reference", "era5"), *(("truth", file) for file in files)])
    assert split_form(form, "reference", "truth", 2) == ("era5", files)


@pytest.mark.parametrize(
    ("parts", "received", "wrong"),
    [
        ([], "nothing", ["reference", "truth"]),
        ([("reference", "era5")], "reference", ["truth"]),
        ([("truth", _upload("a"))], "truth", ["reference"]),
        ([("reference", _upload("a")), ("truth", _upload("b"))], "reference, truth", ["reference"]),
        ([("reference", "era5"), ("truth", _upload("a")), ("truth", "text")], "reference, truth", ["truth"]),
    ],
)
def test_an_incomplete_form_is_refused_with_what_it_needs(
    parts: list[tuple[str, str | UploadFile]], received: str, wrong: list[str]
) -> None:
    message = rf"^The .* one field `reference` and 1 to 2 files `truth`\. Got: {received}\.$"
    with pytest.raises(ServiceError, match=message) as caught:
        split_form(FormData(parts), "reference", "truth", 2)
    assert [error.location for error in caught.value.errors] == [("body", name) for name in wrong]


def test_uploads_are_copied_and_deleted_and_their_names_are_safe_to_print() -> None:
    uploads = [_upload("../../etc/passwd", b"one"), _upload("C:\\a\nb.nc", b"two"), _upload("x" * 300), _upload(None)]

    async def save() -> tuple[list[bytes], tuple[str, ...], tuple[Path, ...]]:
        async with save_uploads(uploads) as (paths, names):
            return [path.read_bytes() for path in paths], names, paths

    contents, names, paths = asyncio.run(save())
    assert contents == [b"one", b"two", b"GRIB", b"GRIB"]
    assert names == ("passwd", "a?b.nc", "x" * 100, "file 3")
    assert not any(path.exists() for path in paths)
