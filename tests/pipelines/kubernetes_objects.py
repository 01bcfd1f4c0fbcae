"""Kubernetes objects for the tests of doctor, and a cluster that has everything a run needs."""

import base64

from kubernetes import client as kubernetes

from pipelines.cluster.namespace_checks import DEFAULT_CLASS, LABELS
from pipelines.graphs.pod_policy import MLFLOW_KEYS, S3_KEYS
from tests.pipelines.kubernetes_server import Cluster

TEAM = "/api/v1/namespaces/team"
QUOTAS = f"{TEAM}/resourcequotas"
CLAIMS = f"{TEAM}/persistentvolumeclaims"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/team/networkpolicies"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
DAEMONS = "/apis/apps/v1/daemonsets"


def a_daemon(name, image):
    container = kubernetes.V1Container(name=name, image=image)
    template = kubernetes.V1PodTemplateSpec(spec=kubernetes.V1PodSpec(containers=[container]))
    spec = kubernetes.V1DaemonSetSpec(selector=kubernetes.V1LabelSelector(), template=template)
    return kubernetes.V1DaemonSet(
        metadata=kubernetes.V1ObjectMeta(name=name, namespace="kube-system", labels={}), spec=spec
    )


def a_quota(hard, used=None):
    return kubernetes.V1ResourceQuota(
        metadata=kubernetes.V1ObjectMeta(name="crack", labels={}),
        spec=kubernetes.V1ResourceQuotaSpec(hard=hard),
        status=kubernetes.V1ResourceQuotaStatus(hard=hard, used=used or {}),
    )


def a_claim(name, phase, storage_class=None):
    return kubernetes.V1PersistentVolumeClaim(
        metadata=kubernetes.V1ObjectMeta(name=name, labels={}),
        spec=kubernetes.V1PersistentVolumeClaimSpec(storage_class_name=storage_class),
        status=kubernetes.V1PersistentVolumeClaimStatus(phase=phase),
    )


def a_secret(keys):
    value = base64.b64encode(b"hidden").decode()
    return kubernetes.V1Secret(data=dict.fromkeys(keys, value))


def whole_cluster():
    """Return a cluster that has everything a run needs."""
    cluster = Cluster()
    cluster.add(TEAM, kubernetes.V1Namespace(metadata=kubernetes.V1ObjectMeta(name="team", labels=LABELS)))
    cluster.add("/api/v1/namespaces/kubeflow/services/ml-pipeline", kubernetes.V1Service())
    standard = kubernetes.V1ObjectMeta(name="standard", annotations={DEFAULT_CLASS: "true"})
    cluster.add(CLASSES, [kubernetes.V1StorageClass(metadata=standard, provisioner="disk")])
    cluster.add(POLICIES, [kubernetes.V1NetworkPolicy(metadata=kubernetes.V1ObjectMeta(name="deny-all"))])
    cluster.add(DAEMONS, [a_daemon("kube-router", "registry.example/router")])
    cluster.add(QUOTAS, [a_quota({"requests.cpu": "40", "limits.memory": "200Gi", "pods": "30"})])
    cluster.add(f"{TEAM}/serviceaccounts/crack-pipeline", kubernetes.V1ServiceAccount())
    cluster.add(f"{TEAM}/configmaps/kfp-launcher", kubernetes.V1ConfigMap())
    cluster.add(f"{TEAM}/secrets/crack-s3", a_secret(S3_KEYS))
    cluster.add(f"{TEAM}/secrets/crack-mlflow", a_secret(MLFLOW_KEYS))
    cluster.node("cpu-1", {}, {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "200Gi"})
    cluster.node("gpu-1", {"gpu": "a100"}, {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "2"})
    return cluster
