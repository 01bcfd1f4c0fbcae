"""Check the namespace of a run: its cluster, labels, quotas, volumes and network policies.

A check returns a text about what it found. It raises `InputError` if a run would fail, and the message says how to fix
the problem. It raises `WarnedError` if a run works but something should be changed. It raises `UnseenError` if this
machine or this account cannot do the check.
"""

from collections.abc import Iterator, Mapping

from components.shared.errors import InputError
from components.shared.services.kfp_endpoint import Endpoint, token_claims
from pipelines.cluster.kubernetes_view import (
    ANSWER_SECONDS,
    KFP_NAMESPACE,
    ClusterView,
    MissingError,
    WarnedError,
)
from pipelines.config.cluster_config import GpuResources, Resources

KFP_SERVICE = "ml-pipeline"
LABELS = {"pipelines.kubeflow.org/enabled": "true", "app.kubernetes.io/part-of": "kubeflow-profile"}
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# Words in the names or options of programs that enforce NetworkPolicies.
ENFORCERS = (
    "calico", "canal", "cilium", "anetd", "antrea", "kube-router", "weave", "ovnkube", "azure-npm", "kindnet",
    "kube-network-policies", "--enable-network-policy=true",
)  # fmt: skip
# Parts of a kubelet's version. They mark distributions of Kubernetes that enforce NetworkPolicies themselves.
ENFORCING_KUBELETS = ("+k3s", "+rke2")


def check_same_cluster(view: ClusterView, endpoint: Endpoint) -> str:
    """Check that KUBECONFIG and KFP_ENDPOINT name the same cluster.

    The token of a service account contains the unique id of the account. We compare the ids, because an account in
    another cluster can have the same name, but never the same id.
    """
    advice = (
        f"KFP_ENDPOINT is {endpoint.url}; set KUBECONFIG to the cluster of this KFP, or get a new KFP_TOKEN from it"
    )
    claims = token_claims(endpoint.token()).get("kubernetes.io")
    if not isinstance(claims, dict) or "serviceaccount" not in claims:
        view.read(
            f"service {KFP_SERVICE} in namespace {KFP_NAMESPACE} of the cluster at {view.address}",
            lambda api: api.read_namespaced_service(KFP_SERVICE, KFP_NAMESPACE, _request_timeout=ANSWER_SECONDS),
            advice,
        )
        return f"the cluster at {view.address} has a KFP; without a service account's token, we cannot check more"

    namespace, account = claims["namespace"], claims["serviceaccount"]
    name = account["name"]
    found = view.read(
        f"service account {name}, whose token KFP gets, in namespace {namespace} of the cluster at {view.address}",
        lambda api: api.read_namespaced_service_account(name, namespace, _request_timeout=ANSWER_SECONDS),
        advice,
    )
    if found.metadata.uid != account["uid"]:
        raise InputError(
            f"KUBECONFIG names another cluster than KFP_ENDPOINT: the cluster at {view.address} has an account {name}, "
            f"but the token for KFP belongs to an account with another id. {advice}"
        )
    return f"KUBECONFIG and the token for KFP have the same account {name}"


def check_labels(view: ClusterView) -> str:
    """Check that the namespace has two labels. KFP in multi-user mode and Kubeflow's network policies need them."""
    labels = view.namespace_labels()
    missing = [f"{name}={value}" for name, value in LABELS.items() if labels.get(name) != value]
    if not missing:
        return ", ".join(f"{name}={value}" for name, value in LABELS.items())

    problem = (
        f"namespace {view.namespace} does not have {' and '.join(missing)}. KFP sets up only namespaces with the label "
        "enabled, and Kubeflow's network policies let only namespaces with the label part-of reach KFP. Apply "
        f"manifests/, or run: kubectl label namespace {view.namespace} --overwrite {' '.join(missing)}"
    )
    try:
        view.set_up_by_kfp()
    except MissingError as error:
        raise InputError(problem) from error
    raise WarnedError(problem)


def check_quotas(view: ClusterView, needs: Mapping[str, Resources]) -> str:
    """Check that every step's pod fits in the namespace's quotas, alone and together with the pods that run now."""
    quotas = view.read(
        f"quotas in namespace {view.namespace}",
        lambda api: api.list_namespaced_resource_quota(view.namespace, _request_timeout=ANSWER_SECONDS),
        "check KFP_NAMESPACE",
    ).items
    quotas = [quota for quota in quotas if not quota.spec.scopes and not quota.spec.scope_selector]

    never, not_now = [], []
    for quota in quotas:
        used = (quota.status and quota.status.used) or {}
        for step, need in needs.items():
            for shortage in _shortages(need, quota.spec.hard or {}, {}):
                never.append(f"{step} needs {shortage} (quota {quota.metadata.name})")
            for shortage in _shortages(need, quota.spec.hard or {}, used):
                not_now.append(f"{step} needs {shortage} (quota {quota.metadata.name})")

    advice = "raise the quota, or lower the resources of these steps in the parameter file"
    if never:
        raise InputError(f"a quota is too small, so these steps never start: {'; '.join(never)}. Either {advice}")
    if not_now:
        raise WarnedError(
            f"these steps have to wait: {'; '.join(not_now)}. They start when other pods of the namespace end. If "
            f"those pods stay, {advice}"
        )
    return f"every step fits in {len(quotas)} quotas" if quotas else "there is no quota"


def _shortages(need: Resources, hard: Mapping[str, str], used: Mapping[str, str]) -> Iterator[str]:
    """Compare what a step's pod needs with what is left of a quota.

    Yield a text for each resource of which too little is left.

    Args:
        need: The resources that the pod requests.
        hard: Name in the quota -> largest amount that the quota allows.
        used: Name in the quota -> amount that is in use.
    """
    from kubernetes.utils import parse_quantity

    for name, wanted in _counted(need):
        bound = hard.get(name)
        if bound is not None and parse_quantity(wanted) > parse_quantity(bound) - parse_quantity(used.get(name, "0")):
            in_use = f" and {used[name]} is in use" if name in used else ""
            yield f"{wanted} {name}, but the limit is {bound}{in_use}"


def _counted(need: Resources) -> Iterator[tuple[str, str]]:
    """Yield each amount that a quota counts for a step's pod, as a pair (name in the quota, amount).

    A pod's requests and limits are equal, so a resource has the same amount under each of its names.
    """
    for resource, wanted in (("cpu", need.cpu), ("memory", need.memory)):
        for name in (resource, f"requests.{resource}", f"limits.{resource}"):
            yield name, wanted
    yield "pods", "1"
    if isinstance(need, GpuResources) and need.accelerators:
        yield f"requests.{need.accelerator}", str(need.accelerators)


def check_volumes(view: ClusterView) -> str:
    """Check that the cluster has a default storage class. Without one, some volume claims wait forever."""
    from kubernetes.client import StorageV1Api

    classes = view.read(
        "storage classes",
        lambda api: StorageV1Api(api.api_client).list_storage_class(_request_timeout=ANSWER_SECONDS),
        "check that KUBECONFIG names a cluster",
    ).items
    for one in classes:
        if (one.metadata.annotations or {}).get(DEFAULT_CLASS) == "true":
            return f"the default storage class is {one.metadata.name}"

    claims = view.read(
        f"volume claims in namespace {view.namespace}",
        lambda api: api.list_namespaced_persistent_volume_claim(view.namespace, _request_timeout=ANSWER_SECONDS),
        "check KFP_NAMESPACE",
    ).items
    waiting = [one.metadata.name for one in claims if one.status.phase == "Pending" and not one.spec.storage_class_name]
    names = ", ".join(one.metadata.name for one in classes) or "none"
    problem = (
        f"the cluster has no default storage class (its classes: {names}); choose a class as the default: kubectl "
        f"annotate storageclass NAME {DEFAULT_CLASS}=true"
    )
    if waiting:
        raise InputError(f"volume claims {', '.join(waiting)} wait for a volume: {problem}")
    raise WarnedError(
        f"{problem}. No volume claim waits for a default class now, but the database and the S3 server of the dev "
        "overlay need one"
    )


def check_network_policies(view: ClusterView) -> str:
    """Check that the namespace has NetworkPolicies, and that a program in the cluster enforces them.

    Kubernetes' API does not show whether NetworkPolicies are enforced. So this check only looks for the names of
    programs that are known to enforce them.
    """
    from kubernetes.client import NetworkingV1Api

    policies = view.read(
        f"network policies in namespace {view.namespace}",
        lambda api: NetworkingV1Api(api.api_client).list_namespaced_network_policy(
            view.namespace, _request_timeout=ANSWER_SECONDS
        ),
        "check KFP_NAMESPACE",
    ).items
    if not policies:
        raise WarnedError(
            f"namespace {view.namespace} has no network policies, so nothing is enforced: every pod of the cluster "
            "can reach MLflow and S3. manifests/base contains network policies, but in single-user mode they are left "
            "out"
        )

    enforcer = _enforcer(view)
    if not enforcer:
        raise WarnedError(
            f"the {len(policies)} network policies of namespace {view.namespace} are probably not enforced, because we "
            "found no network plugin that is known to enforce them (Calico, Cilium, Antrea, kube-router, …). If they "
            "are not enforced, every pod of the cluster can reach MLflow and S3. Install such a plugin; `make "
            "test-cluster` tests whether the policies are enforced"
        )
    return f"{len(policies)} policies; {enforcer} is known to enforce them (`make test-cluster` tests it)"


def _enforcer(view: ClusterView) -> str:
    """Return the name of a program or kubelet that is known to enforce NetworkPolicies. Return "" if none is found."""
    from kubernetes.client import AppsV1Api

    for node in view.nodes():
        version = node.status.node_info.kubelet_version if node.status.node_info else ""
        if any(mark in version for mark in ENFORCING_KUBELETS):
            return f"kubelet {version}"

    found = view.read(
        "daemon sets of all namespaces",
        lambda api: AppsV1Api(api.api_client).list_daemon_set_for_all_namespaces(_request_timeout=ANSWER_SECONDS),
        "check that KUBECONFIG names a cluster",
    ).items
    for daemon in found:
        words = [daemon.metadata.name]
        for container in daemon.spec.template.spec.containers:
            words += [container.name, container.image or "", *(container.args or [])]
        if any(mark in word for mark in ENFORCERS for word in words):
            return f"{daemon.metadata.name} in {daemon.metadata.namespace}"
    return ""
