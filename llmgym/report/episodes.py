"""Episodes in the compact form that the report's page reads."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..episode import Trajectory, TurnRecord
from ..rollout import load_trajectories
from .data import RunData
from .token_texts import TokenTexts

HELD_OUT_BYTES = 2_500_000
"""Room for held-out episodes in a page."""
BATCH_BYTES = 2_000_000
"""Room for those of stored training batches."""


@dataclass
class Embedded:
    """Episodes of all kinds, with the texts of their tokens."""

    texts: TokenTexts
    sources: list[dict[str, Any]] = field(default_factory=list)
    """Where episodes are from: name, whether held-out, how many there are and how many of them are here."""
    episodes: list[dict[str, Any]] = field(default_factory=list)

    def add(self, run: RunData, trajectories: Iterable[Trajectory], *, room: int, total: int, **source: Any) -> int:
        """Add a source with the first of its `total` episodes that `room` bytes hold; returns the bytes used."""
        used = kept = 0
        for trajectory in trajectories:
            episode = embed(trajectory, self.texts, is_success=run.is_success(trajectory))
            size = len(json.dumps(episode, separators=(",", ":")))
            if used + size > room:
                break  # the rest is not even read: batches can be large
            self.episodes.append({"source": len(self.sources), **episode})
            used, kept = used + size, kept + 1
        self.sources.append({**source, "total": total, "kept": kept})
        return used


def embed_run(run: RunData, *, held_out_bytes: int = HELD_OUT_BYTES, batch_bytes: int = BATCH_BYTES) -> Embedded:
    """The first episodes of each evaluation and stored batch; the room is shared out evenly."""
    embedded = Embedded(TokenTexts(run.tokenizer))
    evaluations = list(run.evaluations())
    for index, (when, decoding, evaluation) in enumerate(evaluations):
        held_out_bytes -= embedded.add(
            run,
            evaluation.trajectories,
            room=held_out_bytes // (len(evaluations) - index),
            total=len(evaluation.trajectories),
            name=f"held-out {when}, {decoding}",
            is_held_out=True,
        )
    batches = run.batches()
    num_episodes = {row["step"]: row.get("num_episodes", 0) for row in run.rows("train")}
    for index, (step, path) in enumerate(batches):
        batch_bytes -= embedded.add(
            run,
            load_trajectories(path),
            room=batch_bytes // (len(batches) - index),
            total=num_episodes.get(step, 0),
            name=f"training, step {step}",
            is_held_out=False,
        )
    return embedded


def embed(trajectory: Trajectory, texts: TokenTexts, *, is_success: bool) -> dict[str, Any]:
    """One episode as plain JSON values. Log-probabilities and advantages are those of action tokens, in order."""
    return {
        "reward": trajectory.reward,
        "outcome": "invalid" if not trajectory.is_valid else "success" if is_success else "failure",
        "stop": str(trajectory.stop_reason),
        "env": str(trajectory.metadata.get("env", trajectory.env_id)),
        "task": trajectory.task_key,
        "group": trajectory.group_id,
        "sample": trajectory.sample_index,
        "segments": [_segment(segment.token_ids, segment.action_mask, texts) for segment in trajectory.segments],
        "logprobs": _logprobs(trajectory),
        "advantages": _advantages(trajectory.metadata.get("advantages")),
        "versions": _versions(trajectory),
        "turns": [_turn(turn) for turn in trajectory.turns],
    }


def _segment(token_ids: np.ndarray, action_mask: np.ndarray, texts: TokenTexts) -> dict[str, Any]:
    """Ids; positions where policy and world change places, the world being first; texts that differ in place."""
    ids = token_ids.tolist()
    for token in ids:
        texts[token]
    borders = np.flatnonzero(np.diff(action_mask, prepend=False)).tolist()
    joined = texts.joined(ids)
    return {"ids": ids, "borders": borders, **({"texts": joined} if joined else {})}


def _logprobs(trajectory: Trajectory) -> list[float] | None:
    values: list[float] = []
    for segment in trajectory.segments:
        if segment.num_actions and segment.sampling_logprobs is None:
            return None
        if segment.sampling_logprobs is not None:
            values += segment.sampling_logprobs[segment.action_mask].tolist()
    return [round(value, 3) for value in values]


def _versions(trajectory: Trajectory) -> list[int] | None:
    """The oldest and the newest weights that sampled its tokens, by the number of updates before them."""
    known = [s.weight_version[s.action_mask] for s in trajectory.segments if s.weight_version is not None]
    versions = np.concatenate(known) if known else np.array([])
    return [int(versions.min()), int(versions.max())] if len(versions) else None


def _advantages(values: Sequence[float] | None) -> list[float] | float | None:
    """One number where all tokens have the same, as with a group's baseline."""
    if not values:
        return None
    rounded = [round(value, 4) for value in values]
    return rounded[0] if len(set(rounded)) == 1 else rounded


def _turn(turn: TurnRecord) -> dict[str, Any]:
    message, score = turn.message, turn.score
    calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in message.tool_calls]
    malformed = [{"text": call.text, "problem": call.problem} for call in message.malformed_calls]
    return {
        "segment": turn.segment_index,
        "start": turn.start,
        **({"calls": calls} if calls else {}),
        **({"malformed": malformed} if malformed else {}),
        **({"score": score.to_json()} if score is not None else {}),
    }
