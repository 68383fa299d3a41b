"""The stand-in for `gt` answers as it was recorded, and does to a town what the real one was seen to do."""

from __future__ import annotations

import ast
import json
import re
import shlex

import pytest
from tools import kit, recorded
from tools import town as towns

ALL = sorted(towns.PAIRS)
NOISE = ("warning", "Start with: gt daemon start", "Purged closed", "Watching ")


# ---- the recordings -------------------------------------------------------------------------------------------------


def read_rows(pair: str) -> list[dict]:
    """Return what was recorded of gt in a town of these versions."""
    path = recorded.FOLDER / "town" / f"gt-{pair}+bd-{towns.PAIRS[pair]}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Replay:
    """One recording, called again in a town of the stand-ins."""

    def __init__(self, town) -> None:
        self.town = town
        self.rows = read_rows(town.version)
        self.mails: dict[str, str] = {}  # a recorded mail's id -> ours
        town.set_agent("witness", kit.PYTHON, str(towns.CITIZEN), str(town.bin.folder))
        for note, title in (("sling", "One"), ("spawn: --create", "One"), ("sling: a bead that we claimed", "Two")):
            for row in self.rows:
                if row["note"] == note:
                    issue = row["argv"][row["argv"].index("--issue") + 1 if "--issue" in row["argv"] else 2]
                    town.add(issue, title, description=f"d{1 + (title == 'Two')}")

    def prepare(self, row: dict) -> None:
        """Bring about what was done by other programs before this call."""
        note, town = row["note"], self.town
        if note == "sling: a bead that we claimed":
            town.change(row["argv"][2], status="in_progress", assignee="demo/witness@h1")
        if note == "polecats: the empty folder is left":
            name = next(one["argv"][-1] for one in self.rows if one["note"].startswith("nuke --force")).split("/")[1]
            town.end_session(name)
            tree = town.tree(name)
            for file in (".beads", ".claude", "CLAUDE.md", ".gitignore"):
                if (tree / file).exists():
                    kit.remove(tree / file)
            town.git("worktree", "remove", tree)
        if "database server down" in note:
            town.town_server.take_down("127.0.0.1:13410")

    def call(self, row: dict) -> kit.Result:
        """Call it again."""
        cwd = self.town.path / "demo" if row["cwd"] == "$TOWN/demo" else self.town.path
        if not row["cwd"].startswith("$TOWN"):
            cwd = self.town.folder
        words = [self.mails.get(word, word) for word in row["argv"][1:]]
        return self.town.gt(*words, env=row["env"], cwd=cwd)

    def learn(self, row: dict, said: str) -> None:
        """Note which recorded mail is which of ours."""
        if row["note"].startswith("inbox") and row["rc"] == 0:
            ours = json.loads(said) or []
            for one in json.loads(row["stdout"]) or []:
                same = (mail["id"] for mail in ours if (mail["subject"], mail["body"]) == (one["subject"], one["body"]))
                self.mails[one["id"]] = next(same, one["id"])

    def plain(self, text: str) -> str:
        """Return what was said without what differs from town to town."""
        for old in (self.town.path, self.town.rig):
            text = text.replace(str(old), "$TOWN" if old == self.town.path else "$TOWN/demo")
        text = text.replace(f"file://{self.town.origin}", "file://$HOME/../origin.git")
        text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?Z?", "TIME", text)
        text = re.sub(r"thread-[0-9a-f]{12}", "THREAD", text)
        text = re.sub(r"\b(hq-wisp|hq-cv|de-wisp|hq)-(?!nope\b|cv-|wisp-)[0-9a-z]{3,5}\b", r"\1-ID", text)
        return re.sub(r"(polecat/\w+)([@-]|/de-\w+@)[0-9a-z]{8}\b", r"\1\2STAMP", text)

    def said(self, text: str) -> str:
        """Return a text without what programs on the side put into it."""
        aside = r"^Warning: could not (set hook slot|create agent bead)(?s:.*?)^Starting"
        return self.plain(re.sub(aside, "Starting", text, flags=re.MULTILINE))

    def complaint(self, text: str) -> str:
        """Return a complaint without usage and noise."""
        lines = self.plain(text).partition("\nUsage:")[0].splitlines()
        return "\n".join(line for line in lines if not any(word in line or word in line.lower() for word in NOISE))


def agents_of(text: str) -> dict:
    """Return what a pane's command hands to its agent: a variable -> its value."""
    words = shlex.split(shlex.split(text)[0]) if text else []
    return dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))


def check_panes(replay: Replay, row: dict) -> str:
    """Return how the panes differ from the recorded ones: their sessions, and what their agents are given."""
    form = "#{session_name}|#{pane_current_command}|#{pane_start_command}"
    ours = sorted(replay.town.tmux.run("list-panes", "-a", "-F", form).splitlines())
    found = []
    for panes in (row["panes"][0]["panes"], ours):
        told = {}
        for pane in panes:
            session, _, command = pane.split("|", 2)
            env = agents_of(replay.plain(command))
            vary = ("PORT", "GT_RUN", "GT_PROCESS_NAMES", "GT_AGENT")
            told[session] = {key: value for key, value in env.items() if not key.endswith(vary)}
            told[session].update({key: "" for key in env if key.endswith(vary)})
        found.append(told)
    return "" if found[0] == found[1] else f"{found[0]}\n  {found[1]}"


def check_lines(replay: Replay, row: dict) -> str:
    """Return how what the agents were typed differs from what was recorded, order and blank lines aside."""
    told = [line for line in row["lines"] if not line.startswith("ARGV")]
    wanted = {replay.plain(ast.literal_eval(line)).rstrip("\n") for line in told} - {""}
    town = replay.town
    files = [one for one in (town.bin.folder / "heard").iterdir() if not one.suffix]
    heard = {replay.plain(line) for one in files for line in town.heard(one.name)} - {""}
    starts = {str(argv) for one in files for argv in town.began(one.name)}
    if starts != {line[5:] for line in row["lines"] if line.startswith("ARGV")}:
        return f"began with {starts}"
    return "" if heard == wanted else f"{sorted(wanted - heard)}\n  {sorted(heard - wanted)}"


@pytest.mark.parametrize("pair", ALL)
def test_stand_in_answers_as_recorded(town, pair):
    replay, failed = Replay(town(pair)), []
    for number, row in enumerate(replay.rows):
        if row["note"].startswith("set-up"):
            continue
        if "argv" not in row:
            wrong = (check_panes if "panes" in row else check_lines)(replay, row)
            failed += [f"{number} {row['note']}\n  {wrong}"] if wrong else []
            continue
        replay.prepare(row)
        done = replay.call(row)
        wanted = row["rc"], replay.said(row["stdout"]), replay.complaint(row["stderr"])
        got = done.status, replay.said(done.stdout), replay.complaint(done.stderr)
        if wanted != got:
            failed.append(f"{number} {row['note']} {row['argv']}\n  {wanted}\n  {got}")
        replay.learn(row, done.stdout)
    assert not failed, "\n\n".join(failed)
