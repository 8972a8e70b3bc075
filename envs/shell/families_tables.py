"""Tables and structured data: join, group, select, and change their form."""

from __future__ import annotations

import json
from collections import defaultdict
from random import Random
from typing import Any

from .exercise import Exercise, files, folder_name, lines, people, words
from .tree import Json


def join_tables(rng: Random, difficulty: int) -> Exercise:
    """Two tables with a common column, neither in order; some rows have no partner."""
    root, numbers = folder_name(rng), rng.sample(range(100, 999), 10 + 5 * difficulty)
    names = dict(zip(numbers[2:], people(rng, 40), strict=False))
    prices = {number: rng.randint(1, 99) for number in numbers[:-2]}
    rows = [f"{number},{names[number]},{prices[number]}" for number in sorted(names.keys() & prices.keys())]
    one, two = words(rng, 2)
    shuffled = [rng.sample(list(table.items()), len(table)) for table in (names, prices)]
    before = files({f"{root}/{name}.csv": lines(f"{key},{value}" for key, value in table)
                    for name, table in zip((one, two), shuffled, strict=True)})  # fmt: skip
    return Exercise(
        prompt=(
            f"{root}/{one}.csv has lines NUMBER,NAME and {root}/{two}.csv lines NUMBER,PRICE, in no order. Write"
            f" {root}/joined.csv with a line NUMBER,NAME,PRICE for each number that is in both, the smallest number"
            " first."
        ),
        before=before,
        after={**before, **files({f"{root}/joined.csv": lines(rows)})},
        commands=(
            f"cd {root}; mkdir -p ../scratch; sort -t, -k1,1 {one}.csv > ../scratch/1; "
            f"sort -t, -k1,1 {two}.csv > ../scratch/2; join -t, ../scratch/1 ../scratch/2 > joined.csv"
        ),
    )


def only_in_first(rng: Random, difficulty: int) -> Exercise:
    """The difference of two lists, and what they have in common."""
    root, (one, two) = folder_name(rng), words(rng, 2)
    everybody = people(rng, 20 + 5 * difficulty)
    lists = {one: everybody[: 12 + 2 * difficulty], two: everybody[6:]}
    for names in lists.values():
        rng.shuffle(names)
    before = files({f"{root}/{name}.txt": lines(names) for name, names in lists.items()})
    missing, common = sorted(set(lists[one]) - set(lists[two])), sorted(set(lists[one]) & set(lists[two]))
    return Exercise(
        prompt=(
            f"{root}/{one}.txt and {root}/{two}.txt are lists of names. Write {root}/missing.txt with the names that"
            f" are only in the first of them, and {root}/common.txt with those that are in both, each in alphabetical"
            " order."
        ),
        before=before,
        after={**before, **files({f"{root}/missing.txt": lines(missing), f"{root}/common.txt": lines(common)})},
        commands=(
            f"mkdir -p scratch; sort {root}/{one}.txt > scratch/1; sort {root}/{two}.txt > scratch/2; "
            f"comm -23 scratch/1 scratch/2 > {root}/missing.txt; comm -12 scratch/1 scratch/2 > {root}/common.txt"
        ),
    )


def group_sums(rng: Random, difficulty: int) -> Exercise:
    """Sums of one column by another, the largest first."""
    root, names = folder_name(rng), people(rng, 4 + difficulty)
    totals: defaultdict[str, int] = defaultdict(int)
    texts = {}
    for part in words(rng, 1 + difficulty):
        rows = ["name,item,amount"]
        for _ in range(rng.randint(8, 15)):
            name, amount = rng.choice(names), rng.randint(1, 500)
            totals[name] += amount
            rows.append(f"{name},{words(rng, 1)[0]},{amount}")
        texts[f"{root}/{part}.csv"] = lines(rows)
    ranked = sorted(totals, key=lambda name: (-totals[name], name))
    report = files({f"{root}/totals.txt": lines(f"{name} {totals[name]}" for name in ranked)})
    return Exercise(
        prompt=(
            f"Each .csv file in {root} has the columns name, item and amount, and a first line that says so. Write"
            f" {root}/totals.txt with a line 'NAME SUM' for each name: the sum of its amounts over all files, the"
            " largest sum first, and equal sums in alphabetical order of the names."
        ),
        before=files(texts),
        after={**files(texts), **report},
        commands=(
            f"awk -F, 'FNR > 1 {{sum[$1] += $3}} END {{for (name in sum) print name, sum[name]}}' {root}/*.csv | "
            f"sort -k2,2nr -k1,1 > {root}/totals.txt"
        ),
    )


def select_columns(rng: Random, difficulty: int) -> Exercise:
    """Some columns in another order, with another sign between them, of some rows."""
    root, columns = folder_name(rng), words(rng, 4 + difficulty)
    chosen = rng.sample(range(len(columns)), 3)
    by, value = rng.choice([index for index in range(len(columns)) if index not in chosen]), words(rng, 1)[0]
    sign, shown = rng.choice(((";", "a semicolon"), ("|", "a vertical bar"), ("\t", "a tab")))
    rows = []
    for index in range(10 + 8 * difficulty):
        row = [f"{words(rng, 1)[0]}{rng.randint(1, 99)}" for _ in columns]
        row[by] = value if index == 0 or rng.random() < 0.4 else row[by]
        rows.append(row)
    rng.shuffle(rows)
    source, target = f"{root}/{words(rng, 1)[0]}.csv", f"{root}/selected.csv"
    before = files({source: lines(",".join(row) for row in (columns, *rows))})
    kept = [sign.join(row[index] for index in chosen) for row in (columns, *rows) if row is columns or row[by] == value]
    fields = ", ".join(f"${index + 1}" for index in chosen)
    return Exercise(
        prompt=(
            f"From {source}, whose first line names the columns, write {target}: the columns"
            f" {', '.join(columns[index] for index in chosen)} in this order with {shown} between them, the line of"
            f" names first, and then only the rows whose {columns[by]} is {value}."
        ),
        before=before,
        after={**before, **files({target: lines(kept)})},
        commands=(
            f"awk -F, -v OFS='{sign}' 'NR == 1 || ${by + 1} == \"{value}\" {{print {fields}}}' {source} > {target}"
        ),
    )


def csv_to_json(rng: Random, difficulty: int) -> Exercise:
    """One JSON object a line, numbers as numbers."""
    root, (text_column, number_column) = folder_name(rng), words(rng, 2)
    rows = [(" ".join(words(rng, 2)), rng.randint(-50, 500)) for _ in range(4 + 3 * difficulty)]
    source, target = f"{root}/{words(rng, 1)[0]}.csv", f"{root}/rows.jsonl"
    before = files({source: lines([f"{text_column},{number_column}", *(f"{text},{number}" for text, number in rows)])})
    value = [{text_column: text, number_column: number} for text, number in rows]
    printf = f'printf "{{\\"{text_column}\\": \\"%s\\", \\"{number_column}\\": %d}}\\n", $1, $2'
    return Exercise(
        prompt=(
            f"Write {target}: for each row of {source} a JSON object on a line of its own, in the same order, with"
            f" {text_column} as a string and {number_column} as a number. The first line of the source names the"
            " columns."
        ),
        before=before,
        after={**before, target: Json(value, is_lines=True)},
        commands=f"awk -F, 'NR > 1 {{{printf}}}' {source} > {target}",
    )


def json_setting(rng: Random, difficulty: int) -> Exercise:
    """A value deep in a JSON file, and another key beside it."""
    place, (outer, inner, key, extra) = f"{folder_name(rng)}/settings.json", words(rng, 4)
    old, new = rng.sample(range(1000, 9999), 2)
    value: dict[str, Any] = {
        word: {word: rng.randint(1, 99) for word in words(rng, 2)} for word in words(rng, difficulty)
    }
    value = {key: old, **value, outer: {key: old, inner: {key: old, "names": people(rng, 2)}}}
    changed = json.loads(json.dumps(value))
    changed[outer][inner][key], changed[outer][inner][extra] = new, True
    return Exercise(
        prompt=(
            f"In the JSON file {place}, set {outer}.{inner}.{key} to the number {new} and {outer}.{inner}.{extra}, "
            "which is not there yet, to true. All other values stay."
        ),
        before=files({place: json.dumps(value, indent=2) + "\n"}),
        after={place: Json(changed)},
        commands=f"python3 -c 'import json, sys; p = sys.argv[1]; v = json.load(open(p)); "
        f'v["{outer}"]["{inner}"].update({{"{key}": {new}, "{extra}": True}}); '
        f'json.dump(v, open(p, "w"), indent=2)\' {place}',
    )


def transpose(rng: Random, difficulty: int) -> Exercise:
    """Rows become columns."""
    root, width = folder_name(rng), 3 + difficulty
    rows = [[f"{words(rng, 1)[0]}{rng.randint(1, 99)}" for _ in range(width)] for _ in range(4 + difficulty)]
    source, target = f"{root}/{words(rng, 1)[0]}.txt", f"{root}/turned.txt"
    before = files({source: lines(" ".join(row) for row in rows)})
    turned = files({target: lines(" ".join(column) for column in zip(*rows, strict=True))})
    return Exercise(
        prompt=(
            f"{source} is a table with one space between columns. Write it to {target} with rows and columns swapped: "
            "the first line holds the first column, and so on."
        ),
        before=before,
        after={**before, **turned},
        commands=f"for i in $(seq {width}); do cut -d ' ' -f $i {source} | paste -s -d ' ' -; done > {target}",
    )
