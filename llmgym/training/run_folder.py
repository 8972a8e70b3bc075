"""The folder that a run writes to."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputFolderError
from ..files import replace_file

RECORD = "run.json"
"""The last file that a run writes."""


def free_run_folder(output: str, name: str) -> Path:
    """The folder `output`, which is empty or not there yet; where it is "", the next free one under runs/.

    Args:
        output: as the run's config has it.
        name: that of a folder under runs/ begins with it.

    Raises:
        OutputFolderError: it holds something.
    """
    if output:
        folder = Path(output)
    else:
        number = 1
        while (folder := Path("runs") / f"{name}-{number:03d}").exists():
            number += 1
    if folder.exists() and not folder.is_dir():
        raise OutputFolderError(f"The output folder {str(folder)!r} is a file. Name a folder that is new or empty.")
    if folder.exists() and any(folder.iterdir()):
        raise OutputFolderError(
            f"The output folder {str(folder)!r} is not empty, and nothing in it is overwritten. Name a new one, or "
            "move it away."
        )
    return folder


def make_run_folder(folder: Path, config: str) -> None:
    """Make it, with the run's config in it. Raises OutputFolderError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / "config.toml", config)
    except OSError as error:
        raise OutputFolderError(
            f"The output folder {str(folder)!r} cannot be made: {error.strerror}. Name another one."
        ) from error


@contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """While the block runs, or until this process ends, no other process may write to the run in `folder`.

    Raises:
        OutputFolderError: another process does.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputFolderError(
                f"Another process is writing to the run in {str(folder)!r}. Wait for its end, or stop it."
            ) from error
        yield
    finally:
        os.close(descriptor)


def trajectories_path(folder: Path, step: int) -> Path:
    """Where the trajectories of a training step are."""
    return folder / "trajectories" / f"step-{step:06d}.jsonl.gz"


def forget_after(folder: Path, step: int) -> None:
    """Remove the trajectories of steps after `step`, which will be made again; -1 removes all that was measured."""
    if step < 0:
        for name in ("trajectories", "held_out", "tensorboard", "checkpoints"):
            shutil.rmtree(folder / name, ignore_errors=True)
    for path in (folder / "trajectories").glob("step-*"):
        if path.name >= trajectories_path(folder, step + 1).name:
            path.unlink()


def is_finished(folder: Path) -> bool:
    """True where a run came to its end."""
    return (folder / RECORD).is_file()
