"""The scripted customer: what each style says of a scenario's wishes."""

from dataclasses import replace

from ..users import Fact, Script, Wish
from .scenario import Desire, Scenario

STYLES = ("patient", "terse", "changing")
MANNERS = {
    "patient": "You are patient and friendly, and answer in whole sentences.",
    "terse": "You are in a hurry: you write a few words at a time and tell one thing only when asked for it.",
    "changing": "You hesitate, and the first time that you are asked to agree you say that you must think.",
}
"""The same for a model that plays the customer."""
_OFFER = r"\b(can|may|do) (i|we) (do|help|assist)|do you (want|need)|about\?"


def script_of(scenario: Scenario, style: str) -> Script:
    """What a customer of this style says and answers."""
    wishes = tuple(_wish(desire, style) for desire in scenario.desires)
    first = wishes[0].request
    openings = {
        "patient": f"Hello, I hope you can help me. {first}",
        "terse": "hi, need help",
        "changing": f"Hello. I am not quite sure yet, but... {first}",
    }
    return Script(
        opening=openings[style],
        wishes=wishes,
        facts=scenario.identity,
        one_at_a_time=style == "terse",
        yes="yes" if style == "terse" else "Yes, please go ahead.",
        goodbye="ok bye" if style == "terse" else "Thank you, that is all. Goodbye.",
    )


def _wish(desire: Desire, style: str) -> Wish:
    said = desire.brief if style == "terse" else desire.request
    facts = (*desire.facts, Fact(asked_by=_OFFER, answer=said))
    final = Wish(request=said, proposal=desire.proposal, correction=desire.request, ends=desire.ends, facts=facts)
    if desire.always_changes or (style == "changing" and desire.first_mind):
        changed = replace(final, request=f"Wait, I have changed my mind. {desire.request}")
        earlier = tuple(replace(fact, answer=desire.first_mind) for fact in facts)
        return replace(final, request=desire.first_mind, facts=earlier, changes_to=changed)
    if style == "changing" and desire.proposal:
        hesitating = replace(final, request="Hmm, wait. Tell me once more what you will do, please.")
        return replace(final, changes_to=hesitating)
    return final
