"""Changes of the text in files: replace, sort, clean, recode, fill in."""

from __future__ import annotations

from random import Random

from .exercise import Exercise, files, folder_name, lines, paths, people, prose, words
from .tree import File


def replace_word(rng: Random, difficulty: int) -> Exercise:
    """A whole word, in files of one suffix; longer words and other files stay."""
    root, (old, new) = folder_name(rng), words(rng, 2)
    before, after = {}, {}
    chosen = paths(rng, 4 + 3 * difficulty, difficulty, below=root, suffixes=(".conf", ".conf", ".txt"))
    for path in chosen:
        rows = []
        for _ in range(rng.randint(3, 8)):
            row = [*words(rng, 2), rng.choice((old, old, f"{old}s", f"re{old}", "none")), *words(rng, 1)]
            rng.shuffle(row)
            rows.append(row)
        if path == chosen[0]:
            rows.append([old, old, "twice"])
        before[path] = lines(" ".join(row) for row in rows)
        is_meant = path.endswith(".conf")
        after[path] = lines(" ".join(new if word == old and is_meant else word for word in row) for row in rows)
    return Exercise(
        prompt=(
            f"In all .conf files below {root}, at any depth, replace the word {old} by {new} wherever it stands as a"
            f" whole word between spaces or at the ends of a line. Longer words such as {old}s stay, and so do other"
            " files."
        ),
        before=files(before),
        after=files(after),
        commands=f"find {root} -name '*.conf' -exec sed -i 's/\\b{old}\\b/{new}/g' {{}} +",
    )


def sort_table(rng: Random, difficulty: int) -> Exercise:
    """By a number, largest first, and by name where that is equal."""
    root = folder_name(rng)
    rows = [(name, rng.randint(1, 12)) for name in words(rng, 10 + 5 * difficulty)]
    source, target = f"{root}/{words(rng, 1)[0]}.txt", f"{root}/sorted.txt"
    in_order = sorted(rows, key=lambda row: (-row[1], row[0]))
    rest = {name: rng.randint(10, 99) for name, _ in rows}
    before = files({source: lines(f"{name} {number} {rest[name]}" for name, number in rows)})
    after = files({target: lines(f"{name} {number} {rest[name]}" for name, number in in_order)})
    return Exercise(
        prompt=(
            f"Write the lines of {source} to {target}, those with the largest number in the second column first, and "
            "those with the same number there in alphabetical order of the first column. The source stays."
        ),
        before=before,
        after={**before, **after},
        commands=f"sort -k2,2nr -k1,1 {source} > {target}",
    )


def drop_repeated_lines(rng: Random, difficulty: int) -> Exercise:
    """All but the first of equal lines, in place and in order."""
    root = folder_name(rng)
    before, after = {}, {}
    for name in words(rng, difficulty):
        pool = [" ".join(words(rng, 2)) for _ in range(8)]
        rows = [rng.choice(pool) for _ in range(rng.randint(15, 30))]
        before[f"{root}/{name}.list"], after[f"{root}/{name}.list"] = lines(rows), lines(dict.fromkeys(rows))
    return Exercise(
        prompt=f"In each .list file in {root}, keep only the first of equal lines, and leave the order as it is.",
        before=files(before),
        after=files(after),
        commands=(
            f"mkdir -p scratch; for f in {root}/*.list; do awk '!seen[$0]++' \"$f\" > scratch/new && "
            'cat scratch/new > "$f"; done'
        ),
    )


def strip_comments(rng: Random, difficulty: int) -> Exercise:
    """Comments, empty lines and trailing blanks, by rule."""
    root, mark = folder_name(rng), rng.choice(("#", ";", "//"))
    before, after = {}, {}
    for path in paths(rng, 2 + 2 * difficulty, difficulty, below=root, suffixes=(".cfg", ".cfg", ".md")):
        rows = [f"{words(rng, 1)[0]} = {rng.randint(1, 99)}{rng.choice(('', ' ', '   '))}" for _ in range(6)]
        rows += [f"{mark} {' '.join(words(rng, 2))}", "", "   ", f"  {mark} {words(rng, 1)[0]}", f"url = a{mark}b"]
        rng.shuffle(rows)
        before[path] = lines(rows)
        kept = [row.rstrip() for row in rows if row.strip() and not row.strip().startswith(mark)]
        after[path] = lines(kept if path.endswith(".cfg") else rows)
    escaped = mark.replace("/", "\\/")
    return Exercise(
        prompt=(
            f"Clean up the .cfg files below {root}, at any depth: delete lines whose first characters other than "
            f"spaces are {mark}, delete lines with nothing but spaces, and remove spaces at the ends of the others."
        ),
        before=files(before),
        after=files(after),
        commands=f"find {root} -name '*.cfg' -exec sed -i -e '/^ *{escaped}/d' -e 's/ *$//' -e '/^$/d' {{}} +",
    )


def line_endings(rng: Random, difficulty: int) -> Exercise:
    """Carriage returns go from text files; a program of another system keeps them."""
    root = folder_name(rng)
    before, after = {}, {}
    for path in paths(rng, 4 + 2 * difficulty, difficulty, below=root, suffixes=(".txt", ".csv", ".bat")):
        text = prose(rng, 2, 6)
        before[path] = text.replace("\n", "\r\n")
        after[path] = before[path] if path.endswith(".bat") else text
    return Exercise(
        prompt=(
            f"The .txt and .csv files below {root}, at any depth, have lines that end in carriage return and newline. "
            "Make them end in a newline alone. The .bat files stay as they are."
        ),
        before=files(before),
        after=files(after),
        commands=f"find {root} \\( -name '*.txt' -o -name '*.csv' \\) -exec sed -i 's/\\r$//' {{}} +",
    )


def recode_latin1(rng: Random, difficulty: int) -> Exercise:
    """From ISO-8859-1 to UTF-8, but only what is not UTF-8 already."""
    root = folder_name(rng)
    accents = {"a": "ä", "e": "é", "o": "ö", "u": "ü", "n": "ñ"}
    before, after = {}, {}
    for index, path in enumerate(paths(rng, 4 + 2 * difficulty, difficulty, below=root, suffixes=(".txt",))):
        text = "".join(accents.get(letter, letter) if rng.random() < 0.5 else letter for letter in prose(rng, 3, 5))
        after[path] = File(f"café {text}".encode())
        before[path] = File(f"café {text}".encode("latin-1")) if index % 2 == 0 else after[path]
    return Exercise(
        prompt=(
            f"Some of the .txt files below {root}, at any depth, are in ISO-8859-1, the others in UTF-8. "
            "Change those in ISO-8859-1 to UTF-8."
        ),
        before=before,
        after=after,
        commands=(
            f"mkdir -p scratch; find {root} -name '*.txt' | while IFS= read -r f; do "
            'iconv -f UTF-8 -t UTF-8 "$f" > scratch/new 2>/dev/null || '
            '{ iconv -f ISO-8859-1 -t UTF-8 "$f" > scratch/new && cat scratch/new > "$f"; }; done'
        ),
    )


def fill_template(rng: Random, difficulty: int) -> Exercise:
    """One letter for each row of a table."""
    root, (thing, place) = folder_name(rng), words(rng, 2)
    names = people(rng, 3 + 2 * difficulty)
    rows = [(name, str(rng.randint(5, 500)), words(rng, 1)[0]) for name in names]
    template = f"Dear @NAME@,\n\nyour {thing} costs @PRICE@, with @EXTRA@.\nPay @PRICE@ at the {place}.\n"
    before = files({f"{root}/template.txt": template, f"{root}/rows.csv": lines(",".join(row) for row in rows)})
    letters = {}
    for name, price, extra in rows:
        text = template.replace("@NAME@", name).replace("@PRICE@", price)
        letters[f"{root}/out/{name}.txt"] = text.replace("@EXTRA@", extra)
    return Exercise(
        prompt=(
            f"Each line of {root}/rows.csv holds a name, a price and an extra. For each of them write "
            f"{root}/out/NAME.txt: {root}/template.txt with @NAME@, @PRICE@ and @EXTRA@ replaced wherever they stand."
        ),
        before=before,
        after={**before, **files(letters)},
        commands=(
            f'mkdir {root}/out; while IFS=, read -r name price extra; do sed -e "s/@NAME@/$name/g" '
            f'-e "s/@PRICE@/$price/g" -e "s/@EXTRA@/$extra/g" {root}/template.txt > "{root}/out/$name.txt"; '
            f"done < {root}/rows.csv"
        ),
    )


def number_paragraphs(rng: Random, difficulty: int) -> Exercise:
    """Headings get numbers, over several files in order of their names."""
    root, mark = folder_name(rng), rng.choice(("#", "==", "**"))
    before, after, count = {}, {}, 0
    for name in sorted(words(rng, 2 + difficulty)):
        rows, numbered = [], []
        for _ in range(rng.randint(1, 4)):
            title, text = " ".join(words(rng, 2)), " ".join(words(rng, 4))
            count += 1
            rows += [f"{mark} {title}", text]
            numbered += [f"{mark} {count}. {title}", text]
        before[f"{root}/{name}.md"], after[f"{root}/{name}.md"] = lines(rows), lines(numbered)
    return Exercise(
        prompt=(
            f"Lines that begin with '{mark} ' in the files {root}/*.md are headings. Number them 1, 2, 3 and so on, "
            f"through all files in alphabetical order: '{mark} title' becomes '{mark} 1. title'."
        ),
        before=files(before),
        after=files(after),
        commands=(
            f"mkdir -p scratch; n=0; for f in {root}/*.md; do awk -v n=\"$n\" -v mark='{mark}' "
            '\'$1 == mark {n++; sub(/^[^ ]+ /, ""); $0 = mark " " n ". " $0} {print}\' "$f" > scratch/new; '
            'cat scratch/new > "$f"; n=$((n + $(awk -v mark=\''
        )
        + mark
        + "' '$1 == mark' \"$f\" | wc -l))); done",
    )


def apply_edits(rng: Random, difficulty: int) -> Exercise:
    """A list of edits by line number, for several files."""
    root = folder_name(rng)
    names = words(rng, 1 + difficulty)
    texts = {name: [" ".join(words(rng, 3)) for _ in range(rng.randint(6, 12))] for name in names}
    before = {f"{root}/{name}.txt": lines(rows) for name, rows in texts.items()}
    edits = []
    for name, rows in texts.items():
        for number in rng.sample(range(len(rows)), 3):
            rows[number] = " ".join(words(rng, 3))
            edits.append(f"{name}.txt {number + 1} {rows[number]}")
    rng.shuffle(edits)
    before[f"{root}/edits"] = lines(edits)
    after = {**before, **{f"{root}/{name}.txt": lines(rows) for name, rows in texts.items()}}
    return Exercise(
        prompt=(
            f"Each line of {root}/edits holds a file in {root}, a line number and a text. Replace that line of that "
            f"file by the text, for each of them; lines are counted from 1. {root}/edits itself stays."
        ),
        before=files(before),
        after=files(after),
        commands=f'cd {root}; while read -r f n text; do sed -i "${{n}}s/.*/$text/" "$f"; done < edits',
    )


def changelog_entry(rng: Random, difficulty: int) -> Exercise:
    """A block of lines moves from the end of a file to behind its title."""
    place, version = f"{folder_name(rng)}/CHANGES.md", f"{rng.randint(1, 9)}.{rng.randint(0, 19)}.{rng.randint(0, 9)}"
    title, other = "# Changes", f"{rng.randint(10, 19)}.{rng.randint(0, 9)}.0"
    block = [f"## {version}", "", *(f"- {' '.join(words(rng, 3))}" for _ in range(1 + difficulty)), ""]
    rest = [f"## {other}", "", *(f"- {' '.join(words(rng, 3))}" for _ in range(2 + difficulty)), ""]
    return Exercise(
        prompt=(
            f"In {place}, move the section '## {version}', with all its lines up to the end of the file, to directly "
            f"before the line '## {other}'. Everything else stays as it is."
        ),
        before=files({place: lines([title, "", *rest, *block])}),
        after=files({place: lines([title, "", *block, *rest])}),
        commands=f"mkdir -p scratch; awk '/^## {version}$/ {{n = 2}} /^## {other}$/ {{n = 3}} "
        f'{{print > ("scratch/" (n + 0))}}\' {place}; cat scratch/0 scratch/2 scratch/3 > {place}',
    )
