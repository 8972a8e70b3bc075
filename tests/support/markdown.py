"""Documents that are run: the code blocks of a Markdown file, in a fresh interpreter and with tiny settings."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple


class Block(NamedTuple):
    language: str
    text: str
    shown: str | None = None
    """What the document says that it prints, in a block of text behind it."""

    @property
    def needs_torch(self):
        words = ("llmgym.train(", "llmgym.learning", "runs/", "llmgym train", "llmgym show", "llmgym eval")
        return any(word in self.text for word in words)

    @property
    def promised_lines(self):
        """What the text behind it says, or the comments behind its prints."""
        if self.shown is not None:
            return self.shown.splitlines()
        return re.findall(r"^ *print\(.*\)  # (.+)$", self.text, re.MULTILINE)

    @property
    def commands(self):
        """The lines of a block of shell, without comments."""
        lines = (line.partition("#")[0].strip() for line in self.text.splitlines())
        return [line for line in lines if line] if self.language == "bash" else []


def blocks_of(markdown) -> list[Block]:
    """Code blocks, each with the block of text that follows it directly."""
    fences = re.compile(r"^```([^\n]*)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
    return [Block(language, text, shown or None) for language, text, shown in fences.findall(markdown)]


def run(*arguments, folder: Path, stdin=None) -> str:
    """What a fresh interpreter prints."""
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, input=stdin or "", capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def run_tiny(pages: Sequence[Sequence[Block]], folder: Path) -> Iterator[list[str]]:
    """What each block prints, in order; blocks of a page share their names, and all pages a folder.

    Blocks of Python and commands of `llmgym` run, trainings with the smallest settings.
    """
    given = [[[block.language, block.text, block.commands] for block in page] for page in pages]
    printed = run("-c", _TINY, folder=folder, stdin=json.dumps(given))
    for line in printed.splitlines():
        yield json.loads(line)


def is_understood(arguments: Sequence[str]) -> bool:
    """True where the command line understands the arguments, and a run file the overrides."""
    from llmgym.cli.main import _parsed
    from llmgym.cli.runs import recipe_path
    from llmgym.training import load_config

    options = _parsed(arguments)
    if arguments[0] == "train" and options.recipe:
        load_config(recipe_path(options.recipe), options.overrides)
    return callable(options.run)


_TINY = """
import contextlib, io, json, shlex, sys, types
import llmgym
from llmgym.cli import main

out, pages = sys.stdout, json.load(sys.stdin)
train, evaluate = llmgym.train, llmgym.evaluate
SMALL = {"num_demonstrations": 20, "steps": 2, "batch_size": 4}

def tiny_train(*, cold_start=None, **settings):
    if cold_start is not None:
        settings["cold_start"] = cold_start | SMALL
    return train(**settings | {"steps": 1, "evaluation": {"num_tasks": 4}})

def tiny_evaluate(policy, env, **settings):
    is_model = isinstance(policy, str)
    return evaluate(policy, env, **settings | ({"num_tasks": 4} if is_model else {}))

llmgym.train, llmgym.evaluate = tiny_train, tiny_evaluate

def run_command(command):
    program, *arguments = shlex.split(command)
    if program != "llmgym":
        return
    if arguments[0] == "train":
        arguments += ["steps=1", "evaluation.num_tasks=4", "learner.warmup_steps=0"]
        arguments += [f"cold_start.{name}={value}" for name, value in SMALL.items()]
        arguments += ["cold_start.learner.warmup_steps=0"]
    code = main(arguments)
    assert code == 0, (command, code)

for page in pages:
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    for language, text, commands in page:
        sys.stdin = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            if language == "python":
                exec(compile(text, "block", "exec"), vars(module))
            for command in commands:
                run_command(command)
        print(json.dumps(printed.getvalue().splitlines()), file=out)
"""
