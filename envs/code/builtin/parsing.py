"""Problems about texts with a grammar."""

from random import Random

from ..problem import ProblemList, letters

PROBLEMS = ProblemList()


def _fields(rng: Random) -> tuple[str]:
    return ("&".join(f"{rng.choice('abc')}={rng.randint(0, 99)}" for _ in range(rng.randint(0, 4))),)


@PROBLEMS.add(1, _fields)
def read_fields(query: str) -> dict[str, str]:
    """Read a text such as "a=1&b=22" into a dict from name to value; the last value of a name counts. An empty text
    gives an empty dict."""
    return dict(part.split("=") for part in query.split("&") if part)


def _duration(rng: Random) -> tuple[str]:
    parts = [f"{rng.randint(0, 90)}{unit}" for unit in "hms" if rng.random() < 0.7]
    return ("".join(parts) or "0s",)


@PROBLEMS.add(2, _duration)
def seconds(duration: str) -> int:
    """Return the seconds of a duration of hours, minutes and seconds such as "2h5m30s", in which parts may be missing,
    as in "90m"."""
    total, number = 0, ""
    for character in duration:
        if character.isdigit():
            number += character
        else:
            total += int(number) * {"h": 3600, "m": 60, "s": 1}[character]
            number = ""
    return total


def _brackets(rng: Random) -> tuple[str]:
    text = ""
    for _ in range(rng.randint(0, 4)):
        cut = rng.randint(0, len(text))
        text = text[:cut] + rng.choice(("()", "[]")) + text[cut:]
    if text and rng.random() < 0.5:  # two brackets change places
        i, j = sorted(rng.choices(range(len(text)), k=2))
        text = text[:i] + text[j] + text[i + 1 : j] + text[i : i + (i < j)] + text[j + 1 :]
    return (text if rng.random() < 0.9 else text[1:],)


@PROBLEMS.add(2, _brackets)
def is_balanced(text: str) -> bool:
    """`text` holds nothing but round and square brackets. Return whether each one that opens is closed by one of its
    kind, in the right order, and none is left over; so it is in an empty text."""
    open_ones: list[str] = []
    for bracket in text:
        if bracket in "([":
            open_ones.append(bracket)
        elif not open_ones or open_ones.pop() + bracket not in ("()", "[]"):
            return False
    return not open_ones


def _ranges(rng: Random) -> tuple[str]:
    parts = []
    for _ in range(rng.randint(1, 4)):
        low = rng.randint(1, 20)
        parts.append(rng.choice((f"{low}", f"{low}-{low + rng.randint(0, 5)}")))
    return (",".join(parts),)


@PROBLEMS.add(2, _ranges)
def expand_ranges(text: str) -> list[int]:
    """Expand a text such as "1-3,7" into the list of the numbers, here [1, 2, 3, 7], in the order of the text, each as
    often as it is named. Numbers are positive, and no range goes downwards."""
    numbers: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        numbers += range(int(low), int(high or low) + 1)
    return numbers


def _versions(rng: Random) -> tuple[str, str]:
    def version() -> str:
        return ".".join(str(rng.choice((0, 1, 2, 10))) for _ in range(rng.randint(1, 3)))

    first = version()
    second = rng.choice((version(), first + ".0" * rng.randint(1, 2), f"{first}.{version()}"))
    return (first, second) if rng.random() < 0.5 else (second, first)


@PROBLEMS.add(2, _versions)
def compare_versions(first: str, second: str) -> int:
    """Compare two versions such as "1.10" and "1.2.0" number by number, missing numbers being 0. Return -1 where the
    first one is older, 1 where it is newer, and 0 where they are the same."""
    a, b = ([int(number) for number in version.split(".")] for version in (first, second))
    length = max(len(a), len(b))
    a, b = a + [0] * (length - len(a)), b + [0] * (length - len(b))
    return (a > b) - (a < b)


def _path(rng: Random) -> tuple[str]:
    return ("/" + "/".join(rng.choice(("a", "b", "cd", ".", "..", "...", "")) for _ in range(rng.randint(0, 6))),)


@PROBLEMS.add(3, _path)
def simplify_path(path: str) -> str:
    """Simplify an absolute path: "." and empty names are nothing, ".." goes up one folder and, at the root, nowhere;
    all else, "..." too, is the name of a folder. The result begins with "/" and ends without one, unless it is the root
    itself."""
    folders: list[str] = []
    for name in path.split("/"):
        if name == "..":
            folders = folders[:-1]
        elif name not in ("", "."):
            folders.append(name)
    return "/" + "/".join(folders)


def _row(rng: Random) -> tuple[str]:
    fields = []
    for _ in range(rng.randint(1, 4)):
        field = letters('ab,"', 0, 4)(rng)
        fields.append('"' + field.replace('"', '""') + '"' if set(field) & set(',"') or rng.random() < 0.3 else field)
    return (",".join(fields),)


@PROBLEMS.add(4, _row)
def split_row(row: str) -> list[str]:
    """Split a row of a CSV file at its commas. A field may stand in double quotes as a whole; then commas in it are
    plain, and two double quotes in it mean one. Return the fields without their quotes, an empty one as ""; an empty
    row is one empty field."""
    fields, field, is_quoted, index = [], "", False, 0
    while index < len(row):
        character = row[index]
        if is_quoted and row[index : index + 2] == '""':
            field += '"'
            index += 1
        elif character == '"':
            is_quoted = not is_quoted
        elif character == "," and not is_quoted:
            fields.append(field)
            field = ""
        else:
            field += character
        index += 1
    return [*fields, field]


def _reverse_polish(rng: Random) -> tuple[str]:
    def expression(depth: int) -> str:
        if depth == 0 or rng.random() < 0.2:
            return str(rng.randint(0, 12))
        return f"{expression(depth - 1)} {expression(depth - 1)} {rng.choice('+-*')}"

    return (expression(rng.randint(0, 3)),)


@PROBLEMS.add(3, _reverse_polish)
def reverse_polish(expression: str) -> int:
    """Return the value of an expression in reverse Polish notation with + - and * of two values each, its parts
    separated by spaces: "3 4 + 2 *" is 14 and "5 3 -" is 2."""
    stack: list[int] = []
    for part in expression.split():
        if part in ("+", "-", "*"):
            b, a = stack.pop(), stack.pop()
            stack.append(a + b if part == "+" else a - b if part == "-" else a * b)
        else:
            stack.append(int(part))
    return stack[0]


def _infix(rng: Random) -> tuple[str]:
    def expression(depth: int) -> str:
        if depth == 0 or rng.random() < 0.2:
            return str(rng.randint(0, 12))
        inner = f"{expression(depth - 1)}{rng.choice('+-*')}{expression(depth - 1)}"
        return f"({inner})" if rng.random() < 0.4 else inner

    return (expression(rng.randint(0, 3)),)


@PROBLEMS.add(5, _infix)
def calculate(expression: str) -> int:
    """Return the value of an expression of whole numbers with +, -, * and brackets, written without spaces, such as
    "2*(3+4)-1". Multiplication comes first; equals go from left to right. No number has a sign of its own."""
    position = 0

    def peek() -> str:
        return expression[position : position + 1]

    def take() -> str:
        nonlocal position
        position += 1
        return expression[position - 1]

    def atom() -> int:
        if peek() == "(":
            take()
            value = total()
            take()
            return value
        digits = ""
        while peek().isdigit():
            digits += take()
        return int(digits)

    def product() -> int:
        value = atom()
        while peek() == "*":
            take()
            value *= atom()
        return value

    def total() -> int:
        value = product()
        while peek() in ("+", "-") and peek():
            value += product() if take() == "+" else -product()
        return value

    return total()


def _templates(rng: Random) -> tuple[str, dict[str, str]]:
    texts = ("{a}", "{b}", "{c}", "{", "x}", "yz", "")
    values = {name: rng.choice(texts) for name in rng.sample("abc", rng.choice((0, 2, 3, 3)))}
    parts = (rng.choice(("{a}", "{b}", "{c}", "- ")) for _ in range(rng.randint(0, 6)))
    return "".join(parts), values


@PROBLEMS.add(3, _templates)
def fill_template(template: str, values: dict[str, str]) -> str:
    """Replace each "{name}" of the template by the value of that name; one without a value stays as it stands, braces
    included. What was put in is not replaced again, whatever braces it has."""
    filled, index = "", 0
    while index < len(template):
        end = template.find("}", index)
        name = template[index + 1 : end]
        if template[index] == "{" and end > 0 and name in values:
            filled += values[name]
            index = end + 1
        else:
            filled += template[index]
            index += 1
    return filled
