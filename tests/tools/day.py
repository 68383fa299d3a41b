"""A day in a town: its neighbours, a real daemon of Witness, and the rules that hold however the day goes."""

from __future__ import annotations

import json
import re

from tools import kit
from tools.fleet import CALM
from tools.town import git

# A busy worker shows a sign of life every 0.4 s, so `stuck_after` leaves a loaded machine some room.
SHORT = {**CALM, "interval": 1, "stuck_after": 8, "nudge_wait": 2, "escalate_after": 11, "tool_timeout": 60}
NEIGHBOURS = ("mayor", "deacon", "refinery")
LIMIT_S = 120  # for anything to happen on a machine with ten other things to do


def wait_for(predicate, what: str, limit_s: float = LIMIT_S):
    """Wait for something of a day."""
    return kit.wait_for(predicate, limit_s, what)


class Day:
    """One host's day: what the workers made is remembered, and looked for in the end."""

    def __init__(self, town, witness, **settings) -> None:
        self.town, self.witness = town, witness
        if town.version == "0.5.0":
            settings = {"sling_args": ["--hook-raw-bead"], **settings}
        state = town.rig / ".gastown"
        state.mkdir(mode=0o700)
        path = state / "witness-config.json"
        path.write_text(json.dumps({**SHORT, **settings}), encoding="utf-8")
        path.chmod(0o600)
        (town.bin.folder / "parts" / "busy").touch()
        if town.version == "0.2.6":  # where the project does not ignore it, `gt done` finds its own file uncommitted
            (town.base() / "info").mkdir(exist_ok=True)
            (town.base() / "info/exclude").write_text(".beads/\n")
        for name in NEIGHBOURS:
            town.start_session(name)
        self.state = state
        self.made: dict[str, str] = {}  # branch -> the commit that its worker left there
        self.pids: set[int] = set()
        self.untouched = self.neighbours()

    # -- Witness ---------------------------------------------------------------------------------------

    def call(self, *words, status: int | None = 0) -> kit.Result:
        """Run one command of Witness in the rig."""
        env = {"PATH": self.town.bin.path()}
        done = self.witness(*words, env=env, cwd=self.town.rig, timeout=LIMIT_S)
        assert status is None or done.status == status, done
        return done

    def start(self) -> None:
        """Start the daemon."""
        self.call("start", "--timeout", "120")
        self.pids.add(self.status()["daemon"]["pid"])

    def status(self) -> dict:
        """Return what `status --json` says."""
        return json.loads(self.call("status", "--json").stdout)

    def polecat(self, name: str) -> dict:
        """Return what `status --json` says of one worker, {} if nothing."""
        return next((one for one in self.status().get("polecats", ()) if one["name"] == name), {})

    def reasons(self) -> dict[str, str]:
        """Return what `spawn --explain` says of each issue."""
        answer = json.loads(self.call("spawn", "--explain", "--json").stdout)
        return {row["id"]: row["reason"] or "" for row in answer["issues"]}

    def events(self, kind: str = "", subject: str = "") -> list[dict]:
        """Return the events so far, of one kind and about one subject where those are given."""
        text = kit.lines_of(self.state / "witness-events.jsonl")
        rows = [json.loads(line) for line in text.splitlines()]
        return [row for row in rows if kind in ("", row["kind"]) and subject in ("", row["subject"])]

    @property
    def actor(self) -> str:
        """Return the name under which this Witness holds an issue."""
        return f"demo/witness@{json.loads((self.state / 'witness.id').read_text())['id']}"

    def wait_for_looks(self, number: int) -> None:
        """Wait until the daemon has looked so often from now on."""
        seen = set()

        def count():
            seen.add(self.status()["daemon"]["last_tick_at"])
            return len(seen) > number

        wait_for(count, f"{number} looks")

    # -- workers ---------------------------------------------------------------------------------------

    def worker_of(self, issue: str) -> str:
        """Return who has an issue, "" if no worker does."""
        status, holder = self.town.state(issue)
        match = re.fullmatch(r"demo/(?:polecats/)?([a-z-]+)", holder)
        return match.group(1) if status in ("hooked", "in_progress") and match and "@" not in holder else ""

    def wait_for_worker(self, issue: str) -> str:
        """Wait until an issue has a worker, and Witness has settled the sling; return who it is."""

        def find():
            settled = any(f"works on {issue}" == one["text"] for one in self.events("spawned"))
            return settled and self.worker_of(issue)

        name = wait_for(find, f"a worker for {issue}")
        assert name in self.town.polecats()
        assert self.lives(name)
        assert self.sling_labels(issue) == []
        return name

    def sling_labels(self, issue: str) -> list[str]:
        """Return the labels that an issue has while it is slung."""
        labels = self.town.issue(issue)["labels"]
        return [one for one in labels if one.startswith("witness:") and one != "witness:handed-over"]

    def lives(self, name: str) -> str:
        """Return the id and pid of the pane of a worker or neighbour, "" without a session."""
        panes = [one for one in self.town.tmux.panes() if one["session"] == self.town.session(name)]
        return " ".join(f"{one['pane']}:{one['pid']}" for one in panes if one["dead"] == "0")

    def quiet(self, name: str) -> None:
        """Let a worker show no more signs of life."""
        (self.town.bin.folder / "parts" / f"{name}.quiet").touch()

    def commit(self, name: str, **files: str) -> str:
        """Commit everything there is in a worker's name; return the commit."""
        for file, text in files.items():
            (self.town.tree(name) / file).write_text(text, encoding="utf-8")
        names = self.town.git("ls-files", "--others", "--modified", name=name).splitlines()
        own = (".beads/", ".claude/", "CLAUDE.md", *([".gitignore"] if self.town.version != "0.5.0" else []))
        self.town.git("add", *[one for one in names if not one.startswith(own)], name=name)
        self.town.git("commit", "--quiet", "--message", f"work of {name}", name=name)
        tip = self.town.git("rev-parse", "HEAD", name=name)
        self.made[self.town.branch(name)] = tip
        return tip

    def done(self, name: str, issue: str) -> None:
        """Let a worker say that it has finished, as gt has it done."""
        words = ("--issue", issue) if self.town.version == "0.2.6" else ()  # else it takes its branch's end for one
        finished = self.town.gt("done", *words, env=self.town.as_polecat(name), cwd=self.town.tree(name))
        assert finished.status in (0, -15, -9), finished  # 0.5.0 ends the session it runs in

    # -- mail ------------------------------------------------------------------------------------------

    def mails(self, to: str, closed: bool = True, **holds: str) -> list[dict]:
        """Return the mails to an address, archived ones too, that hold these words; "subject" and "body"."""
        if self.town.version == "seed" and not to.endswith("/"):
            to = to.replace("/", "-")
        found = self.town.mails(to, closed=closed)
        return [one for one in found if all(word in one[key] for key, word in holds.items())]

    def inbox(self) -> list[dict]:
        """Return what lies unarchived for the witness, under each of its names."""
        return [one for to in ("demo/witness", "demo-witness") for one in self.town.mails(to)]

    def ask_for_shutdown(self, name: str) -> str:
        """Leave a worker's request as its version writes it; return the mail's id."""
        if self.town.version == "seed":  # `gt handoff`; the sender is whoever git says the user is
            body = f"Lifecycle request from polecat.\n\nAction: shutdown\nPolecat: {name}\n\nPlease verify state.\n"
            return self.town.put_mail("demo/witness", "LIFECYCLE: polecat requesting shutdown", body, "Tester")
        body = f"Lifecycle request from polecat {name}.\nAction: shutdown\nReason: MR submitted to merge queue\n"
        subject = f"LIFECYCLE: polecat-{name} requesting shutdown"
        return self.town.put_mail("demo/witness", subject, body, f"demo/{name}")

    def mail_calls(self) -> list[tuple]:
        """Return the argv of every call that had to do with mail, in the order in which they began."""
        if self.town.version == "seed":
            rows = [one["argv"] for one in self.town.town_server.calls()]
        else:
            rows = [one["argv"] for one in self.town.calls()]
        return [tuple(one) for one in rows if "mail" in one[:2]]

    # -- what must hold --------------------------------------------------------------------------------

    def neighbours(self) -> dict:
        """Return what is to be left alone: sessions, and the worktrees that are no worker's."""
        panes = {name: self.lives(name) for name in NEIGHBOURS}
        trees = {}
        for path in (self.town.rig / "refinery/rig", self.town.rig / "mayor/rig"):
            looks = (("rev-parse", "HEAD"), ("symbolic-ref", "HEAD"), ("status", "--porcelain"), ("stash", "list"))
            trees[path.parent.name] = [git(*words, cwd=path) for words in looks]
        return {**panes, **{f"{name}/rig": tree for name, tree in trees.items()}}

    def slings(self) -> list[list[str]]:
        """Return the issue of every sling (in the seed: spawn) by Witness."""
        found = [call["argv"] for call in self.town.calls("sling")] + [
            [*call["argv"][:1], call["argv"][call["argv"].index("--issue") + 1]] for call in self.town.calls("spawn")
        ]
        return [argv[1] for argv in found]

    def hold_the_rules(self) -> None:
        """Assert what must be true whatever has happened."""
        town = self.town
        for call in town.calls():
            argv = call["argv"]
            assert "--dry-run" not in argv, argv
            assert argv[:2] not in (["patrol", "scan"], ["mq", "post-merge"], ["polecat", "remove"]), argv
            if argv[:2] == ["polecat", "nuke"]:
                assert call["phases"] in (["empty"], []), call
        assert self.neighbours() == self.untouched
        for name in NEIGHBOURS:
            assert not [line for line in town.heard(name) if "[witness]" in line]
        for branch, tip in self.made.items():
            told = town.git("for-each-ref", "--contains", tip, "--format=%(refname)").splitlines()
            assert told, f"{branch}: {tip} is reachable from nothing"

    def stop(self) -> None:
        """Stop the daemon; every session goes on, and no process of ours."""
        before = {pane["pane"]: pane["pid"] for pane in self.town.tmux.panes()}
        self.call("stop", "--timeout", "60")
        assert {pane["pane"]: pane["pid"] for pane in self.town.tmux.panes()} == before
        ours = [words for _, words, _ in kit.leftovers(self.town.folder) if re.search(r"witness(\.pyz|\.py|/)", words)]
        assert ours == []
        assert self.call("status", status=None).status == 3
