"""Bad input, through the archive: every row of what people, tools, disks and enemies may hand to Witness.

Each case says what it gets word by word: one line, what, where and what to do. What is refused leaves no trace outside
the state folder, and what is broken is back by itself once it is mended.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import sys
import time
from pathlib import Path

import pytest
from tools.kit import PYTHON, wait_for

SLEEP = [PYTHON, "-c", "import time; time.sleep(600)"]
CALM = {"WITNESS_MIN_FREE_DISK": "0", "WITNESS_MIN_FREE_MEMORY": "0", "WITNESS_MAX_LOAD_PER_CORE": "0"}
FAST = {
    **CALM,
    "WITNESS_INTERVAL": "1",
    "WITNESS_START_GRACE": "0",
    "WITNESS_STUCK_AFTER": "1",
    "WITNESS_NUDGE_WAIT": "1",
    "WITNESS_SPAWN_DELAY_MS": "0",
    "WITNESS_TOOL_TIMEOUT": "1",  # of a tool that hangs
}
QUIET = {**FAST, "WITNESS_STUCK_AFTER": "600", "WITNESS_TOOL_TIMEOUT": "10"}

# Root reads and writes whatever its mode; without these two capabilities (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, taken
# out of the bounding set with PR_CAPBSET_DROP) it meets the modes of its own files like anybody else.
UNPRIVILEGED = """\
import ctypes, os, sys
if os.geteuid() == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):
        if libc.prctl(24, capability, 0, 0, 0):
            sys.exit("cannot drop a capability: " + os.strerror(ctypes.get_errno()))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def events(rig) -> list:
    """Return (kind, subject, text) of every event so far."""
    path = rig.state / "witness-events.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(row["kind"], row["subject"], row["text"]) for row in rows]


def log(rig) -> str:
    path = rig.state / "witness.log"
    return path.read_text() if path.exists() else ""


def view(rig) -> dict:
    """Return what the daemon saw last."""
    try:
        return json.loads((rig.state / "witness-view.json").read_text())
    except (OSError, ValueError):
        return {}


def port(rig, name) -> dict:
    return view(rig).get("ports", {}).get(name, {})


def worker(rig, name) -> dict:
    return next((one for one in view(rig).get("polecats", ()) if one["name"] == name), {"state": None, "why": ""})


def ticks(rig, number=2) -> None:
    """Wait for so many whole ticks from now on."""
    for _ in range(number + 1):  # the first may have begun before
        before = view(rig).get("last_tick_at")
        wait_for(lambda before=before: view(rig).get("last_tick_at") not in (None, before), 15, "a tick")


def snapshot(*folders) -> dict:
    """Return everything below these folders: path -> mode, and target or hash of the content."""
    found = {}
    for top in folders:
        for folder, names, files in os.walk(top):
            for name in (*names, *files):
                path = Path(folder, name)
                about = path.lstat()
                if path.is_symlink():
                    what = os.readlink(path)
                else:
                    what = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(about.st_mode) else ""
                found[str(path)] = (about.st_mode, what)
    return found


def maildir(rig, address="demo.witness") -> Path:
    folder = rig.state / "mail" / address
    for name in ("tmp", "new", "cur"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    rig.state.chmod(0o700)
    return folder


def drop(rig, key, subject, body="", sender="overseer", at=None) -> Path:
    """Put a mail into the inbox as any program of this user can: header and body byte by byte."""
    path = maildir(rig) / "new" / key
    path.write_bytes(f"From: {sender}\nTo: demo/witness\nSubject: {subject}\n\n{body}".encode())
    if at is not None:
        os.utime(path, (at, at))
    return path


def letters(rig, address="mayor", subject="") -> list:
    folder = rig.state / "mail" / address / "new"
    texts = [path.read_text() for path in sorted(folder.iterdir())] if folder.is_dir() else []
    return [text for text in texts if f"\nSubject: {subject}" in text]


@pytest.fixture
def canary(rig, tmp):
    """Make a tree that nobody may touch, and say whether it and the rig are as they were."""
    tree = tmp / "canary"
    (tree / "polecats/prey").mkdir(parents=True)
    (tree / "polecats/prey/work").write_text("never committed\n")
    (tree / "link").symlink_to("polecats/prey/work")
    rig.git("update-index", "--refresh")
    ours = (f"{rig.state}/", f"{rig.path}/.git/info/exclude/", f"{rig.path}/.beads/")

    def look():
        both = snapshot(tree, rig.path)
        return {path: what for path, what in both.items() if not f"{path}/".startswith(ours)}

    look.path = tree
    return look


@pytest.fixture
def start(witness, rig):
    """Start the rig's daemon with these variables and return its process."""

    def call(env=QUIET, **options):
        done = witness("start", rig=rig, env=env, **options)
        assert done.status == 0, done
        return rig.daemon()

    return call


@pytest.fixture
def plain_user(witness, tmp):
    """Run the archive as a user who is bound by the modes of files, be the tests root or not."""
    launcher = tmp / "unprivileged"
    launcher.write_text(f"#!{PYTHON}\n{UNPRIVILEGED}")
    launcher.chmod(0o755)
    return lambda *words, **options: witness(*words, python=str(launcher), **options)


# ---- names ----------------------------------------------------------------------------------------------------------

NAMES = {
    "../canary": "'../canary'",
    "..": "'..'",
    "a/b": "'a/b'",
    "-rf": "'-rf'",
    "a\x1b[31mb": "'ab'",
    "a\nb": "'a b'",
    "x" * 300: f"'{'x' * 59}…'",
    "witness": "'witness'",
    "": "''",
}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_name_that_is_none_is_refused_and_nothing_is_touched(witness, rig, canary, name):
    rig.add_polecat("alpha")
    before = canary()
    line = f"witness: {NAMES[name]} is no polecat's name; `witness {{}}` lists them\n"
    assert witness("shutdown", "--force", "--", name, rig=rig) == (2, "", line.format("status"))
    assert witness("recover", "--", name, rig=rig) == (2, "", line.format("retired"))
    assert canary() == before


def test_name_that_is_none_is_refused_by_the_other_commands(witness, rig, canary):
    before = canary()
    line = "witness: '../canary' is no polecat's name; `witness status` lists them\n"
    assert witness("hold", "../canary", rig=rig) == (2, "", line)
    line = f"witness: no polecat ../canary in {rig.path}/polecats; `witness status` lists them\n"
    assert witness("health", "../canary", rig=rig) == (1, "", line)
    line = "witness: '../canary' is no issue's id; `witness issues` lists them\n"
    assert witness("spawn", "reset", "../canary", rig=rig) == (2, "", line)
    line = f"witness: no issue ../canary in {rig.path}/.beads/issues.jsonl; `witness issues` lists them\n"
    assert witness("close", "../canary", rig=rig) == (1, "", line)
    line = "witness: '../../canary' is no mail address; write RIG/NAME, RIG/witness or mayor/\n"
    assert witness("mail", "send", "../../canary", rig=rig) == (2, "", line)
    assert canary() == before


def test_folder_that_is_no_workers_is_named_refused_and_left_alone(witness, rig, canary, repo):
    rig.add_polecat("alpha")
    rig.add_polecat("twin")
    folder = rig.path / "polecats"
    (folder / "beta").symlink_to("alpha")
    (folder / "prey").symlink_to(canary.path / "polecats/prey")
    (folder / "twin").rename(folder / "moved")
    rig.git("worktree", "add", "--quiet", "-b", "nested", canary.path / "nested")
    (folder / "gamma").mkdir()
    (folder / "gamma/demo").symlink_to(canary.path / "nested")
    repo("own").path.rename(folder / "own")
    for name in ("a b", "-rf", "a\x1b[31mb", "a\nb", "é", "x" * 200, "crew"):
        (folder / name).mkdir()
    (folder / "delta").write_text("a file\n")
    before = canary()
    reasons = {
        "beta": "it is a symbolic link",
        "prey": "it is a symbolic link",
        "gamma": "it is a symbolic link",
        "moved": "its repository does not know it under this path (`git worktree repair` mends that)",
        "own": "it is a repository of its own, no linked worktree",
        "delta": "it is no folder",
    }
    done = witness("shutdown", "--force", *reasons, rig=rig)
    assert done == (1, "".join(f"{name}: failed - {why}\n" for name, why in reasons.items()), "")
    for key, name in enumerate(reasons):
        drop(rig, f"{key}.x", f"LIFECYCLE: polecat-{name} requesting shutdown")
    assert witness("start", rig=rig, env=QUIET).status == 0
    wait_for(lambda: not os.listdir(maildir(rig) / "new"), 10, "every mail to be settled")
    assert [row for row in events(rig) if row[0] == "mail"] == [("mail", name, why) for name, why in reasons.items()]
    strangers = json.loads(witness("status", "--json", rig=rig).stdout)["strangers"]
    wrong = dict.fromkeys(("a b", "-rf", "ab", "é", "x" * 79 + "…", "crew"), "its name is no polecat's")
    assert {one["folder"]: one["reason"] for one in strangers} == {**reasons, **wrong}
    rig.stop_daemon()
    assert canary() == before


def test_worktrees_behind_a_link_out_of_the_rig_are_not_followed(witness, rig, canary, start):
    rig.add_polecat("alpha")
    folder = rig.path / "polecats"
    folder.rename(canary.path / "outside")
    folder.symlink_to(canary.path / "outside")
    rig.git("worktree", "repair", folder / "alpha")
    before = canary()
    reason = f"{folder}: leads out of the rig; move what it names into the rig"
    assert witness("shutdown", "--force", "alpha", rig=rig) == (1, f"alpha: failed - not begun: {reason}\n", "")
    start()
    wait_for(lambda: port(rig, "git").get("reason") == reason, 10, "the link to be seen")
    assert canary() == before


def test_worker_is_not_called_gone_where_nobody_could_look(witness, rig):
    rig.add_polecat("alpha")
    folder = rig.path / "polecats"
    folder.rename(rig.path / "kept")
    folder.write_text("")
    reason = f"{folder}: Not a directory"
    assert witness("shutdown", "alpha", rig=rig) == (1, f"alpha: failed - not begun: {reason}\n", "")
    line = f"witness: alpha is not known: {reason}; mend that, then look again\n"
    assert witness("health", "alpha", rig=rig) == (1, "", line)


LINKED = {
    "mail send": ("mail", "send", "mayor/", "-s", "HELP"),
    "mail inbox": ("mail", "inbox", "mayor/"),
    "config set": ("config", "set", "interval", "5"),
    "stop": ("stop",),
    "start": ("start",),
    "health": ("health",),
}


@pytest.mark.parametrize("words", LINKED.values(), ids=list(LINKED))
def test_state_folder_that_leads_out_of_the_rig_is_not_written_to(witness, rig, canary, words):
    (rig.path / ".gastown").symlink_to(canary.path)
    before = canary()
    line = f"witness: state folder {rig.path}/.gastown is no folder; move it away\n"
    assert witness(*words, rig=rig) == (1, "", line)
    assert canary() == before


@pytest.mark.parametrize("words", LINKED.values(), ids=list(LINKED))
def test_state_folder_that_others_can_write_is_refused(witness, rig, words):
    (rig.path / ".gastown").mkdir()
    (rig.path / ".gastown").chmod(0o770)
    line = (
        f"witness: state folder {rig.path}/.gastown belongs to uid {os.geteuid()}, mode 770; it must be ours and "
        "writable by nobody else: chmod go-w\n"
    )
    assert witness(*words, rig=rig) == (1, "", line)
    assert os.listdir(rig.path / ".gastown") == []


# ---- mail -----------------------------------------------------------------------------------------------------------

ASK = "LIFECYCLE: polecat requesting shutdown"
MAILS = {
    "empty": (ASK, "Polecat: \n", "overseer", "overseer", "'' is no polecat's name"),
    "none": (ASK, "no name\n", "overseer", "overseer", "it names no polecat"),
    "next-line": (ASK, "Polecat:\nalpha\n", "overseer", "overseer", "'' is no polecat's name"),
    "two": (ASK, "Polecat: alpha\nPolecat: beta\n", "overseer", "overseer", "it names several polecats"),
    "other": ("LIFECYCLE: Shutdown alpha", "Polecat: beta\n", "overseer", "overseer", "it names several polecats"),
    "path": (ASK, "Polecat: ../canary\n", "overseer", "overseer", "'../canary' is no polecat's name"),
    "dots": (ASK, "Polecat: ..\n", "overseer", "overseer", "'..' is no polecat's name"),
    "dash": ("LIFECYCLE: polecat--rf requesting shutdown", "", "overseer", "overseer", "'-rf' is no polecat's name"),
    "long": (ASK, f"Polecat: {'x' * 300}\n", "overseer", "overseer", f"'{'x' * 39}…' is no polecat's name"),
    "escape": (
        "LIFECYCLE: Shutdown al\x1b[31mpha",
        "",
        "overseer",
        "overseer",
        "'al\ufffd[31mpha' is no polecat's name",
    ),
    "escape-below": (ASK, "Polecat: al\x1b[31mpha\n", "overseer", "overseer", "'al\ufffd[31mpha' is no polecat's name"),
    "shell": (
        "LIFECYCLE: Shutdown $(touch${IFS}canary)",
        "",
        "overseer",
        "overseer",
        "'$(touch${IFS}canary)' is no polecat's name",
    ),
    "seat": ("LIFECYCLE: Shutdown refinery", "", "overseer", "overseer", "'refinery' is no polecat's name"),
    "forged": (ASK, "Polecat: alpha\n", "demo/beta", "alpha", "demo/beta may not ask for alpha"),
    "foreign": (ASK, "Polecat: alpha\n", "other/alpha", "alpha", "other/alpha may not ask for alpha"),
    "nobody": (ASK, "Polecat: alpha\n", "", "alpha", "nobody may not ask for alpha"),
    "gone": (ASK, "Polecat: nobody-here\n", "overseer", "nobody-here", "asked for shutdown and is gone already"),
}


def test_mail_that_is_no_honest_request_is_archived_with_its_reason(rig, canary, start):
    rig.add_polecat("alpha")
    rig.add_polecat("beta")
    before = canary()
    for number, (subject, body, sender, _, _) in enumerate(MAILS.values()):
        drop(rig, f"{number:03d}.x", subject, body, sender, at=time.time() + 1 + number / 100)
    drop(rig, "stale.x", "LIFECYCLE: Shutdown alpha", sender="demo/alpha", at=1e9)
    start()
    wait_for(lambda: not os.listdir(maildir(rig) / "new"), 10, "every mail to be settled")
    told = [(who, text) for kind, who, text in events(rig) if kind == "mail"]
    wanted = [("alpha", "request of 2001-09-09T01:46:40.000Z is older than the polecat")]
    wanted += [(who, text) for *_, who, text in MAILS.values()]
    assert told == wanted
    assert len(os.listdir(maildir(rig) / "cur")) == len(wanted)
    wait_for(lambda: view(rig).get("requests") == 0, 10, "a look without a request")
    rig.stop_daemon()
    assert canary() == before


def test_of_ten_thousand_mails_a_tick_reads_200_and_acknowledges_20(rig, start):
    # While tmux cannot be asked, a request waits: 199 of them are the oldest, then one note, then more than anybody
    # can read at once.
    rig.add_polecat("alpha")
    new = maildir(rig) / "new"
    at = time.time() + 1
    for number in range(10_000):
        subject = "LIFECYCLE: Shutdown alpha" if number < 199 else "MERGED x"
        drop(rig, f"{number:05d}.x", subject, sender="demo/alpha", at=at + number / 1000)
    start({**QUIET, "PATH": str(rig.path), "WITNESS_INTERVAL": "1"})
    wait_for(lambda: not (new / "00199.x").exists(), 60, "the 200th mail")
    drop(rig, "older.x", "LIFECYCLE: Shutdown alpha", sender="demo/alpha", at=at - 1)
    ticks(rig, 1)
    # Now 200 are in the way, and nobody reads beyond them.
    acknowledged = sorted(name.partition(":")[0] for name in os.listdir(new.parent / "cur"))
    ticks(rig, 2)
    assert sorted(name.partition(":")[0] for name in os.listdir(new.parent / "cur")) == acknowledged
    assert acknowledged == [f"{number:05d}.x" for number in range(199, 199 + len(acknowledged))]
    assert view(rig)["mails_waiting"] > 9000
    rig.stop_daemon()
    # With nothing in the way: the first tick and FOLLOW_UPS (12) more at once, then an interval's rest.
    for name in ("older.x", *(f"{number:05d}.x" for number in range(199))):
        (new / name).unlink()
    before = len(os.listdir(new))
    start({**QUIET, "WITNESS_INTERVAL": "600"})
    wait_for(lambda: before - len(os.listdir(new)) == 13 * 20, 60, "260 acknowledged mails")
    status = Path(f"/proc/{rig.daemon().pid}/stat") if sys.platform == "linux" else None
    wait_for(lambda: status is None or b") S " in status.read_bytes(), 10, "the daemon to rest")
    assert before - len(os.listdir(new)) == 13 * 20


def test_inbox_entries_that_are_no_mail_are_passed_over(witness, rig, canary, start):
    new = maildir(rig) / "new"
    drop(rig, "1.x", "MERGED x")
    (new / "2.folder").mkdir()
    os.mkfifo(new / "3.fifo")
    (new / "4.link").symlink_to(canary.path / "polecats/prey/work")
    (new / "5.dangling").symlink_to("nowhere")
    (new / "6.loop").symlink_to("6.loop")
    before = canary()
    inbox = json.loads(witness("mail", "inbox", "demo/witness", "--json", rig=rig).stdout)
    assert [one["subject"] for one in inbox["messages"]] == ["MERGED x"]
    start()
    wait_for(lambda: not os.listdir(new), 10, "every entry to be settled")
    assert sorted(os.listdir(new.parent / "dead")) == ["2.folder", "3.fifo", "4.link", "5.dangling", "6.loop"]
    assert canary() == before


# ---- outside tools --------------------------------------------------------------------------------------------------

STUB = """\
#!/bin/sh
mode=
[ -r "$0.mode" ] && read -r mode <"$0.mode"
case $mode in
"") exec {real} "$@" ;;
lies) case "$*" in *--version* | *-V*) exec {real} "$@" ;; *) echo 'garbage 1 2 3' ;; esac ;;
hang) exec {sleep} 60 ;;
exit) printf '\\033]0;x\\007boom \\001\\nmore\\n' >&2; exit 1 ;;
silent) exit 3 ;;
garbage) printf 'garb\\033[31mage\\001\\n' ;;
null) echo null ;;
flood) exec {head} -c 1073741824 /dev/zero ;;
esac
"""


class Stub:
    """A tool that stands first on the PATH, and alone there: the real one, until it is told to be broken."""

    def __init__(self, folder: Path, name: str):
        self.path, self.mode = folder / name, folder / f"{name}.mode"
        places = {tool: shutil.which(tool) for tool in ("sleep", "head")}
        self.path.write_text(STUB.format(real=shutil.which(name), **places))
        self.path.chmod(0o755)

    def breaks(self, how: str) -> None:
        self.mends()
        if how == "missing":
            self.path.rename(f"{self.path}.away")
        elif how == "denied":
            self.path.chmod(0o644)
        else:
            replace_file(self.mode, how + "\n")

    def mends(self) -> None:
        if not self.path.exists():
            Path(f"{self.path}.away").rename(self.path)
        self.path.chmod(0o755)
        if self.mode.exists():
            self.mode.unlink()


def replace_file(path: Path, text: str) -> None:
    """Replace a file as a whole: its reader never sees half of it."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text)
    beside.rename(path)


@pytest.fixture
def stubs(tmp):
    """Make stubs of git and tmux, and the PATH on which they are all there is."""
    folder = tmp / "stubs"
    folder.mkdir()
    made = {name: Stub(folder, name) for name in ("git", "tmux")}
    made["env"] = {"PATH": str(folder)}
    return made


BROKEN = {
    "tmux": {
        "missing": "tmux list-panes: tmux is missing",
        "denied": "tmux list-panes: cannot be run: Permission denied",
        "hang": "tmux list-panes: no answer within 1 s",
        "exit": "tmux list-panes: exit 1: boom",
        "silent": "tmux list-panes: exit 3",
        "garbage": "tmux list-panes printed 'garbage'",
        "null": "tmux list-panes printed 'null'",
        "flood": "tmux list-panes: printed more than 4194304 bytes",
    },
    "git": {
        "missing": "git: git is missing",
        "denied": "git: cannot be run: Permission denied",
        "hang": "git: no answer within 1 s",
        "exit": "git: exit 1: boom",
        "silent": "git: exit 3",
        "garbage": "git --version printed 'garbage'",
        "null": "git --version printed 'null'",
        "flood": "git: printed more than 4194304 bytes",
    },
}


@pytest.mark.parametrize("tool", BROKEN)
def test_broken_tool_stops_what_depends_on_it_and_is_believed_again_when_mended(witness, rig, stubs, start, tool):
    # One worker is stuck, one asked for its shutdown, one issue is ready: all three wait.
    rig.add_polecat("alpha", SLEEP)
    rig.add_polecat("beta")
    issue = {"id": "demo-1", "title": "Work", "status": "open", "issue_type": "task"}
    (rig.path / ".beads").mkdir()
    (rig.path / ".beads/issues.jsonl").write_text(json.dumps(issue) + "\n")
    stub = stubs[tool]
    stub.breaks("missing")
    start({**FAST, **stubs["env"], "WITNESS_AGENT_COMMAND": json.dumps(SLEEP)})
    drop(rig, "1.x", "LIFECYCLE: Shutdown beta", sender="demo/beta", at=time.time() + 2)
    for how, reason in BROKEN[tool].items():
        stub.breaks(how)
        wait_for(lambda reason=reason: port(rig, tool).get("reason") == reason, 20, f"{tool}: {reason}")
        assert port(rig, tool)["state"] == "degraded"
        assert {one["state"] for one in view(rig)["polecats"]} == {"unknown"}
        assert f"{tool} is unknown: {reason}" in view(rig)["queue"]["reason"]
    said = json.loads(witness("status", "--json", rig=rig).stdout)
    assert {key: said["ports"][tool][key] for key in ("state", "reason")} == {"state": "degraded", "reason": reason}
    assert re.search(rf"! {tool} degraded for \d+s: {re.escape(reason)}\n", witness("status", rig=rig).stdout)
    wait_for(lambda: letters(rig, subject="ESCALATION"), 10, "one escalation")
    acts = ("nudge", "retire", "spawn", "restart")
    assert not [line for line in log(rig).splitlines() if line.split(" ")[1].startswith(acts)], log(rig)
    assert not [row for row in events(rig) if row[0] in ("nudged", "retired", "refused", "spawned", "spawn-failed")]
    stub.mends()
    wait_for(lambda: not (rig.path / "polecats/beta").exists(), 60, "the request to be granted")
    wait_for(lambda: ("spawned", "demo-1", "works on demo-1") in events(rig), 60, "the issue to get a worker")
    wait_for(lambda: [row for row in events(rig) if row[:2] == ("nudged", "alpha")], 60, "the stuck one to be nudged")
    assert port(rig, tool)["state"] == "ok"
    told = [row for row in events(rig) if row[0] in ("degraded", "recovered")]
    told = [row for row in told if row[1] == tool]
    assert [row[0] for row in told] == ["degraded", "recovered"]
    assert told[0][2] == BROKEN[tool]["missing"]
    subjects = [text.partition("Subject: ")[2].partition("\n")[0] for text in letters(rig)]
    assert sorted(subjects)[:2] == [
        f"ESCALATION: demo: {tool} does not answer: {BROKEN[tool]['missing']}; what depends on it is suspended",
        f"RESOLVED: port-{tool}",
    ]


def test_git_that_breaks_later_is_degraded_with_the_version_it_had(witness, rig, stubs, start):
    rig.add_polecat("alpha", SLEEP)
    start({**FAST, **stubs["env"]})
    wait_for(lambda: port(rig, "git").get("version"), 10, "the version of git")
    version = port(rig, "git")["version"]
    stubs["git"].breaks("exit")
    wait_for(lambda: port(rig, "git").get("reason") == "git: exit 1: boom", 60, "the failure to be seen")
    assert port(rig, "git") == {**port(rig, "git"), "state": "degraded", "version": version}
    shown = witness("status", rig=rig).stdout
    assert re.search(rf"! git {re.escape(version)} degraded for \d+s: git: exit 1: boom\n", shown)
    assert worker(rig, "alpha")["why"] == "git could not be asked: git: exit 1: boom"
    stubs["git"].mends()
    wait_for(lambda: port(rig, "git").get("state") == "ok", 60, "git to be believed again")
    wait_for(lambda: worker(rig, "alpha")["state"] != "unknown", 60, "the worker to be judged again")


def test_git_that_lies_loses_nobody_and_is_no_bug(witness, rig, stubs, start):
    # It tells its version, but prints the same garbage whatever it is asked, as if all were well.
    rig.add_polecat("alpha", SLEEP)
    rig.add_polecat("beta")
    (rig.path / "polecats/beta/work").write_text("never committed\n")
    stubs["git"].breaks("lies")
    done = witness("shutdown", "--force", "beta", rig=rig, env={**CALM, **stubs["env"]})
    assert (done.status, done.stderr) == (1, ""), done
    assert done.stdout.startswith(("beta: failed - step ", "beta: refused")), done
    start({**FAST, **stubs["env"], "WITNESS_AGENT_COMMAND": json.dumps(SLEEP)})
    drop(rig, "1.x", "LIFECYCLE: Shutdown beta", sender="demo/beta", at=time.time() + 2)
    wait_for(lambda: [row for row in events(rig) if row[:2] == ("requested", "beta")], 60, "the request to be read")
    said = "the second look failed: git status printed"
    wait_for(lambda: worker(rig, "alpha")["why"].startswith(said), 60, "the look to be doubted")
    ticks(rig, 1)
    assert "bug:" not in log(rig)
    assert not [row for row in events(rig) if row[0] in ("nudged", "retired")]
    assert [row for row in events(rig) if row[:2] in (("retirement-failed", "beta"), ("refused", "beta"))]
    assert (rig.path / "polecats/beta/work").read_text() == "never committed\n"


def test_broken_tools_refuse_a_persons_request_too(witness, rig, stubs):
    rig.add_polecat("alpha")
    env = {**CALM, **stubs["env"]}
    stubs["tmux"].breaks("exit")
    said = (1, "alpha: failed - not begun: tmux does not answer (tmux list-panes: exit 1: boom)\n", "")
    assert witness("shutdown", "--force", "alpha", rig=rig, env=env) == said
    stubs["tmux"].mends()
    stubs["git"].breaks("garbage")
    said = (1, "alpha: failed - not begun: git does not answer (git --version printed 'garbage')\n", "")
    assert witness("shutdown", "--force", "alpha", rig=rig, env=env) == said
    assert witness("retired", rig=rig, env=env).status == 1
    stubs["git"].breaks("missing")
    assert witness("retired", rig=rig, env=env) == (1, "", "witness: git for-each-ref: git is missing\n")
    assert witness("recover", "alpha", rig=rig, env=env) == (1, "", "witness: git for-each-ref: git is missing\n")
    assert (rig.path / "polecats/alpha/README").exists()


def test_name_of_a_command_cannot_hide_the_other_panes(witness, rig):
    # tmux writes a program's own name for itself as it is: a newline in it once made every worker unknown, and a
    # whole line of a pane could be made up.
    rig.add_polecat("alpha", SLEEP)
    made_up = "evil\n1\t1\t$1\t0\t1\t%1\t1\t0\t0\tgt-demo-beta\tpython\nmore\x1b[31m\t" + "x" * 500
    rig.add_polecat("beta")
    rig.tmux.new_session("evil", rig.path, ["/bin/bash", "-c", 'exec -a "$1" sleep 600', "-", made_up])
    pane = next(iter(one for one in rig.tmux.panes() if one["session"] == "evil"))
    wait_for(lambda: "evil" in rig.tmux.run("display-message", "-p", "-t", "evil:", "#{pane_current_command}"), 10)
    assert pane
    said = json.loads(witness("health", "--json", rig=rig, env={"WITNESS_START_GRACE": "0"}).stdout)
    assert {one["name"]: one["state"] for one in said["polecats"]} == {"alpha": "working", "beta": "dead"}


def test_rig_in_a_folder_with_tmux_words_in_its_name_runs_none_of_them(witness, repo, tmux):
    # tmux expands the folder of a new session as a format, and `#(…)` in one is a shell command.
    made = repo("a#(cd;touch ran)#{pid}##b;%H$(cd;touch ran)")
    env = {**CALM, "WITNESS_TMUX_SOCKET": tmux.socket, "WITNESS_AGENT_COMMAND": json.dumps(SLEEP)}
    assert witness("add", "Work", cwd=made.path, env=env).status == 0
    done = witness("spawn", cwd=made.path, env=env)
    assert done.status == 0, done
    (pane,) = tmux.panes()
    assert Path(pane["path"]).parent == made.path / "polecats"
    assert not Path.home().joinpath("ran").exists()


# ---- the queue ------------------------------------------------------------------------------------------------------

GOOD_LINE = '{"id":"demo-1","title":"Good","status":"open"}\n'
QUEUES = {
    "empty": ("", []),
    "garbage": ("garb\x1b[31mage\n", ["line 1: Expecting value: line 1 column 1 (char 0)"]),
    "binary": ("\x00\x01\x1b\n", ["line 1: Expecting value: line 1 column 1 (char 0)"]),
    "null": ("null\n", ["line 1: no JSON object"]),
    "list": ('[{"id":"demo-1"}]\n', ["line 1: no JSON object"]),
    "number": ("1e999\n", ["line 1: no JSON object"]),
    "truncated": ('{"id":"demo-2","tit', ["line 1: Unterminated string starting at: line 1 column 16 (char 15)"]),
    "deep": ("[" * 100_000 + "\n", ["line 1: "]),
    "no id": ('{"title":"x"}\n', ["line 1: no issue id: 'None'"]),
    "path": ('{"id":"../canary"}\n', ["line 1: no issue id: '../canary'"]),
    "escape": ('{"id":"a\\u001b[31m"}\n', ["line 1: no issue id: 'a'"]),
    "title": ('{"id":"demo-2","title":7}\n', ["line 1: title is no text"]),
    "links": ('{"id":"demo-2","dependencies":"x"}\n', ["line 1: dependencies are no list"]),
    "others": ('{"_type":"memory","key":"x"}\n', []),
}


@pytest.mark.parametrize("content", QUEUES)
def test_bad_line_of_the_queue_is_named_and_passed_over(witness, rig, content):
    (rig.path / ".beads").mkdir()
    text, bad = QUEUES[content]
    newline = "" if text.endswith("\n") or not text else "\n"
    (rig.path / ".beads/issues.jsonl").write_text(text + newline + GOOD_LINE)
    done = witness("issues", "--json", rig=rig)
    assert done.status == 0, done
    said = json.loads(done.stdout)
    assert [one["id"] for one in said["issues"]] == ["demo-1"]
    if content == "deep":
        said["bad_lines"] = [line[:8] for line in said["bad_lines"]]  # each Python has words of its own for it
    assert said["bad_lines"] == bad


def test_queue_that_cannot_be_read_is_unknown_and_not_empty(witness, rig, start, plain_user):
    file = rig.path / ".beads/issues.jsonl"
    file.mkdir(parents=True)
    env = {**CALM, "WITNESS_AGENT_COMMAND": json.dumps(SLEEP)}

    def check(why, run=witness):
        reason = f"{file}: {why}"
        assert run("issues", rig=rig, env=env) == (1, "", f"witness: the queue is unknown: {reason}\n")
        said = (0, f"nothing to spawn: the queue is unknown: {reason}\n", "")
        assert run("spawn", "--explain", rig=rig, env=env) == said
        line = f"witness: {reason}; the issue was not added\n"
        assert run("add", "Work", rig=rig, env=env) == (1, "", line)

    check("Is a directory")
    file.rmdir()
    os.mkfifo(file)
    check("is no regular file")
    file.unlink()
    file.write_text(GOOD_LINE)
    file.chmod(0)
    check("Permission denied", plain_user)
    assert json.loads(plain_user("status", "--json", rig=rig).stdout)["verdict"] == "not running"
    file.chmod(0o644)
    start({**QUIET, **env})
    wait_for(lambda: port(rig, "queue").get("state") == "ok", 10, "the queue")
    file.unlink()
    file.mkdir()
    wait_for(lambda: port(rig, "queue").get("reason") == f"{file}: Is a directory", 10, "the loss to be seen")
    shown = witness("status", rig=rig).stdout
    assert re.search(rf"! queue degraded for \d+s: {re.escape(str(file))}: Is a directory\n", shown)
    file.rmdir()
    file.write_text(GOOD_LINE)
    wait_for(lambda: port(rig, "queue").get("state") == "ok", 10, "the queue to be believed again")


# ---- the files of the state folder ----------------------------------------------------------------------------------

DAMAGED = {
    "empty": (b"", "Expecting value: line 1 column 1 (char 0)"),
    "truncated": (b'{"rig_name": "de', "Unterminated string starting at: line 1 column 14 (char 13)"),
    "binary": (b"\x80\x1b\x00", "'utf-8' codec can't decode byte 0x80 in position 0: invalid start byte"),
    "null": (b"null", "no object"),
    "list": (b"[]", "no object"),
    "wrong type": (b'{"polecats": 7}', "polecats is no object"),
    "wrong entry": (b'{"requests": {"a": null}}', "Request is no object"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_memory_is_kept_aside_said_and_made_anew(witness, rig, damage):
    content, why = DAMAGED[damage]
    rig.state.mkdir(mode=0o700)
    memory = rig.state / "witness.json"
    memory.write_bytes(content)
    assert witness("health", rig=rig) == (0, "no polecats\n", "")
    (aside,) = rig.state.glob("witness.json.corrupt-*")
    assert aside.read_bytes() == content
    assert json.loads(memory.read_text())["version"] == 1
    said = f"{why}; kept as {aside.name}, and made anew"
    assert events(rig) == [("corrupt", "witness.json", said)]


def memory_is_refused(run, rig, why):
    """Check that nothing is done without a memory, by the daemon neither, and that status still answers."""
    line = f"witness: {why}\n"
    assert run("health", rig=rig) == (1, "", line)
    assert run("start", rig=rig, env=QUIET) == (1, "", line)
    assert run("status", rig=rig).status == 3
    assert not list(rig.state.glob("*corrupt*"))


def test_memory_that_cannot_be_taken_is_refused_and_left_as_it_is(witness, rig, plain_user):
    rig.state.mkdir(mode=0o700)
    memory = rig.state / "witness.json"
    memory.write_text('{"version": 99, "polecats": "of another form"}')
    memory_is_refused(
        witness, rig, "witness.json was written by a newer Witness (format 99); use that one, or move the file away"
    )
    memory.chmod(0)
    memory_is_refused(plain_user, rig, f"{memory}: Permission denied; nothing is done without a memory")
    memory.chmod(0o600)
    assert memory.read_text() == '{"version": 99, "polecats": "of another form"}'
    memory.unlink()
    memory.mkdir()
    memory_is_refused(witness, rig, f"{memory}: Is a directory; nothing is done without a memory")


MEND = "mend it, or move it away for the defaults"
SETTINGS = {
    "empty": (b"", f"Expecting value: line 1 column 1 (char 0); {MEND}"),
    "truncated": (b'{"interval": 3', f"Expecting ',' delimiter: line 1 column 15 (char 14); {MEND}"),
    "binary": (b"\x80\x1b", f"'utf-8' codec can't decode byte 0x80 in position 0: invalid start byte; {MEND}"),
}


def settings_are_refused(run, rig, line):
    """Check that nothing starts, acts or is written over with these settings, and that status still answers."""
    for words in (("start",), ("health",), ("config", "check"), ("config", "set", "interval", "5")):
        assert run(*words, rig=rig) == (78, "", f"witness: {line}\n")
    assert run("status", rig=rig).status == 3


def test_settings_that_cannot_be_taken_start_nothing_and_stay(witness, rig, plain_user):
    rig.state.mkdir(mode=0o700)
    file = rig.state / "witness-config.json"
    for content, why in SETTINGS.values():
        file.write_bytes(content)
        settings_are_refused(witness, rig, f"{file}: {why}")
        assert file.read_bytes() == content
    file.write_text("[]")
    settings_are_refused(witness, rig, f'{file} holds no JSON object; write {{"name": value, …}}')
    file.write_text('{"version": 2}')
    settings_are_refused(
        witness,
        rig,
        f"unknown setting 'version' in {file}; `witness --help` lists the commands, the README the settings",
    )
    file.write_text('{"intervall": 2}')
    settings_are_refused(witness, rig, f"unknown setting 'intervall' in {file}; did you mean interval?")
    file.write_text('{"interval": 0}')
    settings_are_refused(witness, rig, f"interval is 0 in {file}; it takes 1 to 31622400 s")
    file.chmod(0)
    settings_are_refused(plain_user, rig, f"{file}: Permission denied; {MEND}")
    file.unlink()
    file.mkdir()
    settings_are_refused(witness, rig, f"{file}: Is a directory; {MEND}")
    assert sorted(os.listdir(rig.state)) == ["witness-config.json"]


HOLDS = {
    "empty": (b"", "Expecting value: line 1 column 1 (char 0)"),
    "truncated": (b'{"paused": {"rea', "Unterminated string starting at: line 1 column 13 (char 12)"),
    "binary": (b"\x80\x1b", "'utf-8' codec can't decode byte 0x80 in position 0: invalid start byte"),
    "null": (b"null", "it holds no JSON object"),
    "list": (b"[]", "it holds no JSON object"),
    "newer": (b'{"version": 2, "hold": ["alpha"]}', "a newer Witness wrote it, in format 2"),
    "wrong stamp": (b'{"holds": {"alpha": {"until": "soon"}}}', "no RFC 3339 stamp: 'soon'"),
    "folder": (None, "Is a directory"),
    "unreadable": (b"{}", "Permission denied"),
}


@pytest.mark.parametrize("damage", HOLDS)
def test_hold_file_that_cannot_be_read_means_paused_until_resume(witness, rig, start, plain_user, damage):
    content, why = HOLDS[damage]
    run = plain_user if damage == "unreadable" else witness
    rig.add_polecat("alpha", SLEEP)
    rig.state.mkdir(mode=0o700)
    file = rig.state / "witness-hold.json"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
        file.chmod(0o600 if damage != "unreadable" else 0)
    paused = f"witness-hold.json cannot be read ({why})"
    said = (1, f"alpha: failed - not begun: {paused}; `witness resume` writes it anew\n", "")
    assert run("shutdown", "--force", "alpha", rig=rig) == said
    line = f"witness: {paused}; `witness resume` writes it anew; say then again what is to be held or paused\n"
    assert run("hold", "alpha", rig=rig) == (1, "", line)
    assert run("resume", rig=rig) == (0, "resumed\n", "")
    (aside,) = rig.state.glob("witness-hold.json.corrupt-*")
    assert content is None or aside.stat().st_size == len(content)
    told = [row[:2] for row in events(rig) if row[0] != "state"]
    assert told == [("corrupt", "witness-hold.json"), ("resumed", "rig")]
    assert (rig.path / "polecats/alpha").exists()


def test_daemon_keeps_no_file_open_of_what_is_none(witness, rig, start):
    # A folder in place of a file once cost a descriptor with every look, until none was left.
    rig.add_polecat("alpha")
    rig.state.mkdir(mode=0o700)
    (rig.state / "witness-hold.json").mkdir()
    (rig.path / "polecats/alpha/.gastown/state.json").mkdir(parents=True)
    (rig.path / ".beads/issues.jsonl").mkdir(parents=True)
    daemon = start()
    ticks(rig, 1)
    assert view(rig)["paused"].startswith("witness-hold.json cannot be read (Is a directory)")
    if os.path.isdir("/proc/self/fd"):
        folder = f"/proc/{daemon.pid}/fd"
        open_files = set(os.listdir(folder))
        ticks(rig, 4)
        # What is open only for a moment may be in either list, but four looks would have lost four files.
        wait_for(lambda: set(os.listdir(folder)) <= open_files, 10, "no more open files than before")
    assert len([row for row in events(rig) if row[0] == "degraded"]) == 1


PIDS = {
    "empty": b"",
    "truncated": b'{"pid": 12',
    "binary": b"\x80\x1b\x00",
    "null": b"null",
    "list": b"[1]",
    "others": b'{"pid": 1, "start_time": 1}',
    "huge": b'{"pid": 99999999999999999999, "start_time": 1, "version": ["x"], "started_at": 7}',
    "folder": None,
    "unreadable": b"{}",
}


@pytest.mark.parametrize("damage", PIDS)
def test_pid_file_of_any_content_stops_nobody(witness, rig, plain_user, damage):
    run = plain_user if damage == "unreadable" else witness
    rig.state.mkdir(mode=0o700)
    file = rig.state / "witness.pid"
    if PIDS[damage] is None:
        file.mkdir()
    else:
        file.write_bytes(PIDS[damage])
        file.chmod(0o600 if damage != "unreadable" else 0)
    done = run("status", rig=rig)
    assert done.status == 1, done
    lines = ["witness dead", "it ended without taking its PID file away", f"rig demo in {rig.path}", "", "no polecats"]
    lines.append("nothing is watched now: `witness start` starts it, `witness health` looks once")
    assert done.stdout.splitlines() == lines
    assert run("stop", rig=rig) == (0, "witness not running\n", "")
    done = run("start", rig=rig, env=QUIET)
    assert (done.status, done.stderr) == (0, "")
    assert json.loads(run("status", "--json", rig=rig).stdout)["daemon"]["pid"] == rig.daemon().pid
    while_running = f"witness stopped (pid {rig.daemon().pid})\n"
    assert run("stop", rig=rig) == (0, while_running, "")
    assert len(list(rig.state.glob("witness.pid.corrupt-*"))) == (damage == "folder")


# ---- folders that cannot be written, disks that are full ------------------------------------------------------------


def test_rig_that_cannot_be_written_is_one_line(witness, rig, plain_user):
    rig.path.chmod(0o555)
    folder = f"state folder {rig.path}/.gastown"
    line = f"witness: {folder}: Permission denied; make the rig writable for its user\n"
    for words in (("start",), ("health",), ("issues",), ("pause",)):
        assert plain_user(*words, rig=rig) == (1, "", line)
    assert plain_user("status", rig=rig).status == 3
    assert plain_user("stop", rig=rig) == (0, "witness not running\n", "")
    rig.path.chmod(0o755)
    assert witness("health", rig=rig).status == 0
    rig.state.chmod(0)
    assert plain_user("status", rig=rig).status == 4
    rig.state.chmod(0o700)


READ_ONLY = {
    "start": (
        ("start",),
        "{state}/witness.lock: Permission denied; without this lock nothing is done; mend the folder",
    ),
    "health": (
        ("health",),
        "{state}/witness.id: Permission denied; without an id of our own nothing is claimed",
    ),
    "pause": (
        ("pause",),
        "{state}/witness.id: Permission denied; without an id of our own nothing is claimed",
    ),
    "config": (
        ("config", "set", "interval", "5"),
        "{state}/witness-config.json: Permission denied; the setting was not changed",
    ),
    "mail": (
        ("mail", "send", "mayor/"),
        "{state}/witness.id: Permission denied; without an id of our own nothing is claimed",
    ),
}


@pytest.mark.parametrize("command", READ_ONLY)
def test_read_only_state_folder_is_one_line(rig, plain_user, command):
    rig.state.mkdir(mode=0o500)
    words, line = READ_ONLY[command]
    assert plain_user(*words, rig=rig) == (1, "", f"witness: {line.format(state=rig.state)}\n")
    assert os.listdir(rig.state) == []


def test_stop_in_a_read_only_state_folder_says_what_is_not_remembered(rig, plain_user):
    rig.state.mkdir(mode=0o500)
    line = f"witness not running, which will not be remembered: {rig.state}/witness-hold.json: Permission denied\n"
    assert plain_user("stop", rig=rig) == (0, line, "")


FULL = """\
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_without_room_for_one_byte_each_command_is_one_line(witness, rig, tmp):
    # A file size limit of nothing stands in for a full disk: every write fails, whoever's it is.
    rig.add_polecat("alpha")
    assert witness("add", "Work", rig=rig).status == 0
    launcher = tmp / "full"
    launcher.write_text(f"#!{PYTHON}\n{FULL}")
    launcher.chmod(0o755)

    def full(*words):
        done = witness(*words, rig=rig, python=str(launcher), env=CALM)
        return (done.status, done.stdout, [line for line in done.stderr.splitlines() if "witness-events" not in line])

    before = snapshot(rig.path / "polecats", rig.path / ".beads")
    nothing = "without a saved intention nothing is done; free the disk or mend the folder"
    line = f"witness: {rig.state}/witness.json: File too large; {nothing}"
    assert full("health") == (1, "", [line])
    assert full("shutdown", "--force", "alpha") == (1, "", [line])
    line = f"witness: {rig.state}/witness-hold.json: File too large; the change was not made"
    assert full("hold", "alpha") == (1, "", [line])
    line = f"witness: {rig.path}/.beads/issues.jsonl: File too large; the issue was not added"
    assert full("add", "More") == (1, "", [line])
    assert full("mail", "send", "mayor/", "-s", "HELP")[:2] == (1, "")
    assert len(full("mail", "send", "mayor/", "-s", "HELP")[2]) == 1
    assert full("start")[:2] == (1, "")
    assert rig.daemon() is None
    assert snapshot(rig.path / "polecats", rig.path / ".beads") == before
    assert witness("health", rig=rig, env=CALM).status in (0, 1)


def test_daemon_that_cannot_save_does_nothing_until_it_can(rig, plain_user):
    rig.add_polecat("alpha", SLEEP)
    assert plain_user("start", rig=rig, env=FAST).status == 0
    wait_for(lambda: worker(rig, "alpha")["state"], 10, "a look")
    said = f"{rig.state}/witness.json: Permission denied; without a saved intention nothing is done"
    rig.state.chmod(0o500)
    before = letters(rig, "demo.alpha"), rig.tmux.run("capture-pane", "-p", "-t", "gt-demo-alpha:")
    already = log(rig).count("nudge")
    wait_for(lambda: log(rig).count(said) >= 2, 20, "two ticks without a saved memory")
    assert log(rig).count("nudge") == already
    assert (letters(rig, "demo.alpha"), rig.tmux.run("capture-pane", "-p", "-t", "gt-demo-alpha:")) == before
    assert plain_user("status", rig=rig).status in (0, 4)
    rig.state.chmod(0o700)
    last = view(rig).get("last_tick_at")
    wait_for(lambda: view(rig).get("last_tick_at") != last, 20, "the watch to go on")
    assert rig.daemon()


# ---- no home --------------------------------------------------------------------------------------------------------

# The user's entry in the password file, which stands in for HOME, leads nowhere; the real one must not be touched.
NO_ENTRY = """\
import os, pwd, runpy, sys
os.environ.pop("HOME", None)
def nobody(*_):
    raise KeyError("no such user")
pwd.getpwuid = nobody
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("home", ["none", "missing", "read-only", "a file", "empty", "relative", "others'"])
def test_status_works_without_a_home(rig, tmp, pyz, witness, plain_user, monkeypatch, home):
    folder, private = tmp / "home", tmp / "t"
    private.mkdir()
    if home not in ("none", "missing", "a file"):
        folder.mkdir()
    folder.write_text("") if home == "a file" else None
    if home in ("read-only", "others'"):
        folder.chmod(0o555 if home == "read-only" else 0o777)
    monkeypatch.delenv("SHIV_ROOT")
    monkeypatch.setenv("HOME", {"empty": "", "relative": "home"}.get(home, str(folder)))
    env = {"TMPDIR": str(private), **QUIET}
    run = plain_user if home == "read-only" else witness
    if home == "none":
        launcher = tmp / "nobody"
        launcher.write_text(f"#!{PYTHON}\n{NO_ENTRY}")
        launcher.chmod(0o755)

        def run(*words, **options):
            return witness(*words, python=str(launcher), **options)

    done = run("status", rig=rig, env=env)
    assert (done.status, done.stderr) == (3, ""), done
    assert done.stdout.startswith(f"witness not running\nrig demo in {rig.path}\n")
    unpacked = private / f"witness-{os.geteuid()}"
    assert stat.S_IMODE(unpacked.stat().st_mode) == 0o700
    assert unpacked.stat().st_uid == os.geteuid()
    assert not folder.is_dir() or os.listdir(folder) == []
    if home == "none":
        assert run("start", rig=rig, env=env).status == 0
        assert run("status", rig=rig, env=env).status == 0


# ---- words ----------------------------------------------------------------------------------------------------------

WORDS = {
    (): (2, "no command; `witness --help` lists them, `witness start` starts the daemon"),
    ("strat",): (2, "no command 'strat'; did you mean `start`?"),
    ("\x1b[31mstart",): (2, "no command 'start'; did you mean `start`?"),
    ("x" * 300,): (2, f"no command '{'x' * 39}…'; `witness --help` lists them"),
    ("--set", "x=1", "status"): (2, "--set stands before the command; write `witness COMMAND --rig PATH`"),
    ("status", "now"): (2, "status: unknown argument 'now'; `witness status --help` shows how"),
    ("status", "--jsno"): (2, "status: unknown argument '--jsno'; did you mean `--json`?"),
    ("status", "\x1b]0;x\x07"): (2, "status: unknown argument ''; `witness status --help` shows how"),
    ("status", "--rig"): (
        2,
        "status: argument --rig: expected one argument; `witness status --help` shows how",
    ),
    ("start", "--timeout", "soon"): (
        2,
        "start: argument --timeout: invalid float value: 'soon'; `witness start --help` shows how",
    ),
    ("hold",): (
        2,
        "hold: the following arguments are required: name; `witness hold --help` shows how",
    ),
    ("hold", "alpha", "--for", "soon"): (2, "--for 'soon' is no duration; write 90s, 15m, 2h or 1d"),
    ("pause", "--for", "-1h"): (
        2,
        "pause: argument --for: expected one argument; `witness pause --help` shows how",
    ),
    ("mail", "send"): (
        2,
        "mail send needs an address; write `witness mail send RIG/witness -s SUBJECT -b BODY`",
    ),
    ("mail", "inbox", "/"): (2, "'/' is no mail address; write RIG/NAME, RIG/witness or mayor/"),
    ("handoff",): (
        2,
        "{rig} lies in no worker's worktree of {rig}/polecats; go into it, or use `shutdown NAME`",
    ),
    ("spawn", "reset"): (2, "spawn reset needs an issue; `witness spawn --explain` lists them"),
    ("config", "set", "interval"): (
        2,
        "config set needs a name and a value; write `witness config set max_workers 6`",
    ),
    ("config", "set", "max_worker", "3"): (
        78,
        "unknown setting 'max_worker' in config set; did you mean max_workers?",
    ),
    ("config", "get", "x" * 40): (
        78,
        f"unknown setting '{'x' * 40}' in config get; `witness --help` lists the commands, the README the settings",
    ),
    ("config", "set", "interval", "0"): (78, "interval is 0 in config set; it takes 1 to 31622400 s"),
    ("config", "set", "interval", "nan"): (78, "interval is 'nan' in config set; it takes 1 to 31622400 s"),
    ("config", "set", "interval", "1e999"): (78, "interval is inf in config set; it takes 1 to 31622400 s"),
    ("config", "set", "on_dead", "kill"): (78, "on_dead is 'kill' in config set; it takes report or restart"),
    ("config", "set", "mayor", "a\x1bb"): (78, "mayor is 'a\\x1bb' in config set; it takes text"),
    ("start", "--set", "interval"): (78, "--set 'interval' has no '='; write --set name=value"),
    ("start", "--set", "interval=x"): (78, "interval is 'x' in --set; it takes 1 to 31622400 s"),
    ("health", "--set", "session_name=x"): (78, "session_name is 'x'; it must contain {{name}}"),
    ("reload",): (3, "the daemon is not running; `witness start` starts it"),
    ("recover", "alpha"): (1, "nobody called alpha was retired; `witness retired` lists them"),
}


@pytest.mark.parametrize("words", WORDS, ids=lambda words: ascii(" ".join(words))[1:40])
def test_wrong_words_are_one_line_with_the_next_step(witness, rig, words):
    status, line = WORDS[words]
    assert witness(*words, rig=rig) == (status, "", f"witness: {line.format(rig=rig.path)}\n")
    assert rig.daemon() is None


def test_wrong_setting_in_the_environment_is_named_and_an_unknown_one_is_none(witness, rig):
    line = "witness: max_workers is 'many' in WITNESS_MAX_WORKERS; it takes 0 to 10000\n"
    assert witness("start", rig=rig, env={"WITNESS_MAX_WORKERS": "many"}) == (78, "", line)
    assert witness("health", rig=rig, env={"WITNESS_NO_SUCH": "1"}).status == 0


def test_no_rig_is_one_line_with_the_next_step(witness, rig, tmp):
    marks = "has no .gastown/witness*, .runtime/witness*, polecats/, rig config.json or git repository"
    remedy = "go into the repository, or name it with --rig PATH"
    for words in (("status",), ("start",), ("health",)):
        line = f"witness: no rig: {tmp} or above it {marks}; {remedy}\n"
        assert witness(*words, cwd=tmp) == (2, "", line)
    for named, shown in (("/nowhere", "/nowhere"), ("a\x1b[31m\nb", "a [31m b"), (str(tmp / "x"), str(tmp / "x"))):
        line = f"witness: no rig: {shown} {marks}; {remedy}\n"
        assert witness("status", "--rig", named, cwd=tmp) == (2, "", line)
        assert witness("status", cwd=tmp, env={"WITNESS_RIG": named}) == (2, "", line)
    (tmp / "polecats").mkdir()
    line = f"witness: {tmp} holds no git repository; a rig is a repository: `git init` it, or name another\n"
    assert witness("start", cwd=tmp) == (2, "", line)
    said = json.loads(witness("start", "--json", cwd=tmp).stdout)
    assert said["error"]["remedy"] == "a rig is a repository: `git init` it, or name another"


# ---- enemy text -----------------------------------------------------------------------------------------------------

EVIL = (
    "-rf \x1b[31m\x1b]0;owned\x07$(cd;touch canary); cd;touch canary `cd;touch canary`"
    "\x9b2J\u202e\x00\x7f\n\rSubject: x"
)
PROGRAM = """\
import time
print("\\033]0;owned\\007\\033]2;#(cd;touch canary)$(cd;touch canary)\\033\\\\", end="")
print("\\033[31mred\\033[0m $(cd;touch canary) \\001\\002", end=" ")
print("`cd;touch canary`; cd;touch canary", flush=True)
time.sleep(600)
"""


AGENT = """\
import json, sys, time
open(sys.argv[1], "w").write(json.dumps(sys.argv))
while True:
    print(time.time(), flush=True)
    time.sleep(0.3)
"""


def printable(text: str) -> bool:
    """Tell whether a text can do nothing to a terminal but print."""
    return all(char.isprintable() or char == "\n" for char in text)


def test_enemy_text_runs_nothing_and_reaches_no_terminal(witness, rig, start, tmp):
    told = tmp / "told"
    agent = [PYTHON, "-c", AGENT]
    env = {
        **FAST,
        "WITNESS_AGENT_COMMAND": json.dumps([*agent, str(told), "{title}", "{issue}; {name}"]),
        "WITNESS_ESCALATE_AFTER": "2",
        "WITNESS_NUDGE_VIA": "mail",
    }
    # A worker whose screen, title, branch, record and command's name are an enemy's.
    evil = rig.add_polecat("alpha", [PYTHON, "-c", PROGRAM])
    rig.git(
        "checkout", "--quiet", "-b", "-".join(("x$(cd;touch${IFS}canary)", ";touch", "\u009b2J\u202e")), cwd=evil.path
    )
    (evil.path / ".gastown").mkdir()
    (evil.path / ".gastown/state.json").write_text(json.dumps({"issue": EVIL, "state": EVIL}))
    (evil.path / "-rf; cd;touch canary\x1b[31m\n$(cd;touch canary)").write_text("never committed\n")
    beta = rig.add_polecat("beta")
    (beta.path / "-rf; cd;touch canary\x1b[31m\n$(cd;touch canary)").write_text("never committed\n")
    (rig.path / "polecats" / "$(cd;touch canary)\x1b[31m").mkdir()
    # Issues, and mail to be forwarded, noted, refused and answered.
    rows = [
        {"id": "demo-1", "title": EVIL},
        {"id": "demo-2", "title": EVIL, "status": EVIL},
        {"id": "demo-3", "title": EVIL, "assignee": EVIL, "defer_until": EVIL},
        {"id": "demo-4", "title": EVIL, "labels": ["gt:" + EVIL]},
        {"id": EVIL, "title": EVIL},
    ]
    (rig.path / ".beads").mkdir()
    queue = "".join(json.dumps({"status": "open", **row}) + "\n" for row in rows)
    (rig.path / ".beads/issues.jsonl").write_text(queue + "\x1b[31m not JSON\n")
    at = time.time() + 1
    flat = EVIL.replace("\n", " ").replace("\r", " ")
    drop(rig, "1\x1b[31m.x", flat, EVIL, flat, at)
    drop(rig, "2.x", "MERGED " + flat, EVIL, flat, at)
    drop(rig, "3.x", "LIFECYCLE: Shutdown " + flat, EVIL, flat, at)
    drop(rig, "4.x", "POLECAT_DONE " + flat, EVIL, flat, at)
    drop(rig, "5.x", "LIFECYCLE: Shutdown beta", EVIL, "demo/beta", at)
    start(env)
    wait_for(told.exists, 20, "an agent for the first issue")
    wait_for(lambda: letters(rig, subject="ESCALATION: Polecat alpha stuck"), 20, "the stuck one to be escalated")
    wait_for(lambda: [row for row in events(rig) if row[:2] == ("refused", "beta")], 60, "the refusal of beta")
    wait_for(lambda: letters(rig, "demo.beta", "NUDGE: Cannot shutdown"), 20, "the letter to beta")
    argv = wait_for(lambda: json.loads(told.read_text() or "null"), 10, "what the agent was told")
    title = "-rf $(cd;touch canary); cd;touch canary `cd;touch canary`2J Subject: x"
    assert [word.replace(" 2J", "2J") for word in argv[2:]] == [title, "demo-1; demo-1"]
    asked = (
        ("status",),
        ("health", "--dry-run"),
        ("issues", "--all"),
        ("events", "-n", "0"),
        ("logs", "-n", "0"),
        ("mail", "inbox", "mayor/"),
        ("mail", "inbox", "demo/beta"),
        ("spawn", "--explain"),
        ("shutdown", "--dry-run", "alpha", "beta"),
        ("hold", "alpha", "--reason", EVIL.replace("\x00", "")),
        ("pause", "--reason", EVIL.replace("\x00", "")),
        ("status",),
        ("status", "--json"),
        ("mail", "inbox", "mayor/", "--json"),
        ("events", "--json"),
        ("resume",),
        ("mail", "ack", "--address", "mayor/", EVIL.replace("\x00", "")),
        ("mail", "ack", "--address", "demo/witness", "1\x1b[31m.x"),
        ("close", EVIL.replace("\x00", "")),
        ("retired",),
    )
    for words in asked:
        done = witness(*words, rig=rig, env=env)
        assert printable(done.stdout), (words, done.stdout)
        assert printable(done.stderr), (words, done.stderr)
        assert "Traceback" not in done.stderr
    rig.stop_daemon()
    assert printable(log(rig))
    assert printable((rig.state / "witness-events.jsonl").read_text())
    for text in (*letters(rig), *letters(rig, "demo.beta"), *letters(rig, "demo.alpha")):
        assert printable(text)
        assert text.partition("\n\n")[0].count("\nSubject: ") == 1
    assert not [*tmp.rglob("canary"), *Path.home().rglob("canary")]
