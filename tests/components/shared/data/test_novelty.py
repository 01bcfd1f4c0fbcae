import numpy as np
import pandas as pd
import pytest

from components.shared.data.drift_profile import make_profile
from components.shared.data.image_features import FEATURES
from components.shared.data.novelty import Novelty, embedding_limit, write_limit
from components.shared.errors import InputError

WIDTH = 16
CENTRE = np.eye(WIDTH)[0] * 20


def images(number: int, seed: int, features: float = 0, embeddings: float = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return features and embeddings of images. A shift makes novel images. The feature "noise" never varies."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(features, 1, (number, len(FEATURES))), columns=list(FEATURES)).assign(noise=0.5)
    return table, CENTRE + np.eye(WIDTH)[1] * embeddings + rng.normal(0, 1, (number, WIDTH))


@pytest.fixture
def novelty() -> Novelty:
    features, embeddings = images(300, 1)
    names, slices = np.arange(300).astype(str), pd.DataFrame(index=range(300))
    profile = make_profile(names, features, np.full(300, 0.5), embeddings, slices, "")
    return Novelty(profile, embedding_limit(profile.embeddings, images(300, 2)[1]))


def test_few_known_images_and_all_strange_ones_score_above_1(novelty):
    known = novelty.scores(*images(500, 3))
    assert (known > 1).mean() < 0.06
    assert (known > 0).all()
    assert (novelty.scores(*images(100, 4, features=4)) > 1).all()
    assert (novelty.scores(*images(100, 5, embeddings=15)) > 1).all()


def test_an_image_scores_the_same_alone_and_among_others(novelty):
    features, embeddings = images(5, 6)
    together = novelty.scores(features, embeddings)
    assert novelty.scores(features[2:3], embeddings[2:3]) == pytest.approx(together[2:3])


def test_the_limit_is_kept_in_a_file(novelty, tmp_path):
    write_limit(novelty.limit, tmp_path / "novelty.json")
    assert Novelty.read(novelty.profile, tmp_path / "novelty.json").limit == novelty.limit
    (tmp_path / "novelty.json").write_text("{}")
    with pytest.raises(InputError, match=r"novelty\.json does not hold a novelty limit"):
        Novelty.read(novelty.profile, tmp_path / "novelty.json")
