"""Paths of objects in S3-compatible object storage; needs obstore, of the extra `[s3]`."""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore as Bucket
from obstore.store import S3Store

from storage.paths import FileStat

_PARALLEL_WRITES, _RETRIES = 8, 5
_TIMEOUT = timedelta(minutes=2)


def open_bucket(url: str, *, allow_http: bool) -> "BucketPath":
    """Return the path of `s3://bucket/prefix`; credentials, region and endpoint come from the `AWS_*` variables."""
    with _python_errors(url):
        bucket = S3Store.from_url(
            url, client_options={"allow_http": allow_http, "timeout": _TIMEOUT}, retry_config={"max_retries": _RETRIES}
        )
        return BucketPath(bucket, url, "")


@dataclass(frozen=True)
class BucketPath:
    """A `StoragePath` in a bucket: the object of a key, and the folder of all keys that start with it and a slash."""

    bucket: Bucket
    url: str
    key: str

    def __str__(self) -> str:
        return f"{self.url.rstrip('/')}/{self.key}"

    def __truediv__(self, name: str, /) -> Self:
        return type(self)(self.bucket, self.url, f"{self.key}/{name}".lstrip("/"))

    @property
    def name(self) -> str:
        """Last part of the key, after the last slash."""
        return self.key.rsplit("/", 1)[-1]

    def exists(self) -> bool:
        """Return whether an object has this key, or a key that starts with this one and a slash."""
        return self.file_stat() is not None or any(True for _ in self.files())

    def file_stat(self) -> FileStat | None:
        """Return size and entity tag of the object, or None if there is none."""
        try:
            with _python_errors(self):
                head = obstore.head(self.bucket, self.key)
        except FileNotFoundError:
            return None
        return FileStat(head["size"], (head["e_tag"] or "").strip('"'))

    def read_bytes(self) -> bytes:
        """Return the content of the object."""
        with _python_errors(self):
            return bytes(obstore.get(self.bucket, self.key).bytes())

    def read_range(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to, but not including, `stop` of the object."""
        with _python_errors(self):
            return bytes(obstore.get_range(self.bucket, self.key, start=start, end=stop))

    def read_blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes that `read_range` returns, in blocks as they are received."""
        if start < stop:
            with _python_errors(self):
                for block in obstore.get(self.bucket, self.key, options={"range": (start, stop)}):
                    yield bytes(block)

    def write(self, content: bytes | memoryview) -> None:
        """Put the object, replacing an existing one."""
        with _python_errors(self):
            obstore.put(self.bucket, self.key, content)

    def write_if_absent(self, content: bytes) -> None:
        """Put the object, unless it exists.

        S3 also refuses a conditional put while another put of the key is running, and that one may still fail:
        only `file_stat` shows whether the object exists. Raises `ConnectionError` if it does not after several tries.
        """
        for _ in range(_RETRIES):
            with suppress(FileExistsError):
                return self._put_new(content)
            if self.file_stat():
                return None
        raise ConnectionError(f"`{self}` cannot be written: the storage says that it exists, but it does not.")

    def create_folder(self, files: Mapping[str, bytes]) -> None:
        """Put all files, the last one after all others are stored; raises `FileExistsError` if the last one exists."""
        *names, last = files
        with ThreadPoolExecutor(_PARALLEL_WRITES) as pool:
            list(pool.map(lambda name: (self / name).write(files[name]), names))
        (self / last)._put_new(files[last])

    def link_or_copy(self, source: Self) -> None:
        """Copy the object `source` to this key, unless an object of this key exists.

        The content passes through this process: servers support the conditional put best, and some overwrite an
        existing object by a conditional copy.
        """
        self.write_if_absent(source.read_bytes())

    def sync(self) -> None:
        """Do nothing: an object is durable as soon as it is stored."""

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield relative key and size in bytes of every object in this folder."""
        with _python_errors(self):
            for batch in obstore.list(self.bucket, self.key or None):
                for entry in batch:
                    yield entry["path"].removeprefix(f"{self.key}/"), entry["size"]

    def remove_partial_files(self, unchanged_seconds: float = 0.0) -> None:
        """Do nothing: an object is stored whole or not at all."""

    def folders(self) -> Iterator[Self]:
        """Yield the immediate subfolders: the common prefixes up to the next slash."""
        with _python_errors(self):
            for key in obstore.list_with_delimiter(self.bucket, self.key or None)["common_prefixes"]:
                yield type(self)(self.bucket, self.url, key)

    def modified_time(self) -> float:
        """Return when the newest object in this folder was stored, in seconds since 1970; 0 if it has none."""
        with _python_errors(self):
            batches = obstore.list(self.bucket, self.key)
            return max((entry["last_modified"].timestamp() for batch in batches for entry in batch), default=0.0)

    def move(self, target: Self) -> None:
        """Copy every object of the folder within the storage, then delete it; a repeated call completes a move."""
        for name, _ in self.files():
            with _python_errors(self):
                obstore.copy(self.bucket, (self / name).key, (target / name).key)
                obstore.delete(self.bucket, (self / name).key)

    def remove(self) -> None:
        """Delete the object of this key and all objects in the folder of this key."""
        with _python_errors(self):
            obstore.delete(self.bucket, [self.key])
            for batch in obstore.list(self.bucket, self.key):
                obstore.delete(self.bucket, [entry["path"] for entry in batch])

    def free_bytes(self) -> float:
        """Return infinity: a bucket has no limit that could be queried."""
        return math.inf

    def _put_new(self, content: bytes) -> None:
        """Put the object; raises `FileExistsError` if it exists."""
        with _python_errors(self):
            obstore.put(self.bucket, self.key, content, mode="create", use_multipart=False)


@contextmanager
def _python_errors(path: object) -> Iterator[None]:
    """Turn obstore's errors into `FileNotFoundError`, `FileExistsError` and `ConnectionError`."""
    try:
        yield
    except FileNotFoundError:
        raise
    except AlreadyExistsError as error:
        raise FileExistsError(f"`{path}` exists already.") from error
    except BaseError as error:
        raise ConnectionError(f"`{path}` was not reached: {str(error).split(chr(10), 1)[0]}") from error
