"""Whether sampler and learner mean the same policy: their log-probabilities of the same tokens, compared."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import LearnerError
from .action_batch import ActionBatch
from .agent import ModelOutputs
from .masking import masked_mean
from .model import Policy


@torch.no_grad()
def compare_logprobs(learner_BA: Tensor, sampling_BA: Tensor, mask_BA: Tensor) -> dict[str, float]:
    """How far the learner's log-probabilities are from the sampler's; all 0, with ratio 1, where they agree.

    Returns:
        sampler_kl: k3 estimate of KL(sampler || learner), in nats a token.
        sampler_ratio_mean, sampler_ratio_max: of learner probability / sampling probability.
        mean_logprob_gap, max_logprob_gap: of |log-probability difference|, in nats.
    """
    if not bool(mask_BA.any()):
        return {}
    log_ratio_BA = torch.where(mask_BA, learner_BA - sampling_BA, 0.0).double()
    return {
        "sampler_kl": float(masked_mean(torch.expm1(log_ratio_BA) - log_ratio_BA, mask_BA)),
        "sampler_ratio_mean": float(masked_mean(log_ratio_BA.exp(), mask_BA)),
        "sampler_ratio_max": float(log_ratio_BA[mask_BA].exp().max()),
        "mean_logprob_gap": float(masked_mean(log_ratio_BA.abs(), mask_BA)),
        "max_logprob_gap": float(log_ratio_BA.abs().max()),
    }


def require_agreement(agreement: dict[str, float], *, max_mean_gap: float, version: int = 0) -> None:
    """Refuse to learn where sampler and learner are different policies.

    Args:
        agreement: what `compare_logprobs` gives for tokens that the present weights sampled.
        max_mean_gap: that is allowed, in nats a token.
        version: of the weights; above 0 they were sent to the sampler after an update.

    Raises:
        LearnerError: the mean gap is larger, or is not a number.
    """
    gap = agreement.get("mean_logprob_gap", 0.0)
    if gap <= max_mean_gap:
        return
    when, causes = "Before any update", _CAUSES_AT_FIRST
    if version > 0:
        when, causes = f"After the weights of version {version} were sent to the sampler", _CAUSES_AFTER_SENDING
    raise LearnerError(
        f"{when}, sampler and learner disagree about the sampled tokens by {gap:.3g} nats a token on average (at most "
        f"{agreement['max_logprob_gap']:.3g}); {max_mean_gap:g} is allowed. They are not the same policy, so the "
        f"update would be wrong. Usual causes: {causes}. Raise max_sampling_gap if the gap is known and meant."
    )


_CAUSES_AT_FIRST = (
    "the sampler runs other weights than the learner; it samples at a temperature other than the agent's; it reports "
    "log-probabilities before temperature; the tokens were rendered again with another chat template"
)
_CAUSES_AFTER_SENDING = (
    "the weights did not get into the sampler, or not all of them, such as an output head that is tied to the "
    "embedding; the sampler goes on from a prefix cache that the old weights filled; the weights were converted on "
    "their way"
)


class AgreementCheck:
    """Asks for agreement at the first update of a run, and at the first ten with new weights that were sent since.

    An error in how weights are sent does not show before; and after one small update, old weights hardly differ.

    Where what is learned from is older than the weights, as in training that is not synchronous, `look_back` asks the
    weights that sampled it.

    Args:
        max_mean_gap: that is allowed, in nats a token; of new weights, where both are float32, a fiftieth of it.
        dtype: of the learner's weights.
    """

    def __init__(self, max_mean_gap: float, dtype: torch.dtype) -> None:
        self._max_mean_gap, self._dtype = max_mean_gap, dtype
        self.sampler_dtype: str | None = None
        """Of the weights that the sampler runs, such as "bfloat16"; None: not known."""
        self.num_moves = 0
        """Optimizer steps that changed the policy. Where none came since the last look, nobody can tell old weights in
        the sampler from new ones, so a look is none of the ten."""
        self._num_looks_left = self._num_copies_left = _NUM_LOOKS
        self._num_moves_seen, self._num_moves_copied = 0, -1
        self.looks_back = False
        """Whether to keep weights for a look back, ten times."""
        self._past: _PastWeights | None = None

    def require(self, batch: ActionBatch, learner_BA: Tensor, *, is_first_update: bool, version: int | None) -> None:
        """Look at the tokens that were sampled with exactly the present weights; where there are none, next time.

        Args:
            batch: with the sampler's log-probabilities.
            learner_BA: the learner's.
            is_first_update: nothing was learned yet.
            version: of the present weights; None: nobody counts.

        Raises:
            LearnerError: they disagree.
        """
        if not is_first_update and (version is None or self._num_looks_left == 0):
            return
        now_BA = batch.sampled_with(version)
        agreement = compare_logprobs(learner_BA, batch.required("sampling_logprobs_BA"), now_BA)
        if is_first_update:
            require_agreement(agreement, max_mean_gap=self._max_mean_gap)
        elif agreement and version is not None:
            self._num_looks_left -= self.num_moves > self._num_moves_seen
            self._num_moves_seen = self.num_moves
            require_agreement(agreement, max_mean_gap=self._explained_gap, version=version)

    def look_back(
        self, policy: Policy, batch: ActionBatch, version: int | None, evaluate: Callable[[], ModelOutputs]
    ) -> None:
        """Look at the tokens that were sampled with the weights that were kept; keep the present ones in their place.

        They are kept until tokens of theirs come, or only newer ones. Costs a forward pass, and copies of the trained
        weights in main memory: one, and a second one during the pass. Not done where nobody knows what sampled which
        token, nor where several processes have a part of the weights each.

        Args:
            policy: that learns.
            batch: of the update that follows.
            version: of the present weights.
            evaluate: what the policy, with the weights that are in it then, says of `batch`.

        Raises:
            LearnerError: the sampler disagrees with the weights that it says it used.
        """
        sampling_BA, versions_BA = batch.sampling_logprobs_BA, batch.weight_version_BA
        if not self.looks_back or version is None or sampling_BA is None or versions_BA is None:
            return
        past = self._past
        is_kept = self._num_copies_left > 0 and self.num_moves > self._num_moves_copied
        if past is None and (not is_kept or _is_in_parts(policy.module)):
            return
        if past is not None and bool((versions_BA[batch.mask_BA] < past.version).all()):
            return  # theirs are still to come
        present = _PastWeights(policy.module, version)
        if past is not None and bool((then_BA := batch.sampled_with(past.version)).any()):
            past.write_into(policy.module)
            try:
                learner_BA = evaluate().logprobs_BA.to(then_BA.device)
            finally:
                present.write_into(policy.module)
            agreement = compare_logprobs(learner_BA, sampling_BA, then_BA)
            require_agreement(agreement, max_mean_gap=self._explained_gap, version=past.version)
        self._past = present if is_kept else None
        if is_kept:
            self._num_copies_left, self._num_moves_copied = self._num_copies_left - 1, self.num_moves

    @property
    def _explained_gap(self) -> float:
        """The mean gap that rounding can explain: 0.01 to 0.02 in bfloat16, and in float32 below 0.00001 on a CPU."""
        is_float32 = self._dtype == torch.float32 and self.sampler_dtype == "float32"
        return self._max_mean_gap * (_SHARE_IN_FLOAT32 if is_float32 else 1.0)


class _PastWeights:
    """A copy of the weights that learn, in main memory."""

    def __init__(self, module: nn.Module, version: int) -> None:
        self.version = version
        self._weights = [each.detach().to("cpu", copy=True) for each in _trained(module)]

    @torch.no_grad()
    def write_into(self, module: nn.Module) -> None:
        """`module` has these weights from here on."""
        for parameter, weight in zip(_trained(module), self._weights, strict=True):
            parameter.copy_(weight)


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [each for each in module.parameters() if each.requires_grad]


def _is_in_parts(module: nn.Module) -> bool:
    return any(hasattr(each, "full_tensor") for each in module.parameters())


_NUM_LOOKS = 10
"""At updates with weights that were sent. Later a gap may have grown for other reasons, and is a metric."""
_SHARE_IN_FLOAT32 = 0.02
"""Of the gap that is allowed. Not less: a GPU may multiply float32 matrices with fewer bits, which costs two digits."""
