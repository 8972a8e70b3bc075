"""Where a text that grows token by token first holds a stop string."""

from collections.abc import Callable, Sequence

_SLACK = 8
"""Characters at the beginning of a decoded part that may differ from those in the whole, such as a cut character."""


def first_stop(
    ids: Sequence[int], begin: int, *, stops: tuple[str, ...], prefill: str, decode: Callable[[Sequence[int]], str]
) -> int | None:
    """The first place in `ids`, from `begin` on, after which the text holds a stop string.

    A token may end behind the stop string, and a stop string may begin in the prefill. The time taken grows with the
    number of new ids alone: the end of the text is looked at, and all of it only where that holds a stop string.

    Args:
        ids: of a turn.
        begin: ids before this place were looked at before.
        stops: the stop strings.
        prefill: text before that of the ids.
        decode: ids to text.
    """
    longest = max(map(len, stops))
    for place in range(begin, len(ids)):
        end = _end_of_text(ids, place + 1, longest, prefill, decode)
        if any(stop in end for stop in stops):
            text = prefill + decode(ids[: place + 1])
            if any(text.find(stop, max(0, len(prefill) - len(stop) + 1)) >= 0 for stop in stops):
                return place
    return None


def _end_of_text(
    ids: Sequence[int], stop: int, longest: int, prefill: str, decode: Callable[[Sequence[int]], str]
) -> str:
    """The end of the text of `ids[:stop]`: all in which its last token can have completed a stop string."""
    wanted = longest + len(decode(ids[stop - 1 : stop])) + _SLACK
    size = 2 * wanted
    while size < stop:
        text = decode(ids[stop - size : stop])
        if len(text) >= wanted:
            return text
        size *= 2  # control tokens and parts of characters have no text
    return prefill + decode(ids[:stop])
