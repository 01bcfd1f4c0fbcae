"""Decode the masks that Label Studio's brush paints.

Label Studio stores the red, green, blue and alpha values of all pixels, along the rows, in the format rle-pack:
https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack. All numbers are written in bits, the highest bit
first. The data begin with a header:

- 32 bits: the number of values.
- 5 bits: the number of bits of each value, minus 1.
- 4 times 4 bits: four field widths, each minus 1. The length of a run is written in one of these four widths.

Then the runs follow. Each run has these fields:

- 1 bit: 1 if the run repeats one value, 0 if it has different values.
- 2 bits: which of the four field widths the length has.
- The length of the run, minus 1.
- The repeated value, or all values of the run.
"""

import numpy as np
from numpy.typing import NDArray

CHANNELS = 4
_VALUE_BITS = 8  # number of bits of a colour value


class DamagedMaskError(ValueError):
    """The bytes are not a mask of the expected size."""


def decode_alpha(data: bytes, width: int, height: int) -> NDArray[np.bool_]:
    """Return which pixels are painted. A pixel is painted if its alpha value is above 0.

    Args:
        data: The packed values.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        bool (height, width).

    Raises:
        DamagedMaskError: The mask has another size than the image, or the data end too early.
    """
    bits = _Bits(data)
    number, value_bits = bits.read(32), bits.read(5) + 1
    length_bits = [bits.read(4) + 1 for _ in range(4)]
    if number != width * height * CHANNELS or value_bits != _VALUE_BITS:
        raise DamagedMaskError(
            f"it has {number} values of {value_bits} bits, but an image of {width}x{height} pixels has "
            f"{width * height * CHANNELS} values of {_VALUE_BITS} bits"
        )

    values = np.zeros(number, np.uint8)
    start = 0
    while start < number:
        repeats = bits.read(1)
        end = start + 1 + bits.read(length_bits[bits.read(2)])
        if end > number:
            raise DamagedMaskError(f"its runs have more than {number} values")
        if repeats:
            values[start:end] = bits.read(value_bits)
        else:
            values[start:end] = [bits.read(value_bits) for _ in range(end - start)]
        start = end
    return values.reshape(height, width, CHANNELS)[..., -1] > 0


class _Bits:
    """Bytes that are read bit by bit. `read(5)` returns the next 5 bits as a number."""

    def __init__(self, data: bytes):
        self._data = data
        self._position = 0

    def read(self, bits: int) -> int:
        end = self._position + bits
        if end > 8 * len(self._data):
            raise DamagedMaskError("it ends too early")
        first, last = self._position // 8, -(-end // 8)
        number = int.from_bytes(self._data[first:last], "big") >> (8 * last - end)
        self._position = end
        return number & ((1 << bits) - 1)
