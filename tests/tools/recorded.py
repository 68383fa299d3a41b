"""What the real `bd` answered, and what each answer means."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import witness as w

FOLDER = Path(__file__).parent.parent / "data" / "recorded"


class Exchange(NamedTuple):
    """One call of the real program, and its meaning as stated by hand."""

    file: str
    number: int
    note: str
    argv: tuple
    env: dict
    status: int
    out: str
    err: str
    meaning: str
    cut: bool  # a usage text was cut from stderr

    @property
    def ran(self) -> w.Ran:
        """Return it as a call of ours would have ended."""
        return w.Ran(argv=self.argv, status=self.status, out=self.out.encode(), err=self.err.encode())

    @property
    def version(self) -> str:
        """Return the version of bd that ran."""
        return re.search(r"bd-(\d+\.\d+\.\d+)", self.file).group(1)


def read_meanings() -> dict[str, list[tuple[str, str]]]:
    """Return by file the notes with their meanings, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in (FOLDER / "meanings.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            found[line[3:]] = []
        elif line and not line.startswith("#"):
            note, _, meaning = line.rpartition(" | ")
            found[list(found)[-1]].append((note, meaning))
    return found


def read_exchanges() -> list[Exchange]:
    """Return every recorded exchange; one without a meaning, or a meaning without one, is a mistake."""
    meanings, found = read_meanings(), []
    for path in sorted(FOLDER.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        stated = meanings.pop(path.name)
        assert [row["note"] for row in rows] == [note for note, _ in stated], path.name
        for number, (row, (_, meaning)) in enumerate(zip(rows, stated)):
            found.append(
                Exchange(
                    file=path.name,
                    number=number,
                    note=row["note"],
                    argv=tuple(row["argv"]),
                    env=row["env"],
                    status=row["rc"],
                    out=row["stdout"],
                    err=row["stderr"],
                    meaning=meaning,
                    cut=bool(row.get("usage_follows")),
                )
            )
    assert not meanings, f"no such recording: {list(meanings)}"
    return found


EXCHANGES = read_exchanges()


def name(one: Exchange) -> str:
    """Return what a test of an exchange is called."""
    return f"{one.file[:-6]}-{one.number}-{one.note[:30]}".replace(" ", "_")


def word(issue: w.Issue) -> str:
    """Write an issue as the meanings do."""
    text = issue.title.replace(" ", "_")[:28]
    text += f":{issue.status}" * (issue.status != "open") + f"@{issue.assignee}" * bool(issue.assignee)
    text += f"^{issue.priority}" * (issue.priority != 2) + f"/{issue.type}" * (issue.type != "task")
    return text + "".join(f"+{label}" for label in issue.labels)


def say(answer: w.BdAnswer) -> str:
    """Write an answer as the meanings do, its reason left out."""
    if answer.kind == "issues":
        return " ".join(["is", *(word(issue) for issue in answer.issues)]) if answer.issues else "nothing"
    return answer.kind
