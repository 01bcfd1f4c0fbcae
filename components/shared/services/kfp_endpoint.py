"""Find the address of KFP and the token for it."""

import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api as api
import urllib3
from requests.utils import get_environ_proxies, select_proxy

from components.shared.errors import InputError

# Kubeflow mounts a token for KFP here. The token belongs to the service account of the pod.
VOLUME_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
# Kubernetes writes the name of a pod's namespace to this file.
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
BUSY = (429, 500, 502, 503, 504)  # HTTP statuses after which the same request may succeed


@dataclass(frozen=True)
class Endpoint:
    """The address of KFP and the token for it.

    Attributes:
        url: Base address of the API, such as https://kubeflow.example.com/pipeline.
        ui: Base address of KFP's pages, for links.
        namespace: The namespace of the user's profile, if KFP serves many users. It is empty if KFP serves one user.
        token: Function that returns the token, or "" if there is none. We call it before every request, because a token
            file is renewed from time to time.
        ca: File with the certificate authorities that we trust. None means the default authorities.
    """

    url: str
    ui: str
    namespace: str
    token: Callable[[], str]
    ca: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Endpoint":
        """Return the endpoint that the environment variables KFP_… describe.

        The variables are KFP_ENDPOINT, KFP_UI_ENDPOINT, KFP_NAMESPACE, KFP_TOKEN or KFP_TOKEN_FILE, and KFP_CA_CERT.
        Parameter files do not contain these values, because they differ between machines, and the token is a secret.

        Raises:
            InputError: KFP_ENDPOINT is not an address, or a variable is set to a file that does not exist.
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
            variable = "KFP_CA_CERT" if environment.get("KFP_CA_CERT") else "SSL_CERT_FILE"
            raise InputError(f"{variable} is set to {ca}, which is not a file; correct or remove the variable")

        ui = environment.get("KFP_UI_ENDPOINT", "").rstrip("/") or url
        return cls(url, ui, environment.get("KFP_NAMESPACE", ""), _token_source(environment), ca)

    @classmethod
    def of_pod(cls, url: str, namespace: str = "", token: Path = VOLUME_TOKEN) -> "Endpoint":
        """Return the endpoint for a step's pod. If the pod's service account has a token, the token is used.

        Args:
            url: Address of the API inside the cluster.
            namespace: The namespace of the user's profile. "" means the namespace of the pod.
            token: File of the token for KFP.
        """
        url = url.rstrip("/")
        namespace = namespace or _namespace_of_token(_token_file(token)()) or _read(NAMESPACE_FILE)
        return cls(url, url, namespace, _token_file(token), ca=None)

    def configuration(self, backoff: float) -> api.Configuration:
        """Return the generated client's configuration: address, token, certificates, proxy and retries.

        Args:
            backoff: Seconds before the second attempt. The wait doubles with every further attempt.
        """
        configuration = api.Configuration(host=self.url)
        configuration.ssl_ca_cert = self.ca
        configuration.retries = urllib3.Retry(
            total=5,
            backoff_factor=backoff / 2,
            status_forcelist=BUSY,
            allowed_methods=("GET", "DELETE"),  # KfpApi itself repeats POST, after it has searched for the result
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
    if not named:
        return _token_file(VOLUME_TOKEN)
    if not Path(named).is_file():
        raise InputError(f"KFP_TOKEN_FILE is set to {named}, which is not a file; correct or remove the variable")
    return _token_file(Path(named))


def _token_file(path: Path) -> Callable[[], str]:
    """Return a function that reads the token from a file.

    If the file does not exist when `_token_file` is called, the returned function always returns "".
    """
    if not path.is_file():
        return lambda: ""
    return lambda: _read(path)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def token_claims(token: str) -> dict[str, Any]:
    """Return the claims in a JSON Web Token (RFC 7519). Return {} if the token is of another kind.

    A service account's token has, for example, the claims `exp: 1764547200` and `kubernetes.io: {namespace: …,
    serviceaccount: …}`.
    """
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _namespace_of_token(token: str) -> str:
    """Return the namespace in a service account's token. Return "" if the token is of another kind."""
    try:
        return str(token_claims(token)["kubernetes.io"]["namespace"])
    except (KeyError, TypeError):
        return ""
