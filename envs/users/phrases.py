"""What people say to each other at a desk, found by patterns: a yes, a question for one, a report, a refusal."""

import re

_NOTED = "found|located|looked|checked|verified|confirmed|noted|received|seen|reviewed|pulled|identified|understood"
DONE = (
    r"\b(done|complete|completed|successfully|processed|taken care of|"
    rf"(has been|have been|is now|are now|i have|i've)(?! (\w+ )?({_NOTED}|got|your|an?|the|all|that|it)\b))\b"
)
"""What a policy says that has done something."""
REFUSES = (
    r"\b(can ?not|can't|unable|impossible|ineligible|unavailable|unfortunately|decline[ds]?|refuse[ds]?|reject(ed)?|"
    r"won't|will not|too late|no longer|out of stock|expired|has (passed|ended|closed)|is over|"
    r"(do|does) ?n[o']t (allow|permit|belong)|"
    r"(not|n't) (be )?(able|possible|allowed|eligible|accept\w*|permitted|available|in stock))\b"
)
"""What a policy says that will not do something."""

_ANNOUNCEMENT = (
    r"\b(i will(?! not)|i'll|will now|(am|'m) (about|going) to|let me|one moment|a moment|(please|just) (wait|hold)|"
    r"(i|we) can(?!'t| ?not| confirm| tell))\b([^.!?\n]|\.(?=\d))*"
)
_CONFIRMATION = (
    r"\b((confirm(ation)?|proceed|go[- ]ahead|approv(e|al)|permission|authori[sz]e|agreed?|accept|want me to|"
    r"(shall|should) (i|we)|(may|can) (i|we) (now )?(do|go|make|cancel|return|exchange|change|send|submit|redeem)|"
    r"do you (still )?(want|wish)|are you (sure|okay|ok|happy)|would you like (to go on|to continue|me to|this|that)|"
    r"(is|would|does) (this|that|it|everything|all)( be| all)? (correct|(al)?right|ok(ay)?|fine|acceptable|work|what)|"
    r"(ok|okay|fine|happy) (with|for|by) (you|that|this)|(sounds?|looks?) (good|right|correct|fine)|like to continue|"
    r"(that's|that is|if it's) (ok|okay|fine|right)|(say|type|reply|respond|answer)( with| by)? \W*yes|"
    r"yes or no|yes/no)\b|(ok|okay|right|alright|correct|yes|fine)\W*\?)"
)
_YES = (
    r"(yes|yep|yeah|yup|sure|ok|okay|absolutely|definitely|of course|go ahead|please (do|go|proceed)|confirmed|"
    r"i (confirm|agree)|that works|(that's |that )?(sounds |looks )?(right|correct|fine|good|perfect))\b(?! ?\?)"
)
_ENOUGH = (
    r"\bno(thing)?\b,? ?(that's|that is|it's|thanks?|thank you|problem|further|other|more|else|rush|need|worries|"
    r"questions|objections?|nothing|i have)\b"
)
_DO_NOT = (
    r"(do ?n[o']t|do not|never) (do|go|proceed|cancel|return|exchange|change|send|charge|refund|redeem|agree|know|"
    r"want (that|this|you|it to))"
)
_RESERVATION = (
    r"\b(but|except|unless|if|however|instead|rather|prefer|wait|stop|hold on|let me think|never mind|forget it|"
    rf"leave it|no(?! longer)|{_DO_NOT}|not (yet|now|to|that|the|this|so|sure|until|before))\b"
)
_REFUSAL = (
    r"\A\W*(no|nope|nah|wait|stop|hmm|hold on|actually|not (yet|now)|on second thought|forget)\b|"
    rf"\b(changed my mind|never mind|forget (it|that)|instead|rather|{_DO_NOT})\b"
)


def found(pattern: str, text: str) -> bool:
    """True where `text` holds the pattern, without regard to case."""
    return re.search(pattern, _plain(text), re.IGNORECASE) is not None


def agrees(text: str) -> bool:
    """True where a user's message is a yes: it begins with one, and restricts it by nothing."""
    return _begins_with_yes(text) and not found(_RESERVATION, _without(_ENOUGH, text))


def takes_back(text: str) -> bool:
    """True where a user's message ends what they agreed to before: a no, another wish, or a yes to something else."""
    text = _without(_ENOUGH, text)
    return found(_REFUSAL, text) or (_begins_with_yes(text) and found(_RESERVATION, text))


def asks_to_confirm(text: str) -> bool:
    """True where the policy asks the user for a yes."""
    return found(_CONFIRMATION, text) and found(r"\?|\b(please|yes|let me know|need your|await\w*)\b", text)


def asks_for_facts(text: str) -> bool:
    """True where the policy asks the user for something that they know."""
    return found(r"\?|\b(please|provide|tell me|give me|i need|let me know|what|which|who)\b", text)


def waits_for_answer(text: str) -> bool:
    """True where the policy wants an answer before it goes on; it may also just mention that there are questions."""
    return found(
        r"\?|\bplease (provide|tell|give|share|send|say|let|confirm|reply|answer)\b|\b(could|can|would) you\b|"
        r"\bi('ll| will)? (need|require)\b",
        text,
    )


def without_announcements(text: str) -> str:
    """Leaves out what the policy says that it is going to do."""
    return _without(_ANNOUNCEMENT, text)


def without_offers(text: str) -> str:
    """Leaves out the sentences that ask whether there is anything else."""
    sentences = re.split(r"(?<=[.!?\n])(?!\d)", text)
    return "".join(
        each for each in sentences if not found(r"\b(else|further|other questions|another question)\b", each)
    )


def _begins_with_yes(text: str) -> bool:
    return found(rf"\A\W*{_YES}", text)


def _without(pattern: str, text: str) -> str:
    return re.sub(pattern, "", _plain(text), flags=re.IGNORECASE)


def _plain(text: str) -> str:
    return text.replace("\u2019", "'")
