"""What tests of errors share."""

import pytest

from llmgym.errors import LLMGymError


def complaint(error, builtin, call):
    """The message of the error that `call` raises, which is llmgym's own and the builtin that a caller expects."""
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, LLMGymError)
    assert isinstance(caught.value, builtin)
    return str(caught.value)


def assert_says(message, *words):
    assert [word for word in words if word not in message] == [], message
