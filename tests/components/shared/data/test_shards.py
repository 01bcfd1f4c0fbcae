"""Shards: plain tar, exact offsets, names by content."""

import hashlib
import pickle
import resource
import tarfile
from pathlib import Path

import pytest

from components.shared.data.shards import Member, ShardReader, write_shards
from components.shared.errors import InputError


def members(number: int = 30) -> list[Member]:
    made = []
    for index in range(number):
        image = hashlib.shake_256(f"image {index}".encode()).digest(100 + 37 * index)
        mask = hashlib.shake_256(f"mask {index}".encode()).digest(50 + index) if index % 3 == 0 else None
        made.append(Member(f"{index:064x}", image, ".jpg", mask, ".png" if mask else ""))
    return made


def test_every_image_and_mask_is_read_by_its_place(tmp_path: Path) -> None:
    places = write_shards(members(), tmp_path / "shards", limit=8_000)
    assert len({place.shard for place in places}) > 2
    reader = ShardReader(tmp_path)
    for member, place in zip(members(), places, strict=True):
        assert place.sample_id == member.sample_id
        assert reader.read(place.shard, place.offset, place.size) == member.image
        if member.mask is None:
            assert place.mask_offset is None
            assert place.mask_size is None
        else:
            assert place.mask_offset is not None
            assert place.mask_size is not None
            assert reader.read(place.shard, place.mask_offset, place.mask_size) == member.mask


def test_shards_are_plain_tar_files(tmp_path: Path) -> None:
    write_shards(members(), tmp_path / "shards", limit=8_000)
    contents = {}
    for path in sorted((tmp_path / "shards").iterdir()):
        with tarfile.open(path) as archive:
            contents |= {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
    expected = {f"{m.sample_id}.jpg": m.image for m in members()}
    expected |= {f"{m.sample_id}.mask.png": m.mask for m in members() if m.mask}
    assert contents == expected


def test_equal_members_give_equal_shards(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shards(members(), tmp_path / name, limit=8_000)
    names = [path.name for path in sorted((tmp_path / "a").iterdir())]
    assert names == [path.name for path in sorted((tmp_path / "b").iterdir())]
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


def test_a_reader_can_be_pickled(tmp_path: Path) -> None:
    place = write_shards(members(1), tmp_path / "shards")[0]
    reader = ShardReader(tmp_path)
    reader.read(place.shard, place.offset, place.size)
    again = pickle.loads(pickle.dumps(reader))
    assert again.read(place.shard, place.offset, place.size) == members(1)[0].image


def test_memory_does_not_grow_with_what_was_read(tmp_path: Path) -> None:
    size, part = 200_000_000, 1_000_000
    (tmp_path / "shards").mkdir()
    with open(tmp_path / "shards" / "a.tar", "wb") as file:
        file.truncate(size)
    reader = ShardReader(tmp_path)
    reader.read("a.tar", 0, part)
    before = resident_bytes()
    for offset in range(0, size, part):
        reader.read("a.tar", offset, part)
    assert resident_bytes() - before < size / 4


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_reading_past_the_end_or_from_a_missing_shard_is_refused(tmp_path: Path) -> None:
    shard = write_shards(members(1), tmp_path / "shards")[0].shard
    with pytest.raises(InputError, match=f"{shard} ends before byte 1000010"):
        ShardReader(tmp_path).read(shard, 1_000_000, 10)
    with pytest.raises(InputError, match=r"there is no shard .*00009.tar"):
        ShardReader(tmp_path).read("00009.tar", 0, 10)
