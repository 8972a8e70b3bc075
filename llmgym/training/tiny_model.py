"""A language model and a tokenizer small enough to learn on a laptop's CPU, made from nothing."""

import string
from dataclasses import dataclass, fields

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ..errors import ConfigError

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] + '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class TinyModelConfig:
    """Size of a Llama-shaped model with a tied head."""

    hidden_size: int = 64
    """Width of the residual stream."""
    num_layers: int = 2
    """Transformer blocks."""
    num_heads: int = 4
    """Attention heads."""
    head_size: int = 32
    """Width of each head; 32 is the least that vLLM's attention on a CPU takes."""
    intermediate_size: int = 168
    """Width of the feed-forward layers."""
    context_tokens: int = 512
    """Longest sequence."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ConfigError(f"model.tiny.{field.name} is {getattr(self, field.name)}, but it must be at least 1.")
        if self.head_size % 2 or self.hidden_size % self.num_heads:
            raise ConfigError(
                f"model.tiny has head_size {self.head_size}, hidden_size {self.hidden_size} and num_heads "
                f"{self.num_heads}, but head_size must be even and hidden_size a multiple of num_heads."
            )


def build_character_tokenizer(tags: tuple[str, ...] = ("<call>", "</call>")) -> PreTrainedTokenizerFast:
    """One token a printable ASCII character; each role, the end of a turn and each tag is one token too.

    Args:
        tags: texts that are one token, without being control tokens: whoever writes them writes that token.
    """
    control = ["<pad>", "<end>", "<unk>", "<system>", "<user>", "<assistant>", "<tool>"]
    characters = [c for c in string.printable if c == "\n" or c.isprintable()]
    vocabulary = {token: index for index, token in enumerate([*control, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unk>",
        extra_special_tokens=["<system>", "<user>", "<assistant>", "<tool>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def build_tiny_model(config: TinyModelConfig, tokenizer: PreTrainedTokenizerFast, *, seed: int) -> LlamaForCausalLM:
    """A randomly initialised model for `tokenizer`; `seed` decides its weights and touches no global stream."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(  # type: ignore[no-untyped-call]  # since which version it is typed, differs
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                num_key_value_heads=config.num_heads,
                head_dim=config.head_size,
                max_position_embeddings=config.context_tokens,
                tie_word_embeddings=True,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                bos_token_id=None,
            )
        )
