"""Several processes that learn together: how they meet, who runs which rows, and how their parts become one.

Process 0 leads: it collects, decides, writes and speaks. The others follow: each gets the same trajectories, makes the
same table of actions with the same advantages, and runs its share of the forward and backward passes. A process alone
does everything, by the same code, and communicates nothing.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from ..episode import Trajectory
from ..errors import ConfigError, LLMGymError, ProcessLostError
from .microbatches import plan_microbatches
from .model import num_input_tokens, prompts_and_lengths
from .packing import Way
from .update_metrics import UpdateReport

_SET_BY_LAUNCHERS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """Settings of a learner on several processes, as `torchrun` and `accelerate launch` start them."""

    compute_dtype: Literal["", "bfloat16"] = ""
    """Weights are gathered, and passes run, in this type; "" leaves the weights' own. Each process keeps its part of
    the weights, and the optimizer its moments, in the weights' own type."""
    reduce_dtype: Literal["", "float32", "bfloat16"] = "float32"
    """Gradients are added up over the processes in this type; "" leaves that of the passes."""
    wait_s: float = 24 * 3600.0
    """Longest time that the others wait for process 0 between two calls of its learner: collecting and evaluating must
    be done by then. Where it ends or is killed, they hear of it at once."""

    def __post_init__(self) -> None:
        if self.wait_s <= 0:
            raise ConfigError(f"learner.parallel.wait_s is {self.wait_s}, but it must be above 0.")


@dataclass(frozen=True)
class Pass:
    """Rows that go through the model together."""

    rows: list[int]
    counts: bool = True
    """False: another process has their result. This one runs them because all must run equally many passes, as each
    gathers and adds up parts of the weights and gradients of all."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """The processes that learn together, seen from one of them."""

    index: int = 0
    """Of this process."""
    count: int = 1
    """Of all."""
    group: Any = None
    """That talks on the CPU, whatever the model's device is."""

    @property
    def leads(self) -> bool:
        """True in the process that collects, decides, writes and speaks."""
        return self.index == 0

    def passes(
        self,
        trajectories: Sequence[Trajectory],
        units: list[list[int]],
        *,
        microbatch_tokens: int,
        packing: Way | None = None,
    ) -> list[Pass]:
        """The passes of this process; see `deal_passes`.

        How a model packs is tried in each process, so it may differ; all plan for the way that needs most.
        """
        if self.count > 1:
            ways = self.gather(packing)
            packing = None if None in ways else "tables" if "tables" in ways else "flex"
        shares = deal_passes(
            trajectories, units, microbatch_tokens=microbatch_tokens, num_ranks=self.count, packing=packing
        )
        return shares[self.index]

    def add_up(self, *tables: Tensor) -> None:
        """Fill, in place, each table with its sum over all processes: what only one filled, all have."""
        if self.count > 1:
            for table in tables:
                dist.all_reduce(table, group=self.group if table.device.type == "cpu" else None)

    def merge(self, report: UpdateReport) -> None:
        """Add to `report`, in place, what the passes of the other processes came to."""
        if self.count > 1:
            report.take_passes(self.gather(report.passes))

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in each of them."""
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self.group)
        return values

    def share(self, tensor: Tensor) -> Tensor:
        """The first process's tensor, in each of them, on the CPU; of the others only shape and type matter."""
        shared = tensor.detach().cpu().contiguous()
        dist.broadcast(shared, src=0, group=self.group)
        return shared

    def tell(self, message: Any) -> None:
        """Hand `message` to the processes that follow, each of which must `hear` it."""
        if self.count > 1:
            dist.broadcast_object_list([message], src=0, group=self.group)

    def hear(self) -> Any:
        """The next message of the process that leads.

        Raises:
            ProcessLostError: it is gone, or has said nothing for too long.
        """
        box = [None]
        with naming_lost_processes():
            dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]


ALONE = Ranks()
"""One process, which needs no others."""


def deal_passes(
    trajectories: Sequence[Trajectory],
    units: list[list[int]],
    *,
    microbatch_tokens: int,
    num_ranks: int,
    packing: Way | None = None,
) -> list[list[Pass]]:
    """The passes of each process: as many for each, about as costly, and each unit counting once.

    Args:
        trajectories: all rows.
        units: rows that must stay together.
        microbatch_tokens: see `plan_microbatches`.
        num_ranks: processes.
        packing: see `plan_microbatches`.
    """
    if num_ranks == 1:
        plan = plan_microbatches(trajectories, units, microbatch_tokens=microbatch_tokens, packing=packing)
        return [[Pass(rows) for rows in plan]]

    shares = (
        _deal(trajectories, units, num_ranks) if packing is None else _deal_families(trajectories, units, num_ranks)
    )
    plans = [
        plan_microbatches(trajectories, share, microbatch_tokens=microbatch_tokens, packing=packing) for share in shares
    ]
    most = max(map(len, plans))
    if not most:
        return [[] for _ in plans]
    idle = Pass(min(units, key=partial(_num_padded, trajectories)), counts=False)
    return [[Pass(rows) for rows in plan] + [idle] * (most - len(plan)) for plan in plans]


def _deal(trajectories: Sequence[Trajectory], units: list[list[int]], num_ranks: int) -> list[list[list[int]]]:
    """The costliest first, each to the process with the least to do."""
    shares: list[list[list[int]]] = [[] for _ in range(num_ranks)]
    loads = [0] * num_ranks
    for unit in sorted(units, key=partial(_num_padded, trajectories), reverse=True):
        rank = loads.index(min(loads))
        shares[rank].append(unit)
        loads[rank] += _num_padded(trajectories, unit)
    return shares


def _num_padded(trajectories: Sequence[Trajectory], unit: list[int]) -> int:
    return sum(math.prod(num_input_tokens(trajectories[row])) for row in unit)


def _deal_families(trajectories: Sequence[Trajectory], units: list[list[int]], num_ranks: int) -> list[list[list[int]]]:
    """Units that begin with one prompt to one process, which computes it once; only who has its fair share already
    leaves the rest of them to the next. So at most `num_ranks - 1` are in two, and nobody has more than his share and
    one unit."""
    segments = [[segment for row in unit for segment in prompts_and_lengths(trajectories[row])] for unit in units]
    num_of = Counter(prompt for unit in segments for prompt, _ in unit)

    costs = [  # 4 bytes a token of a prompt, which those that begin with it share
        sum(length - len(prompt) / 4 * (1 - 1 / num_of[prompt]) for prompt, length in unit) for unit in segments
    ]
    families: dict[bytes, list[int]] = {}
    for index, unit in enumerate(segments):
        families.setdefault(unit[0][0], []).append(index)
    fair = sum(costs) / num_ranks
    shares: list[list[list[int]]] = [[] for _ in range(num_ranks)]
    loads = [0.0] * num_ranks
    for family in sorted(families.values(), key=lambda family: sum(costs[index] for index in family), reverse=True):
        rank = loads.index(min(loads))
        for index in sorted(family, key=costs.__getitem__, reverse=True):
            if loads[rank] >= fair:
                rank = loads.index(min(loads))
            shares[rank].append(units[index])
            loads[rank] += costs[index]
    return shares


@contextmanager
def joined(config: ParallelConfig, *, device: str = "auto") -> Iterator[Ranks]:
    """While the block runs, this process is one of those that its launcher started; `ALONE` where there are no others.

    Args:
        config: how long to wait.
        device: that the learner is to be on; of several GPUs each process takes the one of its number on its machine.

    Raises:
        ConfigError: the launcher's variables are incomplete, there are too few GPUs, or all are told to take the same.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not dist.is_initialized():
        yield ALONE
        return
    is_ours = not dist.is_initialized()
    if is_ours:
        missing = [name for name in _SET_BY_LAUNCHERS if name not in os.environ]
        if missing:
            raise ConfigError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} is not set, so the processes "
                "cannot meet. Start them with `torchrun` or `accelerate launch`, or unset WORLD_SIZE for one process."
            )
        if os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true"):
            raise ConfigError(
                "accelerate was told to use FSDP, so that transformers would load no weights in some processes; llmgym "
                "shards the model itself. Choose plain multi-GPU or multi-CPU: `accelerate launch --multi_gpu ...`."
            )
        on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
        if on_gpu:
            _take_gpu(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        group = dist.new_group(backend="gloo", timeout=timedelta(seconds=config.wait_s))
        yield Ranks(dist.get_rank(), dist.get_world_size(), group)
    finally:
        if is_ours:
            with suppress(RuntimeError):  # others may be gone already
                dist.destroy_process_group()


def _take_gpu(device: str) -> None:
    if ":" in device:
        raise ConfigError(
            f"model.device is {device!r}, but each process needs a GPU of its own. Write it without a number: the "
            "processes of a machine then take its GPUs one after the other."
        )
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= count:
        raise ConfigError(
            f"This is process {index} of its machine, which has {count} GPUs that torch can use. Start as many "
            'processes as there are GPUs (`--nproc-per-node`), or set model.device = "cpu".'
        )
    torch.cuda.set_device(index)


@contextmanager
def naming_lost_processes() -> Iterator[None]:
    """Says what a broken connection means.

    Raises:
        ProcessLostError: another process is gone, or does not answer.
    """
    try:
        yield
    except LLMGymError:
        raise
    except RuntimeError as error:  # torch has no type of its own for what gloo reports
        if not isinstance(error, dist.DistError) and not re.search(r"gloo|nccl|[Cc]onnection|Timed out", str(error)):
            raise
        raise ProcessLostError(
            "Another process of this learner is gone or does not answer, so no update can go on. What ended it stands "
            "in its own output. Start them all again; a run goes on from its newest checkpoint with `train --resume`. "
            f"The connection says: {' '.join(str(error).split())[:300]}"
        ) from error
