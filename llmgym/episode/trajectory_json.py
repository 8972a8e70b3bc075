"""Trajectories as plain JSON values, and back without loss."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ..errors import DataError
from ..messages import AssistantMessage, MalformedCall, ToolCall
from ..sampling import KeptTokens, SamplingParams
from ..scoring import Score
from .limits import StopReason
from .trajectory import Role, Segment, Trajectory, TurnRecord

_PLAIN = ("reward", "terminated", "truncated", "is_valid", "env_id", "task_key", "seed", "group_id", "sample_index")
_ARRAYS: Mapping[str, type] = {
    "token_ids": np.int32,
    "action_mask": np.bool_,
    "sampling_logprobs": np.float32,
    "weight_version": np.int32,
}


def trajectory_to_json(trajectory: Trajectory) -> dict[str, Any]:
    """The trajectory as a mapping that `json.dumps` takes, where its metadata is plain."""
    return {
        **{name: getattr(trajectory, name) for name in _PLAIN},
        "stop_reason": str(trajectory.stop_reason),
        "role": str(trajectory.role),
        "parent": trajectory.parent,
        "sampling": asdict(trajectory.sampling) if trajectory.sampling is not None else None,
        "metadata": dict(trajectory.metadata),
        "turns": [_turn_to_json(turn) for turn in trajectory.turns],
        "segments": [_segment_to_json(segment) for segment in trajectory.segments],
    }


def trajectory_from_json(values: Mapping[str, Any]) -> Trajectory:
    """The trajectory that `trajectory_to_json` gave.

    Raises:
        DataError: a value is missing or is not what it should be.
    """
    try:
        sampling = values["sampling"]
        return Trajectory(
            **{name: values[name] for name in _PLAIN},
            stop_reason=StopReason(values["stop_reason"]),
            role=Role(values["role"]),
            parent=tuple(values["parent"]) if values["parent"] is not None else None,
            sampling=SamplingParams(**_with_tuples(sampling)) if sampling is not None else None,
            metadata=values["metadata"],
            turns=tuple(_turn_from_json(turn) for turn in values["turns"]),
            segments=tuple(_segment_from_json(segment) for segment in values["segments"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"This is not a trajectory: {type(error).__name__} {error}. Pass what trajectory_to_json gave."
        ) from error


def _segment_to_json(segment: Segment) -> dict[str, Any]:
    arrays = {name: getattr(segment, name) for name in _ARRAYS}
    kept = segment.kept_tokens
    return {
        # 0 and 1 take a third of the room of false and true.
        **{
            name: (array.astype(int) if name == "action_mask" else array).tolist()
            for name, array in arrays.items()
            if array is not None
        },
        **({"kept_tokens": {"token_ids": kept.token_ids.tolist(), "offsets": kept.offsets.tolist()}} if kept else {}),
    }


def _segment_from_json(values: Mapping[str, Any]) -> Segment:
    kept = values.get("kept_tokens")
    return Segment(
        **{name: np.array(values[name], dtype=kind) for name, kind in _ARRAYS.items() if name in values},
        kept_tokens=KeptTokens(
            token_ids=np.array(kept["token_ids"], dtype=np.int32), offsets=np.array(kept["offsets"], dtype=np.int64)
        )
        if kept
        else None,
    )


def _turn_to_json(turn: TurnRecord) -> dict[str, Any]:
    message = turn.message
    return {
        "segment_index": turn.segment_index,
        "start": turn.start,
        "stop": turn.stop,
        "seconds": turn.seconds,
        "num_tool_errors": turn.num_tool_errors,
        "score": turn.score.to_json() if turn.score is not None else None,
        "content": message.content,
        **({"text": message.text} if message.text != message.content else {}),  # most often they are the same
        **({"reasoning": message.reasoning} if message.reasoning else {}),
        "tool_calls": [{"name": c.name, "arguments": dict(c.arguments), "id": c.id} for c in message.tool_calls],
        "malformed_calls": [{"text": call.text, "problem": call.problem} for call in message.malformed_calls],
        "token_ids": list(message.token_ids),
    }


def _turn_from_json(values: Mapping[str, Any]) -> TurnRecord:
    return TurnRecord(
        segment_index=values["segment_index"],
        start=values["start"],
        stop=values["stop"],
        seconds=values["seconds"],
        num_tool_errors=values.get("num_tool_errors", 0),  # files of before have none
        score=Score(**values["score"]) if values["score"] is not None else None,
        message=AssistantMessage(
            content=values["content"],
            text=values.get("text", values["content"]),
            reasoning=values.get("reasoning", ""),
            tool_calls=tuple(ToolCall(**call) for call in values["tool_calls"]),
            malformed_calls=tuple(MalformedCall(**call) for call in values["malformed_calls"]),
            token_ids=tuple(values["token_ids"]),
        ),
    )


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
