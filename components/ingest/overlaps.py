"""Use the landmarks of tiles to find pairs of tiles that could be overlapping cuts of one photo.

Two landmarks match if few bits of their codes differ. Each match says how the second tile is turned and shifted. A pair
of tiles is a candidate if several matches agree about the turn and the shift. `overlap_check.py` then compares the
pixels of the candidates.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.ingest.duplicates import Turn
from components.ingest.landmarks import LANDMARK, LANDMARKS, TURN_BITS, WORKING_SIDE

CODE_BITS = 64 - TURN_BITS
MAX_CODE_DISTANCE = 8
# The codes are sorted several times, each time beginning with another band of their bits. Two codes are compared if a
# band is equal and they are at most PLACES_APART places apart. So the time grows in proportion to the number of tiles.
BANDS, BITS_PER_BAND = 5, 12
PLACES_APART = 16
# The codes are sorted in 2 ** PART_BITS parts, because this needs less memory.
PART_BITS = 3
MIN_MATCHES = 2
TILES_PER_READ = 4096
CODES_PER_BLOCK = 1_000_000
MATCHES_PER_VOTE = 200_000
# In pixels of the scaled tile (see landmarks.py). Matches agree if their shifts are in one square of this side.
SHIFT_TOLERANCE = 6
ALL_TURNS = [Turn(bool(number & 4), bool(number & 2), bool(number & 1)) for number in range(8)]


class Candidates(NamedTuple):
    """Pairs of tiles that could overlap. The pair with the most matches is first.

    Attributes:
        pairs: int64 (P, 2), row numbers of tiles. The smaller number of a pair is first.
        turns: int64 (P,), index into `ALL_TURNS`: the turn that makes the second tile lie like the first.
        shifts: float64 (P, 2). Turn a place (x, y) of the second tile and add the shift: the result is the same place
            in the first tile. The origin is the upper left corner. A turn reverses signs, or exchanges x and y. The
            unit is the shorter side of a tile.
        matches: int64 (P,), number of matches that agree about this turn and shift.
    """

    pairs: NDArray[np.int64]
    turns: NDArray[np.int64]
    shifts: NDArray[np.float64]
    matches: NDArray[np.int64]

    def without(self, photos: NDArray[np.int64], together: NDArray[np.int64]) -> "Candidates":
        """Leave out pairs within a photo, and the pairs in `together`. For the arguments, see `OverlapSearch.find`."""
        first, second = self.pairs.T
        keep = (photos[first] != photos[second]) | (photos[first] < 0)
        known = set(map(tuple, together.tolist()))
        keep &= np.fromiter((pair not in known for pair in map(tuple, self.pairs.tolist())), bool, len(self.pairs))
        return Candidates(self.pairs[keep], self.turns[keep], self.shifts[keep], self.matches[keep])

    def by_first_tile(self) -> Iterator[tuple[tuple[int, int], Turn, NDArray[np.float64]]]:
        """Yield each pair, turn and shift. Pairs with the same first tile come one after the other."""
        for place in np.lexsort(self.pairs.T[::-1]):
            first, second = self.pairs[place].tolist()
            yield (first, second), ALL_TURNS[self.turns[place]], self.shifts[place]


def overlap_candidates(
    number: int, landmarks: Callable[[NDArray[np.int64]], NDArray], asked: NDArray[np.bool_]
) -> Candidates:
    """Find the pairs of tiles whose landmarks match.

    Args:
        number: Number of tiles, N.
        landmarks: Function that takes the row numbers of M tiles and returns their landmarks, an array of dtype
            `LANDMARK` and shape (M, LANDMARKS).
        asked: bool (N,), true for the tiles whose overlaps we want. Each returned pair has at least one of these tiles.

    Source: The search is a form of locality-sensitive hashing with sorted codes: Charikar, "Similarity estimation
        techniques from rounding algorithms", STOC 2002. The vote for a common geometry is a Hough transform, as in
        Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004.
    """
    by_tile = np.zeros((number, LANDMARKS), LANDMARK)
    for start in range(0, number, TILES_PER_READ):
        rows = np.arange(start, min(start + TILES_PER_READ, number))
        by_tile[rows] = landmarks(rows)
    all_landmarks = by_tile.ravel()

    matches = np.zeros(0, np.int64)
    for band in range(BANDS):
        in_band = np.concatenate([matches[:0], *_matches_in_band(all_landmarks["code"], band, asked)])
        matches = np.union1d(matches, in_band)

    no_match = np.zeros((0, 2), np.int64)
    voted = [_agreeing(no_match, all_landmarks)]
    for block in _blocks(matches, len(all_landmarks)):
        voted.append(_agreeing(np.stack(np.divmod(block, len(all_landmarks)), axis=1), all_landmarks))
    return _most_matches_first(voted)


def _matches_in_band(codes: NDArray[np.uint64], band: int, asked: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Yield matches: pairs of landmarks with similar codes, int64 (M,).

    A match of the landmarks a < b, which are places in `codes`, is the number a * len(codes) + b.

    Args:
        codes: uint64 (N * LANDMARKS,). The code 0 means that there is no landmark.
        band: Number of a band of bits. The two codes of a match are equal in this band.
        asked: As in `overlap_candidates`.
    """
    for part in range(2**PART_BITS):
        here, values = _codes_in_part(codes, band, part)
        order = np.argsort(values)
        here, values = here[order], values[order]
        prefixes = values >> np.uint64(CODE_BITS - BITS_PER_BAND)

        for apart in range(1, min(PLACES_APART + 1, len(here))):
            near = np.flatnonzero(prefixes[:-apart] == prefixes[apart:])
            close = np.bitwise_count(values[near] ^ values[near + apart]) <= MAX_CODE_DISTANCE
            near = near[close]
            pairs = _between_tiles(np.stack([here[near], here[near + apart]], axis=1), asked)
            yield pairs[:, 0] * len(codes) + pairs[:, 1]


def _codes_in_part(codes: NDArray[np.uint64], band: int, part: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Rotate all codes, so that the bits of `band` come first. Return those rotated codes that belong to `part`.

    The first `PART_BITS` bits of a rotated code are the number of its part.

    Returns:
        Two arrays with one value for each code in the part: its place in `codes`, int64 (M,), and the rotated code,
        uint64 (M,).
    """
    places, values = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for start in range(0, len(codes), CODES_PER_BLOCK):
        rotated = _rotated(codes[start : start + CODES_PER_BLOCK], band * BITS_PER_BAND)
        in_part = rotated >> np.uint64(CODE_BITS - PART_BITS) == part
        here = np.flatnonzero(in_part & (rotated != 0))
        places.append(start + here)
        values.append(rotated[here])
    return np.concatenate(places), np.concatenate(values)


def _rotated(codes: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    """Remove the lowest `TURN_BITS` bits of each code. Rotate the other bits to the left by `bits` places."""
    codes = codes >> np.uint64(TURN_BITS)
    left = (codes << np.uint64(bits)) & np.uint64(2**CODE_BITS - 1)
    return left | (codes >> np.uint64(CODE_BITS - bits))


def _between_tiles(pairs: NDArray[np.int64], asked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Keep the pairs of landmarks from two different tiles. Sort each pair.

    For at least one of the two tiles, `asked` must be true.
    """
    pairs = np.sort(pairs, axis=1)
    tiles = pairs // LANDMARKS
    keep = (tiles[:, 0] != tiles[:, 1]) & asked[tiles].any(axis=1)
    return pairs[keep]


def _blocks(matches: NDArray[np.int64], number: int) -> Iterator[NDArray[np.int64]]:
    """Divide the sorted matches of `number` landmarks into blocks. Matches of one first tile stay together.

    A vote needs many times the memory of its matches.
    """
    matches_of_tile = LANDMARKS * number
    start = 0
    while start < len(matches):
        last = min(start + MATCHES_PER_VOTE, len(matches)) - 1
        first_tile = matches[last] // matches_of_tile
        end = int(np.searchsorted(matches, (first_tile + 1) * matches_of_tile))
        yield matches[start:end]
        start = end


def _agreeing(pairs: NDArray[np.int64], landmarks: NDArray) -> Candidates:
    """Return the pairs of tiles for which several matches agree about the turn and the shift.

    Args:
        pairs: int64 (M, 2), the two landmarks of each match: places in `landmarks`.
        landmarks: The landmarks of all tiles, of dtype `LANDMARK` and shape (N * LANDMARKS,).
    """
    tiles = pairs // LANDMARKS
    first, second = landmarks[pairs].T
    turns = _relative_turns(first["code"], second["code"])
    shifts = _places(first) - _turned_places(_places(second), turns)

    votes = np.zeros(len(tiles), np.int64)
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):  # four grids: in one of them, two near shifts are in one square
        squares = np.floor(shifts / SHIFT_TOLERANCE + np.array(corner) / 2).astype(np.int64)
        same = np.column_stack([tiles, turns, squares])
        _, member, counts = np.unique(same, axis=0, return_inverse=True, return_counts=True)
        votes = np.maximum(votes, counts[member])

    agreed = np.flatnonzero(votes >= MIN_MATCHES)
    best_first = agreed[np.lexsort((tiles[agreed, 1], tiles[agreed, 0], -votes[agreed]))]
    _, first_mention = np.unique(tiles[best_first], axis=0, return_index=True)
    chosen = best_first[first_mention]
    return Candidates(tiles[chosen], turns[chosen], shifts[chosen] / WORKING_SIDE, votes[chosen])


def _most_matches_first(parts: list[Candidates]) -> Candidates:
    """Join candidates of different tiles, and sort them: most matches first, and then by their row numbers."""
    pairs, turns, shifts, matches = map(np.concatenate, zip(*parts, strict=True))
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -matches))
    return Candidates(pairs[order], turns[order], shifts[order], matches[order])


def _places(landmarks: NDArray) -> NDArray[np.float64]:
    """Return the places (x, y) of landmarks, float64 (N, 2). The middle of the first pixel is (0.5, 0.5)."""
    return np.stack([landmarks["x"], landmarks["y"]], axis=1) + 0.5


def _relative_turns(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each pair of codes, return the turn that makes the second patch lie like the first one, int64 (N,).

    A turn is an index into `ALL_TURNS`.

    We brought each patch into its standard position: we first reversed rows and columns, and then transposed the patch.
    A `Turn` has the other order: it transposes first, and then reverses. So if the `Turn` transposes, reversed rows of
    the second patch become reversed columns.
    """
    transposed, rows, columns = ((first >> np.uint64(bit)).astype(np.int64) & 1 for bit in (2, 1, 0))
    other_transposed, other_rows, other_columns = ((second >> np.uint64(bit)).astype(np.int64) & 1 for bit in (2, 1, 0))
    transposed = transposed ^ other_transposed
    rows = rows ^ np.where(transposed, other_columns, other_rows)
    columns = columns ^ np.where(transposed, other_rows, other_columns)
    return 4 * transposed + 2 * rows + columns


def _turned_places(places: NDArray[np.float64], turns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Turn each place (x, y) around the origin. `places` and the result are float64 (N, 2)."""
    turned = np.where((turns & 4 > 0)[:, None], places[:, ::-1], places)
    signs = np.stack([1 - 2 * (turns & 1), 1 - (turns & 2)], axis=1)
    return turned * signs
