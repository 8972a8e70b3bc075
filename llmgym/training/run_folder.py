"""The folder that a run writes to."""

from pathlib import Path

from ..errors import OutputFolderError


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


def make_run_folder(folder: Path) -> None:
    """Make it. Raises OutputFolderError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFolderError(
            f"The output folder {str(folder)!r} cannot be made: {error.strerror}. Name another one."
        ) from error
