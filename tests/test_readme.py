"""The README is part of the product: its tables come from the code, its commands run."""

from __future__ import annotations

import http.server
import json
import os
import re
import shlex
import subprocess
import sys
import threading

import bench
import pytest
from tools import kit, readme_tables
from tools.kit import ROOT, wait_for

import witness as w

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
# test_real.py runs them, with the real bd and dolt.
OF_BEADS = [block for block in BLOCKS if re.search(r"^bd ", block, re.MULTILINE)]

# Commands that a test cannot run, each with its reason.
NOT_RUN = {
    "./build.sh": "it builds and tests this very checkout, and would do so again",
    "tmux": "it would start a session on the caller's own tmux server",
    "cp": "the archive is put there by the test",
}


def table(after: str) -> list:
    """Return the first cells of the first table behind a heading."""
    lines = README[README.index(after) :].splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    return [row.split("|")[1].strip() for row in rows if "---" not in row]


def test_tables_are_the_codes_own():
    assert readme_tables.put_tables(README) == README


def test_every_event_has_its_meaning_and_every_meaning_its_event():
    source = (ROOT / "witness.py").read_text(encoding="utf-8")
    told = set(re.findall(r'\.tell\(\s*"([a-z-]+)"', source)) | {"retired", "gone"}  # told by a retirement's result
    assert told == set(w.EVENTS)


def test_files_of_the_state_folder_are_named():
    table = README[README.index("### Files") : README.index("In git:")]
    names = [value for name, value in vars(w).items() if name.endswith("_FILE") and value.startswith("witness")]
    assert len(names) > 10
    assert [name for name in names if f"`{name}`" not in table] == []


def test_keys_that_are_promised_are_there(witness, rig):
    """The table of keys, held to what the commands print on a rig with one worker and one issue."""
    rig.add_polecat("alpha", [kit.PYTHON, "-c", "import time; time.sleep(60)"])
    witness("add", "one", rig=rig)
    witness("start", rig=rig, env={"WITNESS_INTERVAL": "1"})
    wait_for(lambda: "polecats" in json.loads(witness("status", "--json", rig=rig).stdout), 10, "the first look")
    table = README[README.index("### As data") : README.index("### Files")]
    rows = dict(re.findall(r"^\| (.*?) \| (.*?) \|$", table, re.MULTILINE))
    calls = {
        "`status`": ("status",),
        "`health`": ("health", "--dry-run"),
        "`explain`": ("explain", "alpha"),
        "`spawn`": ("spawn", "--explain"),
        "`issues`": ("issues",),
        "`doctor`": ("doctor", "--quick"),
        "`config`": ("config", "get", "interval"),
        "`mail inbox`": ("mail", "inbox", "mayor/"),
        "`retired`": ("retired",),
    }
    for name, argv in calls.items():
        data = json.loads(witness(*argv, "--json", rig=rig).stdout)
        promised = re.findall(r"`(\w+)[^`]*`", rows[name])
        assert [key for key in promised if key not in data] == [], name
    worker = json.loads(witness("status", "--json", rig=rig).stdout)["polecats"][0]
    assert [key for key in re.findall(r"`(\w+)[^`]*`", rows["one of `polecats`"]) if key not in worker] == []


def test_states_stand_in_the_order_of_precedence():
    cells = table("## How it decides")
    assert cells[0] == "state"
    assert cells[1 : 1 + len(w.HEALTH_RULES)] == [name for name, _ in w.HEALTH_RULES]


def test_every_command_is_named_and_every_named_command_is_one():
    words = set(re.findall(r"`(?:\./witness\.pyz |\$WITNESS_COMMAND )?([a-z]+)\b[^`]*`", README))
    words |= {line.split()[1] for block in BLOCKS for line in block.splitlines() if line.startswith("./witness.pyz ")}
    assert set(w.COMMANDS) - words == set()
    called = re.findall(r"(?:\./witness\.pyz|\$WITNESS_COMMAND|^witness) ([a-z]+)", README, re.MULTILINE)
    assert set(called) <= set(w.COMMANDS)


def test_rooms_named_in_the_readme_are_there():
    rooms = set(re.findall(r"room `([a-z]+)`", README))
    assert rooms
    assert rooms <= set(re.findall(r"^# room: (\w+)", (ROOT / "witness.py").read_text(encoding="utf-8"), re.MULTILINE))


def commands():
    for block in (one for one in BLOCKS if one not in OF_BEADS):
        for line in block.replace("\\\n", " ").splitlines():
            text = line.partition("    #")[0].strip()
            if text and text.split()[0] not in NOT_RUN:
                yield text


def test_there_is_something_to_run():
    assert len(list(commands())) >= 8
    assert len(OF_BEADS) == 2


@pytest.mark.slow
def test_commands_run_in_their_order(rig, pyz, tmp):
    """A real rig, the archive alone in it, and a stand-in for the agent on the PATH."""
    (rig.path / "witness.pyz").symlink_to(pyz)
    tools = tmp / "bin"
    tools.mkdir()
    agent = tools / "claude"
    agent.write_text(f"#!{sys.executable}\nimport time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    agent.chmod(0o755)
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "WITNESS_TMUX_SOCKET": rig.tmux.socket}
    for text in commands():
        folder, allowed = rig.path, (0,)
        if text.startswith("$WITNESS_COMMAND"):
            text = text.replace("$WITNESS_COMMAND", shlex.quote(str(rig.path / "witness.pyz")))
            folder = rig.path / "polecats" / "alpha"
        if text.split()[0:2] == ["./witness.pyz", "status"]:
            allowed = (0, 3)
        if "reload" in text and subprocess.run(["./witness.pyz", "start"], cwd=rig.path, env=env, check=True):
            pass  # the reader's daemon runs at this point of a real first day
        done = subprocess.run(
            text, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode in allowed, (text, done.stdout, done.stderr)
    rig.tmux.remember()


def test_webhook_of_the_readme_posts_what_it_is_told(rig, tmp, witness):
    """The README's own script, called by the daemon as an operator would set it up."""
    (script,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    path = tmp / "tell-chat"
    path.write_text(script)
    path.chmod(0o755)
    posted = []

    class Chat(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Chat) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            hook = f"CHAT_HOOK=http://127.0.0.1:{server.server_port}/hook"
            witness("config", "set", "escalate_command", json.dumps(["env", hook, str(path)]), rig=rig)
            rig.add_polecat("alpha", [kit.PYTHON, "-c", "import time; time.sleep(600)"])
            env = {"WITNESS_INTERVAL": "1", "WITNESS_STUCK_AFTER": "2", "WITNESS_NUDGE_WAIT": "1"}
            env.update(WITNESS_ESCALATE_AFTER="3", WITNESS_START_GRACE="0", WITNESS_NUDGE_VIA="mail")
            witness("start", rig=rig, env=env)
            wait_for(lambda: posted, 20, "the post")
        finally:
            server.shutdown()
            thread.join()
    assert posted[0]["text"].startswith("ESCALATION: Polecat alpha stuck\n")


@pytest.mark.parametrize("tool", ["notify-send", "mail"])
def test_lines_of_shell_of_the_readme_hand_on_what_they_are_told(tmp, tool):
    (line,) = [one for one in commands() if f"{tool} " in one]
    command = json.loads(shlex.split(line)[-1])
    (tmp / tool).write_text(f'#!/bin/sh\n[ {tool} = mail ] && cat > {tmp}/in\nprintf "%s\\n" "$@" > {tmp}/out\n')
    (tmp / tool).chmod(0o755)
    told = {"WITNESS_SUBJECT": '$(touch x) "s"', "WITNESS_BODY": "`b`"}
    env = {**os.environ, **told, "PATH": f"{tmp}:{os.environ['PATH']}"}
    subprocess.run(command, env=env, cwd=tmp, check=True, timeout=10)
    assert told["WITNESS_SUBJECT"] in (tmp / "out").read_text()
    assert "`b`" in ((tmp / "in") if tool == "mail" else (tmp / "out")).read_text()
    assert not (tmp / "x").exists()


def test_costs_are_those_that_the_benchmark_measures():
    costs = README[README.index("## What it costs") : README.index("## Reference")]
    rows = re.findall(r"^\| (.+?) \| ([\d.]+) \| ([\d.]+) \| (.+?) \|$", costs, re.MULTILINE)
    assert [(name, float(most), unit) for name, most, _, unit in rows] == [
        (name, budget, unit) for name, (budget, unit) in bench.BUDGETS.items()
    ]
    assert all(float(measured) <= float(most) for _, most, measured, _ in rows)
    assert [pin for pin in bench.PEERS if pin.replace("==", " ") not in costs] == []
