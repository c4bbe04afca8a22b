"""Files in object storage that speaks S3, as places; needs obstore, of the extra `[s3]`."""

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
from zarr.storage import ObjectStore, StorePath

from weather.places import Facts

_AT_ONCE, _RETRIES = 8, 5
_TIMEOUT = timedelta(minutes=2)


def open_bucket(url: str, *, allow_http: bool) -> "ObjectPlace":
    """Return the place of `s3://bucket/prefix`; credentials, region and endpoint are those of the `AWS_*` variables."""
    with _told(url):
        bucket = S3Store.from_url(
            url, client_options={"allow_http": allow_http, "timeout": _TIMEOUT}, retry_config={"max_retries": _RETRIES}
        )
        return ObjectPlace(bucket, url, "")


@dataclass(frozen=True)
class ObjectPlace:
    """A `Place` in a bucket: a key, or all keys that begin with it and a slash."""

    bucket: Bucket
    url: str
    key: str

    def __str__(self) -> str:
        return f"{self.url.rstrip('/')}/{self.key}"

    def __truediv__(self, name: str, /) -> Self:
        return type(self)(self.bucket, self.url, f"{self.key}/{name}".lstrip("/"))

    @property
    def name(self) -> str:
        """The last part of its key."""
        return self.key.rsplit("/", 1)[-1]

    def exists(self) -> bool:
        """Tell whether there is an object of this key, or one below it."""
        return self.look() is not None or any(True for _ in self.files())

    def look(self) -> Facts | None:
        """Return what is known of the object; None where there is none."""
        try:
            with _told(self):
                found = obstore.head(self.bucket, self.key)
        except FileNotFoundError:
            return None
        return Facts(found["size"], (found["e_tag"] or "").strip('"'))

    def read_bytes(self) -> bytes:
        """Return the content of the object."""
        with _told(self):
            return bytes(obstore.get(self.bucket, self.key).bytes())

    def read_range(self, start: int, stop: int) -> bytes:
        """Return a part of the object."""
        with _told(self):
            return bytes(obstore.get_range(self.bucket, self.key, start=start, end=stop))

    def write(self, content: bytes | memoryview) -> None:
        """Put the object, over what was there."""
        with _told(self):
            obstore.put(self.bucket, self.key, content)

    def create(self, files: Mapping[str, bytes]) -> None:
        """Put all files, the last one last; raises `FileExistsError` where that one is here."""
        *names, last = files
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: (self / name).write(files[name]), names))
        (self / last)._put_new(files[last])

    def take(self, other: Self) -> None:
        """Put what the other one is, unless something is here.

        It comes by way of this process: of the conditional requests of S3, servers know that of a put best, and some
        copy over what is there whatever they are told.
        """
        self.put(other.read_bytes())

    def put(self, content: bytes) -> None:
        """Put the object, unless there is one.

        S3 also refuses while another put is under way, which may fail yet: hence the look.
        """
        for _ in range(_RETRIES):
            with suppress(FileExistsError):
                return self._put_new(content)
            if self.look():
                return None
        raise ConnectionError(f"`{self}` is refused as being there, and is not.")

    def sync(self) -> None:
        """Do nothing: what has been put stays."""

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield name and bytes of each object below."""
        with _told(self):
            for batch in obstore.list(self.bucket, self.key or None):
                for found in batch:
                    yield found["path"].removeprefix(f"{self.key}/"), found["size"]

    def folders(self) -> Iterator[Self]:
        """Yield what is right below and has more below."""
        with _told(self):
            for key in obstore.list_with_delimiter(self.bucket, self.key or None)["common_prefixes"]:
                yield type(self)(self.bucket, self.url, key)

    def changed(self) -> float:
        """Return when the newest object below was put."""
        with _told(self):
            batches = obstore.list(self.bucket, self.key)
            return max((found["last_modified"].timestamp() for batch in batches for found in batch), default=0.0)

    def remove(self) -> None:
        """Delete the object and all that are below it."""
        with _told(self):
            obstore.delete(self.bucket, [self.key])
            for batch in obstore.list(self.bucket, self.key):
                obstore.delete(self.bucket, [found["path"] for found in batch])

    def free_bytes(self) -> float:
        """Return that there is no end."""
        return math.inf

    def zarr(self) -> StorePath:
        """Return this key of the bucket."""
        return StorePath(ObjectStore(self.bucket), self.key)

    def _put_new(self, content: bytes) -> None:
        """Put an object that is not there yet; raises `FileExistsError` where it is."""
        with _told(self):
            obstore.put(self.bucket, self.key, content, mode="create", use_multipart=False)


@contextmanager
def _told(place: object) -> Iterator[None]:
    """Tell what goes wrong in Python's own errors: the file is not there, is there, or the storage does not answer."""
    try:
        yield
    except FileNotFoundError:
        raise
    except AlreadyExistsError as error:
        raise FileExistsError(f"`{place}` is there already.") from error
    except BaseError as error:
        raise ConnectionError(f"`{place}` was not reached: {str(error).split(chr(10), 1)[0]}") from error
