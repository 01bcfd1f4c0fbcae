"""Report why pods of a run do not start. KFP shows the step of such a pod as running."""

import textwrap

from components.shared.errors import InputError
from pipelines.cluster.kubernetes_view import ClusterView, UnseenError, WaitingPod
from pipelines.cluster.run_details import DRIVER

LONGEST_REASON = 240  # characters; some reasons are long, because they repeat the container image's name several times


class WaitingPods:
    """Asks Kubernetes why pods of one run cannot start, and reports each reason once."""

    def __init__(self, view: ClusterView, run_id: str, steps: dict[str, str]) -> None:
        """Store the arguments. No request is made yet.

        Args:
            view: The namespace of the run's pods.
            run_id: The run in KFP.
            steps: Name of each step in KFP -> display name.
        """
        self._view = view
        self._run_id = run_id
        self._steps = steps
        self._reported: set[tuple[str, str]] = set()
        self._may_look = True

    def news(self) -> list[str]:
        """Return one line for every reason that was not reported before.

        If Kubernetes cannot be read, the call returns one line about this problem, and later calls return nothing.
        """
        if not self._may_look:
            return []
        try:
            pods = self._view.waiting_pods(self._run_id)
        except (UnseenError, InputError) as error:
            self._may_look = False
            return [f"if a pod cannot start, we cannot show why: {error}"]

        lines = []
        for pod in pods:
            reason = pod.reason.partition(":")[0]
            if (pod.name, reason) not in self._reported:
                self._reported.add((pod.name, reason))
                text = textwrap.shorten(pod.reason, LONGEST_REASON, placeholder=" …")
                lines.append(f"{self._step_of(pod)} waits: {text} (pod {pod.name})")
        return lines

    def _step_of(self, pod: WaitingPod) -> str:
        """Return the step of a pod. The pod's name in Argo's workflow ends in TASK.executor or TASK-driver."""
        for part in reversed(pod.node.split(".")):
            task = part.partition("(")[0].removesuffix(DRIVER)
            if task in self._steps:
                return self._steps[task]
        return "a step"
