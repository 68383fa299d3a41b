"""Text of git, tmux and /proc: the shapes are known here, and what is no such text is said to be none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import witness as w

LINE = "900\t1800000000\t$3\t0\t1800000100\t%7\t1234\t0\t1\tgt-demo-alpha\tpython3"


def test_pane_is_read():
    (pane,) = w.parse_panes(LINE + "\n")
    assert pane == w.Pane(
        session="gt-demo-alpha",
        session_id="$3",
        created_at=1800000000.0,
        attached=0,
        server_pid=900,
        pane_id="%7",
        pid=1234,
        dead=False,
        in_mode=True,
        activity_at=1800000100.0,
        command="python3",
    )
    assert w.instance_of(pane) == "900.3.1800000000"


@pytest.mark.parametrize("name", ["two words", "zähler", "x" * 200, "a;b|c"])
def test_odd_session_name_is_kept(name):
    (pane,) = w.parse_panes(LINE.replace("gt-demo-alpha", name))
    assert pane.session == name


def test_command_may_hold_a_tab():
    (pane,) = w.parse_panes(LINE + "\tx")
    assert (pane.session, pane.command) == ("gt-demo-alpha", "python3 x")


@pytest.mark.parametrize(
    "bad", ["x", LINE.replace("%7", "7"), LINE.replace("1234", ""), LINE.rpartition("\t")[0], "null"]
)
def test_one_bad_line_makes_all_unknown(bad):
    assert isinstance(w.parse_panes(f"{LINE}\n{bad}\n"), str)


@given(st.text())
def test_any_text_is_panes_or_a_reason(text):
    answer = w.parse_panes(text)
    assert isinstance(answer, (tuple, str))
    assert answer != ""


@pytest.mark.parametrize(
    ("complaint", "failure", "answer"),
    [
        ("no server running on /tmp/tmux-0/default", "", True),
        ("error connecting to /tmp/tmux-0/x (No such file or directory)", "", True),
        ("error connecting to /tmp/tmux-0/x (Connection refused)", "", True),
        ("error connecting to /tmp/tmux-0/x (Permission denied)", "", False),
        ("server exited unexpectedly", "", False),
        ("lost server", "", False),
        ("", "", False),
        ("no server running on /tmp/x", "no answer within 5 s", False),
    ],
)
def test_only_tmux_itself_says_that_no_server_runs(complaint, failure, answer):
    assert w.says_no_server(complaint, failure) is answer


def test_process_with_parentheses_and_spaces_in_its_name_is_read():
    stat = b"42 (a) b (c) S 7 40 40 0 40 0 " + b" ".join(b"%d" % number for number in range(9, 23)) + b" 555 0 0"
    process = w.parse_proc_stat(b"42 (a) (b c)) S 7 40 41 34816 40 " + b"0 " * 13 + b"555 1 2 3\n")
    assert process == w.Process(pid=42, start=555, parent=7, group=40, foreground=40, zombie=False)
    assert w.parse_proc_stat(stat) is not None


@pytest.mark.parametrize("data", [b"", b"42", b"42 (x", b"42 (x) S 1 2"])
def test_cut_process_is_none(data):
    assert w.parse_proc_stat(data) is None


def test_zombie_is_one():
    assert w.parse_proc_stat(b"42 (x) Z 7 40 41 0 -1 " + b"0 " * 13 + b"555 1").zombie


def test_memory_is_what_can_be_had():
    assert w.parse_meminfo(b"MemTotal: 9 kB\nMemAvailable:   2048 kB\n") == 2.0
    assert w.parse_meminfo(b"MemTotal: 9 kB\n") is None


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (("bash",), True),
        (("-bash",), True),
        (("bash", "-l", "-i"), True),
        (("zsh", "--login"), True),
        (("bash", "--rcfile", "/x"), True),
        (("bash", "-o", "vi"), True),
        (("bash", "agent.sh"), False),
        (("bash", "-x", "agent.sh"), False),
        (("sh", "-c", "claude"), False),
        (("bash", "-lc", "claude"), False),
    ],
)
def test_shell_is_interactive_only_without_a_script(argv, answer):
    assert w.is_interactive_shell(argv) is answer


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b"gitdir: /rig/.git/worktrees/a\n", "/rig/.git/worktrees/a"),
        (b"gitdir: ../x\n", "../x"),
        (b"/rig/polecats/a/.git\n", "/rig/polecats/a/.git"),
        (b"", None),
        (b"gitdir:\n", None),
    ],
)
def test_git_files_name_a_folder(data, path):
    assert w.parse_gitfile(data) == path


@pytest.mark.parametrize(
    ("data", "branch"),
    [
        (b"ref: refs/heads/polecat/a\n", "polecat/a"),
        (b"0" * 40 + b"\n", ""),
        (b"a" * 64, ""),
        (b"", None),
        (b"ref: x", None),
    ],
)
def test_head_names_a_branch_or_none(data, branch):
    assert w.parse_head(data) == branch


def test_status_is_read_with_every_kind_of_name():
    sha = b"0" * 40
    data = b"\0".join(
        [
            b"# branch.oid x",
            b"1 .M N... 100644 100644 100644 %s %s a b" % (sha, sha),
            b"2 R. N... 100644 100644 100644 %s %s R100 new\nname" % (sha, sha),
            b"old name",
            b"u UU N... 100644 100644 100644 100644 %s %s %s both" % (sha, sha, sha),
            b"? \xff.txt",
            b"! build/x",
            b"",
        ]
    )
    assert w.parse_status(data) == [
        ("1", "a b"),
        ("2", "new\nname"),
        ("u", "both"),
        ("?", "\udcff.txt"),
        ("!", "build/x"),
    ]


@given(st.binary(max_size=60))
def test_what_is_no_status_is_a_value_error(data):
    try:
        w.parse_status(data)
    except ValueError:
        pass
