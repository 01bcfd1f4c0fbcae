"""Say how many images were scaled to 8 bits, because nobody can see this in the images."""

from collections.abc import Iterable


def used_bits_counts(used_bits: Iterable[int]) -> dict[str, int]:
    """Count the scaled images. For example, {"12": 40} means that 40 images use 12 bits.

    Args:
        used_bits: The number of bits that each image uses; 0 if the image was not scaled.
    """
    scaled = sorted(bits for bits in used_bits if bits)
    return {str(bits): scaled.count(bits) for bits in dict.fromkeys(scaled)}


def scaling_note(what: str, counts: dict[str, int]) -> str:
    """Return a sentence, without a full stop, about the scaled images.

    Args:
        what: "images" or "photos".
        counts: From `used_bits_counts`; not empty.
    """
    by_bits = ", ".join(f"{number} with {bits} used bits" for bits, number in counts.items())
    return (
        f"{what} in files of more than 8 bits per channel: {sum(counts.values())} ({by_bits}). Each was scaled to 8 "
        "bits by the number of bits that this image uses, so a dim image can become brighter than its neighbours; to "
        f"scale all {what} alike, save them with 8 bits per channel"
    )
