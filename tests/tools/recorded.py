"""What the real `bd` and `gt` answered, and what each answer means."""

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
        """Return the version of the program that ran; the first gt has none but 0.0.1."""
        found = re.search(rf"{self.argv[0]}-(\d+\.\d+\.\d+)", self.file)
        return found.group(1) if found else "0.0.1"


def read_meanings(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Return by file the notes with their meanings, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in (folder / "meanings.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            found[line[3:]] = []
        elif line and not line.startswith("#"):
            note, _, meaning = line.rpartition(" | ")
            found[list(found)[-1]].append((note, meaning))
    return found


def read_exchanges(folder: Path) -> list[Exchange]:
    """Return every recorded exchange; one without a meaning, or a meaning without one, is a mistake."""
    meanings, found = read_meanings(folder), []
    for path in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rows = [row for row in rows if "argv" in row]  # else: what panes there were, and what was typed into them
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


EXCHANGES = read_exchanges(FOLDER)
TOWN_EXCHANGES = read_exchanges(FOLDER / "town")


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


def say_town(one: Exchange) -> str:
    """Write what an exchange with gt, or with the mail of the first bd, means, its reason left out."""
    verb = one.argv[1:3]
    if one.argv[1] in ("version", "--version"):
        version = w.decode_version(one.ran)
        return f"version {w.join_version(version)}" if version else "unknown"
    if verb == ("mail", "inbox"):
        inbox = w.decode_inbox(one.ran)
        mails = [f"{mail.subject.replace(' ', '_')}<{mail.sender}" for mail in inbox.mails]
        return " ".join(["mails", *mails]) if inbox.kind == "mails" else inbox.kind
    if verb in (("mail", "archive"), ("mail", "ack")) and (one.argv[0] == "bd" or verb[1] == "archive"):
        mails = [word for word in one.argv[3:] if not word.startswith("-")]
        settled = w.decode_archive(one.ran, mails)
        return " ".join(["archived" if settled else "unknown", *settled])
    answer = w.decode_gt(one.ran)
    return " ".join(filter(None, (answer.kind, answer.worker)))
