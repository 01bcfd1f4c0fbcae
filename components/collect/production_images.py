"""Where production images come from: a folder or a prefix of a store, read one by one."""

import datetime
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from components.shared.data.image import SUFFIXES, ImageError, decode
from components.shared.errors import InputError
from components.shared.events import warn
from components.shared.services.store import THREADS, Store


class Pictures:
    """The images under a folder or an s3:// prefix.

    Attributes:
        uri: Where they are, {date} and {yesterday} replaced.
        names: Their paths below it, ordered; at most `sample`, drawn at random. None on a day without images.
    """

    def __init__(self, uri: str, sample: int):
        """List them.

        Raises:
            InputError: There is no such folder, or no image in it; of a day, there is nothing of other days either.
        """
        self.uri = _dated(uri)
        self._store = Store(self.uri) if self.uri.startswith("s3://") else None
        found = sorted(name for name in self._list() if name.lower().endswith(SUFFIXES) and not _is_mask(name))
        if not found and not _has_days(uri):
            raise InputError(
                f"there is no image under {self.uri}: files named {', '.join(SUFFIXES)} are looked for, in folders "
                "below it too; check the path"
            )
        chosen = np.random.default_rng(0).permutation(len(found))[:sample]
        self.names = [found[index] for index in np.sort(chosen)]

    def read(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (name, uint8 (H, W, 3) RGB) of every image that can be decoded; the rest is warned of."""
        refused = []
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(self.names), 16 * THREADS):  # so that few files wait in memory
                part = self.names[start : start + 16 * THREADS]
                for name, data in zip(part, pool.map(self._bytes, part), strict=True):
                    try:
                        yield name, decode(data)
                    except ImageError as error:
                        refused.append(f"{name}: {error}")
        if refused:
            warn(f"{len(refused)} of {len(self.names)} images cannot be read and were left out, first {refused[0]}")

    def _list(self) -> list[str]:
        if self._store:
            return [name for name, _ in self._store.list()]
        folder = Path(self.uri).expanduser()
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def _bytes(self, name: str) -> bytes:
        return self._store.get_bytes(name) if self._store else (Path(self.uri).expanduser() / name).read_bytes()


def _dated(uri: str) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    return uri.replace("{date}", f"{today}").replace("{yesterday}", f"{today - datetime.timedelta(days=1)}")


def _has_days(uri: str) -> bool:
    """Whether the uri names a day, and anything stands where the days do: then one without images is no mistake."""
    days, *rest = re.split(r"[^/]*\{(?:date|yesterday)\}", uri, maxsplit=1)
    if not rest:
        return False
    folder = Path(days).expanduser()
    return Store(days).holds() if days.startswith("s3://") else folder.is_dir() and any(folder.iterdir())


def _is_mask(name: str) -> bool:
    return "masks" in name.split("/")[:-1]  # the folder that labelled tiles keep their masks in
