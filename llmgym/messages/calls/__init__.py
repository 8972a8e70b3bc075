"""Turns of the policy in the forms of their families: what they say, think and call."""

from .form import Schemas
from .parser import FORMS, TurnParser
from .style import TurnStyle, turn_style

__all__ = ["FORMS", "Schemas", "TurnParser", "TurnStyle", "turn_style"]
