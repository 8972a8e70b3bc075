"""Questions about files: the answer is said, and nothing may change."""

from __future__ import annotations

from random import Random

from .exercise import Exercise, files, folder_name, lines, paths, people, prose, quoted, words
from .tree import MODIFIED_S, File, Link

_LEVELS = ("ERROR", "WARNING", "TIMEOUT", "DENIED", "RETRY", "REFUSED")


def count_lines(rng: Random, difficulty: int) -> Exercise:
    """Lines with a whole word, over files of one suffix."""
    root, word = folder_name(rng), rng.choice(_LEVELS)
    texts, count = {}, 0
    for path in paths(rng, 5 + 3 * difficulty, difficulty, below=root, suffixes=(".log", ".log", ".txt")):
        rows = []
        for _ in range(rng.randint(10, 30)):
            said = rng.choice((word, word, f"{word} after {word}", f"{word}S", rng.choice(_LEVELS), "OK"))
            rows.append(f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02} {said} {' '.join(words(rng, 2))}")
            count += path.endswith(".log") and word in rows[-1].split()
        texts[path] = lines(rows)
    return Exercise(
        prompt=(
            f"How many lines are there with the word {word} in the .log files below {root}, at any depth? {word}S is "
            "another word. Answer with the number."
        ),
        before=files(texts),
        answer=str(count),
        commands=f"find {root} -name '*.log' -exec cat {{}} + | grep -cw {word}",
    )


def largest_file(rng: Random, difficulty: int) -> Exercise:
    """The largest file of one suffix."""
    root, suffix = folder_name(rng), rng.choice((".dat", ".bin", ".csv", ".md"))
    chosen = paths(rng, 6 + 4 * difficulty, difficulty, below=root, suffixes=(suffix, suffix, ".old"))
    sizes = rng.sample(range(100, 4000), len(chosen))
    sizes[2] = 4000  # of another suffix
    of_kind = {path: size for path, size in zip(chosen, sizes, strict=True) if path.endswith(suffix)}
    return Exercise(
        prompt=(
            f"Which {suffix} file below {root}, at any depth, is the largest in bytes? "
            f"Answer with its path, which begins with {root}/."
        ),
        before={path: File(b"x" * size) for path, size in zip(chosen, sizes, strict=True)},
        answer=max(of_kind, key=lambda path: of_kind[path]),
        commands=f"find {root} -name '*{suffix}' -exec wc -c {{}} \\; | sort -n | tail -1 | sed 's/^ *[0-9]* //'",
    )


def newest_file(rng: Random, difficulty: int) -> Exercise:
    """The file that was changed last, by its time."""
    root, suffix = folder_name(rng), rng.choice((".txt", ".md", ".ini"))
    chosen = paths(rng, 6 + 4 * difficulty, difficulty, below=root, suffixes=(suffix, suffix, ".tmp"))
    days = rng.sample(range(1, 900), len(chosen))
    days[2] = 0  # of another suffix
    ages = dict(zip(chosen, days, strict=True))
    return Exercise(
        prompt=(
            f"Which {suffix} file below {root}, at any depth, was modified last? "
            f"Answer with its path, which begins with {root}/."
        ),
        before={path: File(prose(rng, 1, 4).encode(), modified_s=MODIFIED_S - 86_400 * ages[path]) for path in chosen},
        answer=min((path for path in chosen if path.endswith(suffix)), key=lambda path: ages[path]),
        commands=f"find {root} -name '*{suffix}' -exec ls -t {{}} + | head -1",
    )


def find_setting(rng: Random, difficulty: int) -> Exercise:
    """The one file that sets a key, among comments and longer keys, and the value."""
    root, key, value = folder_name(rng), "_".join(words(rng, 2)), f"{words(rng, 1)[0]}{rng.randint(10, 99)}"
    chosen = paths(rng, 5 + 4 * difficulty, difficulty, below=root, suffixes=(".conf",))
    right = rng.choice(chosen)
    texts = {}
    for path in chosen:
        rows = [f"{word} = {rng.randint(1, 999)}" for word in words(rng, 4)]
        rows.append(
            rng.choice((f"# {key} = {rng.randint(1, 99)}", f"{key}_old = {rng.randint(1, 99)}", f"my_{key} = 1"))
        )
        rows += [f"{key} = {value}"] * (path == right)
        rng.shuffle(rows)
        texts[path] = lines(rows)
    return Exercise(
        prompt=(
            f"One .conf file below {root} sets the key {key}, in a line that begins with it; lines that begin with # "
            "are comments. Answer with the path of that file and the value, with a space between them."
        ),
        before=files(texts),
        answer=f"{right} {value}",
        commands=f"grep -rE '^{key} *=' {root}",
    )


def most_frequent(rng: Random, difficulty: int) -> Exercise:
    """The most frequent value of a column."""
    root, names = folder_name(rng), people(rng, 4 + difficulty)
    counts = rng.sample(range(15, 60), len(names))
    visits = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    rng.shuffle(visits)
    rows = [f"{rng.choice(('get', 'put', 'list'))} {name} {rng.choice(names)}.txt" for name in visits]
    parts = {f"{root}/access-{index}.log": lines(rows[index::3]) for index in range(3)}
    top = max(range(len(names)), key=lambda index: counts[index])
    return Exercise(
        prompt=(
            f"The second word of each line of the files {root}/access-*.log is a name. Which name is in that place most"
            " often, in all files together, and how often? Answer with the name and the number, with a space between."
        ),
        before=files(parts),
        answer=f"{names[top]} {counts[top]}",
        commands=(
            f"cat {root}/access-*.log | awk '{{print $2}}' | sort | uniq -c | sort -rn | head -1 | awk '{{print $2,"
            " $1}'"
        ),
    )


def twin_files(rng: Random, difficulty: int) -> Exercise:
    """Two files of equal content, among others of equal size."""
    root = folder_name(rng)
    chosen = paths(rng, 5 + 4 * difficulty, difficulty, below=root, suffixes=(".txt", ".bak"))
    base = prose(rng, 3, 6)
    texts = {}
    for index, path in enumerate(chosen):
        at = index % (len(base) - 2)
        texts[path] = base[:at] + chr(ord("0") + index % 10) + base[at + 1 :]
    one, two = sorted(rng.sample(chosen, 2))
    texts[two] = texts[one]
    return Exercise(
        prompt=(
            f"Two of the files below {root} have the same content. Answer with their paths, which begin with "
            f"{root}/, in alphabetical order as LC_ALL=C sorts them, with a space between."
        ),
        before=files(texts),
        answer=f"{one} {two}",
        commands=(
            f"find {root} -type f -exec sha256sum {{}} + | LC_ALL=C sort | awk '{{path = substr($0, 67)}} "
            "$1 == last {print previous, path} {last = $1; previous = path}'"
        ),
    )


def folder_sizes(rng: Random, difficulty: int) -> Exercise:
    """The folder whose files have the most bytes together."""
    root = folder_name(rng)
    chosen = words(rng, 3 + difficulty)
    before, totals = {}, dict.fromkeys(chosen, 0)
    for index, size in enumerate(rng.sample(range(50, 1500), 5 * len(chosen))):
        folder = chosen[index % len(chosen)]
        inner = rng.choice(("", "deep/", "deep/er/"))
        size -= size % len(chosen)
        size += index if index < len(chosen) else 0  # so no two totals have the same remainder, and none is equal
        before[f"{root}/{folder}/{inner}part{index}"] = File(b"." * size)
        totals[folder] += size
    top = max(chosen, key=lambda folder: totals[folder])
    return Exercise(
        prompt=(
            f"Of the folders in {root}, which holds the most bytes in files, all files at any depth counted with the "
            "size of their content? Answer with the folder's name and the number of bytes, with a space between them."
        ),
        before=before,
        answer=f"{top} {totals[top]}",
        commands=(
            f'cd {root}; for d in *; do echo "$d $(find "$d" -type f -exec cat {{}} + | wc -c | tr -d \' \')"; done'
            " | sort -k2,2n | tail -1"
        ),
    )


def follow_links(rng: Random, difficulty: int) -> Exercise:
    """The file at the end of a chain of links."""
    root = folder_name(rng)
    names = words(rng, 12)
    folders = [f"{root}/{name}" for name in names[:3]]
    places = [f"{rng.choice(folders)}/{name}" for name in names[3:]]
    chain, ends = places[: 3 + difficulty], places[3 + difficulty :]
    before = files({path: f"{rng.randint(100, 999)}\n" for path in ends})
    for path, target in zip(chain, [*chain[1:], ends[0]], strict=True):
        before[path] = Link(f"../../{target}")
    before[f"{root}/start"] = Link(chain[0].removeprefix(f"{root}/"))
    return Exercise(
        prompt=(
            f"{root}/start is a symbolic link to another link, and so on. Which file is at the end? Answer with its "
            f"path, which begins with {root}/ and leads over no link."
        ),
        before=before,
        answer=ends[0],
        commands=f'readlink -f {root}/start | sed "s|^$(pwd -P)/||"',
    )


def unfinished_jobs(rng: Random, difficulty: int) -> Exercise:
    """Jobs that were started and did not end, over logs in disorder."""
    root = folder_name(rng)
    jobs = [f"j{number}" for number in rng.sample(range(1000, 9999), 8 + 6 * difficulty)]
    missing = sorted(jobs[: rng.randint(2, 4)])
    rows = [f"start {job} by {rng.choice(people(rng, 5))}" for job in jobs]
    rows += [f"end {job} status {rng.randint(0, 3)}" for job in jobs if job not in missing]
    rng.shuffle(rows)
    return Exercise(
        prompt=(
            f"In the files {root}/*.log, the first two words of a line are start or end, and a job. Lines are in no"
            " order. Which jobs were started and did not end? Answer with them in alphabetical order, with spaces"
            " between."
        ),
        before=files({f"{root}/{name}.log": lines(rows[index::2]) for index, name in enumerate(words(rng, 2))}),
        answer=" ".join(missing),
        commands=(
            f'cat {root}/*.log | awk \'$1 == "start" {{open[$2] = 1}} $1 == "end" {{done[$2] = 1}} '
            "END {for (job in open) if (!(job in done)) print job}' | sort | paste -s -d ' ' -"
        ),
    )


def slowest_request(rng: Random, difficulty: int) -> Exercise:
    """The largest number in one field, among lines that meet two conditions."""
    log, method, status = f"{folder_name(rng)}/requests.log", rng.choice(("GET", "POST")), rng.choice((200, 404, 500))
    other = rng.choice([number for number in (200, 404, 500) if number != status])
    times = [*rng.sample(range(9000, 9999), 2), *rng.sample(range(10, 9000), 30 * difficulty)]
    rows, fit = [], {}
    for index, time in enumerate(times):
        path = f"/{words(rng, 1)[0]}/{rng.randint(100, 999)}"
        row = (rng.choice(("GET", "POST", "PUT")), rng.choice((200, 404, 500)))
        if index < 7:  # the slowest two meet one condition each
            row = [(method, other), ("PUT", status), *[(method, status)] * 5][index]
        if row == (method, status):
            fit[time] = path
        rows.append(f"{row[0]} {path} status={row[1]} ms={time}")
    rng.shuffle(rows)
    top = max(fit)
    return Exercise(
        prompt=(
            f"Of the {method} requests with status {status} in {log}, which took longest? Answer with its path and "
            "its milliseconds, with a space between them."
        ),
        before=files({log: lines(rows)}),
        answer=f"{fit[top]} {top}",
        commands=(
            f"grep '^{method} .* status={status} ' {log} | sed 's/ms=//' | sort -k4,4n | tail -1 | awk '{{print $2,"
            " $4}'"
        ),
    )


def login_accounts(rng: Random, difficulty: int) -> Exercise:
    """Names from a table with colons, by two conditions."""
    place, shell, least = f"{folder_name(rng)}/passwd", rng.choice(("/bin/bash", "/bin/zsh", "/bin/sh")), 1000
    names = people(rng, 8 + 5 * difficulty)
    rows, fit = [], []
    for index, name in enumerate(names):
        number = rng.choice((rng.randint(100, 999), rng.randint(1000, 1999)))
        own = rng.choice(("/bin/bash", "/bin/zsh", "/bin/sh", "/usr/sbin/nologin"))
        if index < 2:
            number, own = rng.randint(1000, 1999), shell
        rows.append(f"{name}:x:{number}:{number}:{name} {rng.choice(('x', shell))}:/home/{name}:{own}")
        if number >= least and own == shell:
            fit.append(name)
    rng.shuffle(rows)
    return Exercise(
        prompt=(
            f"{place} has the form of /etc/passwd. Which accounts have a user number of {least} or more and the login "
            f"shell {shell}? Answer with their names in alphabetical order, with spaces between them."
        ),
        before=files({place: lines(rows)}),
        answer=" ".join(sorted(fit)),
        commands=f"awk -F: '$3 >= {least} && $7 == \"{shell}\" {{print $1}}' {place} | sort | paste -s -d ' ' -",
    )


def scheduled_command(rng: Random, difficulty: int) -> Exercise:
    """The command that a cron table runs at a time of the day."""
    place, hour, minute = f"{folder_name(rng)}/crontab", rng.randint(0, 23), rng.randint(0, 59)
    names = words(rng, 6 + 4 * difficulty)
    rows = [f"{minute} {hour} * * * /opt/{names[0]}.sh"]
    rows += [f"# {minute} {hour} * * * /opt/{names[1]}.sh", f"{hour} {minute % 24} * * * /opt/{names[2]}.sh"]
    if hour == minute:
        rows.pop()
    rows += [f"{minute} {(hour + 1) % 24} * * * /opt/{names[3]}.sh", f"{minute} {hour} * * 1 /opt/{names[4]}.sh"]
    for name in names[5:]:
        other = rng.choice([number for number in range(60) if number != minute])
        rows.append(f"{other} {rng.choice((hour, rng.randint(0, 23)))} * * * /opt/{name}.sh")
    rng.shuffle(rows)
    return Exercise(
        prompt=(
            f"Which command does the cron table {place} run every day at {hour:02}:{minute:02}? Answer with the "
            "command as the table has it."
        ),
        before=files({place: lines(rows)}),
        answer=f"/opt/{names[0]}.sh",
        commands=f'awk \'$1 == "{minute}" && $2 == "{hour}" && $5 == "*" {{print $6}}\' {quoted(place)}',
    )
