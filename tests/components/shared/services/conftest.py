"""The double of KFP that the pipelines' tests use too."""

from tests.pipelines.conftest import client, kfp, no_cluster  # noqa: F401 (fixtures)
