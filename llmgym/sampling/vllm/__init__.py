"""vLLM as a sampler; vLLM itself runs in a process of its own."""
