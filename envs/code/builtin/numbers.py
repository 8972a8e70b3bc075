"""Problems about whole numbers."""

from random import Random

from ..problem import ProblemList, args, integer, integers

PROBLEMS = ProblemList()

_PRIMES = [number for number in range(2, 1000) if all(number % divisor for divisor in range(2, int(number**0.5) + 1))]


@PROBLEMS.add(1, args(integer(-9999, 9999)))
def digit_sum(number: int) -> int:
    """Return the sum of the decimal digits of `number`; its sign does not matter."""
    return sum(int(digit) for digit in str(abs(number)))


@PROBLEMS.add(1, args(integer(0, 120), integer(1, 12), integer(1, 12)))
def sum_of_multiples(limit: int, a: int, b: int) -> int:
    """Return the sum of all whole numbers from 0 up to but without `limit` that are multiples of `a` or of `b`, each
    counted once. None of the three is negative, and `a` and `b` are not 0."""
    return sum(number for number in range(limit) if number % a == 0 or number % b == 0)


@PROBLEMS.add(1, lambda rng: (rng.choice((1, 4, 4, 100, 400)) * rng.randint(1, 40),))
def is_leap_year(year: int) -> bool:
    """Return whether `year` is a leap year: a multiple of 4, but of 100 only where it is a multiple of 400 too."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@PROBLEMS.add(1, args(integer(1, 300)))
def collatz_steps(number: int) -> int:
    """A step halves an even number, and makes of an odd one three times itself plus 1. Return how many steps lead from
    `number`, which is at least 1, to the first 1; from 1 itself there are none."""
    steps = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        steps += 1
    return steps


def _maybe_prime(rng: Random) -> tuple[int]:
    small = rng.choice(_PRIMES[:12])
    return (rng.choice((rng.randint(0, 3), rng.randint(4, 2000), small**2, small * 41, *rng.choices(_PRIMES, k=3))),)


@PROBLEMS.add(2, _maybe_prime)
def is_prime(number: int) -> bool:
    """Return whether `number`, which is not negative, is prime; 0 and 1 are not."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


@PROBLEMS.add(2, args(integer(0, 5000), integer(2, 16)))
def to_base(number: int, base: int) -> str:
    """Write `number`, which is not negative, in `base` from 2 to 16 with the digits 0123456789abcdef, without leading
    zeros; 0 is "0"."""
    digits = ""
    while number:
        number, digit = divmod(number, base)
        digits = "0123456789abcdef"[digit] + digits
    return digits or "0"


def _with_common_factor(rng: Random) -> tuple[list[int]]:
    factor = rng.choice((1, 2, 3, 6, 10))
    return ([factor * rng.randint(1, 30) for _ in range(rng.randint(1, 4))],)


@PROBLEMS.add(2, _with_common_factor)
def greatest_common_divisor(numbers: list[int]) -> int:
    """Return the greatest whole number that divides all of `numbers`, which are positive; there is at least one."""
    divisor = numbers[0]
    for number in numbers[1:]:
        while number:
            divisor, number = number, divisor % number
    return divisor


@PROBLEMS.add(3, args(integer(2, 2000)))
def prime_factors(number: int) -> list[int]:
    """Return the prime factors of `number`, which is at least 2, in ascending order, each as often as it divides."""
    factors: list[int] = []
    divisor = 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors


@PROBLEMS.add(3, args(integer(1, 3999)))
def to_roman(number: int) -> str:
    """Write `number`, from 1 to 3999, as a Roman numeral in capitals, with IV, IX, XL, XC, CD and CM."""
    symbols = [
        (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
        (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
    ]  # fmt: skip
    numeral = ""
    for value, symbol in symbols:
        count, number = divmod(number, value)
        numeral += symbol * count
    return numeral


def _roman(rng: Random) -> tuple[str]:
    return (to_roman(rng.randint(1, 3999)),)


@PROBLEMS.add(3, _roman)
def from_roman(numeral: str) -> int:
    """Return the value of a Roman numeral from 1 to 3999, in capitals and in its usual form. A symbol before a greater
    one is subtracted: "XIV" is 14."""
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}[symbol] for symbol in numeral]
    return sum(-value if value < following else value for value, following in zip(values, [*values[1:], 0]))


@PROBLEMS.add(4, args(integer(1, 60), integer(2, 60)))
def modular_inverse(number: int, modulus: int) -> int:
    """Return the least x from 1 on for which `number` * x leaves 1 when divided by `modulus`, or -1 where there is
    none. `number` is at least 1, `modulus` at least 2."""
    previous, current = number % modulus, modulus
    x, next_x = 1, 0
    while current:
        quotient = previous // current
        previous, current = current, previous - quotient * current
        x, next_x = next_x, x - quotient * next_x
    return x % modulus if previous == 1 else -1


@PROBLEMS.add(4, args(integer(0, 10**6)))
def integer_square_root(number: int) -> int:
    """Return the greatest whole number whose square is at most `number`, which is not negative."""
    low, high = 0, number + 1
    while high - low > 1:
        middle = (low + high) // 2
        if middle * middle <= number:
            low = middle
        else:
            high = middle
    return low


def _digits(rng: Random) -> tuple[list[int]]:
    digits = [0] * rng.choice((0, 0, 1, 2)) + integers(0, 9, 0, 4)(rng) + [9] * rng.choice((0, 0, 1, 3))
    return (digits or [9],)


@PROBLEMS.add(3, _digits)
def increment_digits(digits: list[int]) -> list[int]:
    """`digits`, one or more, are the decimal digits of a number, the first one being the most significant. Return the
    number plus 1 written in as many digits, or in one more where it does not fit: [0, 0, 9] gives [0, 1, 0], and
    [9, 9] gives [1, 0, 0]."""
    result = list(digits)
    for index in reversed(range(len(result))):
        if result[index] < 9:
            result[index] += 1
            return result
        result[index] = 0
    return [1, *result]
