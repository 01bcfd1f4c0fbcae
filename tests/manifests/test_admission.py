"""The changes that the namespace's admission policies make to the pods of a run."""

import os
import subprocess
import sys
from typing import Any

import kubernetes_validate
import pytest
import yaml

from components.shared.services.kfp_endpoint import VOLUME_TOKEN
from pipelines.graphs.pod_policy import KFP_LABEL, PRIORITY_LABEL
from tests.manifests.admission import RefusedError, admitted
from tests.manifests.test_rules import MANIFESTS, OPTIONS, documents, of

PROD = documents(MANIFESTS / "overlays" / "prod")
(CLASS,) = of(PROD, "PriorityClass")


def a_pod(init: list[str], containers: list[str], labels: dict[str, str]) -> dict[str, Any]:
    """Return a pod like those that KFP's backend and Argo create, but only with the fields that these tests need."""

    def container(name: str) -> dict[str, Any]:
        return {
            "name": name,
            "image": f"registry.example/{name}",
            "securityContext": {"allowPrivilegeEscalation": False},
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }

    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "crack-training-x", "labels": {"workflows.argoproj.io/workflow": "x", **labels}},
        "spec": {
            "initContainers": [container(name) for name in init],
            "containers": [container(name) for name in containers],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "priority": 0,
        },
    }


def a_step(**labels: str) -> dict[str, Any]:
    return a_pod(["init", "kfp-launcher"], ["wait", "main"], labels)


DRIVER = a_pod(["init"], ["wait", "main"], {})  # it writes /tmp/outputs without a volume


@pytest.fixture(params=["1.36", "1.37"])
def admit(request):
    """Apply every policy to a pod, as a version of Kubernetes does."""
    options = [item for option in OPTIONS for item in documents(option)]
    policies = {item["metadata"]["name"]: item for item in of(PROD + options, "MutatingAdmissionPolicy")}
    assert len(policies) == 4

    def run(pod: dict[str, Any]) -> dict[str, Any]:
        for policy in policies.values():
            pod = admitted(policy, pod, CLASS, request.param)
        kubernetes_validate.validate(pod, request.param, strict=True)
        return pod

    return run


def main(pod: dict[str, Any]) -> dict[str, Any]:
    return next(container for container in pod["spec"]["containers"] if container["name"] == "main")


def test_a_step_gets_a_read_only_root_and_time_for_a_last_checkpoint_and_keeps_the_rest(admit):
    step = a_step()
    pod = admit(step)
    assert main(pod)["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
    assert main(pod).pop("lifecycle")["preStop"]["exec"]["command"][:2] == ["sh", "-c"]
    assert pod["spec"].pop("terminationGracePeriodSeconds") == 120
    main(pod)["securityContext"] = {"allowPrivilegeEscalation": False}
    assert pod == step


def test_the_hook_stops_only_the_program_and_waits_for_it(admit, tmp_path):
    *shell, code = main(admit(a_step()))["lifecycle"]["preStop"]["exec"]["command"]
    word = f"program-{tmp_path.name}-{os.getpid()}"  # other tests may run such programs at the same time
    hook = [*shell, code.replace("kfp.dsl.executor_mai[n]", f"{word}-mai[n]")]
    program = (
        "import signal, sys, time\n"
        "def stop(*_): time.sleep(1); open(sys.argv[2], 'w').write('kept'); sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, stop); print('ready', flush=True); time.sleep(60)"
    )
    command = ["sh", "-ec", f'{sys.executable} -c "{program}" {word}-main "$0"; :', str(tmp_path / "checkpoint")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as step:  # KFP starts a program in a shell too
        assert step.stdout.readline() == b"ready\n"
        subprocess.run(hook, timeout=30, check=False)
        assert (tmp_path / "checkpoint").read_text() == "kept"
        assert step.wait(10) == 7


def test_the_pods_of_kfp_s_drivers_are_not_changed(admit):
    assert admit(DRIVER) == DRIVER


def test_a_step_that_names_the_class_gets_it_with_its_number(admit):
    pod = admit(a_step(**{PRIORITY_LABEL: CLASS["metadata"]["name"]}))
    assert (pod["spec"]["priorityClassName"], pod["spec"]["priority"]) == ("crack-training", CLASS["value"])
    other = admit(a_step(**{PRIORITY_LABEL: "another"}))
    assert "priorityClassName" not in other["spec"]


def test_a_missing_class_refuses_only_the_pods_that_ask_for_it():
    (policy,) = [item for item in of(PROD, "MutatingAdmissionPolicy") if item["metadata"]["name"] == "crack-priority"]
    others = a_pod([], ["mlflow"], {"app.kubernetes.io/name": "mlflow"}), a_step(), DRIVER
    for pod in others:
        assert admitted(policy, pod, None, "1.36") == pod
    with pytest.raises(RefusedError, match="crack-priority: no params found"):
        admitted(policy, a_step(**{PRIORITY_LABEL: "crack-training"}), None, "1.36")
    (binding,) = [
        item for item in of(PROD, "MutatingAdmissionPolicyBinding") if item["metadata"]["name"] == "crack-priority"
    ]
    assert binding["spec"]["paramRef"]["parameterNotFoundAction"] == "Deny"


def test_the_step_that_starts_a_training_gets_a_token_for_kfp(admit):
    pod = admit(a_step(**{KFP_LABEL: "true"}))
    mounts = {mount["name"]: mount for mount in main(pod)["volumeMounts"]}
    assert set(mounts) == {"tmp", "kfp-token"}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    (source,) = volumes[mounts["kfp-token"]["name"]]["projected"]["sources"]
    assert f"{mounts['kfp-token']['mountPath']}/{source['serviceAccountToken']['path']}" == str(VOLUME_TOKEN)
    assert source["serviceAccountToken"]["audience"] == "pipelines.kubeflow.org"
    assert [mount["name"] for mount in pod["spec"]["containers"][0]["volumeMounts"]] == ["tmp"]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ('Object{spec: Object.spec{volumes: [Object.spec.volumes{name: "t", projected: '
         "Object.spec.volumes.projected{sources: [Object.spec.volumes.projected.sources{}]}}]}}", "sources is atomic"),
        ('Object{spec: Object.spec{priorityClass: "high"}}', "has no priorityClass"),
    ],
)  # fmt: skip
def test_a_policy_that_the_api_server_would_refuse_is_found(expression, message):
    policy = yaml.safe_load(f"""
        spec:
          matchConditions: []
          mutations:
            - patchType: ApplyConfiguration
              applyConfiguration:
                expression: >-
                  {expression}
    """)
    with pytest.raises(RefusedError, match=message):
        admitted(policy, a_step(), CLASS, "1.36")
