"""vLLM as a sampler; vLLM itself runs in a process of its own."""

from .sampler import VLLMSampler
from .settings import VLLMSettings

__all__ = ["VLLMSampler", "VLLMSettings"]
