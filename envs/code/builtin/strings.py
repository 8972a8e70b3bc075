"""Problems about texts."""

from random import Random

from ..problem import ProblemList, args, integer, letters, sentence, words

PROBLEMS = ProblemList()


@PROBLEMS.add(1, args(sentence(0, 5, alphabet="aeiouyAEIOUYbcBC")))
def count_vowels(text: str) -> int:
    """Return how many characters of `text` are vowels: a, e, i, o or u, in lower or upper case."""
    return sum(character in "aeiouAEIOU" for character in text)


@PROBLEMS.add(1, args(sentence(1, 5)))
def initials(name: str) -> str:
    """Return the first letter of each word of `name` in upper case, each followed by a dot: "ada king" gives "A.K.".
    Words are separated by single spaces."""
    return "".join(f"{word[0].upper()}." for word in name.split())


def _nearly_mirrored(rng: Random) -> tuple[str]:
    half = letters("ab", 0, 4)(rng)
    text = half + letters("ab", 0, 1)(rng) + half[::-1]
    mixed = "".join(rng.choice((letter, letter.upper())) + letters(" ,1", 0, 1)(rng) for letter in text)
    return (mixed + rng.choice(("", "", "a", "b")),)


@PROBLEMS.add(1, _nearly_mirrored)
def is_palindrome(text: str) -> bool:
    """Return whether the letters of `text` read the same in both directions. Case is ignored, and so are digits, spaces
    and all else that is no letter; a text without letters does."""
    kept = [character.lower() for character in text if character.isalpha()]
    return kept == kept[::-1]


@PROBLEMS.add(1, args(words(1, 6)))
def longest_word(words: list[str]) -> str:
    """Return the longest of `words`; of several equally long ones, the first. There is at least one word."""
    return max(words, key=len)


@PROBLEMS.add(
    2, lambda rng: ("".join(rng.choice("abc") * rng.choice((1, 1, 2, 3, 11)) for _ in range(rng.randint(0, 5))),)
)
def run_length_encode(text: str) -> str:
    """Replace each run of equal characters by the character and the length of the run: "aaab" gives "a3b1"."""
    code = ""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or text[end] != text[start]:
            code += f"{text[start]}{end - start}"
            start = end
    return code


def _run_lengths(rng: Random) -> tuple[str]:
    return ("".join(f"{rng.choice('xyz')}{rng.choice((1, 2, 3, 10, 12))}" for _ in range(rng.randint(0, 5))),)


@PROBLEMS.add(2, _run_lengths)
def run_length_decode(code: str) -> str:
    """Undo a run-length code, in which each letter is followed by the decimal number of times that it stands there:
    "a3b12" gives "aaa" and then twelve times "b"."""
    text, number = "", ""
    letter = ""
    for character in code + "?":
        if character.isdigit():
            number += character
        else:
            text += letter * int(number or 0)
            letter, number = character, ""
    return text


@PROBLEMS.add(2, args(sentence(1, 4, alphabet="abyzABYZ,1"), integer(-30, 30)))
def caesar(text: str, shift: int) -> str:
    """Move each letter of `text` by `shift` places along the alphabet from a to z, around its end, in its own case; a
    negative shift moves backwards. All other characters stay as they are."""
    moved = []
    for character in text:
        if character.isalpha():
            first = ord("a") if character.islower() else ord("A")
            moved.append(chr((ord(character) - first + shift) % 26 + first))
        else:
            moved.append(character)
    return "".join(moved)


def _part_and_whole(rng: Random) -> tuple[str, str]:
    whole = letters("abc", 0, 9)(rng)
    part = "".join(character for character in whole if rng.random() < 0.6)
    return rng.choice((part, letters("abc", 1, 5)(rng))), whole


@PROBLEMS.add(2, _part_and_whole)
def is_subsequence(part: str, whole: str) -> bool:
    """Return whether `part` can be made from `whole` by leaving characters out, without changing their order; the
    empty text can be made from any."""
    position = 0
    for character in whole:
        if position < len(part) and part[position] == character:
            position += 1
    return position == len(part)


@PROBLEMS.add(2, args(letters("aabcde", 0, 9)))
def first_unique_index(text: str) -> int:
    """Return the index of the first character that occurs only once in `text`, or -1 where there is none."""
    for index, character in enumerate(text):
        if text.count(character) == 1:
            return index
    return -1


@PROBLEMS.add(3, args(words(0, 7, alphabet="abc", longest=3)))
def group_anagrams(words: list[str]) -> list[list[str]]:
    """Group the words that consist of the same letters, each as often. Groups are in the order of their first words,
    and the words of a group in the order of the list; a word that occurs twice is there twice."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault("".join(sorted(word)), []).append(word)
    return list(groups.values())


@PROBLEMS.add(3, args(sentence(0, 9), integer(6, 14)))
def wrap(text: str, width: int) -> list[str]:
    """Break `text`, words with single spaces between them, into lines: from the first line on, put as many words on
    each, with single spaces between them, as fit into `width` characters. No word is longer than that. Return the
    lines; an empty text has none."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _with_common_start(rng: Random) -> tuple[list[str]]:
    start = letters("ab", 0, 4)(rng)
    return ([start + letters("ab", 0, 3)(rng) for _ in range(rng.randint(1, 5))],)


@PROBLEMS.add(2, _with_common_start)
def common_prefix(words: list[str]) -> str:
    """Return the longest text that every one of `words` begins with. There is at least one word."""
    for index, character in enumerate(words[0]):
        if any(index >= len(word) or word[index] != character for word in words):
            return words[0][:index]
    return words[0]


@PROBLEMS.add(4, args(letters("abcde", 0, 12)))
def longest_distinct_run(text: str) -> int:
    """Return the length of the longest run of neighbouring characters of `text` in which none occurs twice; 0 for an
    empty text."""
    longest, start = 0, 0
    last_seen: dict[str, int] = {}
    for index, character in enumerate(text):
        start = max(start, last_seen.get(character, -1) + 1)
        last_seen[character] = index
        longest = max(longest, index + 1 - start)
    return longest
