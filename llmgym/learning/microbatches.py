"""Which rows go through the model together."""

from collections.abc import Sequence

import torch

from ..episode import Trajectory
from .action_batch import ActionBatch
from .agent import Unit
from .model import num_input_tokens, prompts_and_lengths
from .packing import Filling, Way


def unsplittable_rows(batch: ActionBatch, unit: Unit) -> list[list[int]]:
    """Rows that must stay together: each pair, or each trajectory for itself. Rows without an action are left out."""
    has_actions = batch.mask_BA.any(dim=1).tolist() if batch.mask_BA.numel() else [False] * len(batch.mask_BA)
    if unit is not Unit.PAIR:
        return [[row] for row, has in enumerate(has_actions) if has]
    pairs: dict[int, list[int]] = {}
    for row, group in enumerate(batch.group_B.tolist()):
        pairs.setdefault(group, []).append(row)
    return [rows for rows in pairs.values() if any(has_actions[row] for row in rows)]


def split_minibatches(units: list[list[int]], count: int, generator: torch.Generator) -> list[list[list[int]]]:
    """`count` parts of nearly the same size, drawn by `generator`; one part keeps the order and draws nothing."""
    if count == 1:
        return [units] if units else []
    order = torch.randperm(len(units), generator=generator).tolist()
    parts = [[units[index] for index in order[start::count]] for start in range(count)]
    return [part for part in parts if part]


def plan_microbatches(
    trajectories: Sequence[Trajectory], units: list[list[int]], *, microbatch_tokens: int, packing: Way | None = None
) -> list[list[int]]:
    """Rows of each forward pass: similar lengths together, each padded table within the budget.

    A unit that exceeds the budget alone has a pass of its own. Where the model packs segments, those that begin with
    one prompt are together, and what counts are the positions that are left of the table.

    Args:
        trajectories: all rows.
        units: rows that must stay together.
        microbatch_tokens: at most so many positions of a right-padded table of segments.
        packing: how the model computes a prompt that several segments begin with once, and no padding, if it does.
    """
    if packing is not None:
        return _plan_packed(trajectories, units, microbatch_tokens, packing)
    costs = {row: num_input_tokens(trajectories[row]) for unit in units for row in unit}
    longest_first = sorted(units, key=lambda unit: -max(costs[row][1] for row in unit))
    microbatches: list[list[int]] = []
    num_segments = width = 0
    for unit in longest_first:
        unit_segments = sum(costs[row][0] for row in unit)
        unit_width = max(costs[row][1] for row in unit)
        fits = (num_segments + unit_segments) * max(width, unit_width) <= microbatch_tokens
        if microbatches and fits:
            microbatches[-1].extend(unit)
            num_segments, width = num_segments + unit_segments, max(width, unit_width)
        else:
            microbatches.append(list(unit))
            num_segments, width = unit_segments, unit_width
    return microbatches


def _plan_packed(
    trajectories: Sequence[Trajectory], units: list[list[int]], budget: int, packing: Way
) -> list[list[int]]:
    segments = {row: prompts_and_lengths(trajectories[row]) for unit in units for row in unit}
    families: dict[bytes, list[list[int]]] = {}
    for unit in units:
        first = next(segment for row in unit for segment in segments[row])
        families.setdefault(first[0], []).append(unit)

    def longest(unit: list[int]) -> int:
        return max(length for row in unit for _, length in segments[row])

    microbatches: list[list[int]] = []
    filling = Filling(budget, packing)
    for family in sorted(families.values(), key=lambda family: -max(map(longest, family))):
        for unit in sorted(family, key=longest, reverse=True):
            added = [segment for row in unit for segment in segments[row]]
            if not microbatches or not filling.take(added):
                microbatches.append([])
                filling = Filling(budget, packing)
                filling.take(added)
            microbatches[-1].extend(unit)
    return microbatches
