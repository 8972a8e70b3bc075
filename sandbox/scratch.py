"""Folders on this machine that runs write to."""

import os
import subprocess
import tempfile


def new_scratch() -> str:
    """A folder through which any user may pass, and in which only this one may make folders."""
    folder = tempfile.mkdtemp(prefix="llmgym-")
    os.chmod(folder, 0o711)
    return folder


def remove_scratch(folder: str) -> None:
    """Delete it, however deep a killed run has filled it: Python's own functions recurse."""
    subprocess.run(["rm", "-rf", folder], stderr=subprocess.DEVNULL, check=False)
