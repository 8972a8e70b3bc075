"""Problems about rectangles of values, each a list of rows of equal length."""

from random import Random

from ..problem import ProblemList, args, grid, integer

PROBLEMS = ProblemList()

_DIGITS = integer(0, 9)
_LAND = integer(0, 1)


@PROBLEMS.add(1, args(grid(_DIGITS, 1, 4)))
def column_sums(rows: list[list[int]]) -> list[int]:
    """Return the sum of each column of the grid, from left to right."""
    return [sum(column) for column in zip(*rows)]


@PROBLEMS.add(1, args(grid(_DIGITS, 1, 4, is_square=True)))
def diagonal_difference(rows: list[list[int]]) -> int:
    """Return the sum along the diagonal from the upper left to the lower right, minus that along the other diagonal.
    The grid is square."""
    size = len(rows)
    return sum(rows[i][i] - rows[i][size - 1 - i] for i in range(size))


@PROBLEMS.add(2, args(grid(_DIGITS, 1, 4)))
def rotate_clockwise(rows: list[list[int]]) -> list[list[int]]:
    """Turn the grid by a quarter clockwise: its left column, read upwards, becomes the first row."""
    return [list(column) for column in zip(*rows[::-1])]


@PROBLEMS.add(3, args(grid(_DIGITS, 1, 4)))
def spiral(rows: list[list[int]]) -> list[int]:
    """Return all values along the spiral that begins in the upper left corner, goes right, then down, then left, then
    up, and on so inwards."""
    order: list[int] = []
    left = [list(row) for row in rows]
    while left:
        order += left.pop(0)
        left = [list(column) for column in zip(*left)][::-1]
    return order


@PROBLEMS.add(2, args(grid(integer(0, 4), 1, 4)))
def saddle_points(rows: list[list[int]]) -> list[list[int]]:
    """Return the places [row, column], row by row, whose value is the greatest of its row and the least of its column;
    equals are allowed."""
    return [
        [i, j]
        for i, row in enumerate(rows)
        for j, value in enumerate(row)
        if value == max(row) and value == min(other[j] for other in rows)
    ]


@PROBLEMS.add(3, args(grid(_LAND, 2, 5)))
def life_step(cells: list[list[int]]) -> list[list[int]]:
    """Return the next generation of Conway's game of life: a living cell (1) lives on with 2 or 3 living neighbours out
    of its up to 8, a dead one (0) comes to life with exactly 3. There is nothing outside the grid."""
    height, width = len(cells), len(cells[0])

    def neighbours(i: int, j: int) -> int:
        rows, columns = range(max(0, i - 1), min(height, i + 2)), range(max(0, j - 1), min(width, j + 2))
        return sum(cells[k][m] for k in rows for m in columns) - cells[i][j]

    return [[int(neighbours(i, j) in (3, 2 + (1 - cells[i][j]))) for j in range(width)] for i in range(height)]


@PROBLEMS.add(3, args(grid(_LAND, 1, 5)))
def count_islands(cells: list[list[int]]) -> int:
    """Return the number of islands: groups of 1s that hang together up, down, left or right."""
    land = {(i, j) for i, row in enumerate(cells) for j, cell in enumerate(row) if cell}
    islands = 0
    while land:
        islands += 1
        waiting = [land.pop()]
        while waiting:
            i, j = waiting.pop()
            for place in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if place in land:
                    land.remove(place)
                    waiting.append(place)
    return islands


def _maze(rng: Random) -> tuple[list[str]]:
    height, width = rng.randint(2, 6), rng.randint(2, 5)
    rows = [[("#" if rng.random() < 0.3 else ".") for _ in range(width)] for _ in range(height)]
    if rng.random() < 0.7:  # walls across, with a gap each: the way leads back and forth
        for index in range(height):
            rows[index] = ["#" if index % 2 else "."] * width
            rows[index][rng.randrange(width)] = "."
    rows[0][0] = rows[-1][-1] = "."
    return (["".join(row) for row in rows],)


@PROBLEMS.add(4, _maze)
def shortest_way(maze: list[str]) -> int:
    """Each text is a row of a maze, "#" a wall and "." free. Return the least number of steps (up, down, left or right)
    from the upper left to the lower right corner, which are free, or -1 where there is no way."""
    from collections import deque

    steps = {(0, 0): 0}
    waiting = deque(steps)
    while waiting:
        i, j = waiting.popleft()
        for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            is_inside = 0 <= k < len(maze) and 0 <= m < len(maze[0])
            if is_inside and maze[k][m] == "." and (k, m) not in steps:
                steps[k, m] = steps[i, j] + 1
                waiting.append((k, m))
    return steps.get((len(maze) - 1, len(maze[0]) - 1), -1)


@PROBLEMS.add(4, args(grid(_DIGITS, 1, 4)))
def cheapest_descent(costs: list[list[int]]) -> int:
    """Begin anywhere in the first row and go down row by row, each time to the place below or to one of the two
    beside that.
    Return the least sum of the values on such a way to the last row."""
    best = costs[0]
    for row in costs[1:]:
        best = [value + min(best[max(0, j - 1) : j + 2]) for j, value in enumerate(row)]
    return min(best)


@PROBLEMS.add(5, args(grid(_LAND, 1, 5)))
def largest_rectangle(cells: list[list[int]]) -> int:
    """Return the number of cells in the largest rectangle that holds nothing but 1s; 0 where there is no 1."""
    largest = 0
    heights = [0] * len(cells[0])
    for row in cells:
        heights = [height + 1 if cell else 0 for height, cell in zip(heights, row)]
        for left in range(len(heights)):
            lowest = heights[left]
            for right in range(left, len(heights)):
                lowest = min(lowest, heights[right])
                largest = max(largest, lowest * (right + 1 - left))
    return largest
