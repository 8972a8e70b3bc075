"""What llmgym adds to vLLM's worker. It is imported there, by name."""

from typing import Any


class WorkerExtension:
    """Mixed into the worker class; its methods are called by `collective_rpc`."""

    model_runner: Any

    def mask_padding(self, num_tokens: int) -> None:
        """From now on no id from `num_tokens` on can be sampled: a vocabulary is often padded beyond its tokens.

        A mask in each request would be as long as the vocabulary, and would travel with it.
        """
        model = self.model_runner.model
        compute_logits = model.compute_logits

        def masked_logits(*args: Any, **kwargs: Any) -> Any:
            logits = compute_logits(*args, **kwargs)
            if logits is not None:  # only the first of several ranks has them
                logits[..., num_tokens:] = float("-inf")
            return logits

        model.compute_logits = masked_logits
