"""Problems about the best of many ways, and about how many there are."""

from random import Random

from ..problem import ProblemList, args, integer, integers, letters

PROBLEMS = ProblemList()


@PROBLEMS.add(1, args(integer(0, 80)))
def fibonacci(index: int) -> int:
    """Return the Fibonacci number of `index`: the first two are 0 and 1, and each later one is the sum of the two
    before it. The first one has index 0."""
    a, b = 0, 1
    for _ in range(index):
        a, b = b, a + b
    return a


@PROBLEMS.add(2, args(integer(0, 30)))
def pascal_row(index: int) -> list[int]:
    """Return a row of Pascal's triangle, in which each number is the sum of the two above it; row 0 is [1] and row 2
    is [1, 2, 1]."""
    row = [1]
    for _ in range(index):
        row = [1, *(a + b for a, b in zip(row, row[1:])), 1]
    return row


def _coins(rng: Random) -> tuple[list[int], int]:
    return sorted(rng.sample(range(1, 12), rng.randint(1, 4))), rng.randint(0, 40)


@PROBLEMS.add(3, _coins)
def fewest_coins(coins: list[int], amount: int) -> int:
    """Return the least number of coins that make `amount`, each kind of `coins` being there without end, or -1 where
    none do. No coin is needed for 0. The kinds are different and positive."""
    fewest = [0] + [-1] * amount
    for total in range(1, amount + 1):
        before = [fewest[total - coin] for coin in coins if coin <= total and fewest[total - coin] >= 0]
        if before:
            fewest[total] = min(before) + 1
    return fewest[amount]


@PROBLEMS.add(3, _coins)
def ways_to_pay(coins: list[int], amount: int) -> int:
    """Return in how many ways `amount` can be paid with coins of the kinds `coins`, each being there without end; the
    order of the coins does not matter. There is one way to pay 0. The kinds are different and positive."""
    ways = [1] + [0] * amount
    for coin in coins:
        for total in range(coin, amount + 1):
            ways[total] += ways[total - coin]
    return ways[amount]


@PROBLEMS.add(3, args(integers(1, 9, 0, 7), integer(0, 20)))
def count_subsets(values: list[int], total: int) -> int:
    """Return how many ways there are to choose items of `values`, none or all included, whose sum is `total`. Equal
    items at different places are different choices."""
    ways = {0: 1}
    for value in values:
        for reached, count in list(ways.items()):
            ways[reached + value] = ways.get(reached + value, 0) + count
        # Each value is added to what was reached without it, as the items were listed before.
    return ways.get(total, 0)


@PROBLEMS.add(4, args(letters("abc", 0, 6), letters("abc", 0, 6)))
def edit_distance(first: str, second: str) -> int:
    """Return the least number of changes that make `second` of `first`; a change puts in, takes out or replaces one
    character."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        previous, row = row, [i]
        for j, b in enumerate(second, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (a != b)))
    return row[-1]


@PROBLEMS.add(4, args(letters("abc", 0, 7), letters("abc", 0, 7)))
def longest_common_subsequence(first: str, second: str) -> int:
    """Return the length of the longest text that can be made from `first`, and from `second` too, by leaving characters
    out."""
    row = [0] * (len(second) + 1)
    for a in first:
        previous, row = row, [0]
        for j, b in enumerate(second):
            row.append(previous[j] + 1 if a == b else max(previous[j + 1], row[-1]))
    return row[-1]


def _load(rng: Random) -> tuple[list[int], list[int], int]:
    count = rng.randint(0, 5)
    return [rng.randint(1, 8) for _ in range(count)], [rng.randint(1, 20) for _ in range(count)], rng.randint(0, 20)


@PROBLEMS.add(4, _load)
def best_load(weights: list[int], values: list[int], limit: int) -> int:
    """Thing i weighs weights[i] and is worth values[i]; each is there once. Return the greatest worth of things that
    together weigh at most `limit`."""
    best = [0] * (limit + 1)
    for weight, value in zip(weights, values):
        for room in range(limit, weight - 1, -1):
            best[room] = max(best[room], best[room - weight] + value)
    return best[limit]


def _square(rng: Random) -> tuple[int, int, int]:
    size = rng.randint(4, 7)
    return size, rng.randrange(size), rng.randrange(size)


@PROBLEMS.add(5, _square)
def count_queens(size: int, row: int, column: int) -> int:
    """Return in how many ways `size` queens can stand on a board of `size` x `size` squares so that no two share a row,
    a column or a diagonal, and one stands in the given row and column, both counted from 0. Turned and mirrored boards
    count."""

    def place(i: int, columns: set[int], falling: set[int], rising: set[int]) -> int:
        if i == size:
            return 1
        return sum(
            place(i + 1, columns | {j}, falling | {i - j}, rising | {i + j})
            for j in ([column] if i == row else range(size))
            if j not in columns and i - j not in falling and i + j not in rising
        )

    return place(0, set(), set(), set())


def _order(rng: Random) -> tuple[str]:
    return ("".join(rng.sample("abcdef", rng.randint(1, 5))),)


@PROBLEMS.add(4, _order)
def next_permutation(text: str) -> str:
    """Return the text that follows in the alphabetical list of all orders of these characters, which are all different;
    after the last one comes the first."""
    characters = list(text)
    i = len(characters) - 2
    while i >= 0 and characters[i] > characters[i + 1]:
        i -= 1
    if i >= 0:
        j = max(k for k in range(i + 1, len(characters)) if characters[k] > characters[i])
        characters[i], characters[j] = characters[j], characters[i]
    return "".join(characters[: i + 1] + characters[i + 1 :][::-1])


@PROBLEMS.add(5, args(integers(1, 9, 1, 7), integer(1, 3)))
def fairest_split(jobs: list[int], workers: int) -> int:
    """The list of jobs, which is not empty, is cut into at most `workers` runs of neighbours, whose sums are the loads
    of the workers. Return what the greatest load is where the cuts make it least."""

    def fits(limit: int) -> bool:
        used, load = 1, 0
        for job in jobs:
            if load + job > limit:
                used, load = used + 1, 0
            load += job
        return used <= workers

    low, high = max(jobs), sum(jobs)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low
