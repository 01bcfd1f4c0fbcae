"""The servers that steps and commands talk to: S3, MLflow and Kubeflow Pipelines."""
