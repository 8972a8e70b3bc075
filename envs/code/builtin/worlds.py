"""Problems about graphs, schedules, machines and games."""

from random import Random

from ..problem import ProblemList, args, integer, items, letters

PROBLEMS = ProblemList()


def _edges(rng: Random, count: int, share: float) -> list[list[int]]:
    return [[a, b] for a in range(count) for b in range(a + 1, count) if rng.random() < share]


@PROBLEMS.add(1, args(letters("NESWN", 0, 9)))
def walk(moves: str) -> list[int]:
    """Begin at [0, 0] and go one step for each letter: N adds 1 to the second number, S takes 1 off it, E adds 1 to the
    first, W takes 1 off it. Return where the walk ends."""
    x = moves.count("E") - moves.count("W")
    y = moves.count("N") - moves.count("S")
    return [x, y]


@PROBLEMS.add(2, args(items(lambda rng: rng.choice("RPS") + rng.choice("RPS"), 0, 7)))
def match_score(rounds: list[str]) -> list[int]:
    """Each text of two letters is a round of rock (R), paper (P) and scissors (S): what the first and what the second
    player shows. Rock beats scissors, scissors beat paper, paper beats rock. Return how many rounds each has won."""
    return [sum(shown in ("RS", "SP", "PR") for shown in rounds), sum(shown in ("SR", "PS", "RP") for shown in rounds)]


@PROBLEMS.add(2, args(integer(1, 25), integer(1, 7)))
def last_one_standing(people: int, step: int) -> int:
    """People 0, 1, 2, ... stand in a circle. Counting from person 0, who is the first, every `step`-th one of those who
    still stand goes out, until one is left. Return who: with 5 people and step 2 the persons 1, 3, 0 and 4 go out, and
    2 is left."""
    circle, place = list(range(people)), 0
    while len(circle) > 1:
        place = (place + step - 1) % len(circle)
        circle.pop(place)
    return circle[0]


def _board(rng: Random) -> tuple[list[str]]:
    squares = [rng.choice("XO.") for _ in range(9)]
    if rng.random() < 0.6:
        line = rng.choice(([0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]))
        winner = rng.choice("XO")
        squares = ["." if square == winner else square for square in squares]
        for place in line:
            squares[place] = winner
        other = "O" if winner == "X" else "X"
        squares = [square if square != other or rng.random() < 0.5 else "." for square in squares]
    return (["".join(squares[start : start + 3]) for start in (0, 3, 6)],)


@PROBLEMS.add(2, _board)
def lines_of_three(board: list[str]) -> list[int]:
    """`board` holds the three rows of a game of noughts and crosses, "." being a free square. Return how many of its
    eight lines (rows, columns, diagonals) hold three X, and how many hold three O."""
    columns = ["".join(column) for column in zip(*board)]
    diagonals = ["".join(board[i][i] for i in range(3)), "".join(board[i][2 - i] for i in range(3))]
    lines = [*board, *columns, *diagonals]
    return [lines.count("XXX"), lines.count("OOO")]


def _spans(rng: Random) -> tuple[list[list[int]]]:
    starts = [rng.randint(0, 15) for _ in range(rng.randint(0, 6))]
    return ([[start, start + rng.randint(1, 6)] for start in starts],)


@PROBLEMS.add(3, _spans)
def merge_spans(spans: list[list[int]]) -> list[list[int]]:
    """Each [start, end] is a stretch of a line. Return the stretches that they cover together, in ascending order;
    stretches that overlap or touch are one."""
    merged: list[list[int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged


@PROBLEMS.add(3, _spans)
def rooms_needed(meetings: list[list[int]]) -> int:
    """Each [start, end] is a meeting. Return the least number of rooms for all of them; when a meeting ends, another
    one may begin in its room at the same time."""
    changes = sorted((time, change) for start, end in meetings for time, change in ((start, 1), (end, -1)))
    most = taken = 0
    for _, change in changes:
        taken += change
        most = max(most, taken)
    return most


@PROBLEMS.add(3, args(items(lambda rng: (rng.choice("abc"), rng.choice("abc"), rng.randint(1, 9)), 0, 7)))
def balances(payments: list[tuple[str, str, int]]) -> dict[str, int]:
    """Each payment is (who pays, who gets, amount). They happen in this order. Everybody begins with 10, and a
    payment of more than the payer has does not happen. Return what each person that is named in any of them, also in
    one that does not happen, has at the end."""
    accounts: dict[str, int] = {}
    for payer, payee, amount in payments:
        for person in (payer, payee):
            accounts.setdefault(person, 10)
        if accounts[payer] >= amount:
            accounts[payer] -= amount
            accounts[payee] += amount
    return accounts


def _requests(rng: Random) -> tuple[int, list[int]]:
    return rng.randint(1, 3), [rng.randint(1, 5) for _ in range(rng.randint(0, 14))]


@PROBLEMS.add(3, _requests)
def cache_hits(size: int, requests: list[int]) -> int:
    """A cache holds the `size` different pages that were asked for most recently. Return how many of the requests, in
    order, ask for a page that is in the cache at that time; it begins empty."""
    pages: list[int] = []
    hits = 0
    for page in requests:
        if page in pages:
            hits += 1
            pages.remove(page)
        pages = [*pages, page][-size:]
    return hits


def _friends(rng: Random) -> tuple[int, list[list[int]]]:
    count = rng.randint(1, 7)
    return count, _edges(rng, count, 0.25)


@PROBLEMS.add(3, _friends)
def circles_of_friends(people: int, friends: list[list[int]]) -> list[int]:
    """People are numbered from 0; each pair of `friends` know each other. Return the sizes of the circles in which
    everybody is linked to everybody else through friends, in descending order; somebody without friends is one."""
    circle = list(range(people))
    for a, b in friends:
        old, new = circle[a], circle[b]
        circle = [new if name == old else name for name in circle]
    return sorted((circle.count(name) for name in set(circle)), reverse=True)


def _courses(rng: Random) -> tuple[int, list[list[int]]]:
    count = rng.randint(1, 6)
    names = rng.sample(range(count), count)
    needs = [[names[a], names[b]] for a, b in _edges(rng, count, 0.35)]
    if needs and rng.random() < 0.25:
        needs.append(needs[0][::-1])
    rng.shuffle(needs)
    return count, needs


@PROBLEMS.add(4, _courses)
def course_order(courses: int, needs: list[list[int]]) -> list[int]:
    """Courses are numbered from 0; [a, b] in `needs` says that a must come before b. Return an order of all courses
    that keeps to this, always taking the least number that may come next, or [] where there is no order."""
    order: list[int] = []
    while len(order) < courses:
        free = [
            course
            for course in range(courses)
            if course not in order and all(a in order for a, b in needs if b == course)
        ]
        if not free:
            return []
        order.append(free[0])
    return order


def _roads(rng: Random) -> tuple[int, list[list[int]], int]:
    count = rng.randint(2, 6)
    return count, [[a, b, rng.randint(1, 9)] for a, b in _edges(rng, count, 0.5)], rng.randrange(count)


@PROBLEMS.add(5, _roads)
def distances(towns: int, roads: list[list[int]], start: int) -> list[int]:
    """Towns are numbered from 0; each [a, b, length] is a road that can be used in both directions. Return the length
    of the shortest way from `start` to each town, -1 for those that cannot be reached."""
    from heapq import heappop, heappush

    shortest = [-1] * towns
    waiting = [(0, start)]
    while waiting:
        length, town = heappop(waiting)
        if shortest[town] >= 0:
            continue
        shortest[town] = length
        for a, b, road in roads:
            if town in (a, b):
                heappush(waiting, (length + road, b if town == a else a))
    return shortest


def _throws(rng: Random) -> tuple[list[int]]:
    frames = []
    for _ in range(rng.randint(0, 12)):
        first = rng.randint(0, 9)
        frames.append(rng.choice(([10], [first, 10 - first], [first, rng.randint(0, 9 - first)])))
    throws = [pins for frame in frames for pins in frame]
    return (throws[: len(throws) - rng.randint(0, 1)],)


@PROBLEMS.add(4, _throws)
def bowling(pins: list[int]) -> int:
    """`pins` are the pins that each throw of a game of bowling takes. Return the points of its first ten frames: a
    frame is two throws, or one that takes 10 (a strike), and counts its pins; a strike counts the next two throws as
    well, and two throws that take 10 together (a spare) the next one. Throws that are missing count nothing, and throws
    after the tenth frame count as such additions alone. No frame takes more than 10 pins."""
    points, throw = 0, 0
    for _ in range(10):
        if throw >= len(pins):
            break
        if pins[throw] == 10:
            points += sum(pins[throw : throw + 3])
            throw += 1
        else:
            frame = sum(pins[throw : throw + 2])
            points += sum(pins[throw : throw + 3]) if frame == 10 else frame
            throw += 2
    return points


def _program(rng: Random) -> tuple[list[str]]:
    kinds = ["push {}"] * rng.randint(0, 4) + rng.choices(("push {}", "add", "mul", "dup", "swap", "pop"), k=4)
    return ([kind.format(rng.randint(0, 9)) for kind in kinds],)


@PROBLEMS.add(4, _program)
def run_stack_machine(program: list[str]) -> list[int]:
    """Run instructions on an empty stack and return it, its top last. "push N" puts N on top; "add" and "mul" replace
    the two topmost values by their sum or product; "dup" doubles the top; "swap" exchanges the two topmost; "pop" takes
    the top off. An instruction that lacks the values it needs ends the program, with the stack as it was before."""
    stack: list[int] = []
    for instruction in program:
        name, _, number = instruction.partition(" ")
        if len(stack) < {"push": 0, "dup": 1, "pop": 1}.get(name, 2):
            break
        if name == "push":
            stack.append(int(number))
        elif name == "dup":
            stack.append(stack[-1])
        elif name == "pop":
            stack.pop()
        else:
            b, a = stack.pop(), stack.pop()
            stack += [b, a] if name == "swap" else [a + b if name == "add" else a * b]
    return stack
