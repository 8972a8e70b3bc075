"""All families of generated problems by name."""

from types import MappingProxyType

from . import families_algebra, families_arithmetic, families_geometry, families_integers, families_words
from .problem import Family

FAMILIES = MappingProxyType(
    {
        family.__name__: family
        for family in (
            families_arithmetic.addition,
            families_arithmetic.subtraction,
            families_arithmetic.multiplication,
            families_arithmetic.division,
            families_arithmetic.expression,
            families_arithmetic.decimals,
            families_arithmetic.fractions,
            families_arithmetic.percentages,
            families_arithmetic.unit_conversion,
            families_integers.greatest_common_divisor,
            families_integers.least_common_multiple,
            families_integers.modular_power,
            families_integers.divisor_count,
            families_integers.largest_prime_factor,
            families_integers.remainder_puzzle,
            families_integers.base_conversion,
            families_integers.digit_sum,
            families_integers.arithmetic_sequence,
            families_integers.geometric_sequence,
            families_integers.recurrence,
            families_algebra.linear_equation,
            families_algebra.linear_system,
            families_algebra.quadratic_root,
            families_algebra.polynomial_value,
            families_algebra.integers_in_range,
            families_algebra.exponent_equation,
            families_geometry.rectangle,
            families_geometry.right_triangle,
            families_geometry.polygon_area,
            families_geometry.angle,
            families_geometry.urn,
            families_geometry.dice,
            families_geometry.counting,
            families_geometry.statistics,
            families_words.inventory,
            families_words.shopping,
            families_words.travel,
            families_words.work_rate,
            families_words.ages,
            families_words.mixture,
            families_words.sharing,
        )
    }
)
"""Name -> family. All prompts are ASCII."""

__all__ = ["FAMILIES", "Family"]
