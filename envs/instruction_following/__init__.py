"""Texts whose constraints a program checks: the 25 kinds of IFEval, on its prompts and on generated ones."""

from .env import InstructionFollowingEnv

__all__ = ["InstructionFollowingEnv"]
