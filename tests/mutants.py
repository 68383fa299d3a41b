"""Take away, one at a time, each thing that keeps a promise, and see that a test notices.

Run by `./build.sh mutants`: a table of what was taken away and the test that caught it; exit 1 where none did. Each
runs in a copy of the checkout, so the checkout itself is never changed.
"""

from __future__ import annotations

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What a mutant changes: the line as it stands, what takes its place, and where a test must notice. A look is taken
# away as a whole; of everything else one condition or one call is.
RETIRE = ("test_retirement.py", "test_inspect.py", "test_contents.py")
LOOK_TESTS = {
    "status": "test_inspect.py",
    "hidden files": "test_inspect.py",
    "ignored files": "test_inspect.py",
    "folders inside": "test_inspect.py",
    "file systems": "test_retirement.py",
    "alternates": "test_inspect.py",
    "stashes": "test_inspect.py",
    "unfinished operations": "test_inspect.py",
    "lock files": "test_inspect.py",
    "HEAD": "test_inspect.py",
    "submodules": "test_contents.py",
    "processes": "test_inspect.py",
    "clients": "test_inspect.py",
    "fetch refspecs": "test_inspect.py",
}
MUTANTS = (
    # ---- nothing is lost
    (
        "the old name of a staged rename, gone in a recovered worktree",
        '"-uall", "--no-renames", ignore)',
        '"-uall", ignore)',
        ("test_proof.py",),
    ),
    (
        "what was out of a sparse cone stays out of a recovered worktree",
        "    return there, sorted({*deleted, *absent})",
        "    return there, sorted({*deleted})",
        ("test_proof.py",),
    ),
    (
        "the mode of a precious file",
        'meta["modes"].get(path, 0o600),',
        "0o600,",
        ("test_proof.py",),
    ),
    (
        "an unfinished am is not called a rebase",
        '    "rebase-apply/applying": "am",\n',
        "",
        ("test_proof.py",),
    ),
    (
        "the old value of a new ref, in a repository of any hash",
        'NO_REF = ""',
        'NO_REF = "0" * 40',
        ("test_proof.py",),
    ),
    (
        "second inspection, after the move",
        "    findings = inspect_worktree(tools, retirement, tree)\n    if find_blockers",
        "    findings = ()\n    if find_blockers",
        RETIRE,
    ),
    (
        "the look anew where a step is tried again",
        'LOOKED_AT_ANEW = ("preserve", "quiesce", "move")',
        "LOOKED_AT_ANEW = ()",
        RETIRE,
    ),
    (
        "the question whether a person said stop",
        '            if step == "quiesce" and ask_stopped is not None and ask_stopped():',
        "            if False:",
        RETIRE,
    ),
    (
        "the look for a person before somebody is ended",
        "    _refuse(tools, retirement, find_persons(tools, retirement))\n",
        "",
        RETIRE,
    ),
    (
        "the record before each step",
        "            retirement = retirement.but(step=step)\n            record(retirement)\n",
        "            retirement = retirement.but(step=step)\n",
        RETIRE,
    ),
    (
        "the compare in compare-and-swap of a branch",
        '"update-ref", "--no-deref", "-d", ref, retirement.tip)',
        '"update-ref", "--no-deref", "-d", ref)',
        ("test_removal.py", "test_retirement.py"),
    ),
    (
        "the look who has a branch checked out, after its deletion",
        "            holder = _find_checked_out(git, ref)\n            if holder:",
        '            holder = ""\n            if holder:',
        ("test_removal.py",),
    ),
    (
        "the proof that a branch's content is elsewhere",
        "def is_on_default(git: Git, tip: str, default: str) -> str:\n",
        "def is_on_default(git: Git, tip: str, default: str) -> str:\n    return 'merged'\n",
        ("test_removal.py", "test_retirement.py"),
    ),
    (
        "the post-check that the entry is gone",
        "    there = os.path.lexists(retirement.admin) or (",
        "    there = False and os.path.lexists(retirement.admin) or (",
        RETIRE,
    ),
    (
        "the walk that proves the rescue whole",
        '    git.ask(None, "rev-list", "--objects", "--quiet", commit)\n',
        "",
        ("test_rescue.py",),
    ),
    (
        "the reflogs among the parents of the rescue",
        "    named |= {name for name, _ in list_stashes(git, tree, 0.0)}\n",
        "    named = set()\n",
        ("test_rescue.py", "test_contents.py"),
    ),
    (
        "the rescue of submodules",
        "    keep_submodules(tools, retirement, tree, folder)\n",
        "",
        ("test_rescue.py", "test_contents.py"),
    ),
    (
        "secrets kept out of git",
        "    paths = [path for path in paths if path not in set(saved)]\n",
        "",
        ("test_recover.py", "test_retirement.py", "test_rescue.py"),
    ),
    (
        "raw bytes instead of filtered ones",
        '"--no-filters", "--stdin-paths"',
        '"--stdin-paths"',
        ("test_inspect.py", "test_rescue.py"),
    ),
    (
        "the age of the kept folders",
        "        if at + tools.config.trash_hours * 3600 <= now or short:",
        "        if True:",
        ("test_trash.py",),
    ),
    (
        "the pinned git folder",
        '                "GIT_DIR": tree.admin,\n',
        "",
        ("test_git.py", "test_inspect.py", "test_retirement.py"),
    ),
    # ---- nothing is done twice
    (
        "a claim that only one can make",
        "            os.link(temporary, path)\n",
        "            os.replace(temporary, path)\n",
        ("test_queue.py", "test_host.py"),
    ),
    (
        "the key that makes a second delivery harmless",
        '            if any(one.partition(":")[0] == name for one in os.listdir(os.path.join(folder, place))):',
        "            if False:",
        ("test_mailbox.py",),
    ),
    ("the cap of live workers", "    if live >= config.max_workers:", "    if False:", ("test_spawn.py",)),
    (
        "the worktree that holds work without a claim",
        "    return why_inhabited(issue, draft, claim)\n",
        '    return ""\n',
        ("test_spawn.py",),
    ),
    (
        "the spawn under way",
        "    if memory.spawn is not None:\n        trouble = memory.spawn.trouble\n",
        "    if False:\n        trouble = memory.spawn.trouble\n",
        ("test_spawn.py",),
    ),
    (
        "the tick lock",
        "    fd = take_lock(station.store.path(TICK_LOCK_FILE), wait_s)\n    if fd is None:",
        "    fd = os.open(station.store.path(TICK_LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o600)\n    if fd is None:",
        ("test_loop.py", "test_desk.py"),
    ),
    (
        "the daemon's lock for life",
        "    lock_fd = take_lock(store.path(LOCK_FILE), 0.2)  # a passing",
        "    lock_fd = os.open(store.path(LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o600)  # a passing",
        ("test_daemon.py",),
    ),
    (
        "the save before the first action",
        "            station.remember(decision.memory)\n        except StateError:",
        "            station.memory = decision.memory\n        except StateError:",
        ("test_loop.py",),
    ),
    # ---- a failed look never kills
    (
        "the looks that tell whether a worktree still is what was read of it",
        "if asked is None or asked != {path: _mark(self.host.look(path)) for path in asked}:",
        "if asked is None:",
        ("test_observe.py",),
    ),
    (
        "a read that failed is made again",
        "            self.settled = False\n            raise\n",
        "            raise\n",
        ("test_observe.py",),
    ),
    (
        "how a child ended is asked under a caller that ignores its children",
        "if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:",
        "if False:",
        ("test_children.py",),
    ),
    ("unknown as the first rule", '    ("unknown", _is_unknown),\n', "", ("test_health.py", "test_decide.py")),
    (
        "the process that lives without a session",
        "    if sighting.session == ABSENT and sighting.process_lives:",
        "    if False:",
        ("test_health.py",),
    ),
    (
        "the second look before a rung",
        '    if look is None:\n        look_twice(draft, sighting, f"before it is',
        '    if False:\n        look_twice(draft, sighting, f"before it is',
        ("test_ladder.py",),
    ),
    (
        "the second tick of a death",
        "    seen_once = track.dead_ticks < 2 or",
        "    seen_once = False and",
        ("test_ladder.py",),
    ),
    (
        "the start time beside a pid",
        "    if is_same_process(host, pid, start) is not True:\n        return False\n",
        "",
        ("test_processes.py", "test_daemon.py"),
    ),
    (
        "the halt of a storm",
        "        draft.change(storm_at=now, calm_ticks=0)\n        names",
        "        names",
        ("test_alerts.py",),
    ),
    (
        "no timer in the first tick",
        "        return self.seen.person or not (self.seen.first or self.seen.gap)",
        "        return True",
        ("test_draft.py", "test_ladder.py"),
    ),
    (
        "never typed into a shell",
        '    if pane.command.lstrip("-") in NEVER_TYPE or pane.command not in action.agents:',
        "    if False:",
        ("test_typing.py",),
    ),
    (
        "the look between paste and Enter",
        "    if _find_typable(station, action)[0] is None:\n",
        "    if False:\n",
        ("test_typing.py",),
    ),
    ("the sender of a request", "    if sender not in believed:\n", "    if False:\n", ("test_letters.py",)),
    (
        "the age of a request",
        "    if mail.at < _begin_of_life(draft, sighting):\n",
        "    if False:\n",
        ("test_requests.py",),
    ),
    (
        "the unreadable claims as unknown",
        '    if draft.seen.claims is None:\n        return "the claims cannot be read"  # then',
        '    if False:\n        return "the claims cannot be read"  # then',
        ("test_requests.py", "test_spawner.py"),
    ),
    # ---- one queue, many hosts
    (
        "a claim is read back",
        '        if self._is_ours(issue, claim):\n            return "", "", False\n',
        '        if True:\n            return "", "", False\n',
        ("test_beads.py",),
    ),
    (
        "a closed issue is never claimed",
        '        if issue.status != "open":  # before 1.0.4',
        "        if False:  # before 1.0.4",
        ("test_beads.py",),
    ),
    (
        "a claim in our name that nothing here knows is another's",
        'return ("", "", False) if again else ("host", f"{claim.actor}, and nothing here knows of it", False)',
        'return "", "", False',
        ("test_beads.py",),
    ),
    (
        "an error is never an empty answer",
        "    if ran.failure or not kind:\n        return BdAnswer(kind=UNKNOWN,",
        '    if ran.failure or not kind:\n        return BdAnswer(kind="issues",',
        ("test_answers.py",),
    ),
    (
        "what could not be told is owed",
        "        claim = claim.but(owed=owed)\n",
        "",
        ("test_beads.py",),
    ),
    (
        "what others did to an issue stands",
        '        elif issue.assignee in self._list_holders(claim) and issue.status != "open":\n',
        "        elif issue is not None:\n",
        ("test_beads.py",),
    ),
    (
        "the work of an orphan is looked for",
        '    if work:\n        return make_outcome(station, "release"',
        '    if False:\n        return make_outcome(station, "release"',
        ("test_upkeep.py",),
    ),
    (
        "who lives without its worktree has its issue",
        "    return is_seen or bool(draft.find_stray(claim))",
        "    return is_seen",
        ("test_custody.py",),
    ),
    (
        "a suspended agent is not killed",
        "            if not alive:\n                tools.tmux.kill_session(",
        "            if True:\n                tools.tmux.kill_session(",
        ("test_perform.py",),
    ),
    (
        "an orphan is seen twice",
        "        if matter is None and issue in memory.missed:",
        "        if matter is None:",
        ("test_custody.py",),
    ),
    (
        "what is not shown is not closed",
        '        absent = "closed" if seen.whole else "not shown"',
        '        absent = "closed"',
        ("test_observe.py",),
    ),
    (
        "a database that is away is no reason for the file",
        'return (had, "remembered; its database is away") if had == "beads" and found[0] == "local" else found',
        "return found",
        ("test_observe.py",),
    ),
    (
        "a lost connection is no missing issue",
        "        if found is None and not is_missing:\n",
        "        if False:\n",
        ("test_beads.py",),
    ),
    (
        "a reset waits for the spawn of its issue",
        "    if _is_being_spawned(station, memory, claim):\n",
        "    if False:\n",
        ("test_spawner.py",),
    ),
    (
        "a claim made beside a file is made known first",
        '    if not claim.shared and (is_held or claim.state == "handed-over"):',
        "    if False:",
        ("test_custody.py",),
    ),
    (
        "an open issue that is not ready gets no worker",
        'one.but(status=NOT_READY) if one.status == "open" else one for one in shown',
        "one for one in shown",
        ("test_beads.py",),
    ),
    # ---- in a Gas Town
    (
        "what a sling could reset is kept before the claim",
        "    fault = protect(station, action.resting)\n    if fault:\n",
        "    fault = ''\n    if fault:\n",
        ("test_sling.py",),
    ),
    (
        "work is kept once in each state",
        "    if kept and mark.encode() in tools.git",
        "    if False and mark.encode() in tools.git",
        ("test_sling.py",),
    ),
    (
        "heartbeats before a sling",
        '    told = perform_heartbeats(station, SendHeartbeats(subject="workers", sessions=sessions))\n',
        '    told = perform_heartbeats(station, SendHeartbeats(subject="workers", sessions=()))\n',
        ("test_sling.py",),
    ),
    (
        "no spawn while work at risk is not kept",
        '(f"the work of {unkept[0]} is not kept yet" if unkept else "")',
        '""',
        ("test_spawn.py",),
    ),
    (
        "an idle worker's worktree is at risk, too",
        'left = verdict is not None and verdict.state in ("idle", "dead")',
        'left = verdict is not None and verdict.state == "dead"',
        ("test_patrol.py",),
    ),
    (
        "a heartbeat is of a live agent",
        '            and not one.pane.dead\n            and (one.shell != "interactive" or one.pane.attached)',
        "            and (True)",
        ("test_patrol.py",),
    ),
    (
        "a neighbour is looked at twice",
        "    elif trouble and draft.seen.now > track.since_at:",
        "    elif trouble:",
        ("test_patrol.py",),
    ),
    (
        "what another has taken is not slung",
        "    if slung.taken:  # by a sling",
        "    if False:  # by a sling",
        ("test_slung.py",),
    ),
    (
        "one who is hooked is started and not slung",
        "        return () if slung.hook in slung.lives else start_argv(rig, slung.hook)\n",
        "        return () if slung.hook in slung.lives else sling_argv(dialect, rig, issue, slung.hook, words)\n",
        ("test_slung.py",),
    ),
    (
        "the label of a sling lasts as long as a sling",
        "and now < at + within_s:",
        "and now < at:",
        ("test_spawn.py",),
    ),
    (
        "a sling of ours is our own word",
        "    if draft.memory.spawn is not None or issue is None:\n        return\n    claim = (seen.claims or {})",
        "    if issue is None:\n        return\n    claim = (seen.claims or {})",
        ("test_requests.py",),
    ),
    (
        "a mail that was dealt with is only archived again",
        '            _acknowledge(draft, mail.id, "dealt with before")\n            continue\n',
        '            _acknowledge(draft, mail.id, "dealt with before")\n',
        ("test_requests.py",),
    ),
    (
        "only the sling itself says that a bead is another's",
        "re.findall(BODY_BEAD, mail.body) if mail.sender == SLINGER else ()",
        "re.findall(BODY_BEAD, mail.body)",
        ("test_letters.py",),
    ),
    (
        "a letter that may have been sent is looked for",
        "        if again and self._find_copy(program, to, mark):\n            return\n",
        "",
        ("test_post.py",),
    ),
    (
        "an address is no option",
        '        if not re.match(r"\\w", to):  # it would be taken for an option\n',
        "        if False:\n",
        ("test_post.py",),
    ),
    (
        "an inbox that cannot be read is unknown",
        '            if inbox.kind != "mails":\n',
        "            if False:\n",
        ("test_post.py",),
    ),
    (
        "a bead is taken off the hook of one who is gone",
        "            self._take_off(claim, issue)\n",
        "",
        ("test_hooks.py",),
    ),
    (
        "where gt feeds from convoys a bead is held under a name that is no session's",
        'self._park(claim) if self.town.can("feeds") else claim.actor',
        "claim.actor",
        ("test_hooks.py",),
    ),
    (
        "nuke is not called while any bead hangs on the worker's hook",
        "    if hooked:\n        return f\"it would open {', '.join(hooked)}",
        "    if False:\n        return f\"it would open {', '.join(hooked)}",
        ("test_sling.py",),
    ),
    (
        "a bead is never closed where nobody knows what was there before",
        "    changed = claim.tip and claim.start and not git",
        "    changed = claim.tip and not git",
        ("test_sling.py",),
    ),
    (
        "work that its worker left on another branch is work",
        "    retirement = retirement.but(astray=_find_astray(tools, retirement, made))\n",
        "",
        ("test_retirement.py",),
    ),
    (
        "a bead on the hook keeps its worker from being put to other work",
        "        if quiet and name not in hooks and",
        "        if quiet and",
        ("test_sling.py",),
    ),
    (
        "a worktree that cannot be read settles no sling",
        "        if name in names:\n            raise ToolError(f",
        "        if False:\n            raise ToolError(f",
        ("test_sling.py",),
    ),
    (
        "a bead on a hook that nobody vouches for is another host's",
        " if one in ours or not station.town.can(",
        " if True or not station.town.can(",
        ("test_sling.py",),
    ),
    (
        "a marked bead that gt has opened is claimed again, not given back",
        "            self._reclaim(claim, issue)  # we had marked it, and gt has opened it since\n",
        "            pass\n",
        ("test_hooks.py",),
    ),
    (
        "nothing is slung beside a worktree that cannot be read",
        "    for name, why in strangers:  # to gt",
        "    for name, why in ():  # to gt",
        ("test_ward.py",),
    ),
    (
        "the work of one whose agent left a shell is kept",
        'gone = gone or (pane is not None and (pane.dead or sighting.shell == "interactive"))',
        "gone = gone or (pane is not None and pane.dead)",
        ("test_patrol.py",),
    ),
    (
        "work that went on is kept again",
        '            draft.put("polecats", name, track.but(kept=""))  # it works again',
        "            pass  # it works again",
        ("test_patrol.py",),
    ),
    (
        "a sling's word ends nobody who works on another bead",
        'if present not in ("", ask.bead):',
        "if False:",
        ("test_requests.py",),
    ),
    (
        "nothing beside a complaint is not known",
        "return data in (None, []) and (failed is None or",
        "return data in (None, []) and (True or",
        ("test_answers.py",),
    ),
    (
        "a look that failed puts no heartbeat off",
        "    if sessions:\n        draft.change(beat_at=seen.now)\n",
        "    draft.change(beat_at=seen.now)\n    if sessions:\n",
        ("test_patrol.py",),
    ),
    (
        "nuke is not called while a folder holds files",
        '        if files:\n            return f"{folder} holds files"\n',
        '        if False:\n            return f"{folder} holds files"\n',
        ("test_sling.py",),
    ),
    (
        "a branch that gt deleted comes back",
        '                git.change(None, "update-ref", ref, before[ref], NO_REF)\n                store.tell(',
        "                store.tell(",
        ("test_sling.py",),
    ),
    (
        "convoys that cannot be read keep every spawn back",
        "        trouble = trouble or unknown\n",
        "",
        ("test_town.py",),
    ),
    (
        "gt is told who we are",
        '            "GT_ROLE": self.address,\n',
        "",
        ("test_town.py",),
    ),
    (
        "only gt's own text is gt's own file",
        "    return text.encode() in content\n",
        "    return True\n",
        ("test_inspect.py",),
    ),
)


def list_mutants(text: str) -> list:
    """Return every mutant as (name, old, new, test files)."""
    block = text[text.index("\nLOOKS = (") :]
    rows = re.findall(r'^    \("([^"]+)", (\w+)\),$', block[: block.index("\n)\n")], re.MULTILINE)
    looks = [(f"the look: {name}", f'    ("{name}", {look}),\n', "", (LOOK_TESTS[name],)) for name, look in rows]
    return [*looks, *MUTANTS]


def try_mutant(mutant: tuple) -> tuple:
    """Return (name, the test that caught it or "", seconds)."""
    name, old, new, files = mutant
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="witness-mutant-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", "__pycache__", "*.pyz", ".*cache"))
        path = copy / "witness.py"
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            return name, f"(the line stands there {text.count(old)} times: bring this table up to date)", -1.0
        path.write_text(text.replace(old, new), encoding="utf-8")
        for file in files:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", f"tests/{file}"],
                cwd=copy,
                env={**os.environ, "WITNESS_TEST_SEED": "1"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=600,
            )
            caught = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout, re.MULTILINE)
            if done.returncode == 1 and caught:
                return name, caught.group(1), time.monotonic() - began
    return name, "", time.monotonic() - began


def main(words) -> int:
    """Try every mutant whose name holds one of the words, two at a time; print the table."""
    mutants = list_mutants((ROOT / "witness.py").read_text(encoding="utf-8"))
    mutants = [one for one in mutants if not words or any(word in one[0] for word in words)]
    survived = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, caught, seconds in pool.map(try_mutant, mutants):
            good = caught and seconds >= 0
            print(f"{'caught  ' if good else 'SURVIVED'}  {name}\n          {caught or 'no test noticed'}", flush=True)
            if not good:
                survived.append(name)
    print(f"{len(mutants)} mutants, {len(mutants) - len(survived)} caught, {len(survived)} survived")
    return 1 if survived or not mutants else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[2:]))  # the first word is the archive, which is not needed here
