"""Stored episodes once more, with today's environment and verifier: the policy's tokens stay, the rewards are new."""

from dataclasses import dataclass, replace
from enum import StrEnum

from ..episode import StopReason, TaskSource, TokenEnv, Trajectory
from ..episode.episode import Episode
from ..episode.token_env import noise_rng
from ..errors import InfrastructureError, InvalidAction, PromptTooLong, UnknownTaskError

_LEFT_OPEN = (StopReason.TIME_LIMIT, StopReason.ABORTED)
"""Endings that came from outside, so that the environment itself would have gone on."""


class Verdict(StrEnum):
    """What scoring a stored episode again came to."""

    SAME = "same"
    """The reward is the one stored."""
    CHANGED = "changed"
    """The reward differs, or the episode is valid now and was not, or the other way round."""
    MISMATCH = "mismatch"
    """The environment no longer plays as it did, so the stored turns say nothing about it."""
    UNKNOWN_TASK = "unknown task"
    """The split has no such task."""


@dataclass(frozen=True, eq=False)
class Rescored:
    """A stored episode and what it is worth now."""

    verdict: Verdict
    before: Trajectory
    after: Trajectory
    """The same tokens with the scores of now; `before` itself where there are none."""
    note: str = ""
    """What does not match, or what else there is to know."""


def rescore(env: TokenEnv, source: TaskSource, trajectory: Trajectory) -> Rescored:
    """Play a stored episode again, with the same task, seed and tokens, and take the scores that it gets now.

    An episode of several turns must come out with the very same ids: other prompts or answers of the environment mean
    that the policy would have acted otherwise. That of a single turn is judged by what the policy said, also where its
    prompt is written otherwise now.

    Args:
        env: the environment, in any view, with the tokenizer that the episode was played with.
        source: the tasks of its split.
        trajectory: the stored episode; its rewards play no part.
    """
    try:
        task = source.get(trajectory.task_key)
    except UnknownTaskError as error:
        return Rescored(Verdict.UNKNOWN_TASK, trajectory, trajectory, str(error))
    # A clock that stands still: how long the policy took then does not matter now.
    episode = Episode(env.message_env, env.episode.chat, env.episode.settings, clock=lambda: 0.0)
    notes = []
    try:
        episode.begin(task, noise_rng(trajectory.seed))
        for index, turn in enumerate(trajectory.turns):
            if episode.is_over:
                return _mismatch(trajectory, f"it now ends before turn {index + 1}, {episode.stop_reason}")
            ids = trajectory.segments[turn.segment_index].token_ids.tolist()
            if episode.ids != ids[: turn.start]:
                notes = [f"what the policy reads before turn {index + 1} has other ids now"]
                if len(trajectory.turns) > 1:
                    return _mismatch(trajectory, notes[0])
            if episode.feed(ids[turn.start : turn.stop]):
                episode.answer()
    except (InvalidAction, PromptTooLong) as error:
        return _mismatch(trajectory, str(error))
    except InfrastructureError as error:
        notes.append(str(error))
    if not episode.is_over and trajectory.stop_reason not in _LEFT_OPEN:
        return _mismatch(trajectory, f"it goes on after its last turn now; then it ended, {trajectory.stop_reason}")
    after = _with_scores(trajectory, episode)
    is_same = (after.reward, after.is_valid) == (trajectory.reward, trajectory.is_valid)
    return Rescored(Verdict.SAME if is_same else Verdict.CHANGED, trajectory, after, "; ".join(notes))


def _with_scores(before: Trajectory, episode: Episode) -> Trajectory:
    """The stored episode with the scores and the ending of the one just played."""
    now = episode.trajectory()
    scores = [turn.score for turn in now.turns] + [None] * (len(before.turns) - len(now.turns))
    after = replace(
        before,
        turns=tuple(replace(turn, score=score) for turn, score in zip(before.turns, scores, strict=True)),
        reward=now.reward,
        is_valid=now.is_valid,
    )
    if not episode.is_over:
        return after
    return replace(after, terminated=now.terminated, truncated=now.truncated, stop_reason=now.stop_reason)


def _mismatch(trajectory: Trajectory, note: str) -> Rescored:
    return Rescored(Verdict.MISMATCH, trajectory, trajectory, note)
