"""The client of KFP's API with a server that has faults: what it repeats, what it reports, and what it creates."""

import datetime
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import kfp_server_api
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from components.shared.errors import InputError
from components.shared.services.kfp_api import KfpApi
from components.shared.services.kfp_endpoint import Endpoint
from tests.pipelines.kfp_server import KfpServer, serving

PIPELINE = "pipelineInfo: {name: p}\nroot: {inputDefinitions: {parameters: {seed: {parameterType: NUMBER_INTEGER}}}}\n"


@pytest.fixture
def client(kfp):
    return KfpApi(Endpoint.from_environment(), timeout=(2, 0.4), backoff=0.01)


@pytest.fixture
def package(tmp_path):
    (tmp_path / "p.yaml").write_text(PIPELINE)
    return tmp_path / "p.yaml"


def a_run(client, package, name="a run"):
    pipeline = client.pipeline("p", "")
    version, _ = client.version(pipeline.pipeline_id, "v1", package, "")
    return kfp_server_api.V2beta1Run(
        display_name=name,
        experiment_id=client.experiment("e").experiment_id,
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=pipeline.pipeline_id, pipeline_version_id=version.pipeline_version_id
        ),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters={"seed": 1}),
    )


def test_a_healthy_server_reports_its_version(kfp, client):
    assert client.check() == "2.17.0"


@pytest.mark.parametrize(
    ("kind", "options"), [("status", {"status": 503}), ("reset", {}), ("lost", {}), ("slow", {"seconds": 1.0})]
)
def test_a_fault_while_creating_neither_fails_nor_creates_twice(kfp, client, package, kind, options):
    for where in ("POST .*/experiments", "POST .*/pipelines$", "POST .*/upload_version", "POST .*/runs"):
        kfp.fail(where, kind, **options)
    run = client.create_run(a_run(client, package))
    created = (kfp.experiments, kfp.pipelines, kfp.versions, kfp.runs)
    assert [len(records) for records in created] == [1, 1, 1, 1]
    assert run.run_id == kfp.runs[0]["run_id"]


def test_reading_is_repeated_while_the_server_is_busy(kfp, client):
    kfp.fail("GET .*/healthz", "status", status=503, times=2)
    kfp.fail("GET .*/experiments", "reset", times=2)
    assert client.check() == "2.17.0"


def test_a_server_that_stays_busy_is_an_error_that_names_it(kfp, client):
    kfp.fail("POST .*/experiments", "status", status=503, times=99)
    with pytest.raises(InputError, match=rf'create experiment "e".*{kfp.url} answers 503'):
        client.experiment("e")


def test_what_somebody_else_created_in_the_meantime_is_used(kfp, client):
    """KFP answers 409: somebody created the experiment after we looked for it."""
    kfp.experiments.append({"display_name": "e", "namespace": "team", "experiment_id": "1", "created_at": "2026"})
    kfp.fail("GET .*/experiments", "status", status=200)  # an answer without the experiment
    assert client.experiment("e").experiment_id == "1"
    assert len(kfp.experiments) == 1


def test_lists_are_read_to_their_last_page(kfp, client, package):
    for number in range(5):
        client.create_run(a_run(client, package, f"run {number}"))
    experiment = kfp.experiments[0]["experiment_id"]
    assert [run.display_name for run in client.runs(experiment)] == [f"run {number}" for number in (4, 3, 2, 1, 0)]


def test_a_token_file_is_read_again_for_every_request(kfp, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("expired\n")
    monkeypatch.delenv("KFP_TOKEN")
    monkeypatch.setenv("KFP_TOKEN_FILE", str(token))
    client = KfpApi(Endpoint.from_environment(), backoff=0.01)
    with pytest.raises(InputError, match=r"refused the token; get a new one and set KFP_TOKEN"):
        client.check()
    token.write_text(kfp.token)
    assert client.check()


def test_a_pod_uses_the_token_of_its_service_account(kfp, tmp_path, monkeypatch):
    (tmp_path / "token").write_text(kfp.token)
    monkeypatch.delenv("KFP_TOKEN")
    monkeypatch.setattr("components.shared.services.kfp_endpoint.VOLUME_TOKEN", tmp_path / "token")
    assert KfpApi(Endpoint.from_environment(), backoff=0.01).check()


def test_links_use_the_address_of_the_pages_if_it_is_another(kfp, monkeypatch):
    monkeypatch.setenv("KFP_UI_ENDPOINT", "https://kubeflow.example.com/")
    link = KfpApi(Endpoint.from_environment()).link("runs/details/1")
    assert link == "https://kubeflow.example.com/#/runs/details/1"


def test_a_missing_token_is_reported_before_anything_is_created(kfp, monkeypatch):
    monkeypatch.delenv("KFP_TOKEN")
    with pytest.raises(InputError, match="needs a token; get one and set KFP_TOKEN"):
        KfpApi(Endpoint.from_environment()).check()


def test_the_token_is_never_in_a_message(kfp, client):
    kfp.token = "another"
    with pytest.raises(InputError) as caught:
        client.check()
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize("version", ["2.5.0", "1.8.22"])
def test_an_older_server_is_refused(kfp, client, version):
    kfp.version = version
    with pytest.raises(InputError, match=rf"version {version}.*needs 2\.17 or newer"):
        client.check()


def test_a_server_of_many_users_needs_a_namespace(kfp, monkeypatch):
    monkeypatch.setenv("KFP_NAMESPACE", "")
    with pytest.raises(InputError, match="set KFP_NAMESPACE"):
        KfpApi(Endpoint.from_environment()).check()


def test_another_team_s_namespace_is_refused(kfp, monkeypatch):
    monkeypatch.setenv("KFP_NAMESPACE", "theirs")
    with pytest.raises(InputError, match='does not allow this in namespace "theirs"'):
        KfpApi(Endpoint.from_environment()).check()


def test_a_server_of_one_user_is_asked_without_a_namespace(kfp, client, package):
    kfp.multi_user = False
    client.check()
    assert client.create_run(a_run(client, package)).run_id


@pytest.mark.parametrize("endpoint", ["", "kubeflow.example.com"])
def test_a_missing_or_incomplete_endpoint_says_what_to_set(endpoint):
    with pytest.raises(InputError, match=r"KFP_ENDPOINT is .*https://kubeflow"):
        Endpoint.from_environment({"KFP_ENDPOINT": endpoint})


def test_a_login_page_instead_of_the_api_is_recognised():
    class LoginPage(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>Who are you?</html>")

    server = HTTPServer(("127.0.0.1", 0), LoginPage)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    endpoint = Endpoint.from_environment({"KFP_ENDPOINT": f"http://127.0.0.1:{server.server_port}"})
    with pytest.raises(InputError, match=r"perhaps it shows a login page. Set KFP_TOKEN .*path of the API"):
        KfpApi(endpoint, backoff=0.001).check()
    server.shutdown()
    server.server_close()


def test_an_endpoint_that_does_not_answer_is_named():
    endpoint = Endpoint.from_environment({"KFP_ENDPOINT": "http://127.0.0.1:9"})
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9 does not answer .*check KFP_ENDPOINT"):
        KfpApi(endpoint, backoff=0.001).check()


def test_a_proxy_of_the_environment_is_used(kfp, monkeypatch):
    monkeypatch.setenv(
        "http_proxy", kfp.url.replace("//", "//user:word@")
    )  # the server also accepts requests to a proxy
    monkeypatch.setenv("KFP_ENDPOINT", "http://kfp.invalid/pipeline")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"answers 404 \(not found\)"):  # this server has no path /pipeline
        KfpApi(Endpoint.from_environment(), backoff=0.01).check()
    assert kfp.asked("GET http://kfp.invalid/pipeline/apis/v2beta1/healthz") == 1


def test_a_given_authority_is_trusted_and_others_are_not(tmp_path):
    context, authority = authority_of(tmp_path)
    with serving(KfpServer(), context) as server:
        environment = {"KFP_ENDPOINT": server.url, "KFP_TOKEN": server.token, "KFP_NAMESPACE": "team"}
        trusting = Endpoint.from_environment({**environment, "KFP_CA_CERT": str(authority)})
        assert KfpApi(trusting).check() == "2.17.0"
        with pytest.raises(InputError, match=r"CERTIFICATE_VERIFY_FAILED.*KFP_CA_CERT"):
            KfpApi(Endpoint.from_environment(environment), backoff=0.001).check()


def authority_of(folder):
    """Return a TLS context with a new certificate for 127.0.0.1, and the file of the authority that signed it."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, pkcs8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context, folder / "ca.pem"
