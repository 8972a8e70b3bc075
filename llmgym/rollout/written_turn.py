"""Turns of policies that speak in messages: what they write, as the tokens of an episode."""

from ..episode import TokenEnv
from ..errors import ConfigError
from ..messages import ToolCall
from ..sampling import SamplingParams, TextSession, WrittenTurn


async def write_turn(env: TokenEnv, session: TextSession, params: SamplingParams) -> bool:
    """Have the next turn written and feed it; True where it is closed, so that the environment must be asked.

    Its tokens are made of its text, so they have no log-probabilities. One that whoever wrote it cut short is kept,
    but neither read nor scored.
    """
    episode = env.episode
    turn = await session.write(episode.messages, [tool.schema for tool in episode.env.tools], params)
    text = _text(env, turn)
    if not turn.is_cut:
        return episode.feed(env.fitted_turn(text))
    ids = episode.encode(text)[: episode.room]
    if ids and episode.feed(ids):
        return True
    if not episode.is_over:
        episode.cut()
    return False


def _text(env: TokenEnv, turn: WrittenTurn) -> str:
    calls = [call if isinstance(call, str) else _written(env, call) for call in turn.tool_calls]
    return "\n".join(filter(None, [turn.text, *calls]))


def _written(env: TokenEnv, call: ToolCall) -> str:
    """A call in the environment's own form; one that has no words there, as a person would note it."""
    try:
        return env.episode.parser.write(call)
    except ConfigError:
        return f"{call.name}({dict(call.arguments)})"
