import bz2
import gzip
import http.server
import shutil
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import _registry
from typer.testing import CliRunner

from tests.inputs import grib_messages, state, state_spec, write_grib, write_netcdf
from tests.servers import S3Server
from training.data.loading import load_training_data
from warmcast.cli import app
from weather.errors import InitialStateError, VerificationError
from weather.initial_state import InitialState, read_initial_state
from weather.readers import addresses
from weather.readers.addresses import AddressError, find_store
from weather.readers.series import read_truth
from weather.readers.sources import open_source

FILES = ("a.nc", "b.grib2", "c.zip", "d.nc.gz", "e.grib2.bz2", "f.zarr.zip", "g.zarr", "h.zarr")


class _Server(http.server.ThreadingHTTPServer):
    """An HTTP server of a folder; what it does for a path can be changed."""

    def __init__(self, folder: Path) -> None:
        self.lists_folders = True
        self.behaviours = dict[str, str]()
        self.requests = list[str]()
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments, directory=str(folder))

            def log_message(self, *arguments: object) -> None:
                pass

            def list_directory(self, path: object) -> None:
                if server.lists_folders:
                    return super().list_directory(path)
                self.send_error(403)
                return None

            def do_GET(self) -> None:
                server.requests.append(self.path)
                behaviour = next((text for part, text in server.behaviours.items() if part in self.path), "")
                if behaviour == "":
                    super().do_GET()
                elif behaviour.isdigit():
                    self.send_error(int(behaviour))
                elif behaviour == "once 503":
                    server.behaviours.clear()
                    self.send_error(503)
                elif behaviour == "a page":
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(b"<html>Please log in</html>")
                elif behaviour == "cut":
                    content = (folder / self.path.strip("/")).read_bytes()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                elif behaviour == "silent":
                    time.sleep(1.5)

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one state in each of `FILES`, and the stores without consolidated metadata in `i.zarr`."""
    folder = tmp_path_factory.mktemp("served")
    write_netcdf(state(), folder / "a.nc")
    write_grib(folder / "b.grib2", grib_messages(state()))
    with zipfile.ZipFile(folder / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "a.nc", "data stream-oper.nc")
    (folder / "d.nc.gz").write_bytes(gzip.compress((folder / "a.nc").read_bytes()))
    (folder / "e.grib2.bz2").write_bytes(bz2.compress((folder / "b.grib2").read_bytes()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns of consolidated metadata of version 3
        state().to_zarr(folder / "g.zarr", zarr_format=3, consolidated=True)
    state().to_zarr(folder / "h.zarr", zarr_format=2, consolidated=True)
    state().to_zarr(folder / "i.zarr", zarr_format=3, consolidated=False)
    shutil.make_archive(str(folder / "f.zarr"), "zip", folder, "i.zarr")
    return folder


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    monkeypatch.setattr(addresses, "_PAUSE_SECONDS", 0.01)
    server = _Server(folder)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def clean(folder: Path) -> InitialState:
    return read_initial_state([str(folder / "a.nc")], state_spec())


def _require_clean(found: InitialState, clean: InitialState) -> None:
    for frames, expected in ((found.previous, clean.previous), (found.newest, clean.newest)):
        np.testing.assert_allclose(frames, expected, atol=0.02)


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_read_over_http_as_from_a_path(name: str, server: _Server, clean: InitialState) -> None:
    server.lists_folders = False
    found = read_initial_state([f"{server.url}/{name}"], state_spec())
    _require_clean(found, clean)
    assert found.sources == (f"{server.url}/{name}",)


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_read_from_a_file_address(name: str, folder: Path, clean: InitialState) -> None:
    _require_clean(read_initial_state([f"file://{folder}/{name}"], state_spec()), clean)


def test_a_truth_is_read_over_http(server: _Server, clean: InitialState) -> None:
    grid = state_spec().grid.grid
    truth = read_truth([f"{server.url}/d.nc.gz"], ("u10", "v10"), grid, [clean.init_time])
    np.testing.assert_array_equal(truth[clean.init_time], clean.newest[0])


def test_a_store_without_consolidated_metadata_needs_a_list_of_its_folders(
    server: _Server, clean: InitialState
) -> None:
    _require_clean(read_initial_state([f"{server.url}/i.zarr"], state_spec()), clean)
    server.lists_folders = False
    with pytest.raises(InitialStateError, match="server lists no folders, and it has no consolidated metadata"):
        read_initial_state([f"{server.url}/i.zarr"], state_spec())


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("403", r"a\.nc` cannot be fetched: the server answered 403"),
        ("404", r"a\.nc` does not exist"),
        ("500", r"a\.nc` cannot be fetched: the server answered 500"),
        ("cut", r"a\.nc` cannot be fetched: peer closed connection"),
        ("silent", r"a\.nc` cannot be fetched: the server sent nothing for 0\.5 s"),
        ("a page", r"a\.nc` must be GRIB.*Got: an HTML or XML page of 26 bytes"),
    ],
)
def test_what_a_server_does_wrong_is_said_and_not_called_damage(
    behaviour: str, message: str, server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "SECONDS", 0.5)
    server.behaviours["a.nc"] = behaviour
    if behaviour in ("cut", "silent"):
        server.behaviours = {"a.nc/": "404", "a.nc": behaviour}
    with pytest.raises(InitialStateError, match=message) as caught:
        read_initial_state([f"{server.url}/a.nc"], state_spec())
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("behaviour", ["403", "500", "silent"])
def test_a_chunk_that_a_server_does_not_give_is_said_and_not_called_damage(
    behaviour: str, server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "SECONDS", 1.0)
    server.behaviours["u10/c/"] = behaviour
    with pytest.raises(InitialStateError, match=r"g\.zarr/u10/c/\S+` cannot be fetched: the server") as caught:
        read_initial_state([f"{server.url}/g.zarr"], state_spec())
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("part", ["b.grib2", "u10/c/"])
def test_a_failure_that_passes_is_not_noticed(part: str, server: _Server, clean: InitialState) -> None:
    server.behaviours = {part: "once 503"} if part == "u10/c/" else {"b.grib2/": "404", part: "503"}
    threading.Timer(0.005, lambda: server.behaviours.clear() if part == "b.grib2" else None).start()
    _require_clean(
        read_initial_state([f"{server.url}/{'b.grib2' if part == 'b.grib2' else 'g.zarr'}"], state_spec()), clean
    )


def test_a_server_that_answers_every_path_with_a_page_has_no_store(server: _Server) -> None:
    server.behaviours["a.nc/"] = "a page"
    assert not find_store(f"{server.url}/a.nc")


def test_a_server_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_PAUSE_SECONDS", 0.01)
    with pytest.raises(InitialStateError, match=r"`http://127\.0\.0\.1:1/a\.nc` cannot be fetched: .*refused"):
        read_initial_state(["http://127.0.0.1:1/a.nc"], state_spec())


def test_an_unknown_scheme_is_refused_with_those_that_are_known() -> None:
    with (
        ExitStack() as stack,
        pytest.raises(AddressError, match=r"file, http, https, gs or s3\. Got: gopher"),
    ):
        open_source("gopher://host/a.nc", stack)


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("s3", "s3fs")])
def test_a_missing_package_is_named_with_its_extra_and_exit_code_2(
    scheme: str, package: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(_registry, scheme, None)
    del _registry[scheme]
    monkeypatch.setitem(sys.modules, package, None)
    address = f"{scheme}://bucket/winds.nc"
    message = f"`{address}` needs the package {package}: pip install 'warmcast[cloud]'."
    with pytest.raises(InitialStateError) as caught:
        read_initial_state([address], state_spec())
    assert message in str(caught.value)
    with pytest.raises(VerificationError) as refused:
        read_truth([address], ("u10", "v10"), state_spec().grid.grid, [np.datetime64("2018-09-15T00", "s")])
    assert message in str(refused.value)
    command = ["evaluate", "--data", address, "--checkpoint", str(tiny_checkpoint), "--json", str(tmp_path / "a.json")]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, message in " ".join(result.stderr.split())) == (2, True)


@pytest.mark.parametrize("name", FILES)
def test_buckets_of_google_are_read_through_their_file_system(
    name: str, folder: Path, clean: InitialState, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bucket(LocalFileSystem):
        """A stand-in for gcsfs."""

        protocol = "gs"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(path).replace("gs://bucket", str(folder))

    monkeypatch.setitem(_registry, "gs", Bucket)
    _require_clean(read_initial_state([f"gs://bucket/{name}"], state_spec()), clean)


@pytest.fixture(scope="module")
def s3(folder: Path) -> Iterator[tuple[S3Server, str]]:
    server = S3Server()
    with pytest.MonkeyPatch.context() as patch:
        for key, value in server.environment.items():
            patch.setenv(key, value)
        address = server.new_bucket()
        system = fsspec.filesystem("s3")
        system.put(f"{folder}/", f"{address}/", recursive=True)
        yield server, address
    server.stop()


@pytest.mark.parametrize("name", [*FILES, "i.zarr"])
def test_every_format_is_read_from_a_bucket(name: str, s3: tuple[S3Server, str], clean: InitialState) -> None:
    _require_clean(read_initial_state([f"{s3[1]}/{name}"], state_spec()), clean)


def test_a_missing_object_of_a_bucket_is_named(s3: tuple[S3Server, str]) -> None:
    with pytest.raises(InitialStateError, match=r"nothing\.nc` does not exist"):
        read_initial_state([f"{s3[1]}/nothing.nc"], state_spec())


def test_a_bucket_is_read_without_a_signature_if_there_are_no_credentials(
    s3: tuple[S3Server, str], folder: Path, clean: InitialState, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{s3[1]}/public.nc"
    fsspec.filesystem("s3").pipe_file(address, (folder / "a.nc").read_bytes(), ACL="public-read")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
    _require_clean(read_initial_state([address], state_spec()), clean)
    with pytest.raises(InitialStateError, match=r"a\.nc` cannot be fetched: .* that you may read"):
        read_initial_state([f"{s3[1]}/a.nc"], state_spec())


def test_data_at_an_address_is_used_for_training(server: _Server) -> None:

    data = load_training_data([f"{server.url}/a.nc", f"{server.url}/g.zarr"], ("u10", "v10"))
    assert data.frames(np.arange(2)).shape[0] == len(data.valid_times) == 2
