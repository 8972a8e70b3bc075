"""Files as a whole: rename, move, delete, split, pack, link, permit."""

from __future__ import annotations

from random import Random

from .exercise import Exercise, files, folder_name, lines, paths, prose, quoted, words
from .tree import MODIFIED_S, Archive, Entry, File, Folder, Link, packed

_KINDS = (".txt", ".csv", ".png", ".mp3", ".pdf")
_DAY_S = 86_400


def rename_suffix(rng: Random, difficulty: int) -> Exercise:
    """One suffix becomes another, at any depth."""
    root, (old, new) = folder_name(rng), rng.choice(((".jpeg", ".jpg"), (".htm", ".html"), (".yml", ".yaml")))
    chosen = paths(rng, 6 + 3 * difficulty, difficulty, below=root, suffixes=(old, old, ".txt", f"{old}.bak"))
    texts = {path: prose(rng, 1, 2) for path in chosen}
    renamed = {path.removesuffix(old) + new if path.endswith(old) else path: texts[path] for path in chosen}
    return Exercise(
        prompt=(
            f"Rename all files below {root}, at any depth, whose names end in {old}: they shall end in {new} instead."
        ),
        before=files(texts),
        after=files(renamed),
        commands=f'find {root} -type f -name \'*{old}\' | while IFS= read -r f; do mv "$f" "${{f%{old}}}{new}"; done',
    )


def rename_by_date(rng: Random, difficulty: int) -> Exercise:
    """Day, month and year of a name change their places."""
    root, kind = folder_name(rng), rng.choice(("report", "invoice", "minutes"))
    before, after = files({f"{root}/readme-{kind}.txt": "keep\n"}), files({f"{root}/readme-{kind}.txt": "keep\n"})
    for _ in range(4 + 3 * difficulty):
        day, month, year = f"{rng.randint(1, 28):02}", f"{rng.randint(1, 12):02}", str(rng.randint(1990, 2030))
        content = File(prose(rng, 1, 2).encode())
        place = words(rng, 1)[0]
        before[f"{root}/{kind}_{day}-{month}-{year}_{place}.txt"] = content
        after[f"{root}/{year}-{month}-{day}_{place}_{kind}.txt"] = content
    return Exercise(
        prompt=(
            f"Files in {root} are named {kind}_DAY-MONTH-YEAR_PLACE.txt. Rename each of them to "
            f"YEAR-MONTH-DAY_PLACE_{kind}.txt. Files with other names stay."
        ),
        before=before,
        after=after,
        commands=f'cd {root}; for f in {kind}_*; do mv "$f" "$(echo "$f" | sed \'s/^{kind}_'
        f"\\(..\\)-\\(..\\)-\\(....\\)_\\(.*\\)\\.txt$/\\3-\\2-\\1_\\4_{kind}.txt/')\"; done",
    )


def sort_into_folders(rng: Random, difficulty: int) -> Exercise:
    """Each file goes to the folder of its suffix."""
    root = folder_name(rng)
    chosen = rng.sample(_KINDS, 2 + difficulty)
    names = [f"{word}{rng.choice(('', ' copy')) if difficulty == 3 else ''}" for word in words(rng, 4 + 4 * difficulty)]
    content = {f"{name}{chosen[i % len(chosen)]}": f"{name}\n" for i, name in enumerate(names)}
    before = files({f"{root}/{name}": text for name, text in content.items()})
    after = files({f"{root}/{name.rpartition('.')[2]}/{name}": text for name, text in content.items()})
    return Exercise(
        prompt=(
            f"Move each file in {root} into a folder of {root} that has the name of its suffix, without the dot: "
            "a.txt goes into the folder txt, and so on."
        ),
        before=before,
        after=after,
        commands=f'cd {root}; for f in *.*; do mkdir -p "${{f##*.}}"; mv "$f" "${{f##*.}}/"; done',
    )


def delete_large(rng: Random, difficulty: int) -> Exercise:
    """Files of one suffix above a size."""
    root, suffix, limit = folder_name(rng), rng.choice((".tmp", ".log", ".cache")), rng.randint(300, 900)
    before: dict[str, Entry] = {}
    chosen = paths(rng, 8 + 4 * difficulty, difficulty, below=root, suffixes=(suffix, suffix, ".keep"))
    for index, path in enumerate(chosen):
        size = (limit + 1, limit)[index] if index < 2 else rng.randint(1, 2 * limit)
        before[path] = File(b"-" * size)
    after = {p: e for p, e in before.items() if not (p.endswith(suffix) and len(_data(e)) > limit)}
    folders = {path.rpartition("/")[0]: Folder() for path in before}
    return Exercise(
        prompt=(
            f"Delete the {suffix} files below {root}, at any depth, that have more than {limit} bytes. "
            "Folders stay, even if they become empty."
        ),
        before=before,
        after={**folders, **after},
        commands=f"find {root} -type f -name '*{suffix}' -size +{limit}c -exec rm {{}} +",
    )


def delete_older(rng: Random, difficulty: int) -> Exercise:
    """Files that were changed before another one."""
    root, suffix = folder_name(rng), rng.choice((".bak", ".old", ".gz"))
    marker = f"{root}/last-run"
    before: dict[str, Entry] = {marker: File(b"")}
    for index, path in enumerate(
        paths(rng, 6 + 4 * difficulty, difficulty, below=root, suffixes=(suffix, suffix, ".txt"))
    ):
        days = (1, -1)[index] if index < 2 else rng.choice((-1, 1)) * rng.randint(2, 300)
        before[path] = File(prose(rng, 1, 1).encode(), modified_s=MODIFIED_S - days * _DAY_S)
    folders = {path.rpartition("/")[0]: Folder() for path in before}
    after = {p: e for p, e in before.items() if not (p.endswith(suffix) and _modified_s(e) < MODIFIED_S)}
    return Exercise(
        prompt=(
            f"Delete the {suffix} files below {root}, at any depth, that were last modified before the file {marker}. "
            "Folders stay, even if they become empty."
        ),
        before=before,
        after={**folders, **after},
        commands=f"find {root} -type f -name '*{suffix}' ! -newer {marker} -exec rm {{}} +",
    )


def pack_archive(rng: Random, difficulty: int) -> Exercise:
    """A tar.gz file of some files, with paths from inside the folder."""
    root, suffix = folder_name(rng), rng.choice((".o", ".pyc", ".tmp"))
    texts = {
        p: prose(rng, 1, 3)
        for p in paths(rng, 4 + 3 * difficulty, difficulty, below=root, suffixes=(".c", ".h", suffix))
    }
    members = {p.removeprefix(f"{root}/"): text.encode() for p, text in texts.items() if not p.endswith(suffix)}
    name = f"{words(rng, 1)[0]}.tar.gz"
    return Exercise(
        prompt=(
            f"Make {name}, a tar archive compressed by gzip, with all files below {root}, at any depth, except those "
            f"whose names end in {suffix}. Their paths in the archive begin inside {root}: {root}/a/b.c is a/b.c there."
        ),
        before=files(texts),
        after={**files(texts), name: Archive(members)},
        commands=f"tar -czf {name} --exclude '*{suffix}' -C {root} .",
    )


def unpack_archives(rng: Random, difficulty: int) -> Exercise:
    """Each archive into a folder of its name; then the archives go."""
    root = folder_name(rng)
    before, after = files({f"{root}/notes.txt": "keep\n"}), files({f"{root}/notes.txt": "keep\n"})
    for name in words(rng, 1 + difficulty):
        members = {f"{rng.choice(('', 'in/'))}{word}.txt": prose(rng, 1, 3).encode() for word in words(rng, 3)}
        before[f"{root}/{name}.tar.gz"] = packed(members)
        after |= {f"{root}/{name}/{path}": File(data) for path, data in members.items()}
    return Exercise(
        prompt=(
            f"Unpack each .tar.gz file in {root} into a folder of {root} with its name without .tar.gz, and delete the "
            "archives then."
        ),
        before=before,
        after=after,
        commands=(
            f'cd {root}; for f in *.tar.gz; do d=${{f%.tar.gz}}; mkdir "$d" && tar -xzf "$f" -C "$d" && rm "$f"; done'
        ),
    )


def split_file(rng: Random, difficulty: int) -> Exercise:
    """Parts of so many lines, numbered."""
    root, size = folder_name(rng), rng.randint(4, 9)
    rows = [" ".join(words(rng, 3)) for _ in range(size * (2 + difficulty) + rng.randint(1, size - 1))]
    name = words(rng, 1)[0]
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    before = files({f"{root}/{name}.txt": lines(rows)})
    after = files({f"{root}/{name}-{index + 1:03}.txt": lines(part) for index, part in enumerate(parts)})
    return Exercise(
        prompt=(
            f"Split {root}/{name}.txt into files of {size} lines each, the last one with what is left: "
            f"{root}/{name}-001.txt, {root}/{name}-002.txt and so on. Delete the file itself."
        ),
        before=before,
        after=after,
        commands=(
            f"cd {root}; awk '{{print > sprintf(\"{name}-%03d.txt\", int((NR - 1) / {size}) + 1)}}' {name}.txt; "
            f"rm {name}.txt"
        ),
    )


def join_parts(rng: Random, difficulty: int) -> Exercise:
    """Parts in the order of their numbers, 2 before 10."""
    root, name = folder_name(rng), words(rng, 1)[0]
    parts = {f"{root}/{name}.part{index}": prose(rng, 1, 2) for index in range(1, 10 + 2 * difficulty)}
    return Exercise(
        prompt=(
            f"Join the files {root}/{name}.part1, {root}/{name}.part2 and so on, in the order of their numbers, into "
            f"{root}/{name}.txt, and delete the parts."
        ),
        before=files(dict(sorted(parts.items()))),
        after=files({f"{root}/{name}.txt": "".join(parts.values())}),
        commands=(
            f"cd {root}; i=1; while [ -f {name}.part$i ]; do cat {name}.part$i; rm {name}.part$i; i=$((i + 1)); "
            f"done > {name}.txt"
        ),
    )


def script_permissions(rng: Random, difficulty: int) -> Exercise:
    """By what a file begins with, and not by its name."""
    root = folder_name(rng)
    script, plain = rng.choice(((0o755, 0o644), (0o750, 0o640), (0o700, 0o600)))
    before: dict[str, Entry] = {}
    after: dict[str, Entry] = {}
    for index, path in enumerate(paths(rng, 6 + 3 * difficulty, difficulty, below=root, suffixes=(".sh", ".txt", ""))):
        is_script = index < 2 or (index > 3 and rng.random() < 0.5)
        text = f"{'#!/bin/sh' if is_script else '# no script'}\n{prose(rng, 1, 2)}".encode()
        before[path] = File(text, rng.choice((0o755, 0o644, 0o600)) if index else 0o664)
        after[path] = File(text, script if is_script else plain)
    return Exercise(
        prompt=(
            f"Below {root}, at any depth, give all files that begin with the two characters #! the permissions "
            f"{script:o}, and all other files {plain:o}. Folders stay as they are."
        ),
        before=before,
        after=after,
        commands=(
            f'find {root} -type f | while IFS= read -r f; do if [ "$(head -c 2 "$f")" = \'#!\' ]; '
            f'then chmod {script:o} "$f"; else chmod {plain:o} "$f"; fi; done'
        ),
        exact_modes=True,
    )


def retarget_links(rng: Random, difficulty: int) -> Exercise:
    """Links into a folder that was renamed lead to its new name; other links stay."""
    root, (old, new, other) = folder_name(rng), words(rng, 3)
    names = words(rng, 5 + 4 * difficulty)
    stored = {f"{root}/{folder}/{name}.txt": f"{name}\n" for folder in (new, other) for name in names[:-3]}
    before, after = files(stored), files(stored)
    for index, name in enumerate(names):
        is_old = index < 3 or (index > 3 and rng.random() < 0.5)
        target = f"../{old if is_old else other}/{rng.choice(names[:-3])}.txt"
        before[f"{root}/links/{name}"] = Link(target)
        after[f"{root}/links/{name}"] = Link(target.replace(f"../{old}/", f"../{new}/"))
    return Exercise(
        prompt=(
            f"The folder {root}/{old} was renamed to {root}/{new}, which broke symbolic links in {root}/links. Make"
            f" each link that leads to ../{old}/NAME lead to ../{new}/NAME. The other links stay."
        ),
        before=before,
        after=after,
        commands=(
            f'cd {root}/links; for l in *; do t=$(readlink "$l"); case $t in ../{old}/*) '
            f'ln -sfn "../{new}/${{t#../{old}/}}" "$l";; esac; done'
        ),
    )


def flatten(rng: Random, difficulty: int) -> Exercise:
    """All files into one folder, the folders on their way in their names."""
    root, sign = folder_name(rng), rng.choice(("__", "+", "=", "%"))
    texts = {
        path: prose(rng, 1, 2)
        for path in paths(rng, 5 + 3 * difficulty, difficulty, below=root, suffixes=(".txt", ".md"))
    }
    flat = {f"{root}/{path.removeprefix(f'{root}/').replace('/', sign)}": text for path, text in texts.items()}
    before = files(texts) | files({f"{root}/one/two/three.txt": "three\n"})
    return Exercise(
        prompt=(
            f"Move all files below {root} directly into {root}, each with the folders on its way in its name and {sign}"
            f" for each slash: {root}/one/two/three.txt becomes {root}/one{sign}two{sign}three.txt. Delete the folders"
            " that are empty then."
        ),
        before=before,
        after=files(flat) | files({f"{root}/one{sign}two{sign}three.txt": "three\n"}),
        commands=f"cd {root}; find . -mindepth 2 -type f | while IFS= read -r f; do "
        f'mv "$f" "./$(echo "${{f#./}}" | sed \'s|/|{sign}|g\')"; done; find . -mindepth 1 -depth -type d -exec rmdir'
        " {} +",
    )


def drop_duplicates(rng: Random, difficulty: int) -> Exercise:
    """Of files with equal content, the first name stays."""
    root = folder_name(rng)
    names = sorted(f"{word}.txt" for word in words(rng, 8 + 4 * difficulty))
    texts = [prose(rng, 1, 2) for _ in range(3 + difficulty)]
    before = {f"{root}/{name}": rng.choice(texts) for name in names}
    before[f"{root}/{names[-1]}"] = before[f"{root}/{names[0]}"]
    first = {text: path for path, text in reversed(before.items())}
    return Exercise(
        prompt=(
            f"Some files in {root} have the same content. Of those that do, keep only the one whose name is first in "
            "alphabetical order, and delete the others."
        ),
        before=files(before),
        after=files({path: text for text, path in first.items()}),
        commands=(
            f"cd {root}; sha256sum *.txt | sort -k1,1 -k2 | awk '$1 == last {{print $2}} {{last = $1}}' | xargs rm"
        ),
    )


def mirror(rng: Random, difficulty: int) -> Exercise:
    """One folder becomes like another: what is new, what has changed, and what is gone."""
    root, (source, target) = folder_name(rng), words(rng, 2)
    names = [
        path.removeprefix("x/") for path in paths(rng, 6 + 3 * difficulty, difficulty, below="x", suffixes=(".txt",))
    ]
    of_source = {name: prose(rng, 1, 2) for name in names[:-2]}
    of_target = {
        name: of_source.get(name, "gone\n") if index > 1 else "old\n" for index, name in enumerate(names) if index != 3
    }
    before = {f"{root}/{source}/{name}": text for name, text in of_source.items()}
    after = {**before, **{f"{root}/{target}/{name}": text for name, text in of_source.items()}}
    before |= {f"{root}/{target}/{name}": text for name, text in of_target.items()}
    return Exercise(
        prompt=(
            f"Make the folder {root}/{target} an exact copy of {root}/{source}: the same folders and files, with the "
            "same content, and nothing else."
        ),
        before=files(before),
        after=files(after),
        commands=f"cd {root}; rm -r {target}; cp -R {source} {target}",
    )


def remove_empty(rng: Random, difficulty: int) -> Exercise:
    """Files without content, and folders that hold nothing then."""
    root = folder_name(rng)
    before: dict[str, Entry] = {}
    for index, path in enumerate(paths(rng, 6 + 4 * difficulty, difficulty, below=root, suffixes=(".txt", ".dat"))):
        before[path] = File(b"" if index % 3 == 0 else prose(rng, 1, 1).encode())
    kept = {path: entry for path, entry in before.items() if _data(entry)}
    for word in words(rng, 2):
        before[f"{root}/{word}-old/{words(rng, 1)[0]}"] = Folder()
        before[f"{root}/{word}-older/{words(rng, 1)[0]}.txt"] = File(b"")
    return Exercise(
        prompt=(
            f"Below {root}, at any depth, delete all files of 0 bytes, and then all folders that hold no file, at any "
            "depth."
        ),
        before=before,
        after=kept,
        commands=(
            f"find {root} -type f -size 0 -exec rm {{}} +; find {root} -depth -type d -exec rmdir {{}} \\; 2>/dev/null;"
            " true"
        ),
    )


def restore_backups(rng: Random, difficulty: int) -> Exercise:
    """A backup takes the place of a file that is missing or empty; else it goes."""
    root = folder_name(rng)
    before: dict[str, Entry] = {}
    after: dict[str, Entry] = {}
    for index, path in enumerate(paths(rng, 4 + 4 * difficulty, difficulty, below=root, suffixes=(".txt", ".ini"))):
        backup, own = File(prose(rng, 1, 3).encode()), File(prose(rng, 1, 3).encode())
        state = index if index < 3 else rng.randint(0, 3)
        if state != 3:
            before[f"{path}.bak"] = backup
        if state != 0:
            before[path] = File(b"") if state == 1 else own
        after[path] = own if state >= 2 else backup
    return Exercise(
        prompt=(
            f"For each file NAME.bak below {root}, at any depth: if NAME is missing or has 0 bytes, move NAME.bak to"
            " NAME; else delete NAME.bak."
        ),
        before=before,
        after=after,
        commands=(
            f'find {root} -name \'*.bak\' | while IFS= read -r f; do if [ -s "${{f%.bak}}" ]; then rm "$f"; '
            'else mv -f "$f" "${f%.bak}"; fi; done'
        ),
    )


def make_folders(rng: Random, difficulty: int) -> Exercise:
    """A tree of folders from a list, each with a file that says its name."""
    root, listed = folder_name(rng), f"{words(rng, 1)[0]}.txt"
    chosen = [f"{one}/{two}" for one in words(rng, 1 + difficulty) for two in words(rng, 2)]
    if difficulty == 3:
        chosen.append(" ".join(words(rng, 2)))
    before = files({f"{root}/{listed}": lines(chosen)})
    made = files({f"{root}/{path}/README": f"This is {path.rpartition('/')[2]}.\n" for path in chosen})
    return Exercise(
        prompt=(
            f"Make each folder that {root}/{listed} lists, one a line, below {root}, with a file README in it whose"
            " only line is 'This is NAME.', where NAME is the last part of the folder's path."
        ),
        before=before,
        after={**before, **made},
        commands=(
            f'cd {root}; while IFS= read -r d; do mkdir -p "$d"; echo "This is ${{d##*/}}." > "$d/README"; '
            f"done < {quoted(listed)}"
        ),
    )


def _data(entry: Entry) -> bytes:
    return entry.data if isinstance(entry, File) else b""


def _modified_s(entry: Entry) -> int:
    return entry.modified_s if isinstance(entry, File) else MODIFIED_S
