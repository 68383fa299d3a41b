"""The stand-in for `bd` answers as the real one was recorded: status, keys, types, streams and complaints."""

from __future__ import annotations

import json
import re

import pytest
from tools import beads, recorded

FILES = sorted({one.file for one in recorded.EXCHANGES})


def shape(content):
    """Return JSON content with its values replaced by their types, and lists by the set of what they hold."""
    if isinstance(content, dict):
        return {key: shape(value) for key, value in sorted(content.items())}
    if isinstance(content, list):
        kinds = {json.dumps(shape(one), sort_keys=True) for one in content}
        return sorted(kinds)
    return type(content).__name__


def plain(text: str, ids: dict) -> str:
    """Return a complaint without what differs from run to run."""
    for old, new in ids.items():
        text = text.replace(old, new)
    text = re.sub(r"\bde-[0-9a-z]{3}\b", "ID", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines() if "warning" not in line.lower())


class Replay:
    """One recording, called again on the stand-in."""

    def __init__(self, tmp, file: str) -> None:
        self.file, self.ids = file, {}
        version = next(one.version for one in recorded.EXCHANGES if one.file == file)
        self.server = beads.Server(tmp / "server")
        self.program = beads.Bin(tmp / "bin", version)
        self.rig = tmp / "rig"
        self.rig.mkdir()
        (self.rig / ".git").mkdir()
        beads.connect(self.rig, self.server)
        self.elsewhere = tmp / "nowhere"
        self.elsewhere.mkdir()
        # In a town bd is called without its own daemon; alone it had one.
        self.env = {"BEADS_NO_DAEMON": "1"} if file.startswith("gt-") else {}

    def title(self, issue_id: str) -> str:
        """Return the title of a recorded id."""
        return self.server.read()[self.ids[issue_id]]["title"]

    def prepare(self, one: recorded.Exchange) -> None:
        """Bring about what somebody else did before this call."""
        if "database server down" in one.note:
            self.server.take_down()
        if "database corrupt" in one.note:
            (self.server.folder / "corrupt").touch()
        if one.meaning.startswith("is ") and one.note.split(",")[0] in ("read back after the sling", "read back"):
            for word in one.meaning.split()[1:]:
                match = re.fullmatch(r"(\w+)(?::(\w+))?(?:@(\S+))?", word)
                issue = next(key for key, value in self.server.read().items() if value["title"] == match.group(1))
                self.server.change(issue, status=match.group(2) or "open", assignee=match.group(3) or "")
                if word.startswith("One:hooked") and "1.0.1" in self.file:
                    self.attach_formula(issue)
        if one.note == "issues still hooked":
            hooked = {word.split(":")[0] for word in one.meaning.split()[1:]}
            for key, value in self.server.read().items():
                if value["status"] == "hooked" and value["title"] not in hooked:
                    self.server.change(key, status="open")
        for word in one.meaning.split()[1:]:  # what a town itself files: its rig, its agents, its patrols
            match = re.fullmatch(r"(demo|Refinery_\S+?|Witness_\S+?|Deacon_\S+?)(/\w+)?(\+\S+)?", word)
            title = match.group(1).replace("_", " ") if match else ""
            if match and all(value["title"] != title for value in self.server.read().values()):
                kind, labels = (match.group(2) or "/task")[1:], (match.group(3) or "+")[1:]
                self.server.add(
                    f"de-rig-{len(self.server.read())}",
                    title,
                    description="its own",
                    issue_type=kind,
                    labels=[labels] if labels else [],
                )

    def attach_formula(self, issue: str) -> None:
        """Block an issue by its formula, as gt 1.0.1 does: a bead that is never listed."""
        own = {"description": "its own", "owner": "", "created_by": "", "ephemeral": True, "status": "wisp"}
        wisp = self.server.add("de-wisp-fbto", "a formula", issue_type="epic", **own)
        self.server.change(issue, links=[{"type": "blocks", "to": wisp}])

    def call(self, one: recorded.Exchange):
        """Call it and return how it went."""
        words = [self.ids.get(word, word) for word in one.argv[1:]]
        words = [str(self.elsewhere / "out.jsonl") if word.endswith("x.jsonl") else word for word in words]
        folder = self.elsewhere if one.note == "no database here" else self.rig
        if one.note.startswith("version") and one.file.startswith("gt-"):
            folder = self.elsewhere
        return beads.call(self.program, folder, *words, **one.env, **self.env)

    def learn(self, one: recorded.Exchange, out: str) -> None:
        """Note which recorded id is which of ours."""
        if one.argv[1] == "create" and one.status == 0:
            self.ids[json.loads(one.out)["id"]] = json.loads(out)["id"]
        sent = re.match(r"Message sent: (\S+)", one.out)
        if sent:
            self.ids[sent.group(1)] = re.match(r"Message sent: (\S+)", out).group(1)


def check(one: recorded.Exchange, ran, replay: Replay) -> None:
    """Hold one call to its recording."""
    out, err = ran.stdout.decode(), ran.stderr.decode()
    assert ran.returncode == one.status
    try:
        wanted = json.loads(one.out)
    except ValueError:
        assert plain(out, replay.ids) == plain(one.out, replay.ids)
    else:
        got = json.loads(out)
        assert shape(got) == shape(wanted)
        if isinstance(wanted, list) and one.meaning.startswith("is "):
            same = sorted((item["title"][:28], item["status"], item.get("assignee", "")) for item in got)
            assert same == sorted((item["title"][:28], item["status"], item.get("assignee", "")) for item in wanted)
    if one.cut:
        assert plain(err, replay.ids).startswith(plain(one.err, replay.ids))
    elif not one.note.startswith("export"):
        assert plain(err, replay.ids) == plain(one.err, replay.ids)


@pytest.mark.parametrize("file", FILES)
def test_stand_in_answers_as_recorded(tmp, file):
    replay, failed = Replay(tmp, file), []
    for one in (one for one in recorded.EXCHANGES if one.file == file):
        replay.prepare(one)
        ran = replay.call(one)
        try:
            check(one, ran, replay)
        except (AssertionError, ValueError, KeyError) as error:
            said = str(error).partition("\nassert")[0][:600]
            failed.append(f"{one.number} {one.note}: {said}\n  {ran.stderr[:200]!r}\n  {one.err[:200]!r}")
        replay.learn(one, ran.stdout.decode())
    assert not failed, "\n\n".join(failed)
    assert len(replay.ids) >= 11
