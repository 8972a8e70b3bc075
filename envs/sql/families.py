"""All families of questions by name."""

from collections.abc import Mapping
from types import MappingProxyType

from . import families_groups, families_rows, families_windows
from .question import Family

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.__name__: family
        for family in (
            families_rows.two_conditions,
            families_rows.not_from,
            families_rows.missing_value,
            families_rows.contains_word,
            families_rows.contains_sign,
            families_rows.month_of_events,
            families_rows.never_with_status,
            families_rows.count_with_zero,
            families_rows.long_wait,
            families_rows.same_city_and_since,
            families_rows.city_of_sponsor,
            families_rows.in_one_but_not_other,
            families_rows.every_status,
            families_groups.average,
            families_groups.median,
            families_groups.share,
            families_groups.percent_change,
            families_groups.different_pairs,
            families_groups.people_per_city,
            families_groups.busy_people,
            families_groups.namesakes,
            families_groups.dearer_than_all_on_average,
            families_groups.dearer_than_own_group,
            families_groups.statuses_by_year,
            families_groups.price_bands,
            families_groups.share_of_groups,
            families_windows.latest_of_each,
            families_windows.last_status,
            families_windows.dearest_of_each_group,
            families_windows.top_overall,
            families_windows.running_total,
            families_windows.more_than_before,
            families_windows.monthly_change,
            families_windows.usual_status,
            families_windows.within_group,
            families_windows.chain_of_sponsors,
            families_windows.unused_numbers,
            families_windows.long_pauses,
            families_windows.longest_streak,
        )
    }
)
"""Name -> family."""

VALUE_FAMILIES = ("average", "median", "share", "percent_change", "different_pairs")
"""Those whose result is a single number, so that a value may be asked for instead of a query."""
