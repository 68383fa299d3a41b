"""Text of git, tmux and /proc: the shapes are known here, and what is no such text is said to be none."""

from __future__ import annotations

import os

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


@pytest.mark.parametrize(
    "name", ["two words", "zähler", "x" * 200, "a;b|c", "日本", " x ", "a\\011b", "#{pane_id}", "a'b\"c", "%7", ""]
)
def test_odd_session_name_is_kept(name):
    (pane,) = w.parse_panes(LINE.replace("gt-demo-alpha", name))
    assert pane.session == name


def test_command_may_hold_a_tab():
    (pane,) = w.parse_panes(LINE + "\tx")
    assert (pane.session, pane.command) == ("gt-demo-alpha", "python3 x")


def test_all_panes_are_read_with_dead_and_attached_ones():
    text = (
        "900\t1800000000\t$0\t1\t1800000100\t%0\t1234\t0\t0\tmain\tbash\n"
        "900\t1800000000\t$0\t1\t1800000100\t%3\t1235\t1\t0\tmain\t\n"
        "900\t1800000200\t$12\t0\t1800000200\t%14\t1300\t0\t1\tgt-demo-a b\tnode\n"
    )
    panes = w.parse_panes(text)
    assert [(pane.session, pane.pane_id, pane.attached, pane.dead, pane.in_mode, pane.command) for pane in panes] == [
        ("main", "%0", 1, False, False, "bash"),
        ("main", "%3", 1, True, False, ""),
        ("gt-demo-a b", "%14", 0, False, True, "node"),
    ]


def test_no_output_is_no_pane():
    assert w.parse_panes("") == w.parse_panes("\n") == ()


def test_command_is_cleaned():
    (pane,) = w.parse_panes(LINE.replace("python3", "\x1b[31mred\x1b[0m\x07" + "x" * 100))
    assert pane.command.isprintable()
    assert pane.command.startswith("red x")


@pytest.mark.parametrize(
    "bad",
    [
        "x",
        LINE.replace("%7", "7"),
        LINE.replace("%7", "%"),
        LINE.replace("%7", "%7x"),
        LINE.replace("$3", "3"),
        LINE.replace("$3", "$"),
        LINE.replace("1234", ""),
        LINE.replace("1234", "12.5"),
        LINE.replace("900", "#{pid}"),
        LINE.replace("\t", "|"),
        LINE.rpartition("\t")[0],
        "null",
        "\x1b[31m",
        "no server running on /tmp/tmux-0/default",
    ],
)
def test_one_bad_line_makes_all_unknown(bad):
    for text in (f"{LINE}\n{bad}\n", f"{bad}\n{LINE}", bad):
        reason = w.parse_panes(text)
        assert isinstance(reason, str)
        assert reason.startswith("tmux list-panes printed '")
        assert reason.isprintable()


@pytest.mark.parametrize("field", ["1800000000", "1800000100"])
def test_a_time_beyond_all_numbers_is_no_pane(field):
    """400 digits are a whole number of Python, and none that it takes for a time."""
    assert isinstance(w.parse_panes(LINE.replace(field, "9" * 400)), str)


@given(st.integers(0, 10), st.one_of(st.text(max_size=20), st.integers().map(str), st.floats().map(str)))
def test_any_field_is_a_pane_or_a_reason(place, text):
    words = LINE.split("\t")
    words[place] = text
    answer = w.parse_panes("\t".join(words))
    if isinstance(answer, str):
        assert answer.startswith("tmux list-panes printed ")
    else:
        for pane in answer:
            assert w.instance_of(pane).count(".") == 2
            assert isinstance(pane.created_at, float)


def test_instance_differs_in_session_creation_and_server():
    lives = {LINE, LINE.replace("$3", "$4"), LINE.replace("1800000000", "1800000001"), LINE.replace("900", "901")}
    assert len({w.instance_of(w.parse_panes(line)[0]) for line in lives}) == 4
    moved = LINE.replace("%7", "%8").replace("1800000100", "1800000999").replace("1234", "99")
    assert w.instance_of(w.parse_panes(moved)[0]) == w.instance_of(w.parse_panes(LINE)[0])


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
        ("error connecting to /tmp/tmux-0/x (No such file or directory)", "no answer within 5 s", False),
        ("error connecting to /tmp/tmux-0/x (Connection refused)", "printed more than 4194304 bytes", False),
        ("error creating /tmp/tmux-0/x (No such file or directory)", "", False),
        ("can't create socket: Permission denied", "", False),
        ("open terminal failed: not a terminal", "", False),
        ("protocol version mismatch (client 8, server 7)", "", False),
        ("no server running on /private/tmp/tmux-501/default\n", "", True),
    ],
)
def test_only_tmux_itself_says_that_no_server_runs(complaint, failure, answer):
    assert w.says_no_server(complaint, failure) is answer


def test_process_with_parentheses_and_spaces_in_its_name_is_read():
    stat = b"42 (a) b (c) S 7 40 40 0 40 0 " + b" ".join(b"%d" % number for number in range(9, 23)) + b" 555 0 0"
    process = w.parse_proc_stat(b"42 (a) (b c)) S 7 40 41 34816 40 " + b"0 " * 13 + b"555 1 2 3\n")
    assert process == w.Process(pid=42, start=555, parent=7, group=40, foreground=40, zombie=False)
    assert w.parse_proc_stat(stat) is not None


STAT = b"42 (a) (b c)) S 7 40 41 34816 40 " + b"0 " * 13 + b"555 1 2 3\n"


@pytest.mark.parametrize("data", [b"", b"42", b"42 (x", b"42 (x) S 1 2", b"42 x S" + b" 1" * 30, b"(x) S" + b" 1" * 30])
def test_cut_process_is_none(data):
    assert w.parse_proc_stat(data) is None


def test_process_cut_anywhere_is_none_or_still_the_same_process():
    for length in range(len(STAT)):
        process = w.parse_proc_stat(STAT[:length])
        assert process is None or (process.pid, process.parent, process.group, process.foreground) == (42, 7, 40, 40)


@given(st.binary(max_size=80), st.binary(max_size=15))
def test_any_bytes_are_a_process_or_none(data, name):
    assert w.parse_proc_stat(data) is None or b")" in data
    process = w.parse_proc_stat(b"42 (" + name + STAT[len(b"42 (a) (b c)") :])
    assert (process.pid, process.parent, process.start) == (42, 7, 555)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="this system has no /proc")
def test_own_process_is_read_as_the_kernel_writes_it():
    with open("/proc/self/stat", "rb") as file:
        process = w.parse_proc_stat(file.read())
    assert (process.pid, process.parent, process.group) == (os.getpid(), os.getppid(), os.getpgrp())
    assert process.start > 0
    assert not process.zombie


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
        (("bash", "-ic", "claude"), False),
        (("-zsh",), True),
        (("/usr/bin/fish",), True),
        (("bash", "--norc", "--noprofile"), True),
        (("bash", "--init-file", "/x", "agent.sh"), False),
        (("bash", "+O", "extglob"), True),
        (("bash", "+x"), True),
        (("bash", "--", "agent.sh"), False),
        (("bash", "-o", "posix", "-c", "x"), False),
        (("bash", "-"), True),
        (("sh", "-s"), True),
        (("fish", "--command", "claude"), False),
        (("fish", "--command=claude"), False),
        (("nu", "--commands", "claude"), False),
        (("bash", "--rcfile"), True),
        (("bash", "-c", "-x"), False),
        (("bash", "--verbose", "./run-c"), False),
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
        (b"gitdir:/no/blank", "/no/blank"),
        (b"gitdir: /with blank/a\r\n", "/with blank/a"),
        (b"gitdir: /a\nsecond line\n", "/a"),
        (b"gitdir: /gr\xfc\xc3\xb6", "/gr\udcfcö"),
        (b"\n/x", None),
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
        (b"ref: refs/heads/gr\xc3\xbcn\n", "grün"),
        (b"ref: refs/remotes/origin/main\n", None),
        (b"ref: refs/heads/\n", None),
        (b"ref: refs/heads/a b\n", None),
        (b"ref: refs/heads/a\nb\n", None),
        (b"a" * 41, None),
        (b"A" * 40, None),
        (b"0" * 39 + b"g", None),
        (b"ref: refs/heads/a\x7fb\n", None),
    ],
)
def test_head_names_a_branch_or_none(data, branch):
    assert w.parse_head(data) == branch


def test_file_of_zeros_names_nothing():
    """A power loss leaves such files; a path with a zero byte stopped every tick."""
    for data in (b"\0" * 40, b"gitdir: \0\0\n", b"gitdir: /a\0b\n", b"ref: refs/heads/\0\0\n"):
        assert w.parse_gitfile(data) is None
        assert w.parse_head(data) is None


def test_head_of_a_repository_that_keeps_its_refs_in_tables_is_none():
    """Git writes this placeholder there; it was taken for a branch of that name."""
    assert w.parse_head(b"ref: refs/heads/.invalid\n") is None


@given(st.binary(max_size=60))
def test_any_bytes_name_a_folder_a_branch_or_nothing(data):
    assert w.parse_gitfile(data) is None or "\n" not in w.parse_gitfile(data)
    for branch in (w.parse_head(data), w.parse_head(b"ref: refs/heads/" + data)):
        assert branch is None or not set(branch) & set(" \n\0")


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


SHA = b"0" * 40
HEADS = {
    "1": b"1 .M N... 100644 100644 100644 %s %s " % (SHA, SHA),
    "2": b"2 R. N... 100644 100644 100644 %s %s R100 " % (SHA, SHA),
    "u": b"u UU N... 100644 100644 100644 100644 %s %s %s " % (SHA, SHA, SHA),
    "?": b"? ",
    "!": b"! ",
}
PATHS = st.one_of(
    st.sampled_from([b"a", b"a b", b" ", b"a\nb", b"? x", b"\xff\xfe", b"1 .M x", b"# branch", "ü".encode()]),
    st.binary(min_size=1, max_size=12).filter(lambda path: b"\0" not in path),
)


@given(st.lists(st.tuples(st.sampled_from(list(HEADS)), PATHS, PATHS), max_size=5), st.booleans())
def test_status_of_any_paths_is_read_as_it_was_written(entries, headed):
    records = [b"# branch.oid (initial)", b"# stash 1"] if headed else []
    for kind, path, origin in entries:
        records += [HEADS[kind] + path] + ([origin] if kind == "2" else [])
    answer = w.parse_status(b"".join(record + b"\0" for record in records))
    assert answer == [(kind, os.fsdecode(path)) for kind, path, _ in entries]


@pytest.mark.parametrize(
    "data",
    [
        b"M  file\0",
        b"1 .M N... 100644\0",
        b"x\0",
        b"fatal: not a git repository\n",
        b"??\0",
        b"3 a b\0",
        HEADS["1"][:-1] + b"\0",
    ],
)
def test_status_of_another_form_is_refused_in_words(data):
    with pytest.raises(ValueError, match="git status printed"):
        w.parse_status(data)


@pytest.mark.parametrize(
    ("data", "mib"),
    [
        (b"", None),
        (b"MemAvailable: x kB\n", None),
        (b"XMemAvailable: 1 kB\n", None),
        (b"MemAvailable:       0 kB\n", 0.0),
    ],
)
def test_memory_is_told_from_its_own_line_alone(data, mib):
    assert w.parse_meminfo(data) == mib


@pytest.mark.parametrize(
    ("said", "idle"),
    [
        ("checkout: moving from main to x", True),
        ("reset: moving to HEAD~1", True),
        ("pull: Fast-forward", True),
        ("pull --ff-only origin main: Fast-forward", True),
        ("merge main: Fast-forward", True),
        ("rebase (start): checkout main", True),
        ("rebase (finish): returning to refs/heads/x", True),
        ("pull --rebase (finish): returning to refs/heads/x", True),
        ("", True),
        ("commit: work", False),
        ("commit (amend): work", False),
        ("commit (merge): Merge branch 'x'", False),
        ("merge side: Merge made by the 'ort' strategy.", False),
        ("rebase (pick): work", False),
        ("rebase (squash): work", False),
        ("cherry-pick: work", False),
        ("am: work", False),
        ("revert: work", False),
        ("a tool that we do not know", False),
        ("commit: checkout: moving from a to b", False),
    ],
)
def test_a_log_of_head_knows_whether_anything_was_made_here(said, idle):
    old, new = b"1" * 40, b"2" * 40
    who = b" T <t@example.org> 1700000000 +0000\t"
    log = b"0" * 40 + b" " + old + who + b"\n" + old + b" " + new + who + said.encode() + b"\n"
    assert w.list_made(log) == ([] if idle else ["2" * 40])
    assert w.list_made(old + b" " + old + who + said.encode() + b"\n") == []  # nothing has moved


def log_of_head(*moves) -> bytes:
    """Return a log of HEAD; each move is (what was said, the digit of the name it led to)."""
    lines, old = [], b"0"
    for said, new in moves:
        lines.append(b"%s %s T <t@example.org> 1700000000 +0000\t%s\n" % (old * 40, new * 40, said))
        old = new
    return b"".join(lines)


def test_a_log_of_head_is_read_from_where_it_came_to_a_branch():
    first = (b"commit: for another bead", b"1")
    log = log_of_head(first, (b"checkout: moving from one to two", b"2"), (b"merge origin/main: Fast-forward", b"3"))
    assert w.list_made(log) == w.list_made(log, "wo") == w.list_made(log, "elsewhere") == ["1" * 40]
    assert w.list_made(log, "two") == []
    again = log + log_of_head((b"commit: work", b"4"), (b"checkout: moving from two to two", b"5"))
    assert w.list_made(again, "two") == ["4" * 40]


def test_a_log_of_head_that_began_on_a_branch_is_read_whole():
    """A worker that went elsewhere and came back has its commits before that, too."""
    there = (b"checkout: moving from one to feature", b"2")
    log = log_of_head(
        (b"commit: work", b"1"), there, (b"commit: more", b"3"), (b"checkout: moving from feature to one", b"1")
    )
    assert w.list_made(log, "one") == ["1" * 40, "3" * 40]


@given(st.binary(max_size=200), st.text(max_size=5))
def test_any_log_of_head_can_be_read(data, branch):
    assert all(isinstance(one, str) for one in w.list_made(data, branch))


def test_memory_that_no_machine_has_is_not_told():
    assert w.parse_meminfo(b"MemAvailable: " + b"9" * 400 + b" kB\n") is None
