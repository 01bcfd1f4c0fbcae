"""Print what a container image holds, as CycloneDX JSON: the Python packages of its lock, and Debian's of its base.

Run at build inside the image: `python sbom.py LOCK`. Versions are those installed, not those asked for; an installed
package that the lock does not name, or the reverse, ends the build.
"""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path


def python_packages(lock: str) -> list[dict]:
    """Return a component per installed distribution, with the hashes of the files that the lock allows."""
    allowed = {}
    for entry in re.split(r"\n(?=[a-z0-9])", lock):
        if match := re.match(r"([a-z0-9._-]+)(?:\[.*?\])?==(\S+)", entry):
            allowed[match[1], match[2]] = re.findall(r"sha256:([0-9a-f]{64})", entry)
    found = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        found[name, distribution.version] = distribution.metadata
    if set(found) != set(allowed):
        sys.exit(f"installed and locked packages differ: {sorted(set(found) ^ set(allowed))}")
    return [
        {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
            "properties": [{"name": "lock:sha256", "value": digest} for digest in allowed[name, version]],
            **_licence(metadata),
        }
        for (name, version), metadata in sorted(found.items())
    ]


def debian_packages() -> list[dict]:
    """Return a component per package of the base system; none where it is not Debian's."""
    if not shutil.which("dpkg-query"):
        return []
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\n"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [
        {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:deb/debian/{name}@{version}?arch={architecture}",
        }
        for name, version, architecture in map(str.split, lines)
    ]


def _licence(metadata: importlib.metadata.PackageMetadata) -> dict:
    expression = metadata.get("License-Expression")
    return {"licenses": [{"expression": expression}]} if expression else {}


if __name__ == "__main__":
    components = python_packages(Path(sys.argv[1]).read_text()) + debian_packages()
    print(
        json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}, indent=1)
    )
