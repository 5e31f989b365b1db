"""The list of addresses on every Python that the project runs on, by itself: it needs nothing but the interpreter."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

LIST = Path(__file__).parents[2] / "transcription" / "network" / "addresses.py"
JUDGE = f"""
import json, runpy, sys
is_public = runpy.run_path({str(LIST)!r})["is_public"]
print(json.dumps([list(sys.version_info[:2]), [is_public(address) for address in json.load(sys.stdin)]]))
"""
INSIDE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "100.127.255.255", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "192.0.0.1", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.9", "::", "::1", "::2",
    "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "100:0:0:1::1", "2001::1", "2001:2::1",
    "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "2620:4f:8000::1", "3fff::1",
    "3fff:fff::1", "4000::1", "5f00::1", "fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "feff::1",
    "ff02::1", "ff0e::1",
]  # fmt: skip
OUTSIDE = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "192.0.1.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1",
           "::ffff:8.8.8.8", "64:ff9b::808:808"]  # fmt: skip


def interpreter(version: str) -> str | None:
    """Python *version*, where the machine has it; pyenv's shims are no proof."""
    for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")):
        return str(path)
    found = shutil.which(f"python{version}")
    works = found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0
    return found if works else None


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_same_addresses_are_inside_on_every_python(version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    done = subprocess.run(
        [python, "-I", "-c", JUDGE], input=json.dumps(INSIDE + OUTSIDE), capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    ran, public = json.loads(done.stdout)
    assert ran == [int(part) for part in version.split(".")]
    wrong = [address for address, found in zip(INSIDE + OUTSIDE, public, strict=True) if found is (address in INSIDE)]
    assert wrong == []
