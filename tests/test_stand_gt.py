"""The stand-in for `gt` answers as it was recorded, and does to a town what the real one was seen to do."""

from __future__ import annotations

import ast
import json
import re
import shlex
import time

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
        if row["argv"][0] == "bd":  # which kept the mail of the oldest towns
            return self.town.bd(*words, cwd=cwd, **row["env"])
        return self.town.gt(*words, env=row["env"], cwd=cwd)

    def learn(self, row: dict, said: str) -> None:
        """Note which recorded mail is which of ours."""
        if row["argv"][0] == "bd":
            sent = [re.match(r"Message sent: (\S+)", text) for text in (row["stdout"], said)]
            if all(sent):
                self.mails[sent[0].group(1)] = sent[1].group(1)
        elif row["note"].startswith("inbox") and row["rc"] == 0:
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
        text = re.sub(r"(?<=^Message sent: )\S+", "ID", text)
        for recorded_id, ours in self.mails.items():
            text = text.replace(ours, recorded_id)
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
            wrong = check_panes(replay, row) if "panes" in row else ""
            if "lines" in row:  # which an agent notes when it gets to it
                deadline = time.monotonic() + 10
                while check_lines(replay, row) and time.monotonic() < deadline:
                    time.sleep(0.1)
                wrong = check_lines(replay, row)
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


# ---- slinging -------------------------------------------------------------------------------------------------------


def names_of(said: str) -> dict:
    """Return the state that `gt polecat list` gives each polecat."""
    return {one["name"]: one["state"] for one in json.loads(said) or []}


@pytest.mark.parametrize("pair", ALL)
def test_sling_makes_a_worktree_from_the_remote_and_a_session_in_it(town, pair):
    there = town(pair)
    there.add("de-1")
    assert there.sling("de-1").status == 0
    (name,) = there.polecats()
    assert there.session(name) in there.sessions()
    pane = next(pane for pane in there.tmux.panes() if pane["session"] == there.session(name))
    assert pane["path"] == str(there.tree(name))
    form = {"seed": r"polecat/\w+", "0.2.6": r"polecat/\w+-[0-9a-z]{8}"}.get(pair, r"polecat/\w+/de-1@[0-9a-z]{8}")
    assert re.fullmatch(form, there.branch(name))
    assert there.git("rev-parse", "HEAD", name=name) == towns.git("rev-parse", "main", cwd=there.origin)
    holder = f"demo/{name}" if pair == "seed" else f"demo/polecats/{name}"
    assert there.state("de-1") == ("in_progress" if pair == "seed" else "hooked", holder)
    kit.wait_for(lambda: there.heard(name), what="the first prompt")


@pytest.mark.parametrize("pair", ALL)
def test_fresh_worktree_has_the_files_of_the_version(town, pair):
    there = town(pair)
    there.add("de-1")
    there.sling("de-1")
    dirt = there.git("status", "--porcelain", name=there.polecats()[0]).splitlines()
    wanted = {"seed": [], "0.2.6": [".beads/"], "0.5.0": [".gitignore"], "1.0.1": [".beads/", ".claude/", "CLAUDE.md"]}
    assert dirt == [f"?? {file}" for file in wanted[pair]]


def test_names_come_from_the_pool_in_order_and_never_name_a_role(town):
    there = town()
    there.add("de-1")
    for name in ("rust", "chrome", "nitro", "guzzle"):
        there.add(f"de-{name}", status="hooked", assignee=f"demo/polecats/{name}")
        (there.rig / "polecats" / name).mkdir()
    assert there.sling("de-1").status == 0
    assert there.polecats() == ["shiny"]


@pytest.mark.parametrize("pair", ["0.2.6", "0.5.0", "1.0.1"])
def test_sling_starts_the_watching_sessions_unless_they_run(town, pair):
    there = town(pair)
    there.add("de-1")
    there.start_session("witness")
    there.sling("de-1", boot=True)
    kit.wait_for(lambda: "Polecat dispatched - check for work\x1b" in there.heard("witness"), what="the nudge")
    assert len(there.began("witness")) == 1
    assert there.session("refinery") in there.sessions()


def test_no_boot_leaves_the_seats_alone(town):
    there = town()
    there.add("de-1")
    there.sling("de-1", boot=False)
    assert there.sessions() == ["de-rust"]


@pytest.mark.parametrize("pair", ["0.5.0", "1.0.1"])
def test_convoy_is_made_unless_told_otherwise(town, pair):
    there = town(pair)
    there.add("de-1")
    there.add("de-2")
    assert there.gt("sling", "de-1", "demo", "--hook-raw-bead").status == 0
    assert there.sling("de-2").status == 0
    assert list(there.convoys().values()) == ["de-1"]
    (one,) = json.loads(there.gt("convoy", "list", "--json").stdout)
    assert one["title"] == "Work: title of de-1"


def test_flags_of_another_version_are_refused(town):
    there = town("0.2.6")
    there.add("de-1")
    done = there.gt("sling", "de-1", "demo", "--hook-raw-bead")
    assert (done.status, done.stderr.splitlines()[0]) == (1, "Error: unknown flag: --hook-raw-bead")
    assert there.gt("heartbeat").stderr.startswith('Error: unknown command "heartbeat" for "gt"')
    assert there.polecats() == []


def test_polecats_do_not_sling(town):
    there = town()
    there.add("de-1")
    assert there.gt("sling", "de-1", "demo", env=there.as_polecat("rust")).status == 1
    assert there.calls("sling")[0]["phases"] == []


def test_dry_run_opens_a_claimed_issue(town):
    there = town(open_s=0)
    there.add("de-1", status="in_progress", assignee="demo/polecats/gone")
    assert there.gt("sling", "de-1", "demo", "--dry-run").status == 0
    assert there.state("de-1") == ("open", "")
    assert [mail["subject"] for mail in there.mails("demo/witness")] == ["LIFECYCLE:Shutdown gone"]
    assert there.polecats() == []


def test_claim_does_not_hold_during_our_own_sling(town):
    there = town(open_s=1.0)
    there.add("de-1", status="in_progress", assignee="demo/witness@h1", labels=["witness:h1"])
    child = there.begin("sling", "de-1", "demo", "--no-convoy", "--hook-raw-bead")
    there.wait_for_phase("open")
    assert there.state("de-1") == ("open", "")
    assert there.bd("update", "de-1", "--claim", "--actor", "demo/witness@h2", "--json").status == 0
    assert child.wait(30) == 0
    assert there.state("de-1") == ("hooked", "demo/polecats/rust")
    assert there.issue("de-1")["labels"] == ["witness:h1"]


@pytest.mark.parametrize(
    ("pair", "status", "holder", "said"),
    [
        ("1.0.1", "in_progress", "demo/witness", "already in_progress to demo/witness"),
        ("1.0.1", "in_progress", "nobody-of-gt", "already in_progress to nobody-of-gt"),
        ("1.0.1", "in_progress", "", "already in_progress to (unknown)"),
        ("1.0.1", "closed", "", "bead de-1 is closed"),
        ("0.5.0", "hooked", "demo/polecats/gone", "already hooked to demo/polecats/gone"),
    ],
)
def test_held_issue_is_refused(town, pair, status, holder, said):
    there = town(pair)
    there.start_session("witness")
    there.add("de-1", status=status, assignee=holder)
    done = there.sling("de-1")
    assert done.status == 1
    assert said in done.stderr
    assert len(there.polecats()) == (pair == "0.5.0")  # which looks only after it has made one
    assert there.state("de-1") == (status, holder)


def test_issue_is_slung_to_its_holder_only_once(town):
    there = town()
    there.add("de-1")
    there.sling("de-1")
    again = there.sling("de-1")
    assert (again.status, again.stdout) == (0, "○ Bead de-1 is already hooked to demo/polecats/rust, no-op\n")
    assert there.polecats() == ["rust"]


def test_second_sling_gives_an_issue_a_second_worker_in_old_versions(town):
    there = town("0.2.6")
    there.add("de-1")
    there.sling("de-1")
    there.sling("de-1")
    assert there.polecats() == ["furiosa", "nux"]


def test_same_issue_is_not_slung_twice_at_a_time(town):
    there = town()
    there.add("de-1")
    there.spoil({"verb": "sling", "phase": "folder", "do": "hang"})
    there.begin("sling", "de-1", "demo", "--no-convoy")
    there.wait_for_phase("folder")
    assert "is already being slung" in there.sling("de-1").stderr


def test_two_slings_at_a_time_take_the_same_polecat_and_lose_both_issues(town):
    there = town()
    there.add("de-1")
    there.add("de-2")
    there.spoil({"verb": "sling", "phase": "folder", "do": "slow", "seconds": 3})
    first = there.begin("sling", "de-1", "demo", "--no-convoy", "--hook-raw-bead", "--no-boot")
    there.wait_for_phase("folder")
    second = there.sling("de-2")
    assert "Reusing idle polecat: rust" in second.stdout, "it is idle until its issue is hooked"
    assert (second.status, there.state("de-2")) == (0, ("hooked", "demo/polecats/rust"))
    assert "session already running: de-rust" in first.communicate(timeout=60)[1].decode()
    assert (there.state("de-1"), there.state("de-2"), there.polecats()) == (("open", ""), ("open", ""), [])
    assert "de-rust" in there.sessions()


def test_issue_is_slung_three_times_in_its_life(town):
    there = town()
    there.add("de-1")
    there.spoil({"verb": "sling", "phase": "folder", "do": "fail", "times": 3})
    assert [there.sling("de-1").status for _ in range(4)] == [1, 1, 1, 1]
    assert "respawn limit reached for de-1" in there.sling("de-1").stderr
    assert there.sling("de-1", "demo", "--force").status == 0
    assert there.gt("sling", "respawn-reset", "de-1").status == 0
    there.change("de-1", status="open", assignee="")
    assert there.sling("de-1").status == 0


def test_dead_polecat_as_a_target_stands_for_the_first_idle_one(town):
    there = town()
    for number in (1, 2, 3):
        there.add(f"de-{number}")
    there.sling("de-1")
    there.sling("de-2")
    for name in there.polecats():
        there.end_session(name)
    there.change("de-1", status="closed")
    there.change("de-2", status="closed")
    assert "getting pane for de-rust" in there.sling("de-3", "demo/rust").stderr
    assert there.sling("de-3", "demo/polecats/rust").status == 0
    assert there.state("de-3") == ("hooked", "demo/polecats/chrome")


@pytest.mark.parametrize("force", [False, True])
def test_scheduler_only_notes_what_is_slung(town, force):
    there = town()
    there.set_scheduler(2)
    there.add("de-1", status="in_progress", assignee="demo/witness@h1")
    done = there.sling("de-1", "demo", *["--force"] * force)
    assert done.status == (0 if force else 1)
    assert ("Scheduled de-1" in done.stdout) == force
    assert (there.polecats(), there.state("de-1")) == ([], ("in_progress", "demo/witness@h1"))
    there.set_scheduler(None)
    assert there.sling("de-1").status == 0


def test_missing_formula_fails_after_the_polecat_was_made(town):
    there = town("0.5.0")
    there.add("de-1")
    done = there.gt("sling", "de-1", "demo")
    assert "instantiating formula mol-polecat-work" in done.stderr
    assert (done.status, there.polecats(), there.state("de-1")) == (1, ["obsidian"], ("open", ""))
    assert "gt-demo-obsidian" in there.sessions()


def test_formula_blocks_its_issue(town):
    there = town()
    there.add("de-1")
    assert there.gt("sling", "de-1", "demo", "--no-convoy").status == 0
    (link,) = there.issue("de-1")["links"]
    assert there.issue(link["to"])["status"] == "wisp"


def test_session_that_dies_at_once_is_rolled_back(town):
    there = town(ready_s=2)
    there.add("de-1")
    there.part("any", "exit 1")
    done = there.sling("de-1")
    assert (done.status, there.polecats(), there.state("de-1")) == (1, [], ("open", ""))


# ---- what a killed sling leaves -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "state", "issue", "running", "then"),
    [
        ("start", None, ("in_progress", "demo/witness@h1"), False, ["sling", "de-1", "demo"]),
        ("folder", "idle", ("in_progress", "demo/witness@h1"), False, ["sling", "de-1", "demo/polecats/rust"]),
        ("open", "idle", ("open", ""), False, ["sling", "de-1", "demo/polecats/rust"]),
        ("hooked", "stalled", ("hooked", "demo/polecats/rust"), False, ["session", "start", "demo/rust"]),
        ("session", "working", ("hooked", "demo/polecats/rust"), True, ["sling", "de-1", "demo"]),
    ],
)
def test_killed_sling_leaves_a_residue_that_can_be_finished(town, phase, state, issue, running, then):
    there = town(open_s=0)
    there.add("de-1", status="in_progress", assignee="demo/witness@h1")
    there.spoil({"verb": "sling", "phase": phase, "do": "kill"})
    assert there.sling("de-1").status == -9
    assert there.calls("sling")[0]["status"] is None
    assert names_of(there.gt("polecat", "list", "demo", "--json").stdout) == ({"rust": state} if state else {})
    assert there.state("de-1") == issue
    assert ("de-rust" in there.sessions()) == running
    there.spoil()
    assert there.gt(*then).status == 0
    assert names_of(there.gt("polecat", "list", "demo", "--json").stdout) == {"rust": "working"}
    assert (there.state("de-1"), there.polecats()) == (("hooked", "demo/polecats/rust"), ["rust"])
    assert "de-rust" in there.sessions()


@pytest.mark.parametrize(("target", "polecats"), [("demo", 2), ("demo/obsidian", 1)])
def test_killed_sling_of_old_leaves_an_unhooked_session(town, target, polecats):
    there = town("0.5.0")
    there.add("de-1")
    there.spoil({"verb": "sling", "phase": "session", "do": "kill"})
    assert there.sling("de-1").status == -9
    assert (there.polecats(), there.state("de-1")) == (["obsidian"], ("open", ""))
    assert "gt-demo-obsidian" in there.sessions()
    assert re.fullmatch(r"polecat/obsidian/de-1@\w+", there.branch("obsidian"))
    there.spoil()
    assert there.sling("de-1", target).status == 0
    assert len(there.polecats()) == polecats


@pytest.mark.parametrize("phase", ["start", "folder", "hooked", "session"])
def test_killed_spawn_of_the_seed(town, phase):
    there = town("seed")
    there.add("de-1")
    there.spoil({"verb": "spawn", "phase": phase, "do": "kill"})
    there.sling("de-1")
    assert there.polecats() == ([] if phase == "start" else ["furiosa"])
    assert there.state("de-1")[0] == ("open" if phase in ("start", "folder") else "in_progress")
    assert bool(there.sessions()) == (phase == "session")


# ---- what a sling does to others ------------------------------------------------------------------------------------


def test_sling_destroys_what_an_idle_polecat_holds(town):
    there = town()
    there.add("de-1")
    there.add("de-2")
    there.sling("de-1")
    tree = there.tree("rust")
    (tree / "README.md").write_text("changed\n")
    (tree / "new").write_text("new\n")
    there.git("commit", "--quiet", "--allow-empty", "--message", "work", name="rust")
    before = there.git("rev-parse", "HEAD", name="rust")
    there.end_session("rust")
    there.change("de-1", status="in_progress", assignee="demo/witness@h1")
    old = there.branch("rust")
    assert "Reusing idle polecat: rust" in there.sling("de-2").stdout
    assert (tree / "README.md").read_text() == "demo\n"
    assert not (tree / "new").exists()
    assert old in there.branches()
    assert there.git("rev-parse", old) != before, "reset on its old branch, the commit is on no ref"
    assert there.state("de-2") == ("hooked", "demo/polecats/rust")


def test_sling_repairs_an_idle_polecat_whose_worktree_is_gone(town):
    there = town()
    there.add("de-1")
    (there.rig / "polecats/nitro").mkdir()
    done = there.sling("de-1")
    assert "Branch-only reuse failed" in done.stdout
    assert (there.state("de-1"), there.polecats()) == (("hooked", "demo/polecats/nitro"), ["nitro"])
    assert there.branch("nitro").startswith("polecat/nitro/de-1@")


@pytest.mark.parametrize(("how", "lives"), [("old", False), ("fresh", True), ("refreshed", True), ("missing", True)])
def test_sling_kills_workers_whose_heartbeat_is_old(town, how, lives):
    there = town()
    there.add("de-1")
    there.add("de-2")
    there.sling("de-1")
    if how in ("old", "refreshed"):
        there.age_heartbeat("rust", 181)
    if how == "refreshed":
        assert there.gt("heartbeat", "--state=working", env={**towns.WITNESS, "GT_SESSION": "de-rust"}).status == 0
    if how == "missing":
        (there.path / ".runtime/heartbeats/de-rust.json").unlink()
    worker = next(int(pane["pid"]) for pane in there.tmux.panes() if pane["session"] == "de-rust")
    one = kit.process(worker)
    there.sling("de-2")
    assert kit.is_alive(one) == lives
    assert ("de-rust" in there.sessions()) == lives
    assert names_of(there.gt("polecat", "list", "demo", "--json").stdout)["rust"] == ("working" if lives else "stalled")


def test_sling_of_old_knows_no_heartbeats(town):
    there = town("0.5.0")
    there.add("de-1")
    there.add("de-2")
    there.sling("de-1")
    there.age_heartbeat("obsidian", 1000)
    there.sling("de-2")
    assert "gt-demo-obsidian" in there.sessions()
    assert there.heartbeat("quartz") is None


def test_every_call_of_a_worker_refreshes_its_heartbeat(town):
    there = town()
    there.add("de-1")
    there.sling("de-1")
    there.age_heartbeat("rust", 1000)
    there.gt("mail", "inbox", "--json", env=there.as_polecat("rust"))
    assert there.heartbeat("rust")["state"] == "working"
    assert names_of(there.gt("polecat", "list", "demo", "--json").stdout) == {"rust": "working"}


@pytest.mark.parametrize("pair", ["0.5.0", "1.0.1"])
def test_sling_ends_sessions_without_a_folder_and_folders_without_a_worktree(town, pair):
    there = town(pair)
    there.add("de-1", status="hooked", assignee="demo/polecats/thunder")
    there.add("de-2")
    name = there.gt("polecat", "list", "demo", "--json") and ("jasper" if pair == "0.5.0" else "dust")
    there.start_session(name, cwd=there.path)
    (there.rig / "polecats/thunder/kept").mkdir(parents=True)
    there.sling("de-2")
    assert there.session(name) not in there.sessions()
    assert ("thunder" in there.polecats()) == (pair == "0.5.0")


# ---- gt's daemon ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holder", ["", "demo/witness@h1"])
def test_daemon_slings_issues_of_convoys(town, holder):
    there = town(open_s=0)
    there.add("de-1")
    there.gt("sling", "de-1", "demo", "--hook-raw-bead", "--no-boot")
    there.end_session("rust")
    there.gt("polecat", "nuke", "--force", "demo/rust")
    there.change("de-1", status="in_progress" if holder else "open", assignee=holder)
    assert there.daemon_round() == ["de-1"]
    assert there.state("de-1") == ("hooked", "demo/polecats/rust")
    assert [call["argv"][0] for call in there.calls("sling", daemon=True)] == ["sling", "sling"]
    assert len(there.calls("sling")) == 1


def test_daemon_slings_again_what_lost_its_session(town):
    there = town(open_s=0)
    there.add("de-1")
    there.gt("sling", "de-1", "demo", "--hook-raw-bead", "--no-boot")
    assert there.daemon_round() == []
    there.end_session("rust")
    assert there.daemon_round() == ["de-1"]
    assert there.state("de-1") == ("hooked", "demo/polecats/chrome")
    assert [mail["subject"] for mail in there.mails("demo/witness")] == ["LIFECYCLE:Shutdown rust"]


def test_daemon_of_old_slings_nothing_and_kills_a_seat_without_a_model(town):
    there = town("0.5.0")
    there.add("de-1")
    there.gt("sling", "de-1", "demo", "--hook-raw-bead")
    there.end_session("obsidian")
    before = kit.wait_for(lambda: len(there.began("witness")), what="the first start")
    assert there.daemon_round() == []
    kit.wait_for(lambda: len(there.began("witness")) > before, what="another start")


def test_daemon_restarts_a_dead_seat_as_configured(town):
    there = town()
    there.set_agent("witness", kit.PYTHON, str(towns.CITIZEN), str(there.bin.folder), "seat")
    there.daemon_round()
    kit.wait_for(lambda: there.began("witness") == [["seat"]], what="the seat")
    there.daemon_round()
    there.end_session("witness")
    there.daemon_round()
    kit.wait_for(lambda: there.began("witness") == [["seat"], ["seat"]], what="the second start")


@pytest.mark.parametrize("pair", ALL)
def test_daemon_looks_as_if_it_ran(town, pair):
    there = town(pair)
    there.start_daemon()
    assert "is running" in there.gt("daemon", "status").stdout
    there.stop_daemon(crash=True)
    assert "is not running" in there.gt("daemon", "status").stdout
    assert (there.path / "daemon/daemon.pid").exists()


# ---- nuke and done --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", ["0.2.6", "0.5.0", "1.0.1"])
def test_nuke_refuses_without_force_and_destroys_with_it(town, pair):
    there = town(pair)
    there.add("de-1")
    there.sling("de-1")
    (name,) = there.polecats()
    branch = there.branch(name)
    there.git("commit", "--quiet", "--allow-empty", "--message", "work", name=name)
    assert there.gt("polecat", "nuke", f"demo/{name}").status == 1
    assert there.polecats() == [name]
    assert there.gt("polecat", "nuke", "--force", f"demo/{name}").status == 0
    assert there.polecats() == []
    assert there.session(name) not in there.sessions()
    assert there.branches() == ([branch] if pair == "0.2.6" else [])
    pushed = towns.git("for-each-ref", f"refs/heads/{branch}", cwd=there.origin)
    assert bool(pushed) == (pair == "1.0.1")
    held = ("hooked", f"demo/polecats/{name}")
    assert there.state("de-1") == (("open", "") if pair == "1.0.1" else held)


def test_nuke_takes_the_longer_address_for_another_polecat(town):
    there = town()
    there.add("de-1")
    there.sling("de-1")
    assert "already gone" in there.gt("polecat", "nuke", "--force", "demo/polecats/rust").stdout
    assert there.polecats() == ["rust"]


def test_nuke_of_an_empty_folder_takes_a_branch_of_the_old_form(town):
    there = town()
    (there.rig / "polecats/rust").mkdir()
    there.git("branch", "polecat/rust", "main")
    assert there.gt("polecat", "nuke", "--force", "demo/rust").status == 0
    assert (there.polecats(), there.branches()) == ([], [])
    assert towns.git("for-each-ref", "refs/heads/polecat/rust", cwd=there.origin)


def test_seed_removes_only_without_a_session(town):
    there = town("seed")
    there.add("de-1")
    there.sling("de-1")
    assert "session is running" in there.gt("polecat", "remove", "demo/furiosa").stderr
    there.end_session("furiosa")
    (there.tree("furiosa") / "new").touch()
    assert "uncommitted changes" in there.gt("polecat", "remove", "demo/furiosa").stderr
    assert there.gt("polecat", "remove", "demo/furiosa", "-f").status == 0
    assert (there.polecats(), there.branches()) == ([], ["polecat/furiosa"])


WORK = "echo work >work; git add work; git commit --quiet --message work; gt done; exec sleep 600"


def test_done_closes_the_issue_before_the_merge_and_keeps_the_worktree(town):
    there = town()
    there.add("de-1")
    there.start_session("witness")
    there.part("any", WORK)
    there.sling("de-1")
    kit.wait_for(lambda: "POLECAT_DONE rust exit=COMPLETED\x1b" in there.heard("witness"), what="the word")
    kit.wait_for(lambda: [call["status"] for call in there.calls("done")] == [0], what="the end of gt done")
    branch = there.branch("rust")
    assert there.issue("de-1")["status"] == "closed"
    assert branch in there.branches()
    (request,) = json.loads(there.gt("refinery", "ready", "demo", "--all", "--json").stdout)
    assert (request["Branch"], request["SourceIssue"], request["Worker"]) == (branch, "de-1", "rust")
    assert towns.git("log", "-1", "--format=%s", branch, cwd=there.origin) == "work"
    assert there.mails("demo/witness") == []
    assert "de-rust" in there.sessions()
    there.end_session("rust")
    assert names_of(there.gt("polecat", "list", "demo", "--json").stdout) == {"rust": "idle"}


def test_done_commits_what_a_worker_left(town):
    there = town()
    there.add("de-1")
    there.sling("de-1")
    (there.tree("rust") / "left").touch()
    assert there.gt("done", env=there.as_polecat("rust"), cwd=there.tree("rust")).status == 0
    assert there.git("show", "--name-only", "--format=", "HEAD", name="rust") == "left"


def test_done_of_old_mails_and_removes_its_own_worktree_and_session(town):
    there = town("0.5.0")
    there.add("de-1")
    there.part("any", WORK.replace("git add work", "git add --all"))
    there.sling("de-1")
    kit.wait_for(lambda: "gt-demo-obsidian" not in there.sessions(), what="the end of the session")
    mail = next(one for one in there.mails("demo/witness") if one["subject"] == "POLECAT_DONE obsidian")
    (request,) = there.requests()
    lines = mail["body"].splitlines()
    assert lines[:3] == ["Exit: COMPLETED", "Issue: de-1", f"MR: {request['id']}"]
    assert re.fullmatch(r"Branch: polecat/obsidian/de-1@\w+", lines[3])
    assert (mail["sender"], there.polecats()) == ("demo/obsidian", [])
    assert [one["id"] for one in json.loads(there.gt("mq", "list", "demo", "--json").stdout)] == [request["id"]]
    kit.wait_for(lambda: any("You have new mail" in line for line in there.heard("witness")), what="the notice")


def test_done_of_oldest_removes_even_what_is_neither_committed_nor_pushed(town):
    there = town("0.2.6")
    there.add("de-1")
    there.sling("de-1")
    branch = there.branch("furiosa")
    there.git("commit", "--quiet", "--allow-empty", "--message", "work", name="furiosa")
    (there.tree("furiosa") / "new").touch()
    assert there.gt("done", env=there.as_polecat("furiosa"), cwd=there.tree("furiosa")).status == 0
    assert (there.polecats(), there.branches(), there.state("de-1")[0]) == ([], [branch], "hooked")
    assert [mail["subject"] for mail in there.mails("demo/witness")] == ["POLECAT_DONE furiosa"]
    assert not towns.git("for-each-ref", f"refs/heads/{branch}", cwd=there.origin)
    assert "gt-demo-furiosa" in there.sessions()


def test_done_of_old_refuses_the_files_that_gt_itself_left(town):
    there = town("0.5.0")
    there.add("de-1")
    there.sling("de-1")
    done = there.gt("done", env=there.as_polecat("obsidian"), cwd=there.tree("obsidian"))
    assert "uncommitted changes would be lost" in done.stderr
    assert there.gt("done", "--status", "DEFERRED", env=there.as_polecat("obsidian"), cwd=there.path).status == 0
    assert (there.polecats(), there.state("de-1")[0]) == (["obsidian"], "closed")


# ---- mail, nudges, seats --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [False, True])
def test_mail_is_announced_at_a_prompt_and_else_queued(town, prompt):
    there = town()
    word, typed = towns.PROMPT if prompt else "busy", there.folder / "typed"
    loop = f'while read -r line; do echo "$line" >>{typed}; printf "{word} "; done'
    there.part("witness", f'printf "{word} "; {loop}')
    assert there.gt("witness", "start", "demo").status == 0
    kit.wait_for(lambda: "begin patrol" in kit.lines_of(typed), what="the first prompt")
    assert there.gt("mail", "send", "demo/witness", "-s", "HELP", "-m", "x", env=there.as_polecat("rust")).status == 0
    waits = list((there.path / ".runtime/nudge_queue/de-witness").glob("*.json"))
    assert len(waits) == (not prompt)
    if prompt:
        kit.wait_for(lambda: "new mail from demo/rust. Subject: HELP" in typed.read_text(), what="the notice")


def test_nudges_wait_for_a_prompt_that_a_polecat_does_not_have(town):
    there = town(nudge_s=0.0)
    there.add("de-1")
    there.sling("de-1")
    assert there.gt("nudge", "demo/rust", "hello").status == 0
    assert there.gt("nudge", "demo/rust", "--mode", "immediate", "at once").status == 0
    kit.wait_for(lambda: "[from demo/witness] at once\x1b" in there.heard("rust"), what="the nudge")
    assert not any("hello" in line for line in there.heard("rust"))


def test_mail_sorts_by_priority_before_time(town):
    there = town()
    for subject, priority in (("a", 2), ("b", 1), ("c", 2)):
        there.put_mail("demo/witness", subject, priority=priority)
    inbox = json.loads(there.gt("mail", "inbox", "--identity", "demo/witness", "--json").stdout)
    assert [mail["subject"] for mail in inbox] == ["b", "c", "a"]
    assert there.gt("mail", "delete", inbox[0]["id"], inbox[1]["id"]).stdout == "✓ Deleted 2 messages\n"
    assert [mail["subject"] for mail in there.mails("demo/witness")] == ["a"]
    check = there.gt("mail", "check", "--identity", "demo/witness", "--json")
    assert json.loads(check.stdout) == {"address": "demo/witness", "unread": 1, "has_new": True}


def test_sessions_are_started_and_stopped(town):
    there = town()
    there.add("de-1")
    there.sling("de-1")
    assert "session already running: de-rust" in there.gt("session", "start", "demo/rust").stderr
    there.age_heartbeat("rust", 200)
    assert there.gt("session", "start", "demo/rust").status == 0
    kit.wait_for(lambda: len(there.began("rust")) == 2, what="the second start: an old heartbeat was taken for a death")
    assert there.gt("session", "stop", "demo/rust").status == 0
    assert "session not found" in there.gt("session", "stop", "demo/rust").stderr
    assert "Polecat 'refinery' not found" in there.gt("session", "start", "demo/refinery").stderr
    there.gt("refinery", "stop", "demo")
    assert there.gt("refinery", "start", "demo").status == 0
    assert "already running" in there.gt("refinery", "start", "demo").stdout


def test_seats_of_the_town(town):
    there = town()
    assert there.gt("mayor", "status", "--running").stdout == "false\n"
    there.start_session("mayor")
    assert there.gt("mayor", "status", "--running").stdout == "true\n"
    deacon = json.loads(there.gt("deacon", "status", "--json").stdout)
    assert deacon == {"running": False, "paused": False, "session": "hq-deacon"}
    assert there.gt("refinery", "ready", "demo", "--all", "--json").stdout == "null\n"
    assert town("0.5.0").gt("mq", "list", "demo", "--json").stdout == "null\n"


# ---- faults ---------------------------------------------------------------------------------------------------------


def test_calls_are_spoilt_and_logged(town):
    there = town()
    there.put_mail("demo/witness", "one")
    inbox = ("mail", "inbox", "--identity", "demo/witness", "--json")
    there.gt(*inbox)
    ways = ("fail", "garbage", "mute", "cut")
    there.spoil(*({"verb": "mail inbox", "at": number + 2, "do": how} for number, how in enumerate(ways)))
    assert there.gt("version").status == 0
    results = [there.gt(*inbox) for _ in range(6)]
    assert [one.status for one in results] == [0, 1, 0, 0, 0, 0]
    assert results[0].stdout == results[5].stdout
    half = results[0].stdout[: len(results[5].stdout) // 2]
    assert [one.stdout for one in results[2:5]] == ["\0\x1b[31m}{ not JSON", "", half]
    calls = there.calls("mail inbox")
    assert [call["spoilt"] for call in calls] == ["", *ways, ""]
    assert {key: calls[0][key] for key in ("cwd", "status")} == {"cwd": str(there.path), "status": 0}
    assert calls[0]["env"]["GT_ROLE"] == "demo/witness"


@pytest.mark.parametrize(("how", "done"), [("hang", False), ("late", True)])
def test_calls_hang_before_or_after_their_work(town, how, done):
    there = town()
    there.spoil({"verb": "mail send", "do": how})
    child = there.begin("mail", "send", "mayor/", "-s", "x", "-m", "y")
    kit.wait_for(lambda: there.calls("mail send"), what="the call")
    if done:
        kit.wait_for(lambda: there.mails("mayor/"), what="the mail")
    assert child.poll() is None
    child.kill()
    child.wait()
    assert len(there.mails("mayor/")) == done


def test_dead_database_fails_a_sling_before_anything_is_made(town):
    there = town()
    there.add("de-1")
    there.server.take_down()
    done = there.sling("de-1")
    assert (done.status, there.polecats()) == (1, [])
    assert "Dolt server unreachable" in done.stderr
    assert not there.calls("patrol scan")


def test_towns_beside_each_other_share_a_queue(town):
    here = town()
    there = town(beside=here)
    here.add("de-1")
    assert here.sling("de-1").status == 0
    assert there.state("de-1") == ("hooked", "demo/polecats/rust")
    assert (there.polecats(), there.socket == here.socket) == ([], False)
