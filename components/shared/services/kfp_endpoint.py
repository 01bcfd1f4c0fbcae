"""Where KFP is and who asks."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import kfp_server_api as api
import urllib3
from requests.utils import get_environ_proxies, select_proxy

from components.shared.errors import InputError

VOLUME_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")  # where a pod finds its service account's token
BUSY = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Endpoint:
    """Where KFP is and who asks.

    Attributes:
        url: Base of the API, such as https://kubeflow.example.com/pipeline.
        ui: Base of the pages that links point to.
        namespace: The profile's namespace where KFP serves many users, else empty.
        token: Returns the token, read anew for every request, since a token file is renewed while we wait; "": none.
        ca: File of the authorities to trust, else None.
    """

    url: str
    ui: str
    namespace: str
    token: Callable[[], str]
    ca: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Endpoint":
        """Read KFP_ENDPOINT, KFP_UI_ENDPOINT, KFP_NAMESPACE, KFP_TOKEN or KFP_TOKEN_FILE, and KFP_CA_CERT.

        They differ by machine, and one is a secret, so that no parameter file holds them.

        Raises:
            InputError: There is no endpoint, or a file is named that is not there.
        """
        url = environment.get("KFP_ENDPOINT", "").strip().rstrip("/")
        if not re.match(r"https?://[^/]", url):
            raise InputError(
                f'KFP_ENDPOINT is "{url}"; set it to the address of Kubeflow Pipelines, such as '
                "https://kubeflow.example.com/pipeline, or http://localhost:8888 after "
                "`kubectl port-forward -n kubeflow svc/ml-pipeline 8888`"
            )
        ca = environment.get("KFP_CA_CERT") or environment.get("SSL_CERT_FILE") or None
        if ca and not Path(ca).is_file():
            raise InputError(f"KFP_CA_CERT or SSL_CERT_FILE names {ca}, which is no file")
        ui = environment.get("KFP_UI_ENDPOINT", "").rstrip("/") or url
        return cls(url, ui, environment.get("KFP_NAMESPACE", ""), _token_source(environment), ca)

    @classmethod
    def of_pod(cls, url: str, namespace: str, token: Path = VOLUME_TOKEN) -> "Endpoint":
        """As a step's pod reaches it: with its service account's token, where the pod is given one."""
        return cls(url.rstrip("/"), url.rstrip("/"), namespace, _token_file(token), None)

    def configuration(self, backoff: float) -> api.Configuration:
        """Return the generated client's configuration: address, token, trust, proxy, and retries of what only reads.

        Args:
            backoff: Seconds before the second attempt; doubles with each.
        """
        configuration = api.Configuration(host=self.url)
        configuration.ssl_ca_cert = self.ca
        configuration.retries = urllib3.Retry(
            total=5,
            backoff_factor=backoff / 2,
            status_forcelist=BUSY,
            allowed_methods=("GET", "DELETE"),  # whatever creates is repeated by KfpApi, which looks first
            raise_on_status=False,
        )
        if self.token():
            configuration.api_key = {"authorization": self.token()}
            configuration.api_key_prefix = {"authorization": "Bearer"}
            configuration.refresh_api_key_hook = lambda it: it.api_key.update(authorization=self.token())
        proxy = select_proxy(self.url, get_environ_proxies(self.url))
        if proxy:
            configuration.proxy = proxy
            auth = urllib3.util.parse_url(proxy).auth
            configuration.proxy_headers = urllib3.make_headers(proxy_basic_auth=auth) if auth else None
        return configuration


def _token_source(environment: Mapping[str, str]) -> Callable[[], str]:
    if environment.get("KFP_TOKEN"):
        return lambda: environment["KFP_TOKEN"].strip()
    named = environment.get("KFP_TOKEN_FILE")
    path = Path(named) if named else VOLUME_TOKEN
    if named and not path.is_file():
        raise InputError(f"KFP_TOKEN_FILE names {path}, which is no file")
    return _token_file(path)


def _token_file(path: Path) -> Callable[[], str]:
    return (lambda: path.read_text(encoding="utf-8").strip()) if path.is_file() else (lambda: "")
