"""A KFP server for the tests, and the environment that reaches it."""

from collections.abc import Iterator

import pytest

from tests.pipelines.kfp_server import KfpServer, serving


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    """A running server that nothing was uploaded to; at the end, nobody may have departed from the published API."""
    with serving(KfpServer()) as server:
        for name in ("KFP_TOKEN_FILE", "KFP_CA_CERT", "KFP_UI_ENDPOINT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("KFP_ENDPOINT", server.url)
        monkeypatch.setenv("KFP_TOKEN", server.token)
        monkeypatch.setenv("KFP_NAMESPACE", server.namespaces[0])
        yield server
    assert server.violations == []
