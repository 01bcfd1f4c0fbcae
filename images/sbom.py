"""Print the contents of a container image as CycloneDX JSON: its Python packages, and the Debian packages of its base.

The build runs it inside the image: `python sbom.py LOCK`. It lists the installed versions. The build fails if an
installed package is not in the lock, or the other way round.
"""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path


def python_packages(lock: str) -> list[dict]:
    """Return a component for each installed distribution, with the hashes of the files that the lock allows."""
    allowed = {}
    for entry in re.split(r"\n(?=[a-z0-9])", lock):
        pinned = re.match(r"([a-z0-9._-]+)(?:\[.*?\])?==(\S+)", entry)
        if pinned:
            allowed[pinned[1], pinned[2]] = re.findall(r"sha256:([0-9a-f]{64})", entry)

    installed = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        installed[name, distribution.version] = distribution.metadata
    if set(installed) != set(allowed):
        sys.exit(f"installed and locked packages differ: {sorted(set(installed) ^ set(allowed))}")

    components = []
    for (name, version), metadata in sorted(installed.items()):
        component = _component(name, version, f"pkg:pypi/{name}@{version}")
        component["properties"] = [{"name": "lock:sha256", "value": digest} for digest in allowed[name, version]]
        licence = metadata.get("License-Expression")
        if licence:
            component["licenses"] = [{"expression": licence}]
        components.append(component)
    return components


def debian_packages() -> list[dict]:
    """Return a component for each package of the base system; none if the base is not Debian."""
    if not shutil.which("dpkg-query"):
        return []

    command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\n"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    components = []
    for line in output.splitlines():
        name, version, architecture = line.split()
        components.append(_component(name, version, f"pkg:deb/debian/{name}@{version}?arch={architecture}"))
    return components


def _component(name: str, version: str, purl: str) -> dict:
    return {"type": "library", "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    components = python_packages(Path(sys.argv[1]).read_text()) + debian_packages()
    print(
        json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}, indent=1)
    )
