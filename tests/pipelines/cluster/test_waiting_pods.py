"""If nothing changes, `--wait` reports the reason from the state of the run's pods."""

import pytest
from kubernetes import client as kubernetes

from pipelines.cluster.follow import Follower
from pipelines.cluster.kubernetes_view import NODE_ANNOTATION, RUN_LABEL, ClusterView, WaitingPod
from pipelines.cluster.submit import submit
from pipelines.cluster.waiting_pods import WaitingPods
from tests.pipelines.kubernetes_server import Cluster, serving_cluster

PODS = "/api/v1/namespaces/team/pods"
NO_CPU = "0/1 nodes are available: 1 Insufficient cpu."


def a_pod(name, run_id, node="", phase="Pending", condition=None, waiting=None, init=False):
    """Return a pod of a run; `condition` is its scheduling, `waiting` the state of its container."""
    conditions, statuses = [], []
    if condition:
        conditions = [
            kubernetes.V1PodCondition(type="PodScheduled", status="False", reason=condition[0], message=condition[1])
        ]
    if waiting:
        state = kubernetes.V1ContainerState(
            waiting=kubernetes.V1ContainerStateWaiting(reason=waiting[0], message=waiting[1])
        )
        statuses = [
            kubernetes.V1ContainerStatus(
                name="main", image="registry.example/gpu", image_id="", ready=False, restart_count=0, state=state
            )
        ]
    field = "init_container_statuses" if init else "container_statuses"
    return kubernetes.V1Pod(
        metadata=kubernetes.V1ObjectMeta(name=name, labels={RUN_LABEL: run_id}, annotations={NODE_ANNOTATION: node}),
        status=kubernetes.V1PodStatus(phase=phase, conditions=conditions, **{field: statuses}),
    )


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    cluster = Cluster()
    cluster.objects[PODS] = []
    with serving_cluster(cluster, tmp_path / "kubeconfig"):
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield cluster


def test_only_pods_of_the_run_that_cannot_start_are_found(cluster):
    cluster.objects[PODS] = [
        a_pod("a", "run-1", "x.root.train.executor", condition=("Unschedulable", NO_CPU)),
        a_pod("b", "run-1", waiting=("ErrImagePull", "not found")),
        a_pod("c", "run-1", waiting=("ImagePullBackOff", None), init=True),
        a_pod("starting", "run-1", waiting=("PodInitializing", None)),
        a_pod("running", "run-1", phase="Running"),
        a_pod("of another run", "run-2", condition=("Unschedulable", NO_CPU)),
    ]
    assert ClusterView("team").waiting_pods("run-1") == [
        WaitingPod("a", "x.root.train.executor", f"Unschedulable: {NO_CPU}"),
        WaitingPod("b", "", "ErrImagePull: not found"),
        WaitingPod("c", "", "ImagePullBackOff: registry.example/gpu"),
    ]


def test_each_reason_is_reported_once_under_the_step_s_name(cluster):
    pods = WaitingPods(ClusterView("team"), "run-1", {"train": "train cnn", "ingest": "ingest"})
    cluster.objects[PODS] = [a_pod("p", "run-1", "x.root.train.executor(0)", condition=("Unschedulable", NO_CPU))]
    assert pods.news() == [f"train cnn waits: Unschedulable: {NO_CPU} (pod p)"]
    cluster.objects[PODS] = [
        a_pod("p", "run-1", "x.root.train.executor", condition=("Unschedulable", "0/2 nodes are available")),
        a_pod("q", "run-1", "x.root.ingest-driver", waiting=("ErrImagePull", "not found")),
        a_pod("r", "run-1", "x.root", waiting=("ErrImagePull", "not found")),
    ]
    assert pods.news() == [
        "ingest waits: ErrImagePull: not found (pod q)",
        "a step waits: ErrImagePull: not found (pod r)",
    ]


def test_a_long_reason_is_cut(cluster):
    cluster.objects[PODS] = [a_pod("p", "run-1", waiting=("ErrImagePull", "failed to pull " * 50))]
    (line,) = WaitingPods(ClusterView("team"), "run-1", {}).news()
    assert line.endswith(" … (pod p)")
    assert len(line) < 280


def test_waiting_shows_why_nothing_moves(cluster, kfp, client, compiled, config, console, monkeypatch):
    monkeypatch.setattr("pipelines.cluster.follow.PATIENCE", 0.0)
    run_id = submit(client, compiled, config, {}, console)
    cluster.objects[PODS] = [a_pod("p", run_id, "x.root.train.executor", condition=("Unschedulable", NO_CPU))]
    scene = ("RUNNING", {"train": "RUNNING"})
    kfp.play(scene, scene, scene, ("FAILED", {"train": "FAILED"}))
    Follower(client, compiled, run_id, console, 0.01).wait(20.0)
    assert console.file.getvalue().count(f"train cnn waits: Unschedulable: {NO_CPU} (pod p)") == 1


@pytest.mark.parametrize("allowed", [True, False], ids=["no kubeconfig", "a refusal"])
def test_waiting_says_once_that_it_cannot_look(cluster, kfp, client, compiled, config, console, monkeypatch, allowed):
    monkeypatch.setattr("pipelines.cluster.follow.PATIENCE", 0.0)
    run_id = submit(client, compiled, config, {}, console)
    if allowed:
        monkeypatch.setenv("KUBECONFIG", "/nowhere")
    else:
        cluster.forbidden.add(PODS)
    scene = ("RUNNING", {"train": "RUNNING"})
    kfp.play(scene, scene, scene, ("FAILED", {"train": "FAILED"}))
    Follower(client, compiled, run_id, console, 0.01).wait(20.0)
    words = "the cluster cannot be reached" if allowed else "is not allowed to read pods in namespace team (403)"
    output = console.file.getvalue()
    assert output.count("if a pod cannot start, we cannot show why") == 1
    assert words in output
