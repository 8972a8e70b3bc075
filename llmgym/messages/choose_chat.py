"""The chat form that fits a tokenizer."""

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, TokenizerError
from .chat import Chat, RoleChat
from .renderers_chat import RenderersChat
from .template_chat import TemplateChat
from .tokenizer import RoleTokenizer, TemplateTokenizer, Tokenizer


def chat_for(
    tokenizer: Tokenizer,
    template_kwargs: Mapping[str, Any] | None = None,
    *,
    form: str = "template",
    is_verbatim: bool = False,
) -> Chat:
    """The chat form of a tokenizer: its template, or its role tokens; or a renderer in place of the template.

    Args:
        tokenizer: of the policy.
        template_kwargs: passed to the template, e.g. `enable_thinking=False`.
        form: "template", or "renderers:NAME" for a renderer of the package `renderers`, e.g. "renderers:qwen3".
        is_verbatim: calls are written in a form of llmgym's own, which no template knows.

    Raises:
        ConfigError: there is no such form.
        TokenizerError: the tokenizer cannot write messages.
        MissingExtraError: the package `renderers` is asked for and not installed.
    """
    package, _, name = form.partition(":")
    if form != "template" and (package != "renderers" or not name):
        raise ConfigError(f"chat is {form!r}, but it must be 'template' or 'renderers:NAME', e.g. 'renderers:qwen3'.")
    if name and not isinstance(tokenizer, TemplateTokenizer):
        raise TokenizerError(f"{tokenizer!r} has no control tokens that a renderer could use. Use chat='template'.")
    if name and isinstance(tokenizer, TemplateTokenizer):
        return RenderersChat(tokenizer, name, template_kwargs)
    if isinstance(tokenizer, TemplateTokenizer):
        return TemplateChat(tokenizer, template_kwargs, is_verbatim=is_verbatim)
    if isinstance(tokenizer, RoleTokenizer):
        return RoleChat(tokenizer)
    raise TokenizerError(
        f"{tokenizer!r} can neither apply a chat template nor open a message of a role. "
        "Give it a method header(role) that returns control-token ids, or use a transformers tokenizer."
    )
