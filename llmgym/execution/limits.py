"""What one run may use."""

from dataclasses import asdict, dataclass, fields

from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one run, each enforced outside the code that runs."""

    wall_s: float = 10.0
    """Seconds from start to verdict."""
    cpu_s: float = 10.0
    """CPU seconds of each process; rounded up to whole ones."""
    memory_mib: int = 512
    """Address space of each process, and resident memory of all of them together (looked at ten times a second)."""
    num_processes: int = 64
    """Processes and threads at one time."""
    num_open_files: int = 256
    """Open files of each process."""
    file_mib: int = 64
    """Size of each file."""
    disk_mib: int = 64
    """All files together. Enforced by `bwrap` and `docker`; elsewhere only `file_mib` is."""
    output_bytes: int = 1 << 20
    """Kept bytes of each of stdout and stderr; of more, the middle is cut out and counted."""
    max_output_bytes: int = 16 << 20
    """A run that writes more than this to stdout or stderr is ended."""
    value_bytes: int = 4 << 20
    """Bytes of all values that a run may return."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < float("inf"):
                raise ConfigError(f"{field.name} is {value}, but it must be above 0 and finite.")
        if self.memory_mib < 32:
            raise ConfigError(f"memory_mib is {self.memory_mib}, but Python itself needs about 32 MiB.")
        if self.max_output_bytes < self.output_bytes:
            raise ConfigError(
                f"max_output_bytes is {self.max_output_bytes}, less than the {self.output_bytes} of output_bytes: "
                "a run would be ended before its output is cut."
            )

    def to_guest(self) -> dict[str, float]:
        """The limits as the guest program reads them."""
        return asdict(self)
