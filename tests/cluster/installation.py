"""Acts: install everything into the namespace, check it with doctor, try the network policies, remove everything."""

import json
import os
import textwrap
from pathlib import Path

import yaml

from components.container_images import image_reference
from pipelines.local.embedded_stack import LOOPBACK
from tests.cluster.proof import ROOT, FailedError, Proof

AUDIENCE = "pipelines.kubeflow.org"
KFP_NAMESPACE = "kubeflow"


def install(proof: Proof) -> str:
    """Create the namespace, its Secrets and all objects of the overlay `kind`. Forward the ports to this machine."""
    if not proof.single_user:
        proof.kubectl("create", "namespace", proof.namespace)
    _make_secrets(proof)
    overlay = _overlay(proof)
    proof.kubectl("apply", "--kustomize", str(overlay))
    proof.wait_for(
        f"KFP's Secret mlpipeline-minio-artifact in {proof.namespace}, which KFP makes by the namespace's label",
        180,
        lambda: proof.kubectl("get", "secret", "mlpipeline-minio-artifact", "--ignore-not-found"),
    )

    s3 = _storage(proof)
    for workload in ("statefulset/postgres", f"statefulset/{s3}", "deployment/mlflow"):
        proof.kubectl("rollout", "status", workload, "--timeout=10m", seconds=610)
    bucket = "echo 's3.bucket.create -name crack' | weed shell"
    proof.kubectl("exec", f"{s3}-0", "--", "sh", "-c", bucket)
    _reach(proof)
    return f"namespace {proof.namespace}: MLflow, PostgreSQL and S3 are ready"


def _storage(proof: Proof) -> str:
    return "crack-seaweedfs" if proof.single_user else "seaweedfs"


def _make_secrets(proof: Proof) -> None:
    key, mlflow, database = (proof.password(name) for name in ("s3", "mlflow", "database"))
    postgres = f"postgresql+pg8000://mlflow:{database}@postgres:5432/mlflow"
    identity = {"name": "crack", "credentials": [{"accessKey": "crack", "secretKey": key}], "actions": ["Admin"]}
    auth = (
        f"[mlflow]\ndefault_permission = READ\nadmin_username = admin\nadmin_password = {mlflow}\n"
        f"database_uri = {postgres}\n"
    )
    contents = {
        "crack-s3": {
            "AWS_ENDPOINT_URL_S3": f"http://{_storage(proof)}:8333",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "crack",
            "AWS_SECRET_ACCESS_KEY": key,
        },
        "crack-mlflow": {
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": mlflow,
        },
        "crack-mlflow-server": {
            "MLFLOW_BACKEND_STORE_URI": postgres,
            "MLFLOW_ARTIFACTS_DESTINATION": "s3://crack/mlflow",
            "MLFLOW_FLASK_SERVER_SECRET_KEY": proof.password("flask"),
        },
        "crack-mlflow-auth": {"basic_auth.ini": auth},
        "crack-postgres": {"password": database},
        "crack-seaweedfs": {"s3.json": json.dumps({"identities": [identity]})},
    }
    for name, values in contents.items():
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
        proof.kubectl("apply", "--filename", "-", given=json.dumps(secret))
        proof.made.append(f"secret/{name}")


def _overlay(proof: Proof) -> Path:
    """Write an overlay like `kind` for this namespace and the pushed container image; return its folder."""
    folder = proof.folder / "overlay"
    folder.mkdir(exist_ok=True)
    images = yaml.safe_load((ROOT / "manifests" / "components" / "images" / "kustomization.yaml").read_text())["images"]
    (named,) = [image["newName"] for image in images if image["name"] == "crack-cpu"]
    name, _, digest = image_reference("cpu").partition("@")
    image = {"name": named, "newName": name, "digest": digest}
    if not digest:
        name, _, tag = name.rpartition(":")
        image = {"name": named, "newName": name, "newTag": tag}

    # MLflow compares the Host header, which has the forwarded port, with this list.
    hosts = {"name": "MLFLOW_SERVER_ALLOWED_HOSTS", "value": f"{LOOPBACK}:{proof.mlflow_port},mlflow:5000"}
    container = {"name": "mlflow", "env": [hosts]}
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "mlflow"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }

    base = ROOT / "manifests" / "overlays" / ("kind-single-user" if proof.single_user else "kind")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": proof.namespace,
        "resources": [os.path.relpath(base, folder.resolve())],
        "images": [image],
        "patches": [{"target": {"kind": "Deployment", "name": "mlflow"}, "patch": yaml.safe_dump(patch)}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


def _reach(proof: Proof) -> None:
    """Let the commands of this project reach KFP, MLflow and S3."""
    proof.environment |= {
        "KFP_ENDPOINT": f"http://{proof.forward('ml-pipeline', 8888, KFP_NAMESPACE)}",
        "KFP_NAMESPACE": proof.namespace,
        "MLFLOW_TRACKING_URI": f"http://{proof.forward('mlflow', 5000, local=proof.mlflow_port)}",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": proof.password("mlflow"),
        "AWS_ENDPOINT_URL_S3": f"http://{proof.forward(_storage(proof), 8333)}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "crack",
        "AWS_SECRET_ACCESS_KEY": proof.password("s3"),
    }
    if not proof.single_user:
        token = proof.kubectl("create", "token", "crack-submit", f"--audience={AUDIENCE}", "--duration=2h")
        proof.environment["KFP_TOKEN"] = token.strip()


def doctor(proof: Proof) -> str:
    """Check with doctor that nothing is wrong."""
    done = proof.crack("doctor", "kind", "--allow-tags")
    if done.status:
        done.must(0)
    return "nothing is wrong"


# The places that a pod with each label may reach, as manifests/ says.
PLACES = {
    "mlflow": "mlflow:5000",
    "s3": "seaweedfs:8333",
    "database": "postgres:5432",
    "kfp": "ml-pipeline.kubeflow:8888",
    "kubernetes": "kubernetes.default:443",
    "metadata of the machine": "169.254.169.254:80",
}
REACHED = {
    "workflows.argoproj.io/workflow": {"mlflow", "s3", "kfp", "kubernetes"},
    "crack-proof/stranger": set(),
}


def network_policies(proof: Proof) -> str:
    """Try to reach every place from a step's pod and from another pod, and compare with what is allowed."""
    if proof.single_user:
        return "not in single-user mode: the namespace is KFP's"
    wrong = []
    for label, allowed in REACHED.items():
        answers = _probe(proof, label)
        for place, reached in answers.items():
            if reached != (place in allowed) and place != "kubernetes":
                wrong.append(f"{label} {'reaches' if reached else 'does not reach'} {place}")
    if any("stranger reaches" in line for line in wrong):
        raise FailedError(f"network policies are not enforced by this cluster, or wrong: {'; '.join(wrong)}")
    if wrong:
        raise FailedError("; ".join(wrong))
    return f"{len(REACHED) * len(PLACES)} connections tried"


def _probe(proof: Proof, label: str) -> dict[str, bool]:
    """Start a pod with a label. Return for each place whether the pod reaches it."""
    code = textwrap.dedent(f"""
        import json, socket, time
        time.sleep(10)  # until the policies are in force for this pod
        reached = {{}}
        for name, place in {PLACES!r}.items():
            host, port = place.split(":")
            try:
                socket.create_connection((host, int(port)), timeout=4).close()
                reached[name] = True
            except OSError:
                reached[name] = False
        print(json.dumps(reached))
    """)
    name = f"probe-{label.partition('/')[0].replace('.', '-')}"
    container = {
        "name": "main",
        "image": image_reference("cpu"),
        "command": ["python3", "-c", code],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {label: "probe"}}, "spec": spec}
    proof.kubectl("apply", "--filename", "-", given=json.dumps(pod))
    try:
        phase = ["get", "pod", name, "--output", "jsonpath={.status.phase}"]
        proof.wait_for(f"the end of pod {name}", 240, lambda: proof.kubectl(*phase) in ("Succeeded", "Failed"))
        return json.loads(proof.kubectl("logs", name))
    finally:
        proof.kubectl("delete", "pod", name, "--wait=false", check=False)


def remove(proof: Proof) -> str:
    """Remove everything that this proof made."""
    proof.stop_forwards()
    if not proof.single_user:
        proof.kubectl("delete", "namespace", proof.namespace, "--timeout=5m", seconds=320)
        return f"namespace {proof.namespace} is deleted"
    overlay = proof.folder / "overlay"
    # "foreground": wait for the pods too, so that a second proof does not meet them
    patience = ("--ignore-not-found", "--cascade=foreground", "--timeout=5m")
    proof.kubectl("delete", "--kustomize", str(overlay), *patience, seconds=320)
    proof.kubectl("delete", *proof.made, "--ignore-not-found")
    proof.kubectl("delete", "pvc", "data-postgres-0", f"data-{_storage(proof)}-0", *patience, seconds=320)
    return "our objects in kubeflow are deleted; the runs stay in KFP"
