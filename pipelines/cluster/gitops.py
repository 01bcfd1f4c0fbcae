"""Write a compiled pipeline as Kubernetes resources, for clusters that are managed by GitOps."""

import tempfile
from pathlib import Path

from kfp.compiler.compiler_utils import KubernetesManifestOptions

from pipelines.config.run_config import RunConfig
from pipelines.graphs.compile import compile_pipeline, compile_version


def write_manifest(name: str, config: RunConfig, revision: str, namespace: str, output: Path) -> str:
    """Write a Pipeline and the PipelineVersion that `submit` would upload. Return the name of the version.

    KFP reads these resources if it keeps its pipelines in Kubernetes (pipeline store "kubernetes"). A PipelineVersion
    cannot be changed. The versions of all pipelines share a namespace, so the name of a version starts with the name of
    its pipeline.

    Args:
        name: Name of the pipeline.
        config: The parameters of the pipeline.
        revision: The version of the code.
        namespace: Namespace of the resources. "" means that the resources do not name a namespace.
        output: YAML file to write.
    """
    with tempfile.TemporaryDirectory() as folder:
        version = compile_version(name, config, revision, Path(folder)).version

    options = KubernetesManifestOptions(
        pipeline_name=name,
        pipeline_version_name=f"{name}-{version}",
        pipeline_version_display_name=version,
        namespace=namespace or None,
        include_pipeline_manifest=True,
    )

    compile_pipeline(name, config, output, kubernetes_manifest_format=True, kubernetes_manifest_options=options)
    return version
