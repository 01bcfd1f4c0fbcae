"""Kubernetes mounts a Secret as files. A step puts each key of the Secret into an environment variable."""

from components.shared.mounted_secrets import set_variables


def test_every_key_of_a_mounted_secret_is_a_variable(tmp_path, monkeypatch):
    # as kubelet mounts it: the keys are links into a folder of this version, which a hidden link names
    for secret, key, value in (
        ("crack-s3", "AWS_REGION", "eu-1"),
        ("crack-mlflow", "MLFLOW_TRACKING_PASSWORD", " x=1 "),
    ):
        monkeypatch.setenv(key, "old")
        version = tmp_path / secret / "..2026_11_30"
        version.mkdir(parents=True)
        (version / key).write_text(value)
        (tmp_path / secret / "..data").symlink_to(version.name)
        (tmp_path / secret / key).symlink_to(f"..data/{key}")
    variables: dict[str, str] = {}
    monkeypatch.setattr("os.environ", variables)
    set_variables(tmp_path)
    assert variables == {"AWS_REGION": "eu-1", "MLFLOW_TRACKING_PASSWORD": " x=1 "}


def test_without_mounted_secrets_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("os.environ", variables := {"AWS_REGION": "here"})
    set_variables(tmp_path / "absent")
    assert variables == {"AWS_REGION": "here"}
