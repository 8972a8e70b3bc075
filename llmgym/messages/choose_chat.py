"""The chat form that fits a tokenizer."""

from collections.abc import Mapping
from typing import Any

from ..errors import TokenizerError
from .chat import Chat, RoleChat
from .template_chat import TemplateChat
from .tokenizer import RoleTokenizer, TemplateTokenizer, Tokenizer


def chat_for(
    tokenizer: Tokenizer, template_kwargs: Mapping[str, Any] | None = None, *, is_verbatim: bool = False
) -> Chat:
    """The chat form of a tokenizer: its template, or its role tokens.

    Args:
        tokenizer: of the policy.
        template_kwargs: passed to the template, e.g. `enable_thinking=False`.
        is_verbatim: calls are written in a form of llmgym's own, which no template knows.

    Raises:
        TokenizerError: it has neither.
    """
    if isinstance(tokenizer, TemplateTokenizer):
        return TemplateChat(tokenizer, template_kwargs, is_verbatim=is_verbatim)
    if isinstance(tokenizer, RoleTokenizer):
        return RoleChat(tokenizer)
    raise TokenizerError(
        f"{tokenizer!r} can neither apply a chat template nor open a message of a role. "
        "Give it a method header(role) that returns control-token ids, or use a transformers tokenizer."
    )
