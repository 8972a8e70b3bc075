"""Every error that llmgym raises on purpose, as one tree.

    LLMGymError
    ├── ConfigError                (ValueError)         a setting is misspelt, missing or out of range
    │   └── PromptTooLong                               the first prompt leaves no room for an answer
    ├── RegistrationError          (ValueError)         a name is taken by something else
    ├── UnknownNameError           (LookupError)        nothing is registered under this name
    │   ├── UnknownAgentError
    │   ├── UnknownSamplerError
    │   ├── UnknownSandboxError
    │   ├── UnknownTrackerError
    │   └── UnknownTaskError                            no task of the split has this key
    ├── MissingExtraError          (ImportError)        an optional dependency is not installed
    ├── DataError                  (ValueError)         a row of a data set cannot be used: file and line
    │   └── DataNotFoundError      (FileNotFoundError)
    ├── TokenizerError             (ValueError)         the tokenizer lacks what an episode needs
    ├── ShapeError                 (ValueError)         arrays that must agree do not
    ├── OutputFolderError          (FileExistsError)    a folder to write to holds something already
    ├── CheckpointError            (ValueError)         a checkpoint is damaged or of another run
    ├── DiskFullError              (OSError)            no space is left where something is to be written
    ├── ResetNeeded                (RuntimeError)       a step after the end, or before the first reset
    ├── InvalidAction              (ValueError)         an action outside the action space
    ├── LearnerError               (RuntimeError)       an update cannot go on: it would train on wrong numbers
    │   ├── DivergenceError                             gradients explode, or are not finite
    │   └── ProcessLostError                            another process of the learner is gone
    ├── CheckError                 (AssertionError)     check_env or check_agent found a broken promise
    └── InfrastructureError        (RuntimeError)       our machinery failed; this is never a reward
        ├── VerifierError
        ├── SandboxError
        ├── ToolFailure                                 a tool's own server failed
        ├── EnvironmentFailure                          a MessageEnv raised something unforeseen
        └── SamplerError

Wrong answers, crashed candidates and policy mistakes are results, not errors.
"""


class LLMGymError(Exception):
    """Base of every error that llmgym raises on purpose."""


class ConfigError(LLMGymError, ValueError):
    """A setting is misspelt, missing, of the wrong type or out of range."""


class PromptTooLong(ConfigError):
    """The first prompt leaves no room for an answer within the limits."""


class RegistrationError(LLMGymError, ValueError):
    """A name is already taken by something else."""


class UnknownNameError(LLMGymError, LookupError):
    """Nothing is registered under this name."""


class UnknownAgentError(UnknownNameError):
    """No learning agent is registered under this name."""


class UnknownSamplerError(UnknownNameError):
    """No sampler is registered under this name."""


class UnknownSandboxError(UnknownNameError):
    """No sandbox is registered under this name."""


class UnknownTrackerError(UnknownNameError):
    """No tracker is registered under this name."""


class UnknownTaskError(UnknownNameError):
    """No task of the split has this key."""


class MissingExtraError(LLMGymError, ImportError):
    """An optional dependency is not installed."""


class DataError(LLMGymError, ValueError):
    """A row of a data set cannot be used; the message names file and line."""


class DataNotFoundError(DataError, FileNotFoundError):
    """A data set is not where it was said to be."""


class TokenizerError(LLMGymError, ValueError):
    """The tokenizer lacks what an episode needs, such as an end token."""


class ShapeError(LLMGymError, ValueError):
    """Arrays that must agree in shape do not."""


class OutputFolderError(LLMGymError, FileExistsError):
    """A folder to write to holds something already; nothing was overwritten."""


class CheckpointError(LLMGymError, ValueError):
    """A checkpoint is damaged, incomplete or of another run."""


class DiskFullError(LLMGymError, OSError):
    """No space is left where something is to be written."""


class ResetNeeded(LLMGymError, RuntimeError):
    """The episode is over, or was never begun: call `reset` first."""


class InvalidAction(LLMGymError, ValueError):
    """The action is outside the action space."""


class LearnerError(LLMGymError, RuntimeError):
    """An update cannot go on: gradients are not finite, or sampler and learner disagree about the policy."""


class DivergenceError(LearnerError):
    """Training destroys the policy: its gradients explode, or are not finite any more."""


class ProcessLostError(LearnerError):
    """Another process of the learner is gone, or does not answer."""


class CheckError(LLMGymError, AssertionError):
    """A conformance check found a broken promise."""


class InfrastructureError(LLMGymError, RuntimeError):
    """Our own machinery failed. Never a reward: the episode is retried or left out."""


class VerifierError(InfrastructureError):
    """The verifier failed; this says nothing about the answer."""


class SandboxError(InfrastructureError):
    """The sandbox failed; this says nothing about the code in it."""


class ToolFailure(InfrastructureError):
    """A tool's own server failed; this says nothing about the policy's call."""


class EnvironmentFailure(InfrastructureError):
    """A `MessageEnv` raised an error of its own while answering the policy."""


class SamplerError(InfrastructureError):
    """The sampler failed to produce tokens."""
