"""Say in sentences what an inspection found, and what the reader of the results must know."""

from collections import Counter
from operator import attrgetter

from components.inspect.findings import CRACK, NEEDS_REVIEW
from components.inspect.record import InspectedPhoto, PhotoRecord
from components.inspect.tile_answers import Model
from components.shared.data.novelty import USUAL_SHARE_OF_STRANGE
from components.shared.data.scaling_note import scaling_note, used_bits_counts

# If the model sees a crack in more tiles than this, a finding does not show where the crack is.
MAX_PLAUSIBLE_CRACK_SHARE = 0.5


def records_of(photos: list[InspectedPhoto]) -> list[PhotoRecord]:
    """Return the records of the photos. Photos without a record are left out."""
    return [photo.record for photo in photos if photo.record is not None]


def summary(photos: list[InspectedPhoto]) -> str:
    """Return the counts of photos and findings as one sentence without a full stop."""
    records = records_of(photos)
    found = Counter(finding.triage for record in records for finding in record.findings)
    with_crack = sum(any(finding.triage == CRACK for finding in record.findings) for record in records)
    failed = sum(bool(photo.error) for photo in photos)
    reused = sum(photo.is_reused for photo in photos)
    named = f" by {records[0].model} version {records[0].version}" if records else ""
    review = f" and {found[NEEDS_REVIEW]:,} to review" if found[NEEDS_REVIEW] else ""
    earlier = f" ({reused:,} of them in an earlier call)" if reused else ""
    not_inspected = f"; {_count(failed, 'photo')} could not be inspected" if failed else ""
    return (
        f"{_count(len(records), 'photo')} inspected{named}{earlier}: {_count(found[CRACK], 'crack')} in "
        f"{_count(with_crack, 'photo')}{review}{not_inspected}"
    )


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def notices(photos: list[InspectedPhoto], model: Model) -> list[str]:
    """Return the notices for the reader of the results, one sentence for each notice."""
    records = records_of(photos)
    found = [
        _tile_notice(records, model),
        _unit_notice(records),
        _position_notice(records),
        _depth_notice(records),
        _novelty_notice(records),
        _cover_notice(records),
        _triage_notice(records),
    ]
    duplicates = [photo for photo in photos if photo.same_as]
    if duplicates:
        found.append(
            f"files that were not inspected, because another file has the same content: {len(duplicates):,}, such as "
            f"{duplicates[0].path} (the same as {duplicates[0].same_as})"
        )
    noted = [photo for photo in photos if photo.record is not None and photo.record.note]
    if noted and noted[0].record:
        others = f" (and {len(noted) - 1:,} other photos have a note in photos.csv)" if len(noted) > 1 else ""
        found.append(f"{noted[0].path}: {noted[0].record.note}{others}")
    failed = [photo for photo in photos if photo.error]
    if failed:
        found.append(f"first photo that could not be inspected: {failed[0].path}: {failed[0].error}")
    return [notice for notice in found if notice]


def _tile_notice(records: list[PhotoRecord], model: Model) -> str:
    info = model.network.info
    if info.tile_pixels is None:
        return (
            "the model was registered before versions stored the size of their training tiles, so the photos are cut "
            f"into tiles of its input size, {info.input_size} px; train a new version to get tiles of the right size"
        )
    if info.tile_mm is None and any(record.mm_per_pixel is not None for record in records):
        return (
            f"it is unknown how much concrete the training tiles of the model show, so tiles have {info.tile_pixels} "
            "px at every scale; the scale only converts lengths into millimetres"
        )
    return ""


def _unit_notice(records: list[PhotoRecord]) -> str:
    unknown = sum(record.mm_per_pixel is None for record in records)
    if not unknown:
        return ""
    return (
        f"the scale of {unknown:,} of {len(records):,} photos is unknown, so their lengths are in pixels (px); give "
        "--scale, or --distance if the photos have a focal length"
    )


def _position_notice(records: list[PhotoRecord]) -> str:
    without = sum(record.facts.latitude is None and not record.has_georeference for record in records)
    return f"{without:,} of {len(records):,} photos have no GPS position" if without else ""


def _depth_notice(records: list[PhotoRecord]) -> str:
    scaled = used_bits_counts(map(attrgetter("used_bits"), records))
    return scaling_note("photos", scaled) if scaled else ""


def _novelty_notice(records: list[PhotoRecord]) -> str:
    strange = sum(record.tiles_novel > USUAL_SHARE_OF_STRANGE * _classified(record) for record in records)
    if not strange:
        return ""
    return (
        f"warning: in {strange:,} of {len(records):,} photos, many tiles are unlike the tiles that the model was "
        "trained on (novelty above 1), so the answers there mean little; check the scale and the distance"
    )


def _cover_notice(records: list[PhotoRecord]) -> str:
    covered = sum(record.tiles_crack > MAX_PLAUSIBLE_CRACK_SHARE * _classified(record) for record in records)
    if not covered:
        return ""
    return (
        f"warning: in {covered:,} of {len(records):,} photos, the model sees a crack in more than half of the "
        "tiles, so the findings there do not show where the crack is; check the scale, and test the model on labelled "
        "tiles"
    )


def _classified(record: PhotoRecord) -> int:
    return record.tiles - record.tiles_empty


def _triage_notice(records: list[PhotoRecord]) -> str:
    if not records or records[0].low is not None:
        return ""
    if records[0].tiles_review is None:
        return "the model was registered without a review band, so no tile needs review in the results"
    return (
        "the model was validated on too few photos for a certified review band, so every tile that is not called crack "
        "needs review. The findings list only cracks"
    )
