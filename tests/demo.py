"""Show the main job of Witness on a throw-away rig, and check every claim in the world itself.

    python tests/demo.py witness.pyz

The checks ask git, tmux, the process table and the mail folders, never Witness. Exit status 0: all held.
`--without DUTY` runs a Witness that lacks one duty; the demo must then fail, which a test sees to.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import subprocess
import sys
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from tools import kit

WORKER = Path(__file__).parent / "agents" / "worker.py"
SETTINGS = {
    "INTERVAL": "1",
    "STUCK_AFTER": "4",
    "NUDGE_WAIT": "2",
    "ESCALATE_AFTER": "7",
    "START_GRACE": "1",
    "MAX_WORKERS": "9",
    "SPAWN_DELAY_MS": "300",
    "MAX_LOAD_PER_CORE": "0",
    "MIN_FREE_MEMORY": "0",
    "MIN_FREE_DISK": "0",
}
# A duty is switched off by a setting where there is one, else by a copy of the module that lacks one function.
DUTIES = {
    "spawn": ({"AUTO_SPAWN": "false"}, ""),
    "nudge": ({}, "def _type_nudge(station, action):\n    return True, 'switched off'\n"),
    "escalate": ({"ESCALATE_AFTER": "9999"}, ""),
    "refuse": ({}, "def find_blockers(*_args, **_kwargs):\n    return ()\n"),
    "retire": ({}, "def retire_due(draft):\n    return None\n"),
    "report": ({}, "def handle_dead(draft, verdict, sighting):\n    return None\n"),
}
INTRODUCTION = """\
A rig is a git repository in which several coding agents work at once. Each agent, called a worker, has a folder of its
own (a git worktree) and a terminal of its own (a tmux session). Witness is the watchdog: it starts workers for open
issues, reminds who has gone quiet, tells a person when that did not help, and lets a worker go only when nothing of its
work can be lost. Here the agents are small scripts, the repository is made for this show, and everything below is seen
in the world - in git, in tmux, in the process table, in the mail folders - and not taken from what Witness says.
"""


class Enough(Exception):  # noqa: N818 - it is no error
    """The duty that was switched off was missed: the rest of the story proves nothing more."""


class Stage:
    """The throw-away rig, and what the audience sees of it."""

    def __init__(self, pyz: Path, without: str) -> None:
        self.began = time.monotonic()
        self.root = kit.make_root()
        self.rig, self.notes = self.root / "demo", self.root / "notes"
        self.socket = "demo" + secrets.token_hex(4)
        self.without = without
        self.checks = []
        self.processes = set()
        self.agents = {}
        settings, patch = DUTIES.get(without, ({}, ""))
        self.program = [sys.executable, str(self._patched(pyz, patch) if patch else pyz)]
        (self.root / "home").mkdir()
        (self.root / "home" / ".gitconfig").write_text(
            "[user]\n\tname = demo\n\temail = demo@example.com\n[init]\n\tdefaultBranch = main\n", encoding="utf-8"
        )
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GIT_", "WITNESS_", "TMUX", "GT_", "XDG_"))
        }
        self.environment = {
            **kept,
            "HOME": str(self.root / "home"),
            "TMUX_TMPDIR": str(self.root),
            "LC_ALL": "C.UTF-8",
            "SHIV_ROOT": str(self.root / "shiv"),
            "WITNESS_TMUX_SOCKET": self.socket,
            **{f"WITNESS_{name}": value for name, value in {**SETTINGS, **settings}.items()},
        }

    def _patched(self, pyz: Path, patch: str) -> Path:
        with zipfile.ZipFile(pyz) as archive:
            text = archive.read("site-packages/witness.py").decode("utf-8")
        body = text.partition("\n")[2].replace(
            '\nif __name__ == "__main__":', f'\n{patch}\n\nif __name__ == "__main__":'
        )
        path = self.root / "witness-without"
        path.write_text(f"#!{sys.executable}\n{body}", encoding="utf-8")
        path.chmod(0o755)
        return path

    # -- hands ---------------------------------------------------------------------------------------

    def run(self, *words, cwd=None, check=True) -> str:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=cwd or self.rig,
            env=self.environment,
            text=True,
            errors="replace",
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{shlex.join(map(str, words))}: exit {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout.strip()

    def git(self, *words, check=True) -> str:
        return self.run("git", *words, check=check)

    def tmux(self, *words, check=True) -> str:
        return self.run("tmux", "-L", self.socket, "-f", "/dev/null", *words, cwd="/", check=check)

    def witness(self, *words) -> str:
        return self.run(*self.program, *words)

    # -- eyes ----------------------------------------------------------------------------------------

    def sessions(self) -> set:
        self.remember()
        return set(self.tmux("list-sessions", "-F", "#{session_name}", check=False).split())

    def remember(self) -> None:
        """Note every process of the rig, so that the end can see that none is left."""
        pids = self.tmux("list-panes", "-a", "-F", "#{pid} #{pane_pid}", check=False).split()
        self.processes.update(kit.tree(*{int(pid) for pid in pids}))

    def worktrees(self) -> set:
        lines = self.git("worktree", "list", "--porcelain").splitlines()
        return {Path(line.split(" ", 1)[1]).name for line in lines if line.startswith("worktree ")}

    def mails(self, address: str, subject: str, place: str = "new") -> list:
        folder = self.rig / ".gastown" / "mail" / address / place
        texts = [path.read_text(encoding="utf-8") for path in folder.iterdir()] if folder.is_dir() else []
        return [text for text in texts if f"\nSubject: {subject}" in text]

    def agent(self, name: str):
        path = self.notes / f"{name}.pid"
        return kit.process(int(path.read_text(encoding="utf-8"))) if path.exists() else None

    # -- voice ---------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:5.1f} s] {text}", flush=True)

    def show(self, text: str) -> None:
        for line in text.splitlines():
            print(f"            | {line[:140]}", flush=True)

    def check(self, duty: str, claim: str, predicate, timeout: float = 0.0) -> bool:
        """Note whether a claim holds, now or within timeout seconds."""
        deadline = time.monotonic() + timeout
        held = bool(predicate())
        while not held and time.monotonic() < deadline:
            time.sleep(0.1)
            held = bool(predicate())
        self.checks.append((held, duty, claim))
        self.say(("seen: " if held else "NOT SEEN: ") + claim)
        if not held and duty == self.without:
            raise Enough
        return held


def build_rig(stage: Stage) -> None:
    """Make the repository with its remote, the settings, two issues, and five workers by hand."""
    for folder in (stage.rig, stage.notes):
        folder.mkdir()
    stage.run("git", "init", "--quiet", "--bare", stage.root / "origin.git", cwd=stage.root)
    stage.git("init", "--quiet")
    (stage.rig / "README").write_text("A rig for a show.\n", encoding="utf-8")
    stage.git("add", "README")
    stage.git("commit", "--quiet", "--message", "First")
    stage.git("remote", "add", "origin", stage.root / "origin.git")
    stage.git("push", "--quiet", "--set-upstream", "origin", "main")
    agent = '", "'.join([sys.executable, str(WORKER), "{title}", str(stage.notes)])
    stage.witness("config", "set", "agent_command", f'["{agent}"]')
    for name, part in (
        ("ann", "steady"),
        ("bob", "steady"),
        ("cat", "steady"),
        ("quinn", "silent"),
        ("mort", "mortal"),
    ):
        stage.git("worktree", "add", "--quiet", "-b", f"polecat/{name}", f"polecats/{name}")
        stage.tmux(
            "new-session",
            "-d",
            "-s",
            f"gt-demo-{name}",
            "-c",
            stage.rig / "polecats" / name,
            "-x",
            "200",
            "-y",
            "50",
            sys.executable,
            WORKER,
            part,
            stage.notes,
        )
    stage.remember()
    stage.say(
        "a repository with a remote; five workers started by hand: ann, bob and cat work steadily, quinn will fall "
        "silent, mort will die"
    )


def play(stage: Stage) -> None:
    """Let the story happen, and look."""
    tidy = stage.witness("add", "tidy: write a greeting")
    hasty = stage.witness("add", "hasty: write a farewell", "--priority", "3")
    stage.say(f"two issues: {tidy} (its worker will end in good order) and {hasty} (its worker will be hasty)")
    stage.show(stage.witness("start"))

    for name, ending in ((tidy, "tidy"), (hasty, "hasty")):
        if not stage.check(
            "spawn",
            f"a worker was spawned for {name}, the {ending} one: folder, branch and terminal",
            lambda name=name: is_spawned(stage, name),
            8,
        ):
            return  # the rest of the story is about them
    work = stage.rig / "polecats" / hasty / "farewell.txt"
    refused = stage.check(
        "refuse",
        f"{hasty} asked to be let go with an uncommitted file: refused, the reason is in its mailbox",
        lambda: stage.mails(f"demo.{hasty}", "NUDGE: Cannot shutdown - untracked"),
        12,
    )
    if refused:
        stage.show(stage.mails(f"demo.{hasty}", "NUDGE")[0].partition("\n\n")[2])
    stage.check(
        "refuse",
        "nothing of it was touched: the file is there, the agent lives",
        lambda: work.exists() and work.read_text(encoding="utf-8") == "Good bye.\n" and stage.agent(hasty),
    )
    (stage.notes / "go-on").touch()

    pushed = stage.git("ls-remote", "origin", f"refs/heads/polecat/{tidy}").split()
    commit = pushed[0] if pushed else "no commit"
    check_retired(stage, tidy, lambda: commit)
    stage.check(
        "retire",
        f"{tidy}'s branch was deleted, for its commit is on the remote",
        lambda: pushed and not stage.git("branch", "--list", f"polecat/{tidy}"),
        3,
    )
    tip = lambda: stage.git("rev-parse", "--verify", "--quiet", f"refs/heads/polecat/{hasty}", check=False)  # noqa: E731
    check_retired(stage, hasty, tip)
    stage.check(
        "retire",
        f"{hasty}'s branch was kept, for its commit is nowhere else",
        lambda: stage.git("show", f"polecat/{hasty}:farewell.txt", check=False) == "Good bye.",
    )

    left = stage.rig / "polecats" / "mort" / "half-done.txt"
    stage.check(
        "report",
        "mort died: the mayor was told, its unfinished file is untouched",
        lambda: (
            stage.mails("mayor", "ESCALATION: Polecat mort dead")
            and left.read_text(encoding="utf-8") == "half a thought\n"
        ),
        12,
    )
    heard = stage.notes / "silent.heard"
    stage.check(
        "nudge",
        "quinn fell silent and was reminded, once, in its own terminal",
        lambda: heard.exists() and heard.read_text(encoding="utf-8").count("[witness] quinn: no progress") == 1,
        14,
    )
    if heard.exists():
        stage.show(heard.read_text(encoding="utf-8"))
    stage.check(
        "escalate",
        "quinn stayed silent: the mayor got a mail with the evidence",
        lambda: any(
            "last lines of the pane" in text and "nudged" in text
            for text in stage.mails("mayor", "ESCALATION: Polecat quinn stuck")
        ),
        14,
    )
    for text in stage.mails("mayor", "ESCALATION: Polecat quinn stuck")[:1]:
        stage.show(text.partition("\n\n")[2])
    stage.check(
        "leave alone",
        "ann, bob and cat were not disturbed: same agents, no mail",
        lambda: all(stage.agent(name) and not stage.mails(f"demo.{name}", "") for name in ("ann", "bob", "cat")),
    )


def is_kept(stage: Stage, name: str, commit: str) -> bool:
    """Tell whether exactly one retired ref of a worker reaches its commit."""
    refs = stage.git("for-each-ref", "--format=%(refname)", "--contains", commit, "refs/witness/", check=False).split()
    return len(refs) == 1 and refs[0].startswith(f"refs/witness/retired/{name}/")


def is_spawned(stage: Stage, name: str) -> bool:
    """Tell whether a worker has its folder, its branch, its terminal, and an agent, which is remembered."""
    stage.agents[name] = stage.agent(name)
    branch = stage.git("branch", "--list", f"polecat/{name}")
    return bool(branch and stage.agents[name]) and name in stage.worktrees() and f"gt-demo-{name}" in stage.sessions()


def check_retired(stage: Stage, name: str, commit) -> None:
    """Check that a worker is gone and its commit is kept for ever."""
    agent = stage.agents[name]
    stage.check(
        "retire",
        f"{name} was let go: its folder, its terminal and its agent are gone",
        lambda: (
            name not in stage.worktrees()
            and not (stage.rig / "polecats" / name).exists()
            and f"gt-demo-{name}" not in stage.sessions()
            and not kit.is_alive(agent)
        ),
        12,
    )
    stage.check(
        "retire",
        f"{name}'s commit is kept for ever, under refs/witness/retired/{name}/",
        lambda: is_kept(stage, name, commit()),
        5,
    )
    stage.check(
        "retire",
        f"{name}'s request was put away last, as read",
        lambda: (
            any(f"Polecat: {name}" in text for text in stage.mails("demo.witness", "LIFECYCLE", "cur"))
            and not any(f"Polecat: {name}" in text for text in stage.mails("demo.witness", "LIFECYCLE"))
        ),
        5,
    )


def end(stage: Stage) -> None:
    """Stop everything, remove everything, and see that nothing is left."""
    log = stage.rig / ".gastown" / "witness-events.jsonl"
    events = stage.run(*stage.program, "events", "-n", "0", check=False) if log.exists() else ""
    note = stage.rig / ".gastown" / "witness.pid"
    daemon = (
        kit.process(int(note.read_text(encoding="utf-8").split('"pid": ')[1].split(",")[0])) if note.exists() else None
    )
    stage.run(*stage.program, "stop", check=False)
    stage.remember()
    if daemon:
        stage.check("stop", "the daemon has ended", lambda: not kit.is_alive(daemon), 5)
        kit.end(daemon)
    stage.tmux("kill-server", check=False)
    kit.end(*stage.processes, grace_s=1)
    left = [one.pid for one, _, _ in kit.leftovers(stage.root)]
    kit.remove(stage.root)
    stage.check(
        "leave nothing", "no process, no terminal, no folder is left", lambda: not left and not stage.root.exists()
    )
    print("\nWhat Witness wrote down meanwhile (`witness events`):")
    stage.show(events)


def sum_up(stage: Stage) -> int:
    """Print the checks and return the exit status."""
    print()
    for held, duty, claim in stage.checks:
        print(f"  {'ok    ' if held else 'FAILED'}  {duty:14}  {claim}")
    failed = sum(not held for held, _, _ in stage.checks)
    seconds = time.monotonic() - stage.began
    print(f"\n{len(stage.checks) - failed} of {len(stage.checks)} checks held, in {seconds:.0f} seconds")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Show and check the main job of Witness on a throw-away rig.")
    parser.add_argument("pyz", type=Path)
    parser.add_argument("--without", choices=sorted(DUTIES), default="", help="a Witness that lacks this duty")
    words = parser.parse_args()
    print(INTRODUCTION, flush=True)
    stage = Stage(words.pyz.resolve(), words.without)
    try:
        build_rig(stage)
        play(stage)
    except Enough:
        stage.say("the duty that was switched off was missed; the story ends here")
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        stage.checks.append((False, "the show", f"went on: {error}"))
    except KeyboardInterrupt:
        stage.checks.append((False, "the show", "was broken off"))
    finally:
        end(stage)
    return sum_up(stage)


if __name__ == "__main__":
    raise SystemExit(main())
