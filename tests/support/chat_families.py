"""Chat templates of the families people use, read from the packages that carry them, with tokenizers trained here."""

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import files
from typing import Any

from llmgym.messages import AssistantMessage, Message, ToolCall

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Finds pages.",
            "parameters": {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "description": "What to find."},
                    "limit": {"type": "integer"},
                },
                "required": ["text"],
            },
        },
    }
]


@dataclass(frozen=True)
class Family:
    """What is known of a family's template."""

    template: str
    """Its file in trl, or the template itself."""
    eos: str = "<|im_end|>"
    bos: str = "<bos>"
    controls: str = "<|im_start|> <|im_end|>"
    """Its control tokens, with spaces between them."""
    thinks: bool = False
    """The template reads reasoning apart from the content."""
    calls: int = 0
    """Calls that a turn may hold; 0 where the template writes none."""
    only_calls: bool = False
    """A turn that calls says nothing else."""
    least: str = ""
    """What an answer must say at least."""
    has_system: bool = True
    json_arguments: bool = False
    ends: str = ""
    """What ends an answer and a turn with calls, as the template writes it; by default `eos`."""

    @property
    def all_ends(self) -> set[str]:
        return set(self.ends.split() or [self.eos]) | {self.eos}


_QWEN = {"controls": "<|im_start|> <|im_end|> <|endoftext|>", "calls": 2}
_GEMMA = {"eos": "<eos>", "controls": "<start_of_turn> <end_of_turn>", "ends": "<end_of_turn>"}
_GEMMA4 = {
    "eos": "<eos>",
    "controls": "<|turn> <turn|> <|tool> <tool|> <|tool_call> <tool_call|> <|tool_response> <tool_response|> "
    '<|channel> <channel|> <|think|> <|"|>',
    "calls": 2,
    "thinks": True,
    "ends": "<turn|> <|tool_response>",
}
_LLAMA = {
    "eos": "<|eot_id|>",
    "bos": "<|begin_of_text|>",
    "controls": "<|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> <|python_tag|>",
}
_PHI = {"eos": "<|endoftext|>", "controls": "<|system|> <|user|> <|assistant|> <|end|>", "ends": "<|end|>"}
_DEEPSEEK_TOKENS = [
    "begin▁of▁sentence",
    "end▁of▁sentence",
    "User",
    "Assistant",
    "tool▁calls▁begin",
    "tool▁call▁begin",
    "tool▁sep",
    "tool▁call▁end",
    "tool▁calls▁end",
    "tool▁outputs▁begin",
    "tool▁output▁begin",
    "tool▁output▁end",
    "tool▁outputs▁end",
]
_BAR = "\uff5c"
_DEEPSEEK = {
    "eos": f"<{_BAR}end▁of▁sentence{_BAR}>",
    "bos": f"<{_BAR}begin▁of▁sentence{_BAR}>",
    "controls": " ".join(f"<{_BAR}{name}{_BAR}>" for name in _DEEPSEEK_TOKENS),
    "json_arguments": True,
}
_LFM = {
    "controls": "<|im_start|> <|im_end|> <|tool_list_start|> <|tool_list_end|> <|tool_call_start|> <|tool_call_end|> "
    "<|tool_response_start|> <|tool_response_end|>",
}
_COHERE = {
    "eos": "<|END_OF_TURN_TOKEN|>",
    "controls": "<|START_OF_TURN_TOKEN|> <|SYSTEM_TOKEN|> <|USER_TOKEN|> <|CHATBOT_TOKEN|> <|START_RESPONSE|> "
    "<|END_RESPONSE|>",
}
_NEMOTRON = {"calls": 2, "thinks": True}

_MISTRAL = {
    "eos": "</s>",
    "bos": "<s>",
    "controls": "[INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] "
    "[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [ARGS] [CALL_ID] [TOOL_CONTENT] [THINK] [/THINK]",
    "calls": 2,
    "least": "x",
}

FAMILIES = {
    "qwen2.5": Family("qwen2_5", **_QWEN),
    "qwen3": Family("qwen3", thinks=True, **_QWEN),
    "qwen3-2507": Family("qwen3_instruct_2507", **_QWEN),
    "qwen3.5": Family("qwen3_5_think", thinks=True, **_QWEN),
    "qwen3.5-nothink": Family("qwen3_5_nothink", thinks=True, **_QWEN),
    "qwen3.6": Family("qwen3_6", thinks=True, **_QWEN),
    "qwen3.8": Family("qwen3_8", thinks=True, **_QWEN),
    "llama3": Family("llama3", **_LLAMA),
    "llama3.1": Family("llama3_1", calls=1, only_calls=True, **_LLAMA),
    "llama3.2": Family("llama3_2", calls=1, only_calls=True, **_LLAMA),
    "gemma": Family("gemma", has_system=False, **_GEMMA),
    "gemma3": Family("gemma3", **_GEMMA),
    "gemma4": Family("gemma4_v5", **_GEMMA4),
    "phi3": Family("phi3", **_PHI),
    "phi3.5": Family("phi3_5", **_PHI),
    "deepseek-r1": Family("deepseek_r1_distill", **_DEEPSEEK),
    "deepseek-v3": Family("deepseekv3", calls=2, **_DEEPSEEK),
    "gpt-oss": Family(
        "gptoss",
        eos="<|return|>",
        controls="<|start|> <|message|> <|channel|> <|end|> <|return|> <|call|> <|constrain|>",
        calls=1,
        only_calls=True,
        thinks=True,
        ends="<|return|> <|call|>",
    ),
    "glm4.5": Family(
        "glm4moe",
        eos="<|endoftext|>",
        controls="<|system|> <|user|> <|assistant|> <|observation|> [gMASK] <sop>",
        calls=2,
        thinks=True,
        ends="<|user|> <|observation|>",
    ),
    "smolvlm": Family("smolvlm", eos="<end_of_utterance>", controls="<|im_start|> <image>"),
    "lfm2": Family("lfm2", **_LFM),
    "lfm2-v2": Family("lfm2_v2", calls=2, **_LFM),
    "lfm2.5": Family("lfm2_2_5_v2", calls=2, thinks=True, **_LFM),
    "nemotron3-nano": Family("nemotron_3_nano", **_NEMOTRON),
    "nemotron3-ultra": Family("nemotron_3_ultra", **_NEMOTRON),
    "cohere": Family("cohere", **_COHERE),
    "cohere2": Family("cohere2", **_COHERE),
    "mistral-v3": Family("mistral:v3", only_calls=True, **_MISTRAL),
    "mistral-v7": Family("mistral:v7", **_MISTRAL),
    "mistral-v11": Family("mistral:v11", **_MISTRAL),
    "mistral-v13": Family("mistral:v13", **_MISTRAL),
    "chatml": Family(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "llmgym": Family(
        "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] + '<end>' }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}",
        eos="<end>",
        controls="<system> <user> <assistant> <tool>",
    ),
}


@cache
def template_of(family: Family) -> str:
    if "{" in family.template:
        return family.template
    if family.template.startswith("mistral:"):
        return _mistral_template(family.template.removeprefix("mistral:"))
    name = f"trl/chat_templates/{family.template}.jinja"
    return next(file for file in files("trl") or () if str(file) == name).read_text()


def _mistral_template(version: str) -> str:
    from mistral_common.integrations.chat_templates.chat_templates import generate_chat_template
    from mistral_common.tokens.tokenizers.base import TokenizerVersion

    return generate_chat_template(
        spm=False,
        tokenizer_version=TokenizerVersion(version),
        image_support=False,
        audio_support=False,
        thinking_support=False,
        default_system_prompt=None,
        plain_thinking_support=False,
        use_special_token_variables=False,
        model_settings_fields=None,
        reasoning_effort_values=None,
        reasoning_effort_default=None,
    )


def backend_of(family: Family, trained_bpe: Any, borders: str = "words") -> Any:
    """A transformers tokenizer, trained on a few lines, with the family's template and control tokens."""
    controls = dict.fromkeys([*family.controls.split(), *family.ends.split(), family.eos, family.bos])
    backend = trained_bpe(template_of(family), borders, list(controls))
    backend.eos_token, backend.bos_token = family.eos, family.bos
    return backend


def holds_control_text(backend: Any, text: str) -> bool:
    return any(str(token) in text for token in backend.added_tokens_decoder.values() if token.special)


def mapping_of(message: Message, family: Family) -> dict[str, Any]:
    """The message as people give it to transformers."""
    given: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        given["name"] = message.name
    if message.tool_call_id:
        given["tool_call_id"] = message.tool_call_id
    if isinstance(message, AssistantMessage):
        if message.reasoning:
            given |= dict.fromkeys(("reasoning_content", "reasoning", "thinking"), message.reasoning)
        if message.tool_calls:
            given["tool_calls"] = [_call_mapping(call, family) for call in message.tool_calls]
    if family.template == "smolvlm":
        given["content"] = [{"type": "text", "text": message.content}]
    return given


def _call_mapping(call: ToolCall, family: Family) -> dict[str, Any]:
    arguments: Any = dict(call.arguments)
    if family.json_arguments:
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": arguments}}


def text_at_once(backend: Any, family: Family, messages: list[Message], **options: Any) -> str:
    """The conversation as transformers writes it."""
    return backend.apply_chat_template([mapping_of(m, family) for m in messages], tokenize=False, **options)


def ids_at_once(backend: Any, family: Family, messages: list[Message], **options: Any) -> list[int]:
    """The same in ids, which transformers makes too."""
    mappings = [mapping_of(message, family) for message in messages]
    return backend.apply_chat_template(mappings, tokenize=True, return_dict=False, **options)


def canonical_turn(
    tokenizer: Any, family: Family, before: list[Message], turn: AssistantMessage, **options: Any
) -> AssistantMessage | None:
    """`turn` as a policy samples it that writes just what the template writes.

    None where the template's turn does not follow its own prompt, so that no policy could.
    """
    backend = tokenizer.backend
    prompt = text_at_once(backend, family, before, **options)
    closed = text_at_once(backend, family, [*before, turn], **{**options, "add_generation_prompt": False})
    if not closed.startswith(prompt):
        return None
    end = (family.ends.split() or [family.eos])[-1 if turn.tool_calls else 0]
    said = closed[len(prompt) :].rpartition(end)[0] if end in closed[len(prompt) :] else closed[len(prompt) :]
    ids = backend(said, add_special_tokens=False)["input_ids"]
    return replace(turn, text=said, token_ids=(*ids, backend.convert_tokens_to_ids(end)))


def spoken_turn(tokenizer: Any, family: Family, text: str) -> AssistantMessage:
    """A turn that says `text`, in which there is nothing to be told apart."""
    end = tokenizer.backend.convert_tokens_to_ids((family.ends.split() or [family.eos])[0])
    return AssistantMessage(content=text, text=text, token_ids=(*tokenizer.encode(text), end))
