"""The test server of KFP, which tests/pipelines also uses."""

from tests.pipelines.conftest import client, kfp, no_cluster  # noqa: F401 (fixtures)
