"""Fails if a test was left out that this machine could have run."""

import os
import shutil
import subprocess
import sys
import tempfile
from xml.etree import ElementTree


def mounts() -> bool:
    """Whether this user may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False)
        return not done.returncode and not subprocess.run(["umount", folder], check=False).returncode


# What a reason "not on this machine: NAME" stands for, and whether it is here.
HERE = {
    "nginx": lambda: shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is not None,
    "fish": lambda: shutil.which("fish") is not None,
    "node": lambda: shutil.which("node") is not None,
    "root": lambda: os.geteuid() == 0,
    "a user who may not have every port": lambda: os.geteuid() != 0,
    "an address besides the loopback's": lambda: False,  # a test that finds one uses it
    "mounts": mounts,
    "recordings (FAIRLEAD_SHARED)": lambda: os.path.isdir(os.environ["FAIRLEAD_SHARED"]),
}
REASON = "not on this machine: "


def unneeded(reason: str) -> bool:
    """Whether the test could have run."""
    name = reason.removeprefix(REASON)
    return not reason.startswith(REASON) or HERE.get(name, lambda: True)()


left_out = [
    (f"{case.get('classname')}::{case.get('name')}", skipped.get("message", ""))
    for case in ElementTree.parse(sys.argv[1]).iter("testcase")
    for skipped in case.iter("skipped")
]
wrong = [(name, reason) for name, reason in left_out if unneeded(reason)]
for name, reason in wrong:
    sys.stderr.write(f"left out without need: {name}: {reason}\n")
sys.stdout.write(f"{len(left_out)} tests left out, {len(wrong)} of them without need\n")
sys.exit(bool(wrong))
