"""Problems about lists."""

from random import Random

from ..problem import ProblemList, args, integer, integers

PROBLEMS = ProblemList()


@PROBLEMS.add(1, args(integers(-9, 9, 0, 7)))
def running_totals(values: list[int]) -> list[int]:
    """Return a list whose item i is the sum of the items of `values` up to and with i."""
    totals, total = [], 0
    for value in values:
        total += value
        totals.append(total)
    return totals


@PROBLEMS.add(1, args(integers(0, 6, 0, 8)))
def without_repeats(values: list[int]) -> list[int]:
    """Return the items of `values` in their order, each only where it occurs first."""
    return list(dict.fromkeys(values))


@PROBLEMS.add(1, args(integers(0, 9, 0, 5), integers(10, 19, 0, 5)))
def interleave(first: list[int], second: list[int]) -> list[int]:
    """Return the items of both lists in turns, one each, beginning with `first`; when one is used up, the rest of the
    other follows."""
    result = []
    for index in range(max(len(first), len(second))):
        result += first[index : index + 1] + second[index : index + 1]
    return result


@PROBLEMS.add(2, args(integers(0, 9, 0, 7), integer(-9, 9)))
def rotate(values: list[int], steps: int) -> list[int]:
    """Return the list with each item moved `steps` places to the right, around the end; negative steps move to the
    left."""
    if not values:
        return []
    cut = -steps % len(values)
    return values[cut:] + values[:cut]


@PROBLEMS.add(2, args(integers(-4, 4, 0, 6)))
def second_largest(values: list[int]) -> int:
    """Return the second largest of the different values of the list, or -100 where there are fewer than two."""
    different = sorted(set(values))
    return different[-2] if len(different) > 1 else -100


@PROBLEMS.add(2, args(integers(-9, 9, 0, 9), integer(1, 4)))
def window_sums(values: list[int], size: int) -> list[int]:
    """Return the sums of all runs of `size` neighbouring items, from left to right; none where the list is shorter.
    `size` is at least 1."""
    return [sum(values[start : start + size]) for start in range(len(values) - size + 1)]


@PROBLEMS.add(2, args(integers(0, 9, 0, 9), integer(1, 4)))
def chunks(values: list[int], size: int) -> list[list[int]]:
    """Cut the list into lists of `size` items, which is at least 1; the last one holds what is left and may be shorter.
    An empty list gives no lists."""
    return [values[start : start + size] for start in range(0, len(values), size)]


def _two_sorted(rng: Random) -> tuple[list[int], list[int]]:
    draw = integers(0, 20, 0, 6)
    return sorted(draw(rng)), sorted(draw(rng))


@PROBLEMS.add(3, _two_sorted)
def merge_sorted(first: list[int], second: list[int]) -> list[int]:
    """Merge two ascending lists into one ascending list, which has all items of both."""
    merged, i, j = [], 0, 0
    while i < len(first) or j < len(second):
        if j == len(second) or (i < len(first) and first[i] <= second[j]):
            merged.append(first[i])
            i += 1
        else:
            merged.append(second[j])
            j += 1
    return merged


def _sums(rng: Random) -> tuple[list[int]]:
    return (integers(-9, rng.choice((-1, 9, 9)), 1, 9)(rng),)


@PROBLEMS.add(3, _sums)
def largest_run_sum(values: list[int]) -> int:
    """Return the largest sum of one or more neighbouring items; the list is not empty."""
    best = ending_here = values[0]
    for value in values[1:]:
        ending_here = max(value, ending_here + value)
        best = max(best, ending_here)
    return best


def _with_sum(rng: Random) -> tuple[list[int], int]:
    values = rng.sample(range(1, 14), rng.randint(2, 9))
    return values, rng.choice((rng.randint(12, 16), sum(rng.sample(values, 2)), rng.randint(2, 40)))


@PROBLEMS.add(3, _with_sum)
def pair_with_sum(values: list[int], total: int) -> list[int]:
    """Return the indices [i, j], i < j, of two items whose sum is `total`: of all such pairs that with the least j, and
    of these that with the least i. Return [] where there is none. All items are different."""
    index_of: dict[int, int] = {}
    for j, value in enumerate(values):
        if total - value in index_of:
            return [index_of[total - value], j]
        index_of[value] = j
    return []


@PROBLEMS.add(3, args(integers(-9, 9, 0, 8), integer(-3, 3)))
def partition(values: list[int], pivot: int) -> list[int]:
    """Return the items less than `pivot`, then those equal to it, then the greater ones, each in their own order."""
    return (
        [value for value in values if value < pivot]
        + [value for value in values if value == pivot]
        + [value for value in values if value > pivot]
    )


@PROBLEMS.add(4, args(integers(0, 12, 0, 9)))
def longest_increasing(values: list[int]) -> int:
    """Return how many items the longest strictly increasing list has that can be made from `values` by leaving items
    out."""
    from bisect import bisect_left

    tails: list[int] = []  # the least last item of an increasing list of each length
    for value in values:
        place = bisect_left(tails, value)
        tails[place : place + 1] = [value]
    return len(tails)


@PROBLEMS.add(4, args(integers(0, 7, 0, 9)))
def trapped_water(heights: list[int]) -> int:
    """`heights` are the heights of columns that stand side by side, each 1 wide. Return how much rain stays between
    them, in units of width times height; at both ends it runs off. No height is negative."""
    water, left, right = 0, 0, len(heights) - 1
    left_wall = right_wall = 0
    while left < right:
        left_wall, right_wall = max(left_wall, heights[left]), max(right_wall, heights[right])
        if left_wall < right_wall:
            water += left_wall - heights[left]
            left += 1
        else:
            water += right_wall - heights[right]
            right -= 1
    return water


@PROBLEMS.add(5, args(integers(0, 9, 0, 9)))
def count_inversions(values: list[int]) -> int:
    """Return the number of pairs of items, neighbours or not, of which the earlier one is greater than the later."""

    def count(part: list[int]) -> tuple[list[int], int]:
        if len(part) < 2:
            return part, 0
        (left, a), (right, b) = count(part[: len(part) // 2]), count(part[len(part) // 2 :])
        merged: list[int] = []
        inversions, i = a + b, 0
        for value in right:
            while i < len(left) and left[i] <= value:
                merged.append(left[i])
                i += 1
            merged.append(value)
            inversions += len(left) - i
        return merged + left[i:], inversions

    return count(values)[1]
