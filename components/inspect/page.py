"""Write the page of an inspection.

The page shows the findings (the most certain first), a map with the positions of the photos, and each photo with its
crack map. The page works offline.
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from components.inspect.config import InspectConfig
from components.inspect.findings import CRACK, NEEDS_REVIEW, NO_CRACK, NO_DATA, Finding
from components.inspect.position_map import TEMPLATES, MapPoint, draw_map
from components.inspect.record import OVERLAYS, InspectedPhoto, PhotoRecord, numbered_findings
from components.inspect.summary import notices, records_of, summary
from components.inspect.tables import length_mm, photo_triage
from components.inspect.tile_answers import Model
from components.shared.atomic_file import atomic_file
from components.shared.data.image import ImageError, decode, thumbnail
from components.shared.data.novelty import STRANGE
from components.shared.page import Page, data_uri, templates

PAGE = "inspection.html"
MAX_FINDINGS, MAX_PHOTOS = 300, 1000  # largest numbers on the page; the tables have all
CLOSE_UP_WIDTH, THUMBNAIL = 480, 400  # pixels
TRIAGE_TEXTS = {CRACK: "crack", NEEDS_REVIEW: "needs review", NO_CRACK: "no crack", NO_DATA: "no data"}


def write_inspection_page(photos: list[InspectedPhoto], model: Model, config: InspectConfig, folder: Path) -> None:
    """Write the page into the folder of the results.

    The page embeds small copies of the drawings, and links to the large ones.
    """
    records = records_of(photos)
    page = Page("Inspection of photos")
    is_clean = bool(records) and all(photo_triage(record) == NO_CRACK for record in records)
    page.callout(f"{summary(photos)}.", passed=is_clean and not any(photo.error for photo in photos))
    page.text("\n".join(f"- {_plain(notice)}." for notice in notices(photos, model)))
    page.contents()

    _add_findings(page, photos, folder)
    _add_map(page, photos)
    _add_photos(page, photos, folder)
    _add_failed(page, photos)
    _add_explanation(page, model, config)
    with atomic_file(folder / PAGE) as file:
        page.write(file)


def _add_findings(page: Page, photos: list[InspectedPhoto], folder: Path) -> None:
    found = sorted(numbered_findings(photos), key=lambda item: (item[3].triage != CRACK, -item[3].p_max))
    page.heading("Findings, the most certain first")
    if not found:
        page.text("There are no findings.")
        return
    if len(found) > MAX_FINDINGS:
        page.text(f"The page shows the first {MAX_FINDINGS} of {len(found):,} findings; `findings.csv` has all.")
    page.text(
        "Left: the finding and its surroundings. The white square is the tile with the largest P(crack) in the "
        "finding. Right: this tile. The colours show the parts that raise P(crack) (Grad-CAM)."
    )
    cards = [_finding_card(*item, folder) for item in found[:MAX_FINDINGS]]
    page.html(_cards("findings", cards, width="26rem", on_paper=2))


def _finding_card(
    photo: InspectedPhoto, record: PhotoRecord, number: int, finding: Finding, folder: Path
) -> dict[str, Any]:
    close_up = record.close_ups[number - 1] if number <= len(record.close_ups) else None
    x, y = (round(value) for value in finding.peak)
    lines = [f"Largest P(crack) {finding.p_max:.3f}, mean {finding.p_mean:.3f} · {_length_text(finding, record)}"]
    if finding.novelty is not None and finding.novelty > STRANGE:
        lines.append(f"unlike the training tiles (novelty {finding.novelty:.1f})")
    lines.append(f"tile at {x}, {y} px")
    return {
        "kind": finding.triage,
        "anchor": f"{_anchor(record)}-{number}",
        "title": f"{photo.path.name}, finding {number}: {TRIAGE_TEXTS[finding.triage]}",
        "lines": lines,
        "file": f"{OVERLAYS}/{quote(record.overlay)}",
        "uri": _embedded(folder / OVERLAYS / close_up, CLOSE_UP_WIDTH) if close_up else "",
        "alt": f"close-up of finding {number} of {photo.path.name}",
    }


def _length_text(finding: Finding, record: PhotoRecord) -> str:
    if finding.length is None:
        return "length not measurable"
    millimetres = length_mm(finding, record)
    if millimetres is None:
        return f"about {finding.length:,.0f} px long"
    return f"about {millimetres:,.0f} mm long" if millimetres < 1000 else f"about {millimetres / 1000:,.2f} m long"


def _add_map(page: Page, photos: list[InspectedPhoto]) -> None:
    places = []
    for photo in photos:
        record = photo.record
        if record is None or record.facts.latitude is None or record.facts.longitude is None:
            continue
        title = f"{photo.path.name}: {TRIAGE_TEXTS[photo_triage(record)]}"
        places.append(
            MapPoint(record.facts.longitude, record.facts.latitude, photo_triage(record), title, _anchor(record))
        )
    if places:
        page.heading("Map of the photos")
        page.html(draw_map(places))


def _add_photos(page: Page, photos: list[InspectedPhoto], folder: Path) -> None:
    inspected = [photo for photo in photos if photo.record is not None]
    if not inspected:
        return
    page.heading("Photos with their crack maps")
    if len(inspected) > MAX_PHOTOS:
        page.text(f"The page shows the first {MAX_PHOTOS} of {len(inspected):,} photos; `photos.csv` has all.")
    cards = [_photo_card(photo, photo.record, folder) for photo in inspected[:MAX_PHOTOS] if photo.record]
    page.html(_cards("photos", cards, width="19rem", on_paper=3))


def _photo_card(photo: InspectedPhoto, record: PhotoRecord, folder: Path) -> dict[str, Any]:
    facts = record.facts
    counts = [f"{record.tiles_crack:,} of {record.tiles:,} tiles show a crack"]
    if record.tiles_review:
        counts.append(f"{record.tiles_review:,} need review")
    if record.tiles_novel:
        counts.append(f"{record.tiles_novel:,} are unlike the training tiles")
    if record.tiles_empty:
        counts.append(f"{record.tiles_empty:,} have no data")

    scale = f"tiles of {record.tile_side} px"
    if record.mm_per_pixel is not None:
        scale += f", {record.mm_per_pixel:.3g} mm per pixel ({record.scale_source})"
    from_camera = " · ".join(filter(None, (facts.taken.replace("T", " "), facts.camera)))
    return {
        "kind": photo_triage(record),
        "anchor": _anchor(record),
        "title": f"{photo.path.name}: {len(record.findings):,} findings" if record.findings else photo.path.name,
        "lines": [", ".join(counts), scale, *filter(None, (from_camera, record.note))],
        "file": f"{OVERLAYS}/{quote(record.overlay)}",
        "uri": _embedded(folder / OVERLAYS / record.overlay, THUMBNAIL),
        "alt": f"{photo.path.name} with its crack map",
    }


def _cards(name: str, cards: list[dict[str, Any]], width: str, on_paper: int) -> str:
    """Return the HTML of cards. Each card shows a finding or a photo.

    If the cards have different triages (`kind`), a filter shows one triage at a time.
    """
    kinds = [card["kind"] for card in cards]
    options = {kind: f"{text} ({kinds.count(kind)})" for kind, text in TRIAGE_TEXTS.items() if kind in kinds}
    template = templates(TEMPLATES).get_template("cards.html")
    return template.render(name=name, cards=cards, options=options, width=width, columns_on_paper=on_paper)


def _add_failed(page: Page, photos: list[InspectedPhoto]) -> None:
    failed = []
    for photo in photos:
        if photo.record is None:
            failed.append([str(photo.path), photo.error or f"same content as {photo.same_as}"])
    if failed:
        page.heading("Files that were not inspected")
        page.table(["file", "reason"], failed)


def _add_explanation(page: Page, model: Model, config: InspectConfig) -> None:
    info = model.network.info
    review = ""
    if model.low is not None:
        review = f" A region that touches no crack, with P(crack) at least {model.low:.3g}, needs review."
    training_tile = f"{info.tile_pixels} px" if info.tile_pixels else f"unknown, so {info.input_size} px is used"
    if info.tile_mm is not None:
        training_tile += f", {info.tile_mm:g} mm of concrete"
    page.heading("How to read this page")
    page.text(
        f"Model `{model.name}` version {model.version} classified overlapping tiles (overlap at least "
        f"{config.overlap:.0%}). Side of its training tiles: {training_tile}. The crack map is the weighted mean of "
        "the tiles' P(crack) at each position; the weight of a tile falls linearly from its centre to the centres of "
        "the tiles next to it. A finding is a connected region of the crack map. In a crack, P(crack) is at least "
        f"{model.calibration.threshold:.3g}, the model's threshold.{review} The length of a finding is the length of "
        "the region's middle line, so it is as coarse as the tiles. **No width is measured**, because tiles do not "
        "show where the edges of a crack are. Grad-CAM shows what the network used, which need not be the crack. A "
        "photo without a finding is not proven to be free of cracks."
    )


def _anchor(record: PhotoRecord) -> str:
    return f"photo-{record.sha256[:12]}"


def _embedded(file: Path, longest: int) -> str:
    """Return a small copy of a drawing as a data URI; "" if the file cannot be read."""
    try:
        return data_uri(thumbnail(decode(file.read_bytes()), longest))
    except (OSError, ImageError):
        return ""


def _plain(text: str) -> str:
    """Escape the characters that would format text in Markdown, such as the underscores of file names."""
    return "".join(f"\\{sign}" if sign in "\\_*[]<>#" else sign for sign in text)
