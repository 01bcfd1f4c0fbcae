"""Time of the intervals: every metric of 10,000 predictions of 500 photos in 2,000 resamples, on one core.

make bench-evaluate
"""

import time

import numpy as np

from components.shared.results.estimates import estimate_metrics
from components.shared.results.metrics import METRICS

IMAGES = 10_000
PHOTOS = 500
RESAMPLES = 2000


def main() -> None:
    """Print the processor time with and without resampling."""
    rng = np.random.default_rng(0)
    labels = (rng.random(IMAGES) < 0.2).astype(int)
    p_crack = np.clip(0.5 + 0.3 * (2 * labels - 1) + rng.normal(0, 0.3, IMAGES), 0, 1)
    groups = rng.integers(PHOTOS, size=IMAGES)

    for resamples in (0, RESAMPLES):
        started = time.process_time()
        estimate_metrics(labels, p_crack, groups, resamples=resamples)
        seconds = time.process_time() - started
        print(f"{len(METRICS)} metrics, {resamples:>4} resamples: {seconds:.2f} s of processor time")


if __name__ == "__main__":
    main()
