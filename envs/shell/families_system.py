"""The work of those who look after machines: configuration, logs, checksums, schedules."""

from __future__ import annotations

import hashlib
from collections import Counter
from random import Random

from .exercise import Exercise, files, folder_name, lines, paths, people, prose, words


def set_in_section(rng: Random, difficulty: int) -> Exercise:
    """A key of one section of an ini file; other sections have it too."""
    place, key, value = f"{folder_name(rng)}/app.ini", words(rng, 1)[0], rng.randint(1000, 9999)
    sections = words(rng, 3 + difficulty)
    target = rng.choice(sections)
    before, after = [], []
    for section in sections:
        rows = [f"{word} = {rng.randint(1, 99)}" for word in words(rng, 2) if word != key]
        at = rng.randint(0, len(rows))
        old = f"{key} = {rng.randint(1, 99)}"
        before += [f"[{section}]", *rows[:at], old, *rows[at:], ""]
        after += [f"[{section}]", *rows[:at], f"{key} = {value}" if section == target else old, *rows[at:], ""]
    return Exercise(
        prompt=f"In {place}, set {key} to {value} in the section [{target}], and only there. Everything else stays.",
        before=files({place: lines(before)}),
        after=files({place: lines(after)}),
        commands=f"sed -i '/^\\[{target}\\]$/,/^$/s/^{key} = .*/{key} = {value}/' {place}",
    )


def complete_config(rng: Random, difficulty: int) -> Exercise:
    """Keys that are missing come from a reference, in its order; values that are there stay."""
    root, keys = folder_name(rng), words(rng, 6 + 3 * difficulty)
    reference = {key: rng.randint(1, 99) for key in keys}
    own = {key: rng.randint(100, 999) for key in rng.sample(keys, len(keys) // 2)}
    kept = [f"{key}={value}" for key, value in own.items()]
    added = [f"{key}={value}" for key, value in reference.items() if key not in own]
    before = files(
        {f"{root}/default.conf": lines(f"{k}={v}" for k, v in reference.items()), f"{root}/own.conf": lines(kept)}
    )
    return Exercise(
        prompt=(
            f"{root}/own.conf lacks some of the keys that {root}/default.conf sets with KEY=VALUE. Append the missing "
            "lines to it, in the order of default.conf. The lines that are there stay."
        ),
        before=before,
        after={**before, **files({f"{root}/own.conf": lines([*kept, *added])})},
        commands=(
            f"mkdir -p scratch; cd {root}; awk -F= 'NR == FNR {{has[$1] = 1; next}} !($1 in has)' own.conf default.conf"
            " > ../scratch/new; cat ../scratch/new >> own.conf"
        ),
    )


def repair_config(rng: Random, difficulty: int) -> Exercise:
    """Lines that were written in three wrong ways get the right one."""
    place = f"{folder_name(rng)}/service.conf"
    before, after = [], []
    for index, key in enumerate(words(rng, 8 + 4 * difficulty)):
        value = rng.choice((str(rng.randint(1, 9999)), f"/srv/{words(rng, 1)[0]}", words(rng, 1)[0]))
        way = index if index < 4 else rng.randint(0, 3)
        before.append((f"{key}: {value}", f"{key} = {value};", f"  {key}   =   {value}", f"{key} = {value}")[way])
        after.append(f"{key} = {value}")
    return Exercise(
        prompt=(
            f"Each line of {place} must have the form 'KEY = VALUE', with one space around the sign, none before the"
            " key and none behind the value. Some lines have a colon directly behind the key instead, a semicolon at"
            " the end, or more spaces. Repair them; keys, values and their order stay."
        ),
        before=files({place: lines(before)}),
        after=files({place: lines(after)}),
        commands=f"sed -i -e 's/^ *//' -e 's/^\\([a-z]*\\): */\\1 = /' -e 's/ *= */ = /' -e 's/ *;* *$//' {place}",
    )


def merge_env(rng: Random, difficulty: int) -> Exercise:
    """One environment file over another: its values win, and its new names come last."""
    root, names = folder_name(rng), [word.upper() for word in words(rng, 7 + 3 * difficulty)]
    base = {name: f"{rng.randint(1, 999)}" for name in names[:-2]}
    local = {name: f"'{' '.join(words(rng, 2))}'" for name in [*rng.sample(names[:-2], 2), *names[-2:]]}
    before = files({f"{root}/{name}": lines(f"{k}={v}" for k, v in values.items())
                    for name, values in ((".env", base), (".env.local", local))})  # fmt: skip
    merged = files({f"{root}/.env.merged": lines(f"{key}={value}" for key, value in {**base, **local}.items())})
    return Exercise(
        prompt=(
            f"Write {root}/.env.merged: the lines NAME=VALUE of {root}/.env in their order, with the values of"
            f" {root}/.env.local where that has the name, and then the lines of {root}/.env.local whose names"
            f" {root}/.env does not have, in their order."
        ),
        before=before,
        after={**before, **merged},
        commands=(
            f"cd {root}; awk -F= 'NR == FNR {{new[$1] = $0; next}} $1 in new {{print new[$1]; next}} {{print}}'"
            " .env.local .env > .env.merged; awk -F= 'NR == FNR {old[$1] = 1; next} !($1 in old)' .env .env.local >>"
            " .env.merged"
        ),
    )


def disable_jobs(rng: Random, difficulty: int) -> Exercise:
    """Lines of a cron table that run one command are commented out."""
    place, names = f"{folder_name(rng)}/crontab", words(rng, 3 + difficulty)
    target = names[0]
    before, after = [], []
    for index in range(6 + 4 * difficulty):
        name = target if index < 3 else f"{target}-check" if index == 3 else rng.choice(names)
        row = (
            f"{rng.randint(0, 59)} {rng.choice(('*', rng.randint(0, 23)))} * * {rng.choice('*1234')} /opt/{name} --all"
        )
        row = f"# {row}" if index == 2 or (index > 3 and rng.random() < 0.2) else row
        before.append(row)
        after.append(f"# {row}" if f"/opt/{target} " in row and not row.startswith("#") else row)
    order = rng.sample(range(len(before)), len(before))
    return Exercise(
        prompt=(
            f"In the cron table {place}, put '# ' in front of each line that runs the command /opt/{target} and is no "
            "comment already. Commands with longer names are others."
        ),
        before=files({place: lines(before[index] for index in order)}),
        after=files({place: lines(after[index] for index in order)}),
        commands=f"sed -i '/^#/!s|^\\(.* /opt/{target} .*\\)$|# \\1|' {place}",
    )


def top_clients(rng: Random, difficulty: int) -> Exercise:
    """Who asked most often, among requests that failed."""
    root, count = folder_name(rng), rng.randint(2, 3)
    clients = [
        f"10.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{index}" for index in rng.sample(range(255), 4 + difficulty)
    ]
    rows = []
    for client, failures in zip(clients, rng.sample(range(3, 20), len(clients)), strict=True):
        rows += [f"{client} GET /{words(rng, 1)[0]} {rng.choice((500, 502, 503))}" for _ in range(failures)]
        rows += [f"{client} GET /{rng.choice((500, 503))} {rng.choice((200, 404))}" for _ in range(rng.randint(0, 9))]
    rng.shuffle(rows)
    failed = Counter(row.split()[0] for row in rows if row.split()[3].startswith("5"))
    before = files({f"{root}/web{index}.log": lines(rows[index::2]) for index in range(2)})
    report = lines(f"{client} {number}" for client, number in failed.most_common(count))
    return Exercise(
        prompt=(
            f"Lines of {root}/*.log are CLIENT METHOD PATH STATUS. Write {root}/top.txt with the {count} clients that"
            " have the most lines with a status of 500 or more, in all files together: a line 'CLIENT NUMBER' for"
            " each, the largest number first."
        ),
        before=before,
        after={**before, **files({f"{root}/top.txt": report})},
        commands=(
            f"cat {root}/*.log | awk '$4 >= 500 {{n[$1]++}} END {{for (c in n) print c, n[c]}}' | sort -k2,2nr | "
            f"head -{count} > {root}/top.txt"
        ),
    )


def log_window(rng: Random, difficulty: int) -> Exercise:
    """Lines of several logs between two times, in order of time."""
    root, day = folder_name(rng), f"2024-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    seconds = sorted(rng.sample(range(86_400), 20 + 10 * difficulty))
    rows = [f"{day}T{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02} {' '.join(words(rng, 2))}" for s in seconds]
    first, last = rng.randint(3, len(rows) // 3), rng.randint(2 * len(rows) // 3, len(rows) - 4)
    parts: dict[str, list[str]] = {f"{root}/{name}.log": [] for name in words(rng, 1 + difficulty)}
    for row in rows:
        parts[rng.choice(list(parts))].append(row)
    before = files({path: lines(part) for path, part in parts.items()})
    start, end = rows[first].split()[0], rows[last].split()[0]
    return Exercise(
        prompt=(
            f"Each line of the files {root}/*.log begins with its time. Write {root}/window.txt with the lines of all "
            f"files from {start} to {end}, both included, in order of time."
        ),
        before=before,
        after={**before, **files({f"{root}/window.txt": lines(rows[first : last + 1])})},
        commands=f'cat {root}/*.log | awk \'$1 >= "{start}" && $1 <= "{end}"\' | sort > {root}/window.txt',
    )


def check_sums(rng: Random, difficulty: int) -> Exercise:
    """Files that are not what a list of checksums says go into another folder."""
    root = folder_name(rng)
    names = sorted(f"{word}.dat" for word in words(rng, 5 + 4 * difficulty))
    texts = {name: prose(rng, 1, 3) for name in names}
    sums = lines(f"{hashlib.sha256(text.encode()).hexdigest()}  {name}" for name, text in texts.items())
    damaged = rng.sample(names, 1 + difficulty)
    texts |= {name: texts[name].replace("a", "e", 1) if "a" in texts[name] else "x" for name in damaged}
    where = {name: f"{root}/damaged/{name}" if name in damaged else f"{root}/{name}" for name in names}
    return Exercise(
        prompt=(
            f"{root}/SHA256SUMS lists the files in {root} with their checksums, as sha256sum writes them. Move the"
            f" files that have another checksum now into the folder {root}/damaged. The list stays as it is."
        ),
        before=files({f"{root}/SHA256SUMS": sums, **{f"{root}/{name}": text for name, text in texts.items()}}),
        after=files({f"{root}/SHA256SUMS": sums, **{where[name]: text for name, text in texts.items()}}),
        commands=(
            f"cd {root}; mkdir damaged; sha256sum -c SHA256SUMS 2>/dev/null | sed -n 's/: FAILED$//p' | "
            'while IFS= read -r f; do mv "$f" damaged/; done'
        ),
    )


def write_sums(rng: Random, difficulty: int) -> Exercise:
    """A list of checksums of all files, in order of their paths."""
    root, (program, method) = (
        folder_name(rng),
        rng.choice((("sha256sum", "sha256"), ("md5sum", "md5"), ("sha1sum", "sha1"))),
    )
    texts = {
        p: prose(rng, 1, 2)
        for p in paths(rng, 4 + 3 * difficulty, min(difficulty, 2), below=root, suffixes=(".txt", ".c"))
    }
    rows = [
        f"{hashlib.new(method, texts[p].encode()).hexdigest()}  {p.removeprefix(root + '/')}" for p in sorted(texts)
    ]
    return Exercise(
        prompt=(
            f"Write MANIFEST, beside the folder {root}, with the {method} checksums of all files below {root}, at any"
            f" depth, in the form that {program} has: the checksum, two spaces, and the path from inside {root},"
            " without ./ in front. The lines are in alphabetical order of the paths, as LC_ALL=C sorts them."
        ),
        before=files(texts),
        after=files({**texts, "MANIFEST": lines(rows)}),
        commands=f"cd {root}; find . -type f | sed 's|^\\./||' | LC_ALL=C sort | xargs {program} > ../MANIFEST",
    )


def rotate_logs(rng: Random, difficulty: int) -> Exercise:
    """Each number grows by one, the oldest goes, and an empty log begins."""
    root, most = folder_name(rng), rng.randint(3, 5)
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for name in words(rng, difficulty):
        logs = [prose(rng, 1, 3) for _ in range(most + 1)]
        before |= {f"{root}/{name}.log{f'.{i}' if i else ''}": text for i, text in enumerate(logs)}
        after |= {f"{root}/{name}.log.{i + 1}": text for i, text in enumerate(logs[:-1])} | {f"{root}/{name}.log": ""}
    return Exercise(
        prompt=(
            f"Rotate the logs in {root}: for each NAME.log, delete NAME.log.{most}, rename NAME.log.1 to NAME.log.2 and"
            f" so on up to NAME.log.{most}, rename NAME.log to NAME.log.1, and make a new NAME.log with nothing in it."
        ),
        before=files(before),
        after=files(after),
        commands=(
            f'cd {root}; for f in *.log; do i={most}; while [ $i -gt 1 ]; do mv "$f.$((i - 1))" "$f.$i"; '
            'i=$((i - 1)); done; mv "$f" "$f.1"; : > "$f"; done'
        ),
    )


def compare_trees(rng: Random, difficulty: int) -> Exercise:
    """A list of what was added, changed and removed between two folders."""
    root, (old, new) = folder_name(rng), words(rng, 2)
    names = [
        p.removeprefix("x/")
        for p in paths(rng, 8 + 3 * difficulty, min(difficulty, 2), below="x", suffixes=(".txt", ".c"))
    ]
    texts, changes = {}, {}
    for index, name in enumerate(names):
        text = prose(rng, 1, 3)
        state = "AMD"[index] if index < 3 else rng.choice("AMD===")
        if state != "A":
            texts[f"{root}/{old}/{name}"] = text
        if state != "D":
            texts[f"{root}/{new}/{name}"] = text.upper() if state == "M" else text
        if state != "=":
            changes[name] = state
    report = files({f"{root}/changes.txt": lines(f"{changes[name]} {name}" for name in sorted(changes))})
    return Exercise(
        prompt=(
            f"Write {root}/changes.txt with a line for each file that is not the same in {root}/{old} and {root}/{new},"
            f" at any depth: 'A PATH' if it is only in {new}, 'D PATH' if it is only in {old}, 'M PATH' if its content"
            " differs. PATH is the path from inside the two folders. The lines are in alphabetical order of PATH, as"
            " LC_ALL=C sorts them."
        ),
        before=files(texts),
        after={**files(texts), **report},
        commands=(
            f"cd {root}; (cd {old}; find . -type f; cd ../{new}; find . -type f) | sed 's|^\\./||' | LC_ALL=C sort"
            " -u | "
            f'while IFS= read -r f; do if [ ! -e "{old}/$f" ]; then echo "A $f"; elif [ ! -e "{new}/$f" ]; then echo "D'
            ' $f"; '
            f'elif ! cmp -s "{old}/$f" "{new}/$f"; then echo "M $f"; fi; done > changes.txt'
        ),
    )


def split_accounts(rng: Random, difficulty: int) -> Exercise:
    """One table into a file for each group, with a part of each line."""
    root, groups = folder_name(rng), words(rng, 2 + difficulty)
    rows = [(name, groups[i % len(groups)]) for i, name in enumerate(people(rng, 8 + 4 * difficulty))]
    rng.shuffle(rows)
    place = f"{root}/accounts"
    before = files({place: lines(f"{name}:{rng.randint(1000, 1999)}:{group}" for name, group in rows)})
    made = {f"{root}/groups/{group}": lines(sorted(n for n, own in rows if own == group)) for group in groups}
    return Exercise(
        prompt=(
            f"Each line of {place} is NAME:NUMBER:GROUP. Write a file {root}/groups/GROUP for each group, with the"
            " names of its accounts in alphabetical order, one a line."
        ),
        before=before,
        after={**before, **files(made)},
        commands=f"mkdir {root}/groups; sort {place} | awk -F: '{{print $1 > (\"{root}/groups/\" $3)}}'",
    )
