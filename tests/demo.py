"""Show the main job of Witness on a throw-away rig, and check every claim in the world itself.

    python tests/demo.py witness.pyz

The checks ask git, tmux, the process table and the mail folders, never Witness. Exit status 0: all of them held.
`--without DUTY` runs a Witness that lacks one duty: the demo must then fail, and a test sees to it that it does.
"""

from __future__ import annotations

import argparse
import contextlib
import email
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tools import kit

WORKER = Path(__file__).resolve().parent / "agents" / "worker.py"

INTRODUCTION = """\
A rig is a git repository in which several coding agents work at once. Each agent, called a worker, has a folder of its
own (a git worktree) and a terminal of its own (a tmux session). Witness is the watchdog: it starts workers for open
issues, reminds who has gone quiet, tells the person in charge (the mayor) when that did not help, and lets a worker go
only when nothing of its work can be lost. Here the agents are small scripts, and the rig is made for this show. What is
told below was seen in the world: in git, in tmux, in the process table, in the mail folders.
"""

SETTINGS = {
    "INTERVAL": "1",
    "STUCK_AFTER": "5",
    "NUDGE_WAIT": "3",
    "ESCALATE_AFTER": "9",
    "START_GRACE": "1",
    "SPAWN_DELAY_MS": "300",
    "MAX_WORKERS": "9",
    "MAX_LOAD_PER_CORE": "0",
    "MIN_FREE_MEMORY": "0",
    "MIN_FREE_DISK": "0",
}
"""Minutes become seconds, and no guard of the host holds the show up. MAX_WORKERS: more than there are issues."""

HANDMADE = {"ann": "steady", "bob": "steady", "cat": "steady", "quinn": "silent", "mort": "mortal"}
"""The workers started by hand, and their parts; enough are well, for half of three or more would halt everything."""
SET_FREE = """\
def hand_over_issue(station, retirement, outcome):
    claim = station.queue.claims.read()[retirement.issue]
    station.queue.claims.change(claim.but(state='released'))"""
# What switches a duty off: a setting where there is one, else a line that takes the place of Witness's own.
DUTIES = {
    "spawn": ({"AUTO_SPAWN": "false"}, ""),
    "nudge": ({}, "def type_nudge(station, action):\n    return True, 'switched off'"),
    "escalate": ({"ESCALATE_AFTER": "9999"}, ""),
    "report": ({}, "def handle_dead(draft, verdict, sighting):\n    return None"),
    "refuse": ({}, "def find_blockers(*_args, **_kwargs):\n    return ()"),
    "retire": ({}, "def retire_due(draft):\n    return None"),
    "keep": ({}, "def rename_ref(tools, old, new):\n    tools.git.change(None, 'update-ref', '-d', old)"),
    "acknowledge": ({}, "Mailbox.acknowledge = lambda self, mail_id: None"),
    "once": ({}, SET_FREE),
}
PATIENCE_S = 8.0
"""How long a check waits for the duty that was switched off; a whole Witness needs 6 seconds for the slowest."""
DEADLINE_S = 55.0
"""After this nothing is waited for: what was not seen has failed."""
COMMAND_S = 20.0
"""No command of the show takes so long, not even on a busy machine."""
STOP_S = 20.0
"""What the daemon has started, a spawn for instance, ends within this after it."""
PAUSE_S = 0.15
"""Between two looks at the world."""
KEPT = ("PATH", "LD_LIBRARY_PATH", "USER", "LOGNAME", "TERM")
"""What the show needs of the caller's environment; everything else stays outside."""


class Enough(Exception):  # noqa: N818 - it is no error
    """The duty that was switched off was missed: the rest of the story proves nothing more."""


class Check(NamedTuple):
    """A claim about the world, and the look that returns the evidence for it, or nothing yet."""

    duty: str
    claim: str
    look: object = None
    waits: bool = True  # not, where what must not happen has happened or not


class Stage:
    """The throw-away rig: hands that change it, eyes that look at it, a voice that tells."""

    def __init__(self, pyz: Path, without: str, deadline_s: float) -> None:
        self.pyz, self.without = pyz, without
        self.began = time.monotonic()
        self.ends_at = self.began + deadline_s
        self.root = kit.make_root()
        self.rig, self.notes, self.origin = self.root / "demo", self.root / "notes", self.root / "origin.git"
        self.socket = "demo" + secrets.token_hex(4)
        self.python = self.root / "bin" / "python3"
        self.environment = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            # The archive's first line looks for python3 on the PATH; it shall find the one that runs this.
            "PATH": os.pathsep.join([str(self.python.parent), os.environ.get("PATH", os.defpath)]),
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root),
            "TMUX_TMPDIR": str(self.root),
            "SHIV_ROOT": str(self.root / "shiv"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "SHELL": "/bin/sh",
            "LC_ALL": "C.UTF-8",
        }
        self.processes = set()
        self.workers = {}
        self.answers = {}
        self.checks = []

    # -- hands ---------------------------------------------------------------------------------------

    def run(self, *words, check: bool = True) -> str:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=self.rig,
            env=self.environment,
            text=True,
            encoding="utf-8",
            errors="replace",
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_S,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{shlex.join(map(str, words))}: exit {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout.strip()

    def git(self, *words) -> str:
        return self.run("git", *words)

    def tmux(self, *words, check: bool = True) -> str:
        return self.run("tmux", "-u", "-L", self.socket, "-f", "/dev/null", *words, check=check)

    def witness(self, *words, check: bool = True) -> str:
        return self.run(self.python, self.rig / "witness.pyz", *words, check=check)

    def cue(self, name: str, word: str) -> None:
        """Tell a scripted agent to go on."""
        (self.notes / f"{name}.{word}").touch()

    # -- eyes ----------------------------------------------------------------------------------------

    def ask(self, *words) -> str:
        """Return what a command that only looks prints, "" where it fails; asked once a round."""
        if words not in self.answers:
            self.answers[words] = self.run(*words, check=False)
        return self.answers[words]

    def panes(self) -> dict:
        """Return the terminals as session -> (pid, when it was made), and remember every process they run."""
        template = "#{pid} #{pane_pid} #{session_created} #{session_name}"
        listed = self.ask("tmux", "-u", "-L", self.socket, "list-panes", "-a", "-F", template)
        rows = [line.split(" ", 3) for line in listed.splitlines()]
        if not self.answers.get("remembered"):
            self.answers["remembered"] = True
            self.processes.update(kit.tree(*{int(pid) for row in rows for pid in row[:2]}))
        return {row[3]: (int(row[1]), row[2]) for row in rows}

    def worktree(self, name: str) -> str:
        """Return git's own entry of a worker's worktree, in one line, "" where it has none."""
        entries = self.ask("git", "worktree", "list", "--porcelain").split("\n\n")
        first = f"worktree {self.rig / 'polecats' / name}"
        return next((", ".join(entry.splitlines()) for entry in entries if entry.splitlines()[:1] == [first]), "")

    def tip(self, name: str) -> str:
        return self.ask("git", "rev-parse", "--verify", "--quiet", f"refs/heads/polecat/{name}")

    def note_of(self, name: str, word: str) -> str:
        path = self.notes / f"{name}.{word}"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def mails(self, address: str, place: str = "new") -> list:
        """Return the mails in a Maildir as (subject, where and what), read by Python's own parser."""
        folder = self.rig / ".gastown" / "mail" / address / place
        found = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            mail = email.message_from_bytes(path.read_bytes())
            text = mail.get_payload(decode=True).decode("utf-8", "replace")
            head = f"{path.relative_to(self.rig)}\nFrom: {mail['From']}\nTo: {mail['To']}\nSubject: {mail['Subject']}"
            found.append((str(mail["Subject"]), f"{head}\n\n{text}"))
        return found

    def processes_of(self, name: str) -> list:
        """Return the processes that a scripted agent said are its own, as they live now."""
        return [one for one in (kit.process(int(pid)) for pid in self.note_of(name, "pids").split()) if one]

    def look_at(self, name: str, file: str) -> tuple:
        """Return everything about a worker that must stay as it is while its shutdown is refused."""
        tree = self.rig / "polecats" / name
        return (
            (tree / file).read_bytes(),
            self.ask("git", "--no-optional-locks", "-C", tree, "status", "--porcelain"),
            self.ask("git", "-C", tree, "rev-parse", "HEAD"),
            self.panes().get(f"gt-demo-{name}"),
            self.processes_of(name),
        )

    # -- voice ---------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        stamp = f"[{time.monotonic() - self.began:5.1f} s] "
        print(textwrap.fill(stamp + text, 118, subsequent_indent=" " * len(stamp), break_on_hyphens=False), flush=True)

    @staticmethod
    def show(text: str) -> None:
        for line in text.splitlines():
            for part in textwrap.wrap(line, 106, subsequent_indent="    ", break_on_hyphens=False) or [""]:
                print(f"            | {part}".rstrip(), flush=True)

    def do(self, *words) -> str:
        """Call Witness, and show how."""
        said = self.witness(*words)
        self.say(f"$ ./witness.pyz {shlex.join(words)}")
        self.show(said)
        return said

    def judge(self, check: Check, evidence) -> None:
        """Write down how a check ended."""
        self.checks.append((bool(evidence), check.duty, check.claim))
        self.say(("seen: " if evidence else "NOT SEEN: ") + check.claim)
        if isinstance(evidence, str):
            self.show(evidence)
        if not evidence and check.duty == self.without:
            raise Enough

    def look(self, check: Check):
        """Return the evidence for a claim, or nothing; a file that has just gone is nothing."""
        with contextlib.suppress(OSError):
            return check.look()
        return None

    def follow(self, *lines) -> None:
        """Go through several lines of the story at once; each is a generator of checks, one after the other."""
        current = {line: (next(line), time.monotonic()) for line in lines}
        while current:
            self.answers.clear()
            self.panes()
            for line, (check, since) in list(current.items()):
                evidence = self.look(check)
                now = time.monotonic()
                patience_s = (PATIENCE_S if check.duty == self.without else DEADLINE_S) if check.waits else 0.0
                if not evidence and now < min(since + patience_s, self.ends_at):
                    continue
                self.judge(check, evidence)
                following = next(line, None) if evidence else None
                del current[line]
                if following is not None:
                    current[line] = (following, now)
            time.sleep(PAUSE_S)


# ---- the rig ----------------------------------------------------------------------------------------


def take_away(pyz: Path, patch: str) -> str:
    """Return the module of an archive with one of its functions replaced."""
    with zipfile.ZipFile(pyz) as archive:
        text = archive.read("site-packages/witness.py").decode("utf-8")
    start = '\nif __name__ == "__main__":'
    if text.count(start) != 1:
        raise RuntimeError(f"{pyz} holds a witness.py with {text.count(start)} starts")
    taken = re.match(r"def (\w+)|(\w+)\.(\w+) =|$", patch)
    for name in filter(None, taken.groups()):  # one that has moved would take nothing away
        if not re.search(rf"^ *(?:def|class) {name}\b", text, re.MULTILINE):
            raise RuntimeError(f"{pyz} has no {name} that could be switched off")
    return text.replace(start, f"\n{patch}\n\n{start}")


def build_rig(stage: Stage) -> None:
    """Make the repository with its remote, the settings, and five workers by hand."""
    for folder in (stage.rig, stage.notes, stage.root / "home", stage.python.parent):
        folder.mkdir()
    stage.python.symlink_to(getattr(sys, "_base_executable", "") or sys.executable)
    (stage.root / "home" / ".gitconfig").write_text(
        "[user]\n\tname = Demo\n\temail = demo@example.org\n[init]\n\tdefaultBranch = main\n", encoding="utf-8"
    )
    stage.git("init", "--quiet", "--bare", stage.origin)
    stage.git("init", "--quiet")
    (stage.rig / "README").write_text("A rig for a show.\n", encoding="utf-8")
    stage.git("add", "README")
    stage.git("commit", "--quiet", "--message", "First")
    stage.git("remote", "add", "origin", stage.origin)
    stage.git("push", "--quiet", "--set-upstream", "origin", "main")

    settings, patch = DUTIES.get(stage.without, ({}, ""))
    target = stage.rig / "witness.pyz"
    if patch:
        target.write_text(take_away(stage.pyz, patch), encoding="utf-8")
        target.chmod(0o755)
    else:
        shutil.copy(stage.pyz, target)
    stage.environment.update({f"WITNESS_{name}": value for name, value in {**SETTINGS, **settings}.items()})
    stage.witness("config", "set", "tmux_socket", stage.socket)
    agent = [str(stage.python), str(WORKER), "{title}", str(stage.notes)]
    stage.witness("config", "set", "agent_command", json.dumps(agent))
    for name, part in HANDMADE.items():
        tree = stage.rig / "polecats" / name
        stage.git("worktree", "add", "--quiet", "-b", f"polecat/{name}", tree)
        place = ("-c", tree, "-x", "200", "-y", "50")
        stage.tmux("new-session", "-d", "-s", f"gt-demo-{name}", *place, "--", stage.python, WORKER, part, stage.notes)
    kit.wait_for(lambda: all(map(stage.processes_of, HANDMADE)), COMMAND_S, "the agents to begin")
    stage.workers = {name: stage.processes_of(name) for name in HANDMADE}
    stage.panes()
    stage.say(
        "A repository with a remote, and five workers started by hand: ann, bob and cat work steadily, quinn falls "
        "silent, mort will die."
    )


# ---- the story, a line for each worker ---------------------------------------------------------------


def tell_spawn(stage: Stage, name: str, title: str):
    """Tell how a worker is spawned for an issue."""

    def is_spawned():
        pids = stage.processes_of(name)
        session = stage.panes().get(f"gt-demo-{name}")
        if not (pids and session and stage.worktree(name) and stage.tip(name)):
            return ""
        return f"git: {stage.worktree(name)}\ntmux session: gt-demo-{name}; its agent: pid {pids[0].pid}"

    yield Check("spawn", f"a worker was spawned for {title}: folder, branch, terminal and agent", is_spawned)
    stage.workers[name] = stage.processes_of(name)


def tell_retirement(stage: Stage, name: str, file: str, content: str):
    """Tell how a worker that asked for it is let go."""
    folder = stage.rig / "polecats" / name

    def is_gone():
        gone = not folder.exists() and not any(map(kit.is_alive, stage.workers[name]))
        if not gone or stage.worktree(name) or f"gt-demo-{name}" in stage.panes():
            return ""
        pids = " and ".join(str(one.pid) for one in stage.workers[name])
        return f"no folder {folder.name}, no entry in git worktree list, no session gt-demo-{name}, no pid {pids}"

    def is_kept():
        commit = stage.note_of(name, "commit")
        words = ("for-each-ref", "--format=%(refname) %(objectname:short)", "--contains", commit, "refs/witness/")
        refs = stage.ask("git", *words).splitlines()
        if len(refs) != 1 or not refs[0].startswith(f"refs/witness/retired/{name}/"):
            return ""
        there = stage.ask("git", "show", f"{commit}:{file}")
        return there == content and f"{refs[0]}\n    reaches {commit[:10]}, whose {file} says {there!r}"

    def is_acknowledged():
        waiting, read = (
            [text for _, text in stage.mails("demo.witness", place) if f"Polecat: {name}" in text]
            for place in ("new", "cur")
        )
        return bool(read) and not waiting and "\n".join(text.partition("\n")[0] for text in read)

    yield Check("retire", f"{name} was let go: its folder, its terminal and its processes are gone", is_gone)
    yield Check("keep", f"the commit of {name} is kept for ever", is_kept)
    yield Check("acknowledge", f"the request of {name} was put away as read", is_acknowledged)


def tell_tidy(stage: Stage, name: str):
    yield from tell_spawn(stage, name, f"{name}, the tidy one")
    stage.cue(name, "begin")
    stage.cue("mort", "die")
    yield from tell_retirement(stage, name, "greeting.txt", "Hello.")

    def is_deleted():
        there = stage.ask("git", "ls-remote", "origin", f"refs/heads/polecat/{name}")
        return not stage.tip(name) and there.startswith(stage.note_of(name, "commit")) and f"on the remote: {there}"

    yield Check("retire", f"the branch of {name} was deleted, for its content is on the remote", is_deleted)


def tell_hasty(stage: Stage, name: str):
    yield from tell_spawn(stage, name, f"{name}, the hasty one")
    stage.cue(name, "begin")
    yield Check(
        "refuse",
        f"{name} wrote a file, did not commit it, and ran `witness handoff`: that said no",
        lambda: "exit status 1" in stage.note_of(name, "handoff") and stage.note_of(name, "handoff"),
    )
    before = stage.look_at(name, "farewell.txt")
    stage.cue(name, "insist")

    def is_refused():
        mails = [text for subject, text in stage.mails(f"demo.{name}") if subject.startswith("NUDGE: Cannot shutdown")]
        return len(mails) == 1 and "farewell.txt" in mails[0] and mails[0]

    yield Check("refuse", f"{name} asked by mail all the same: refused, the reason is in its mailbox", is_refused)
    yield Check(
        "refuse",
        f"nothing of {name} was touched: its file, its commit, its terminal and its agent are as they were",
        lambda: stage.look_at(name, "farewell.txt") == before and f"git status: {before[1]}",
    )
    stage.cue(name, "read")
    stage.say(f"{name} reads its mail, commits, and runs `witness handoff` again")
    yield from tell_retirement(stage, name, "farewell.txt", "Good bye.")
    yield Check(
        "retire",
        f"the branch of {name} was left alone, for its commit is nowhere else",
        lambda: stage.tip(name) == stage.note_of(name, "commit") and f"polecat/{name} is at {stage.tip(name)[:10]}",
    )


def reminders(stage: Stage) -> int:
    """Return how often quinn heard that there is no progress."""
    return stage.note_of("quinn", "heard").count("[witness] quinn: no progress")


def tell_silent(stage: Stage):
    yield Check(
        "nudge",
        "quinn fell silent and was reminded: these words were typed into its terminal",
        lambda: reminders(stage) == 1 and stage.note_of("quinn", "heard"),
    )

    def is_escalated():
        mails = [text for subject, text in stage.mails("mayor") if subject == "ESCALATION: Polecat quinn stuck"]
        evidence = ("git state changed", "nudged", "last lines of the pane")
        return len(mails) == 1 and all(word in mails[0] for word in evidence) and mails[0]

    yield Check("escalate", "quinn stayed silent: the mayor got a mail with the evidence", is_escalated)


def tell_mortal(stage: Stage):
    yield Check(
        "die",
        "mort was killed, and its terminal closed with it",
        lambda: (
            not any(map(kit.is_alive, stage.workers["mort"]))
            and "gt-demo-mort" not in stage.panes()
            and f"no session gt-demo-mort, no pid {stage.workers['mort'][0].pid}"
        ),
    )

    def is_reported():
        mails = [text for subject, text in stage.mails("mayor") if subject == "ESCALATION: Polecat mort dead"]
        return len(mails) == 1 and str(stage.rig / "polecats" / "mort") in mails[0] and mails[0]

    yield Check("report", "the mayor was told that mort is dead, and where its work lies", is_reported)


def tell_rest(stage: Stage, *issues: str):
    """Look at what must not have happened meanwhile."""
    left = stage.rig / "polecats" / "mort" / "half-done.txt"
    healthy = [name for name, part in HANDMADE.items() if part == "steady"]

    def is_left():
        status = stage.ask("git", "--no-optional-locks", "-C", left.parent, "status", "--porcelain")
        same = left.read_text(encoding="utf-8") == "half a thought\n" and stage.worktree("mort") and stage.tip("mort")
        return same and status == "?? half-done.txt" and f"git status: {status}"

    def is_once():
        names = sorted((stage.notes / "started").read_text(encoding="utf-8").split())
        refs = stage.ask("git", "for-each-ref", "--format=%(refname)", "refs/witness/").splitlines()
        once = names == sorted([*HANDMADE, *issues]) and len(refs) == len(issues)
        return once and f"all workers there ever were: {', '.join(names)}\n" + "\n".join(refs)

    def is_undisturbed():
        same = all(stage.workers[name] == stage.processes_of(name) != [] for name in healthy)
        told = any(stage.note_of(name, "heard") or stage.mails(f"demo.{name}") for name in healthy)
        return same and not told and "the same agents as in the beginning; nothing typed to them, no mail"

    yield Check("keep", "mort's unfinished file is still there, in its folder, untouched", is_left, waits=False)
    yield Check("nudge", "quinn was reminded once, not again and again", lambda: reminders(stage) == 1, waits=False)
    yield Check("once", "neither issue was given to a second worker", is_once, waits=False)
    yield Check("leave alone", "ann, bob and cat, who worked steadily, were left alone", is_undisturbed, waits=False)


def play(stage: Stage) -> None:
    """Let the story happen, look, and stop the daemon."""
    tidy = stage.do("add", "tidy: write a greeting")
    hasty = stage.do("add", "hasty: write a farewell", "--priority", "3")
    stage.do("start")
    daemon = kit.process(json.loads((stage.rig / ".gastown" / "witness.pid").read_text(encoding="utf-8"))["pid"])
    if daemon is None:
        raise RuntimeError("the daemon does not run")
    detached = os.getsid(daemon.pid) != os.getsid(0)
    stage.judge(Check("start", "the daemon runs, in a session of its own"), detached and f"pid {daemon.pid}")
    stage.follow(tell_tidy(stage, tidy), tell_hasty(stage, hasty), tell_silent(stage), tell_mortal(stage))
    stage.follow(tell_rest(stage, tidy, hasty))
    stage.do("stop")
    stage.answers.clear()
    living = set(stage.panes())
    stage.judge(
        Check("stop", "the daemon has ended; the workers it did not let go live on"),
        not kit.is_alive(daemon)
        and living == {f"gt-demo-{name}" for name in HANDMADE if name != "mort"}
        and "tmux sessions: " + ", ".join(sorted(living)),
    )


# ---- the end ----------------------------------------------------------------------------------------


def clear_away(stage: Stage) -> tuple:
    """End and remove everything, whatever state it is in, without a word; return (events, what was left)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    events, trouble = "", (OSError, RuntimeError, subprocess.SubprocessError)
    stage.answers.clear()
    if (stage.rig / ".gastown").is_dir():
        with contextlib.suppress(*trouble):
            events = stage.witness("events", "-n", "0", check=False)
        with contextlib.suppress(*trouble):
            stage.witness("stop", check=False)

    def strays() -> list:
        """Return what is left of it beside its terminals: its processes carry the name of our folder, nobody else's."""
        stage.answers.clear()  # a worker that was being made comes to its terminal yet
        with contextlib.suppress(*trouble):
            stage.panes()
        return [one for one in kit.leftovers(stage.root) if one[0] not in stage.processes]

    with contextlib.suppress(AssertionError):
        kit.wait_for(lambda: not strays(), STOP_S)
    left = [f"pid {one.pid}: {words}" for one, words, _ in strays()]
    with contextlib.suppress(*trouble):
        stage.tmux("kill-server", check=False)
    kit.end(*stage.processes, *(one for one, _, _ in kit.leftovers(stage.root)), grace_s=1)
    left += [f"pid {one.pid}: {words}" for one, words, _ in kit.leftovers(stage.root)]
    kit.remove(stage.root)
    return events, left + ([str(stage.root)] if stage.root.exists() else [])


def sum_up(stage: Stage, events: str, left: list) -> int:
    """Print what Witness wrote down and how the checks ended; return the exit status."""
    with contextlib.suppress(Enough):
        stage.judge(Check("leave nothing", "no process, no terminal and no folder is left"), not left)
    stage.show("\n".join(left))
    if events:
        print("\nThe log of what happened, as Witness wrote it down (`witness events`):")
        stage.show(events)
    print("\nWhat was checked:")
    for held, duty, claim in stage.checks:
        print(f"  {'ok    ' if held else 'FAILED'}  {duty:13}  {claim}")
    held = sum(held for held, _, _ in stage.checks)
    seconds = time.monotonic() - stage.began
    print(f"\n{held} of {len(stage.checks)} checks held, in {seconds:.0f} seconds", flush=True)
    return 0 if held == len(stage.checks) else 1


def interrupt(_number, _frame) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description="Show and check the main job of Witness on a throw-away rig.")
    parser.add_argument("pyz", type=Path)
    parser.add_argument("--without", choices=sorted(DUTIES), default="", help="a Witness that lacks this duty")
    parser.add_argument("--deadline", type=float, default=DEADLINE_S, metavar="SECONDS", help="wait no longer for all")
    words = parser.parse_args()
    if not words.pyz.is_file():
        parser.error(f"{words.pyz} is no file; ./build.sh makes witness.pyz")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    sys.stdout.reconfigure(errors="replace")
    print(INTRODUCTION, flush=True)
    stage = Stage(words.pyz.resolve(), words.without, words.deadline)
    trouble = ""
    try:
        build_rig(stage)
        play(stage)
    except Enough:
        trouble = "the duty that was switched off was missed: the story ends here"
    except KeyboardInterrupt:
        trouble = "broken off"
    except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        trouble = str(error)
    finally:
        events, left = clear_away(stage)
    if trouble:
        stage.say(trouble)
        stage.checks.append((False, "the end", trouble))
    return sum_up(stage, events, left)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except BrokenPipeError:  # whoever listened has left; everything is cleared away by now
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
