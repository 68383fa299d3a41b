"""Sessions and panes by ids that never repeat, on a real server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest
from tools import kit
from tools.kit import wait_for

import witness as w

SLEEP = [kit.PYTHON, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def ours(tmux):
    return w.Tmux(w.Host(), tmux.socket, 3)


def test_no_server_is_no_panes(ours):
    assert ours.list_panes() == ()


class EndingServer(w.Host):
    """A host whose tmux server ends with its last session while the first so many commands arrive."""

    def __init__(self, times: int, complaint: str):
        self.left, self.complaint = times, complaint

    def run(self, argv, timeout_s, **options):
        """Answer as tmux does at that moment, and then go on to the real one."""
        self.left -= 1
        if self.left >= 0:
            argv = ["/bin/sh", "-c", 'echo "$0" >&2; exit 1', self.complaint]
        return super().run(argv, timeout_s, **options)


@pytest.mark.parametrize("complaint", ["server exited unexpectedly", "lost server"])
@pytest.mark.parametrize("times", [0, 1, 2])
def test_server_that_is_just_ending_is_asked_once_more(tmux, tmp, times, complaint):
    """A retirement ended the last session, and the spawn right after it met the server on its way out."""
    made = w.Tmux(EndingServer(times, complaint), tmux.socket, 3).start_session("s", str(tmp), SLEEP, {})
    tmux.remember()
    assert made.ok == (times < 2)
    listed = w.Tmux(EndingServer(times, complaint), tmux.socket, 3).list_panes()
    if times < 2:
        assert [pane.session for pane in listed] == ["s"]
    else:
        assert listed.endswith(f": {complaint}")


def test_panes_are_listed_with_odd_names(ours, tmux, tmp):
    for name in ("gt-demo-nux", "gt-demo-nux2", "zwei Wörter", "a;b"):
        tmux.new_session(name, tmp, SLEEP)
    panes = ours.list_panes()
    assert sorted(pane.session for pane in panes) == sorted(["gt-demo-nux", "gt-demo-nux2", "zwei Wörter", "a;b"])
    assert {pane.server_pid for pane in panes} == {tmux.server()}
    assert all(pane.command.startswith("python") for pane in panes)


def test_hanging_server_is_a_reason_within_the_time_limit(tmux, tmp):
    tmux.new_session("s", tmp, SLEEP)
    server = tmux.server()
    os.kill(server, signal.SIGSTOP)
    try:
        answer = w.Tmux(w.Host(), tmux.socket, 1).list_panes()
    finally:
        os.kill(server, signal.SIGCONT)
    assert answer == "tmux list-panes: no answer within 1 s"


def test_deleted_socket_reads_as_no_server(ours, tmux, tmp):
    """Whether the workers live all the same, their processes tell: see `test_states.py`."""
    tmux.new_session("s", tmp, SLEEP)
    socket = tmux.run("display-message", "-p", "#{socket_path}")
    os.rename(socket, socket + ".away")
    try:
        assert ours.list_panes() == ()
    finally:
        os.rename(socket + ".away", socket)
    assert len(ours.list_panes()) == 1


def test_socket_that_cannot_be_used_is_a_reason(ours, tmux, tmp):
    tmux.new_session("s", tmp, SLEEP)
    socket = tmux.run("display-message", "-p", "#{socket_path}")
    os.rename(socket, socket + ".away")
    os.mkdir(socket)
    try:
        answer = ours.list_panes()
    finally:
        os.rmdir(socket)
        os.rename(socket + ".away", socket)
    assert isinstance(answer, str) or answer == ()  # ENOTSOCK reads as refused: nobody listens there


@pytest.mark.parametrize(
    "words", [["one"], ["a b", "$HOME", "`id`", "'\"", ";", "x;", "y\\;", "kill-server", "é", "{x}"], []]
)
def test_session_runs_its_words_without_a_shell(ours, tmux, tmp, words):
    script = tmp / "show"
    script.write_text(
        f"#!{kit.PYTHON}\nimport sys, os, time\nopen({str(tmp / 'out')!r}, 'w').write("
        "repr((sys.argv[1:], os.environ['GT_RIG'], os.getcwd())))\ntime.sleep(60)\n"
    )
    script.chmod(0o755)
    assert ours.start_session("s", str(tmp), [str(script), *words], {"GT_RIG": "a b=c"}).ok
    tmux.remember()
    wait_for(lambda: (tmp / "out").exists() and (tmp / "out").read_text(), 5, "the agent to run")
    assert (tmp / "out").read_text() == repr((words, "a b=c", str(tmp)))
    (pane,) = ours.list_panes()
    assert pane.command.startswith("python")


def test_server_started_by_us_stands_in_nobodys_folder(ours, tmux, tmp):
    assert ours.start_session("s", str(tmp), SLEEP, {}).ok
    tmux.remember()
    assert os.readlink(f"/proc/{tmux.server()}/cwd") == "/"


def test_paste_is_bracketed_text_and_nothing_more(ours, tmux, tmp):
    out = tmp / "out"
    tmux.new_session(
        "s",
        tmp,
        [kit.PYTHON, "-c", "import sys\nfor line in sys.stdin: open(sys.argv[1], 'a').write(line)", str(out)],
    )
    (pane,) = ours.list_panes()
    text = 'it\'s $HOME `x` "q" ; #{pane_id} é -n Enter'
    assert ours.paste(pane.pane_id, text, "b1").ok
    assert ours.enter(pane.pane_id).ok
    assert wait_for(lambda: kit.lines_of(out), 5, "the text to arrive") == text + "\n"
    assert tmux.run("list-buffers") == ""


def test_screen_is_clean_and_masked(ours, tmux, tmp):
    tmux.new_session(
        "s",
        tmp,
        [
            kit.PYTHON,
            "-c",
            "import time; print('\\033[31mred\\033[0m token=abcdefgh123', flush=True); time.sleep(60)",
        ],
    )
    (pane,) = ours.list_panes()
    assert wait_for(lambda: ours.screen(pane.pane_id), 5) == "red token=[masked]"
    assert ours.screen("%999") is None


def test_persons_are_counted_without_control_clients(ours, tmux, tmp):
    tmux.new_session("s", tmp, SLEEP)
    (pane,) = ours.list_panes()
    assert ours.count_persons(pane.session_id) == 0
    control = subprocess.Popen(
        ["tmux", "-L", tmux.socket, "-C", "attach", "-t", "s"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    person = subprocess.Popen(
        [shutil.which("script"), "-qec", f"tmux -L {tmux.socket} attach -t s", "/dev/null"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm"},
    )
    try:
        wait_for(lambda: ours.list_panes()[0].attached == 2, 5, "both to be attached")
        assert ours.count_persons(pane.session_id) == 1
    finally:
        for child in (control, person):
            child.kill()
            child.communicate()
    assert isinstance(ours.count_persons("$99"), str)


def test_killing_nux_leaves_nux2_alone(ours, tmux, tmp):
    """`-t gt-rig-nux` once killed gt-rig-nux2."""
    tmux.new_session("gt-demo-nux", tmp, SLEEP)
    tmux.new_session("gt-demo-nux2", tmp, SLEEP)
    pane = next(one for one in ours.list_panes() if one.session == "gt-demo-nux")
    ours.disarm(pane.session_id, pane.pane_id)
    assert ours.kill_session(pane.session_id).ok
    assert not ours.kill_session(pane.session_id).ok
    assert [one.session for one in ours.list_panes()] == ["gt-demo-nux2"]
