"""The command `llmgym`: the words of the Python interface, on the command line."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import gymnasium as gym

from .. import __version__
from ..errors import CheckError, InfrastructureError, LLMGymError
from .check import add_check
from .compare import add_compare
from .eval import add_eval
from .listing import add_agents, add_envs
from .play import add_play
from .rescore import add_rescore
from .shared import ASKED_WRONGLY, FOUND, INTERRUPTED, OUR_FAILURE
from .show import add_show
from .train import add_train

_EPILOG = """\
begin with:
  llmgym train demo
  llmgym COMMAND --help

exit codes:
  0    done
  1    something was found: a check failed, a stored reward differs; or whoever read the output left
  2    what was asked for is wrong, or cannot be done here
  3    the environment, its verifier or the sampler failed
  130  interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parsed(arguments)
    if "HF_HUB_VERBOSITY" not in os.environ:
        logging.getLogger("huggingface_hub.utils._http").addFilter(_is_news)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except CheckError as error:
        print(error, file=sys.stderr)
        return FOUND
    except InfrastructureError as error:
        print(f"llmgym: {error}", file=sys.stderr)
        return OUR_FAILURE
    except (LLMGymError, gym.error.Error) as error:
        print(f"llmgym: {error}", file=sys.stderr)
        return ASKED_WRONGLY
    except KeyboardInterrupt:
        print("llmgym: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # as in `llmgym envs | head -1`; the interpreter flushes once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FOUND  # as Rich does
    return code


def _is_news(record: logging.LogRecord) -> bool:
    """False of single attempts to reach the hub that failed: where the last one does too, our error says so."""
    return not any(told in record.getMessage() for told in ("thrown while requesting", "Retrying in"))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """As `parse_args`, which gives up on `train demo --seed 1 steps=20`: overrides that come after an option."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    wrong = [argument for argument in rest if argument.startswith("-") or "overrides" not in options]
    if wrong:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    if rest:
        options.overrides += rest
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llmgym",
        description="Gymnasium environments for language-model agents, and the agents that learn in them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llmgym {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (add_envs, add_agents, add_check, add_play, add_train, add_eval, add_compare, add_rescore, add_show):
        add(commands)
    return parser
