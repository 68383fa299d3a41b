#!/usr/bin/env python3
"""Watchdog for rigs of AI coding agents.

Witness watches one rig: a repository in which several coding agents (polecats) work at once, each in its own git
worktree and tmux session. It sees who makes progress, nudges and escalates, retires finished workers without losing
a commit, and spawns workers for ready issues. One file, standard library only.

The house, bottom-up; a room uses only what stands above it (`./build.sh map` prints it with line numbers):

  words       header · constants · errors · settings · names · model · memory · actions
  reading     formats · letters · issues · dialects · answers
  judging     health · draft · alerts · ladder · retire · fate · patrol · slung · spawn · custody · requests · decide
  telling     report · explain · render · screen · units
  ----------  the line: above it nothing touches the outside, the clock or chance; below it nothing decides
  hands       children · host · processes · ground · store · git · tmux · tools · claims · queue · programs · town ·
              beads · hooks · mailbox · post · quiesce · contents · inspect · rescue · removal · trash · retirement ·
              recover · spawner
  running     observe · typing · ward · sling · upkeep · perform · loop · rehearsal · daemon · desk
  front door  worker · person · service · look · seat · seating · doctor · commands · cli

The loop (rooms `loop` and `decide`):

      +---------+   Observation   +--------+   Memory, actions   +------+   saved   +---------+
  +-->| observe |---------------->| decide |-------------------->| save |---------->| perform |--+
  |   +---------+                 | (pure) |                     +------+           +---------+  |
  |                               +--------+                                          outcomes   |
  +-------------- wait: next deadline, a signal, a changed mailbox <-----------------------------+

A crash between any two boxes leaves a memory from which the next round converges to the same end. Every signal is
PRESENT, ABSENT or UNKNOWN; unknown freezes decisions and never means dead.
"""

from __future__ import annotations

# Every import here is paid by each start of `status`; what only some commands need is imported by them.
import errno
import json
import os
import re
import stat
import sys
import time

__version__ = "0.1.0"


# ====================================================================================================
# FLOOR: words
# ====================================================================================================

# ====================================================================================================
# room: constants — fixed facts, each number with its unit and its reason
# ====================================================================================================

# The three answers a look can give. Strings, because they travel through JSON and logs.
PRESENT, ABSENT, UNKNOWN = "present", "absent", "unknown"

# Exit statuses: 0-4 follow init scripts (LSB "status"), 64-78 follow sysexits(3).
EXIT_OK = 0
EXIT_FAILED = 1  # also: something needs attention (health), dead with its PID file left (status)
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_UNKNOWN = 4  # status: cannot tell, or the daemon hangs
EXIT_BUSY = 75
EXIT_CONFIG = 78

MEMORY_VERSION = 1  # major version of witness.json; a newer one is refused, never overwritten
HOLD_VERSION = 1  # of the hold file, which names none yet; any other means paused
JSON_SCHEMA = 1  # of every --json answer

STATE_FOLDERS = (".gastown", ".runtime")
CONFIG_FILE = "witness-config.json"
HOLD_FILE = "witness-hold.json"
MEMORY_FILE = "witness.json"
LOCK_FILE = "witness.lock"
TICK_LOCK_FILE = "witness.tick.lock"
PID_FILE = "witness.pid"
LOG_FILE = "witness.log"
EVENTS_FILE = "witness-events.jsonl"
ID_FILE = "witness.id"
VIEW_FILE = "witness-view.json"
VIEW_LIMIT_BYTES = 64 << 20  # a worker takes half a KiB
MEMORY_LIMIT_BYTES = 64 << 20  # an open escalation takes two KiB
SPAWN_LOCK_FILE = "witness-spawn.lock"  # held by the spawn child for its life
SPAWN_FILE = "witness-spawn.json"  # written by the spawn child: who it is, and how it ended
QUEUE_LOCK_FILE = "witness-queue.lock"  # `add` and `close` one at a time
LOG_LIMIT_BYTES = 5 * 1024 * 1024  # rotated at this size
LOG_KEPT = 3  # rotated logs kept

RETIRING_REFS = "refs/witness/retiring/"
RETIRED_REFS = "refs/witness/retired/"
KEPT_REFS = "refs/witness/kept/"

NOT_POLECATS = frozenset({"witness", "refinery", "mayor", "deacon", "crew"})
OUTPUT_LIMIT_BYTES = 4 * 1024 * 1024  # of one outside call; a worse tool printed 1 GB
KILL_GRACE_S = 2.0  # between TERM and KILL: a git killed at once leaves packed-refs.lock and jams the rig
MAILS_PER_TICK = 200  # read per tick, oldest first: ten thousand must not stall a tick
ACKS_PER_TICK = 20  # acknowledged per tick, for the same reason
MAIL_LIMIT_BYTES = 64 * 1024  # of one mail looked at; a request needs a few hundred
SETTLE_TRIES = 3  # a person learns of what a shared queue refused so often
SETTLES_PER_TICK = 10  # claims that a shared queue is told of in one tick: each takes a second of bd
DEAD_LETTER_TRIES = 3  # a mail that could not be handled this often is kept aside and counted
SEND_RETRY_S = (60, 300, 900, 3600)  # waits between tries of a letter that could not be sent; the last repeats
REFUSAL_BACKOFF_S = (120, 300, 600, 1800)  # looks at a blocked request: after 2, 5, 10, then every 30 min
REFUSALS_TO_ESCALATE = 4  # the fourth look that is still blocked tells a person
RERAISE_S = 4 * 3600  # an escalation nobody answered is raised again after this
RERAISES = 3  # at most so often
SPAWN_BACKOFF_S = (120, 300)  # after the first and the second failed attempt
SPAWN_ATTEMPTS = 3  # then the issue waits for a person or `spawn reset`
BREAKER_FAILURES = 20  # failures within BREAKER_WINDOW_S open the rig-wide breaker
BREAKER_WINDOW_S = 30 * 60
KEPT_BACK_S = 30 * 60  # spawns kept back by host or tools for so long are told of: no restart of a database takes it
KEPT_BACK_REST_S = 15 * 60  # longest wait of an issue between two such tries
BREAKER_REST_S = 10 * 60  # then one spawn is tried (half-open); its end closes or opens the breaker again
STORM_WINDOW_S = 60  # "at once": workers that fell ill within this of each other
STORM_SHARE = 0.5  # this share of at least STORM_WORKERS is a fault of the host, not of the workers
STORM_WORKERS = 3
NAMES_TOLD = 8  # of the workers in a storm
MERGED_CHECK_S = 600  # handed-over work is looked for on the default branch this often
SWEEP_S = 600  # kept folders are aged this often
KEEPS_PER_TICK = 20  # worktrees whose work is kept in one tick: each takes a second of git
KEPTS_COMPARED = 500  # kept refs of a worker, the newest by name: a clock set back makes new ones that sort before old
KEPT_LOOK_S = 300  # until kept work is looked at again: a person edits without git, and no tick sees that without it
BEAT_S = 90  # between two heartbeats; gt takes a session for asleep after 180 s, and one hung call may take 60 of them
BEAT_TIMEOUT_S = 10  # of one heartbeat at most: it writes a file, and asks no database
BEAT_REST_S = 60.0  # longest rest of heartbeats that hang: gt's 180 s must not pass while they would work again
PATROL_S = 300  # between two rounds through the town: what the model in the witness's seat looked after
LONG_ACTION_TIMEOUTS = 30  # tool time-outs that one action may take, a retirement say, before it counts as hanging
FOLLOW_UPS = 12  # rounds run at once because an action's outcome asks for the next; then the normal wait
AGENTS_KEPT = 8  # foreground commands remembered per instance
SCREEN_LINES = 20  # last lines of a pane that travel as evidence

# Every kind of event, as `events` prints them, and what it means.
EVENTS = {
    "started": "the daemon runs",
    "stopped": "the daemon ended, and why",
    "reloaded": "changed settings are in force",
    "reload-failed": "the changed settings are wrong; the old ones stay in force",
    "imported": "settings and memory of the first Witness were taken over",
    "not-imported": "a setting of the first Witness that cannot be",
    "corrupt": "a file could not be read; it was kept aside and made anew",
    "degraded": "a tool does not answer; nothing that depends on it is done",
    "recovered": "a tool answers again; or a retired worker was brought back",
    "state": "a worker's state has changed, and why",
    "identity": "an id was made anew beside claims of another",
    "instance": "a new session has taken a worker's place; everything counts from nothing for it",
    "nudged": "a worker was reminded, and how that arrived",
    "progress": "a worker that was stuck makes progress again",
    "restarted": "a dead worker's agent was started again, or why it could not be",
    "escalated": "a person is told",
    "resolved": "what a person was told is over, and why",
    "letter": "a letter was sent, or which way of sending failed",
    "unsent": "a letter could not be sent; it is kept and tried again",
    "mail": "a mail was archived without a consequence, and why",
    "forwarded": "a mail that needs a mind was handed on",
    "requested": "a worker's shutdown was asked for",
    "refused": "its retirement was refused; everything that stands against it",
    "retired": "it is retired; its commits stay under its ref",
    "gone": "what was to be retired was gone already",
    "retirement-failed": "a step of a retirement failed; it goes on from there by itself",
    "taken-up": "an unfinished retirement was found in git that the memory had lost",
    "swept": "a kept folder was deleted, or could not be",
    "spawned": "a worker was started for an issue",
    "spawn-failed": "a worker could not be started, and why",
    "released": "an issue was set free, or a hold ended",
    "lost": "another was faster to take an issue; nothing was started for it",
    "claimed": "an issue that one of our workers is on was open again, and was claimed again",
    "unclosed": "an issue's work is on the default branch, but the issue could not be closed",
    "closed": "an issue's work is on the default branch; it was closed",
    "paused": "a person said stop acting",
    "resumed": "a person said go on",
    "held": "a person said leave this worker alone",
    "beside": "gt starts a model in the witness's seat, and how to stop that",
    "kept": "the work of a worktree that has no worker was kept under a ref, or could not be",
}

# Foreground commands that read typed words as their own commands: nothing is ever typed there.
SHELLS = frozenset("sh bash zsh fish dash ksh mksh ash csh tcsh nu xonsh pwsh".split())
NEVER_TYPE = SHELLS | frozenset(
    "vi vim nvim view vimdiff emacs nano ed ex micro hx helix joe mcedit "
    "less more most man pager bat tig lazygit "
    "ssh mosh telnet sudo su doas passwd gpg ssh-add login screen tmux".split()
)

# Variables of the caller that changed the meaning of children (lessons 8.15); dropped for every child.
SCRUBBED_PREFIXES = ("GIT_", "BD_", "BEADS_", "GT_", "CLAUDE", "WITNESS_")
SCRUBBED_NAMES = frozenset({"TMUX", "TMUX_PANE", "LC_ALL", "LANGUAGE", "COLUMNS", "LINES"})


# ====================================================================================================
# room: errors — failures we expect: what, where, what to do next
# ====================================================================================================


class WitnessError(Exception):
    """Stop the command with one line and a status.

    `kind` is a stable word for `--json`; `remedy` is the next step for a person. Anything else that is raised is a
    bug of ours and keeps its traceback.
    """

    status = EXIT_FAILED
    kind = "failed"

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def line(self) -> str:
        """Return the one line a person reads."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class UsageError(WitnessError):
    """The words on the command line do not make a command."""

    status = EXIT_USAGE
    kind = "usage"


class ConfigError(WitnessError):
    """A setting is unknown, out of range or unreadable."""

    status = EXIT_CONFIG
    kind = "config"


class BusyError(WitnessError):
    """Somebody else holds a lock we waited for."""

    status = EXIT_BUSY
    kind = "busy"


class NotRunningError(WitnessError):
    """The command needs a daemon and there is none."""

    status = EXIT_NOT_RUNNING
    kind = "not-running"


class StateError(WitnessError):
    """A file of the state folder cannot be used and must not be overwritten."""

    kind = "state"


class ToolError(WitnessError):
    """An outside tool is missing, failed, hung or printed what we do not know."""

    kind = "tool"


# ====================================================================================================
# room: settings — one row each; parser, environment, --set and the README's table come from it
# ====================================================================================================


class Setting:
    """Describe one setting: kind is one of seconds, number, flag, text, words, choice."""

    __slots__ = ("choices", "default", "help", "high", "kind", "low", "name", "unit")

    def __init__(self, name, kind, default, help, unit="", low=None, high=None, choices=()):
        self.name, self.kind, self.default, self.help = name, kind, default, help
        self.unit, self.low, self.high, self.choices = unit, low, high, choices

    def range(self) -> str:
        """Say in words which values are accepted."""
        if self.kind == "flag":
            return "true or false"
        if self.kind == "choice":
            return " or ".join(self.choices)
        if self.kind in ("seconds", "number"):
            return f"{self.low} to {self.high}{' ' + self.unit if self.unit else ''}"
        return "a list of words" if self.kind == "words" else "text"


YEAR_S = 366 * 86400  # the longest duration that still makes sense; above it a unit was mistaken


def _seconds(name, default, help, low=1):
    return Setting(name, "seconds", default, help, "s", low, YEAR_S)


SETTINGS = (
    _seconds("interval", 30, "time between two ticks"),
    _seconds("stuck_after", 1800, "no progress for this long is stuck"),
    _seconds("escalate_after", 3600, "a worker stuck for this long is escalated"),
    _seconds("nudge_wait", 300, "time a nudge has to work; at most one nudge per worker in it"),
    _seconds("start_grace", 120, "a new session is left alone for this long", 0),
    _seconds("quiet_after", 10800, "a pane that moves without any change of files for this long is busy (0: off)", 0),
    Setting(
        "nudge_via",
        "choice",
        "pane,mail",
        "how a nudge travels; the second if the first fails",
        choices=("pane", "mail", "pane,mail", "mail,pane"),
    ),
    Setting("on_dead", "choice", "report", "what follows a dead worker", choices=("report", "restart")),
    Setting("max_restarts", "number", 3, "restarts of one worker in an hour", "", 0, 1000),
    Setting("auto_spawn", "flag", True, "start workers for ready issues"),
    Setting("max_workers", "number", 4, "live workers at most", "", 0, 10000),
    Setting("spawn_delay_ms", "number", 5000, "time between two spawns", "ms", 0, 86400000),
    _seconds("spawn_timeout", 300, "a spawn may take this long"),
    Setting(
        "agent_command",
        "words",
        (),
        "argv that runs in a new worker's session; {rig} {name} {issue} {title} "
        "{worktree} are replaced; without it nothing is spawned",
    ),
    Setting("sling_args", "words", (), "in a Gas Town: more words for `gt sling`, --hook-raw-bead say"),
    Setting("epic_id", "text", "", "spawn only children of this epic, at any depth"),
    Setting("issue_prefix", "text", "", "spawn only issues whose id begins so"),
    Setting("labels", "words", (), "spawn only issues that carry all these labels"),
    Setting(
        "skip_types",
        "words",
        (
            "epic",
            "message",
            "merge-request",
            "gate",
            "molecule",
            "agent",
            "role",
            "rig",
            "convoy",
            "slot",
            "escalation",
        ),
        "issue types that are never spawned",
    ),
    Setting("max_load_per_core", "number", 2, "no spawn above this 1-minute load per core (0: off)", "", 0, 1000),
    Setting("min_free_memory", "number", 512, "no spawn below this much free memory", "MiB", 0, 1 << 30),
    Setting("min_free_disk", "number", 2048, "no spawn below this much free disk", "MiB", 0, 1 << 40),
    Setting("default_branch", "text", "", "the branch finished work ends on (default: the remote's HEAD)"),
    Setting("close_merged", "flag", True, "close an issue whose work has reached the default branch"),
    Setting("push_on_retire", "flag", False, "push the branch of a worker that is retired"),
    Setting(
        "precious",
        "words",
        (".env*", "*.pem", "*.key", "id_*", "*.sqlite*", "*.db", "*.kdbx", "credentials*", "*secret*"),
        "ignored files that block a retirement",
    ),
    Setting("provisioned", "words", (), "untracked files the tools put into each worktree; they never block"),
    Setting("trash_hours", "number", 24, "the folder of a retired worker is kept this long", "h", 0, 8784),
    Setting("retire_on_done", "flag", False, "take POLECAT_DONE for a request to be shut down, not only for news"),
    _seconds("release_orphans_after", 0, "free an issue whose worker's worktree is gone for this long (0: never)", 0),
    Setting("trusted_senders", "words", ("mayor", "deacon", "overseer"), "who may ask for another's shutdown"),
    Setting("mayor", "text", "mayor/", "address that gets escalations"),
    Setting("escalate_command", "words", (), "argv that also gets each escalation, JSON on its standard input"),
    Setting("tmux_socket", "text", "", "tmux -L socket name (default: tmux's own)"),
    Setting("session_name", "text", "gt-{rig}-{name}", "session of a worker"),
    Setting(
        "backend",
        "choice",
        "auto",
        "where issues, mail and workers come from",
        choices=("auto", "local", "beads", "gastown"),
    ),
    _seconds("tool_timeout", 20, "an outside tool that takes longer is ended"),
    Setting("as_root", "flag", False, "let root watch a rig that belongs to someone else"),
)
SETTING_BY_NAME = {setting.name: setting for setting in SETTINGS}


class Config:
    """Hold the value and the origin of every setting; read as attributes."""

    __slots__ = ("origins", "values")

    def __init__(self, values: dict, origins: dict) -> None:
        self.values = values
        self.origins = origins

    def __getattr__(self, name: str):
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None


def nearest(word: str, known) -> str:
    """Return the known word closest to a misspelt one, "" if none is close."""
    import difflib

    found = difflib.get_close_matches(word, list(known), 1)
    return found[0] if found else ""


def _typed(setting: Setting, value):
    kind = setting.kind
    if kind == "flag":
        return value if isinstance(value, bool) else None
    if kind in ("seconds", "number"):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            return None
        return value if setting.low <= value <= setting.high else None
    if kind == "words":
        if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
            return None
        if any("\0" in word for word in value):  # no program can be given such a word
            return None
        return tuple(value)
    if not isinstance(value, str) or any(ord(char) < 32 for char in value):
        return None
    if kind == "choice":
        return value if value in setting.choices else None
    return value


def check_setting(name: str, value, where: str):
    """Return the value in its setting's own type.

    Raises:
        ConfigError: unknown name (the nearest one is named), wrong type, or out of range; names key, range and file.
    """
    setting = SETTING_BY_NAME.get(name)
    if setting is None:
        close = nearest(name, SETTING_BY_NAME)
        raise ConfigError(
            f"unknown setting {name!r} in {where}",
            f"did you mean {close}?" if close else "`witness --help` lists the commands, the README the settings",
        )
    checked = _typed(setting, value)
    if checked is None:
        raise ConfigError(f"{name} is {value!r} in {where}", f"it takes {setting.range()}")
    return checked


def _parse_words(text: str):
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [word.strip() for word in text.split(",") if word.strip()]


def parse_setting(name: str, text: str, where: str):
    """Read a setting from the text of a variable or of --set; lists are JSON or comma-separated."""
    setting = SETTING_BY_NAME.get(name)
    value: object = text
    if setting is not None and setting.kind == "flag":
        value = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }.get(text.strip().lower(), text)
    elif setting is not None and setting.kind in ("seconds", "number"):
        try:
            value = float(text) if re.search(r"[.eE]", text) else int(text)
        except ValueError:
            value = text
    elif setting is not None and setting.kind == "words":
        value = _parse_words(text)
    return check_setting(name, value, where)


def make_config(file: dict, file_name: str, environ: dict, sets=()) -> Config:
    """Merge defaults, file, environment and --set, in that order; each later one wins.

    Unknown `WITNESS_*` variables are no settings and are passed over: agents get some from us.

    Raises:
        ConfigError: see check_setting.
    """
    values = {setting.name: setting.default for setting in SETTINGS}
    origins = dict.fromkeys(values, "default")
    for name, value in file.items():
        values[name] = check_setting(name, value, file_name)
        origins[name] = file_name
    for name in values:
        variable = "WITNESS_" + name.upper()
        if variable in environ:
            values[name] = parse_setting(name, environ[variable], variable)
            origins[name] = variable
    for pair in sets:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair!r} has no '='", "write --set name=value")
        values[name] = parse_setting(name, text, "--set")
        origins[name] = "--set"
    if not re.search(r"\{name\}", values["session_name"]):
        raise ConfigError(f"session_name is {values['session_name']!r}", "it must contain {name}")
    return Config(values, origins)


# Pairs that must stand so, each with what happens otherwise: (less, factor, more, why).
FITS = (
    ("interval", 2, "stuck_after", "a worker would be called stuck on two looks or fewer"),
    ("interval", 1, "nudge_wait", "a nudge would have no time to work between two looks"),
    ("stuck_after", 1, "escalate_after", "a person would be told before the worker was reminded"),
    ("start_grace", 1, "stuck_after", "a new worker would be left alone for longer than an old one"),
    ("tool_timeout", 3, "stuck_after", "one slow tool would take most of the time in which progress must show"),
)


def find_misfits(config: Config) -> list:
    """Return in words which settings do not fit each other; each alone is in its range."""
    found = [
        f"{less} ({config.values[less]:g} s) is more than {more} ({config.values[more]:g} s)"
        + (f" / {factor}" if factor > 1 else "")
        + f": {why}"
        for less, factor, more, why in FITS
        if config.values[less] * factor > config.values[more]
    ]
    if config.quiet_after and config.quiet_after < config.stuck_after:
        found.append("quiet_after is less than stuck_after: a worker would be busy before it could be stuck")
    if config.auto_spawn and config.agent_command and not config.max_workers:
        found.append("max_workers is 0: auto_spawn never starts anybody")
    return found


# ====================================================================================================
# room: names — what a string must look like before it becomes a path, a ref or a tmux target
# ====================================================================================================

# Patterns are text all over this file: `re` keeps what it has compiled, and a start that needs none pays for none.
POLECAT_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
RETIREMENT_ID = POLECAT_NAME + r"/\d{8}T\d{6}Z"
ISSUE_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
LOOKS_SECRET = (
    r"(?i)((?:api[_-]?key|token|secret|passw(?:or)?d|authorization|bearer)[\"']?(?:\s*[:=]\s*|\s+)[\"']?"
    r"(?:(?:bearer|basic)\s+)?)[^\s\"']{6,}"
    r"|\b(?:sk|ghp|gho|xox[abp]|AKIA)[-_A-Za-z0-9]{12,}"
)


def is_polecat_name(name: str) -> bool:
    """Tell whether a string may name a polecat."""
    return bool(re.fullmatch(POLECAT_NAME, name)) and name not in NOT_POLECATS


def is_issue_id(text: str) -> bool:
    """Tell whether a string may be an issue's id; it becomes the name of a claim file."""
    return bool(re.fullmatch(ISSUE_ID, text)) and ".." not in text and not text.endswith((".lock", "."))


def read_hook(rig: str, assignee: str) -> str:
    """Return the worker of a rig on whose hook a bead with this assignee hangs, "" for anybody else.

    >>> read_hook("demo", "demo/polecats/rust"), read_hook("demo", "demo/witness")
    ('rust', '')
    """
    match = re.fullmatch(rf"{re.escape(rig)}/(?:polecats/)?({POLECAT_NAME})", assignee)
    return match.group(1) if match and is_polecat_name(match.group(1)) else ""


def name_for_issue(issue: str) -> str:
    """Return the polecat's name that an issue's id suggests.

    >>> name_for_issue("de-9lx.2")
    'de-9lx-2'
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", issue).strip("-_")[:56] or "worker"
    return name if name not in NOT_POLECATS else name + "-1"


def free_name(wanted: str, taken) -> str:
    """Return the wanted name, or the first of wanted-2, wanted-3, … that is not taken."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


def session_for(template: str, rig: str, name: str) -> str:
    """Return the session's name as tmux keeps it: tmux itself replaces `.` and `:` by `_`."""
    return template.replace("{rig}", rig).replace("{name}", name).replace(".", "_").replace(":", "_")


SLING_LABEL = "witness:"  # begins the label that a bead carries while it is given to a worker


def read_sling_label(label: str) -> tuple:
    """Return (the id of the Witness that gives the bead to a worker, since when), ("", 0.0) of any other label.

    >>> read_sling_label("witness:h1-0123:951782400")
    ('h1-0123', 951782400.0)
    """
    match = re.fullmatch(SLING_LABEL + r"([\w.-]+):(\d{1,12})", label, re.ASCII)
    return (match.group(1), float(match.group(2))) if match else ("", 0.0)


def clean_line(text: str, limit: int = 200) -> str:
    """Return text as one printable line: no control characters, no escape sequence, at most limit characters."""
    if not text.isprintable():
        text = re.sub(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", "", text)
        text = "".join(char if char.isprintable() else " " for char in text)
    if "  " in text:
        text = re.sub(r" {2,}", " ", text)
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def address_folder(address: str) -> str:
    """Return the Maildir folder of an address, or raise UsageError where it cannot be one.

    >>> address_folder("demo/alpha"), address_folder("mayor/")
    ('demo.alpha', 'mayor')
    """
    folder = address.strip("/").replace("/", ".")
    if not re.fullmatch(r"[\w@+-][\w@+.-]{0,200}", folder) or ".." in folder:
        raise UsageError(f"{clean_line(address)!r} is no mail address", "write RIG/NAME, RIG/witness or mayor/")
    return folder


def clean_text(text: str, limit: int = 4000) -> str:
    """Return text of several lines without control characters other than newline; indents stay."""
    lines = text.splitlines()
    indents = [line[: len(line) - len(line.lstrip(" "))][:40] for line in lines]
    return "\n".join(indent + clean_line(line, 400) for indent, line in zip(indents, lines))[:limit]


def mask_secrets(text: str) -> str:
    """Hide what looks like a password, key or token."""
    return re.sub(LOOKS_SECRET, lambda match: (match.group(1) or "") + "[masked]", text)


# No pattern, as in the name of a rig: each start of `status` would compile it.
SHELL_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")


def shell_word(text: str) -> str:
    """Write a text so that a shell reads it as one word."""
    is_plain = text and SHELL_PLAIN.issuperset(text)
    return text if is_plain else "'" + text.replace("'", "'\"'\"'") + "'"


def utc(at: float) -> tuple:
    """Return (year, month, day, hour, minute, second) of epoch seconds; `datetime` would cost each start 7 ms."""
    days, rest = divmod(int(at // 1), 86400)
    # Civil-from-days: years counted from March so that the leap day is the last of its year.
    era, day_of_era = divmod(days + 719468, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    year = year_of_era + era * 400 + (month <= 2)
    return year, month, day, rest // 3600, rest // 60 % 60, rest % 60


# What four digits of a year can tell, 0000 to 9999; the time of a file may lie anywhere.
FIRST_AT, LAST_AT = -62167219200.0, 253402300799.0


def rfc3339(at: float) -> str:
    """Write epoch seconds as RFC 3339 in UTC, milliseconds kept; 0 (never) is "".

    >>> rfc3339(951782400.5)
    '2000-02-29T00:00:00.500Z'
    """
    if not at:
        return ""
    at = min(max(round(at, 3), FIRST_AT), LAST_AT)
    year, month, day, hour, minute, second = utc(at)
    thousandth = round(at % 1 * 1000) % 1000
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{thousandth:03d}Z"


def time_id(at: float) -> str:
    """Write epoch seconds as the time part of a ref: no colons there."""
    year, month, day, hour, minute, second = utc(at)
    return f"{year:04d}{month:02d}{day:02d}T{hour:02d}{minute:02d}{second:02d}Z"


def _split_own(text: str) -> tuple | None:
    """Return the parts of a stamp as `rfc3339` writes it, None of any other: a pattern costs each start 1 ms."""
    words = text[:4], text[5:7], text[8:10], text[11:13], text[14:16], text[17:19], text[20:23]
    if len(text) != 24 or text[4:20:3] + text[23] != "--T::.Z":
        return None
    if not text.isascii() or not all(word.isdigit() for word in words):
        return None
    *numbers, thousandth = map(int, words)
    return (*numbers, thousandth / 1000, 0) if numbers[3] < 24 and numbers[4] < 60 and numbers[5] < 60 else None


def _split_stamp(text: str) -> tuple:
    clock = r"([01]\d|2[0-3]):([0-5]\d)"
    pattern = rf"(\d{{4}})-(\d\d)-(\d\d)[Tt ]{clock}:([0-5]\d|60)(\.\d+)?(?:[Zz]|([+-]){clock})?"
    match = re.fullmatch(pattern, text.strip(), re.ASCII)
    if not match:
        raise ValueError(f"no RFC 3339 stamp: {text[:40]!r}")
    sign, hours, minutes = match.group(8, 9, 10)
    offset_s = (int(hours) * 60 + int(minutes)) * (-60 if sign == "-" else 60) if sign else 0
    return (*(int(match.group(index)) for index in range(1, 7)), float(match.group(7) or 0), offset_s)


def parse_rfc3339(text: str) -> float:
    """Read RFC 3339 (any offset, any fraction) as epoch seconds; "" is 0.

    Raises:
        ValueError: the text is no such stamp.
    """
    if not text:
        return 0.0
    if not isinstance(text, str):  # out of a file that anybody may have written
        raise ValueError(f"no RFC 3339 stamp: {str(text)[:40]!r}")
    year, month, day, hour, minute, second, fraction, offset_s = _split_own(text) or _split_stamp(text)
    shifted = year - (month <= 2)
    era, year_of_era = divmod(shifted, 400)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    days = era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468
    if utc(days * 86400)[:3] != (year, month, day):  # the 31st of February would be a day of March
        raise ValueError(f"no such day: {text[:40]!r}")
    return days * 86400 + hour * 3600 + minute * 60 + second + fraction - offset_s


def span(seconds: float) -> str:
    """Write a duration for people: 42s, 5m, 3h10m, 2d4h."""
    seconds = int(max(0, seconds))
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m"
    if seconds < 86400:
        return f"{seconds // 3600}h{seconds // 60 % 60:02d}m"
    return f"{seconds // 86400}d{seconds // 3600 % 24}h"


# ====================================================================================================
# room: model — the values that looks return and rooms hand to each other
# ====================================================================================================


class _ValueType(type):
    """Turn annotated fields into slots at class creation; `dataclasses` would cost each start 25 ms."""

    def __new__(mcs, name, bases, body):
        fields = tuple(body.get("__annotations__", ()))
        own = {field: body.pop(field) for field in fields if field in body}
        inherited = bases[0] if bases else None
        body["_defaults"] = {**getattr(inherited, "_defaults", {}), **own}
        body["_fields"] = getattr(inherited, "_fields", ()) + fields
        body["__slots__"] = fields
        return super().__new__(mcs, name, bases, body)


class Value(metaclass=_ValueType):
    """Base of all values: made by keyword, compared by content, copied with changes by `but`.

    Nobody changes a value in place; dict and tuple fields are copied by whoever changes them.
    """

    def __init__(self, **given):
        values = {**self._defaults, **given}
        for field, value in values.items():
            setattr(self, field, value)
        if len(values) < len(self._fields):
            missing = [field for field in self._fields if field not in values]
            raise TypeError(f"{type(self).__name__} lacks {', '.join(missing)}")

    def but(self, **changes):
        """Return a copy with these fields changed."""
        copy = object.__new__(type(self))
        for field in self._fields:
            setattr(copy, field, changes.pop(field) if field in changes else getattr(self, field))
        if changes:
            raise TypeError(f"{type(self).__name__} has no {', '.join(changes)}")
        return copy

    def fields(self) -> dict:
        """Return the fields as a dict, values not copied."""
        return {field: getattr(self, field) for field in self._fields}

    def __eq__(self, other):
        if self is other:
            return True
        if type(self) is not type(other):
            return False
        return all(getattr(self, field) == getattr(other, field) for field in self._fields)

    __hash__ = None

    def __repr__(self):
        inside = ", ".join(f"{field}={value!r}" for field, value in self.fields().items())
        return f"{type(self).__name__}({inside})"


class Rig(Value):
    """Where everything of one rig lies; all paths absolute and real."""

    name: str
    path: str
    state: str  # state folder
    base: str  # repository that owns the worktrees
    common: str  # its common git dir
    polecats: str  # folder of the workers
    agents_path: str = ""  # how an agent calls us: the archive, or this file


class Worktree(Value):
    """A linked worktree under polecats/, as its own files describe it."""

    name: str
    path: str
    admin: str  # its folder in the common git dir, named by the worktree's .git file
    branch: str = ""  # short name; "" while HEAD is detached
    born_at: float = 0.0
    git_at: float = 0.0  # newest of index, HEAD, logs/HEAD in the admin folder
    record_at: float = 0.0  # newest of the worker's own record files
    record: dict = {}  # the worker's own record: issue, state
    trouble: str = ""  # why git's side of it cannot be judged


class Process(Value):
    """One process; pid *and* start name it, for pids are used again."""

    pid: int
    start: int  # clock ticks since boot on Linux, a hash of its start date elsewhere
    parent: int
    foreground: int  # process group in front on its terminal, -1 for none
    group: int
    zombie: bool = False


class Pane(Value):
    """One pane, as one `tmux list-panes -a` saw it."""

    session: str
    session_id: str
    created_at: float  # of the session
    attached: int  # clients, control clients included
    server_pid: int
    pane_id: str
    pid: int
    dead: bool
    in_mode: bool  # copy mode and its kin swallow keys
    activity_at: float  # window_activity: session_activity stands still while detached
    command: str  # argv[0] of the foreground process


class Sighting(Value):
    """What one tick saw of one polecat."""

    name: str
    worktree: Worktree
    session: str = UNKNOWN  # PRESENT, ABSENT or UNKNOWN
    panes: tuple = ()
    pane: Pane | None = None  # the worker's own
    pane_start: int = 0  # start time of its process, clock ticks since boot; 0: not known
    shell: str = ""  # "": foreground is no shell; else "interactive", "script" or UNKNOWN
    process_lives: bool = False  # the recorded pane process is there although no session is


class Look(Value):
    """The second look that precedes a nudge: what only git and the pane's text can tell."""

    name: str
    at: float
    ok: bool
    files_at: float = 0.0  # newest change of a file git calls changed or untracked
    changed: int = 0  # how many
    screen: str = ""  # the pane's last lines, cleaned and masked
    persons: int = 0  # attached clients that are no control clients
    reason: str = ""  # why not ok


class Mail(Value):
    """One message of our own mailbox."""

    id: str
    sender: str
    subject: str
    body: str
    at: float


class Issue(Value):
    """One line of the queue."""

    id: str
    title: str = ""
    status: str = "open"
    priority: int = 0  # missing means 0: bd 0.30.7 omits it there
    type: str = "task"
    assignee: str = ""
    labels: tuple = ()
    blocked_by: tuple = ()
    parents: tuple = ()
    created: str = ""  # RFC 3339 text, only compared
    deferred_until: str = ""  # RFC 3339 text
    aside: str = ""  # why it is no work although open: pinned, ephemeral, template
    rank: int = 0  # its place in the answer of a queue that orders what it gives
    again: bool = False  # in progress for us, whose try has failed: it is ours to try again


class Claim(Value):
    """One issue's claim and what its worker was given; also the record that outlives the worker."""

    issue: str
    actor: str
    at: float
    state: str = "claimed"  # claimed, working, failed (residue left), handed-over, released, closed
    name: str = ""
    branch: str = ""
    start: str = ""  # commit the branch started from
    base: str = ""  # the default branch when its worker was made
    ref: str = ""  # retired ref, once handed over
    tip: str = ""  # commit handed over
    birth: tuple = ()  # [path, raw hash] that status listed right after the checkout
    owed: str = ""  # what a shared queue was not told yet: claim, release, label, close
    shared: bool = False  # a shared queue knows of it; one that was made beside a file does not


class Town(Value):
    """Where the rig stands in a Gas Town, and what `gt` does there meanwhile."""

    path: str
    version: str  # of gt
    session: str  # template of a worker's session, as of session_name
    refinery: str  # its session
    socket: str = ""  # of the town's tmux server; "": tmux's own
    typed: bool = False  # the news of a finished worker reaches the refinery without us
    reuses: bool = False  # a sling resets idle worktrees and ends sessions that have sent no heartbeat
    seat: str = ""  # the agent in the witness's seat, "ours" where it is this program, "" where nothing was set
    can_seat: bool = False  # it can be this program
    vouches: bool = True  # whoever sent a mail is known; bd's own mail names the user of git, or whom the sender likes
    left: str = ""  # why gt alone gives issues to workers
    convoys: dict = {}  # by issue: the open convoy out of which gt's daemon gives it to a worker


class SpawnSight(Value):
    """The recorded spawn child as this tick sees it."""

    alive: bool  # it holds its lock, or what it called lives on without it
    issue: str = ""
    name: str = ""
    pid: int = 0
    start: int = 0  # process start time, clock ticks since boot
    ok: bool | None = None  # None: it never wrote how it ended
    reason: str = ""
    fault: str = ""  # "host" or "tool": no attempt of the issue is counted
    branch: str = ""
    commit: str = ""  # where the branch was started
    birth: tuple = ()
    before: tuple = ()  # worktrees that were there when a sling began
    tool: tuple = ()  # pid and start of the gt that it called


class Load(Value):
    """The host's guards; None where the system cannot say."""

    per_core: float | None = None
    free_memory_mib: float | None = None
    free_disk_mib: float | None = None


class Port(Value):
    """How one outside tool answered in this tick."""

    state: str = PRESENT
    version: str = ""
    reason: str = ""


class Outcome(Value):
    """How one action ended."""

    kind: str
    subject: str
    ok: bool
    at: float
    detail: str = ""
    data: dict = {}


class Observation(Value):
    """Everything one tick knows of the world; `now` is its only clock."""

    now: float  # wall clock, epoch seconds
    rig: str
    day: str = ""  # the local date, for the today_… figures
    first: bool = False  # the first tick of this process
    gap: bool = False  # we slept far longer than asked: suspend, SIGSTOP, clock jump
    person: bool = False  # a one-shot command asked
    duties: frozenset = frozenset({"health", "shutdown", "spawn"})
    only: tuple = ()  # names or issues the person named; () is all
    ports: dict = {}
    sightings: dict = {}
    strangers: tuple = ()  # (folder, reason) below polecats/ that are none
    sessions: frozenset | None = None  # names of all sessions; None: tmux could not be asked
    looks: dict = {}
    outcomes: tuple = ()
    mails: tuple = ()
    mails_waiting: int = 0
    bad_mails: tuple = ()  # those that nobody can read, in words
    issues: tuple | None = None  # None: the queue could not be asked
    whole: bool = True  # these are all there are; else an issue that is not here is only not ready
    fresh: bool = True  # what is in progress was asked for in this very look
    bad_lines: tuple = ()
    claims: dict | None = None
    spawn: SpawnSight | None = None
    load: Load | None = None
    paused: str = ""
    holds: dict = {}
    resumed_at: float = 0.0
    actor: str = ""
    command: str = "witness"  # how others call us
    town: Town | None = None  # None: the rig stands in none


# ====================================================================================================
# room: memory — what must survive a crash, and its form in witness.json
# ====================================================================================================
#
# Fields named *_at are epoch seconds in a value and RFC 3339 text in the file.


class Track(Value):
    """What is remembered of one polecat."""

    instance: str = ""  # one life: session id, creation and server, see `instance_of`
    pane_id: str = ""
    pane_pid: int = 0
    pane_start: int = 0
    agents: tuple = ()  # foreground commands seen as this instance's agent
    state: str = ""
    state_at: float = 0.0
    reset_at: float = 0.0  # timers count from here at the earliest: a start, a gap
    quiet_from_at: float = 0.0  # newest progress when the episode began; 0: no episode
    nudged_at: float = 0.0
    nudge_result: str = ""  # delivered, unconfirmed or failed, and how
    escalated_at: float = 0.0
    last_nudge_at: float = 0.0  # pane activity from here until `nudge_wait` later is our own paste
    busy_told: bool = False
    dead_ticks: int = 0
    restarts: tuple = ()  # RFC 3339 times of restarts within the last hour
    screen: str = ""  # last line at the latest second look
    screen_at: float = 0.0
    kept: str = ""  # in which state its work was kept last, see `mark_of`; "": not since its worker went
    kept_at: float = 0.0  # when that was looked at last


class Request(Value):
    """One wish that a polecat be retired."""

    name: str
    sender: str
    at: float
    force: bool = False
    mails: tuple = ()  # ids of the messages that asked
    looks: int = 0  # blocked looks so far
    next_at: float = 0.0
    blockers: tuple = ()  # [kind, evidence, remedy] of the last look
    told: str = ""  # the set of blockers the worker was last told
    escalated: bool = False


class Retirement(Value):
    """One retirement under way, saved between its steps."""

    name: str
    id: str  # <name>/<YYYYMMDDTHHMMSSZ>
    at: float
    step: str = "verify"
    force: bool = False
    issue: str = ""
    branch: str = ""  # the one that may be deleted; "" if none
    tip: str = ""
    start: str = ""  # commit the branch started from, "" for a hand-made worktree
    path: str = ""
    admin: str = ""
    session: str = ""
    instance: str = ""
    pane_id: str = ""
    pane_pid: int = 0
    pane_start: int = 0
    birth: tuple = ()
    commit: str = ""  # rescue commit the ref points to
    committed: bool = False
    branch_result: str = ""  # deleted or kept
    branch_reason: str = ""
    idle: bool = False  # no commit since the spawn: its own reflog says so
    astray: tuple = ()  # its commits that neither the tip nor the default branch has, and another branch does
    unpushed: str = ""  # why push_on_retire did not push
    error: str = ""
    tries: int = 0  # how often it failed so far
    next_at: float = 0.0


class Effort(Value):
    """What was tried for one issue."""

    attempts: int = 0
    next_at: float = 0.0
    error: str = ""


class Escalation(Value):
    """One open matter for a person; at most one per cause and instance."""

    cause: str
    name: str
    instance: str
    summary: str
    opened_at: float
    raised_at: float = 0.0
    raises: int = 0
    evidence: str = ""


class Letter(Value):
    """One message on its way out; its key makes a second delivery of it harmless."""

    to: str
    subject: str
    body: str
    at: float
    tries: int = 0
    next_at: float = 0.0
    event: str = ""  # opened, again or resolved, where it is also for escalate_command
    cause: str = ""
    name: str = ""  # the polecat, "" for what is about none
    mailed: bool = False


class Spawn(Value):
    """The one spawn under way."""

    issue: str
    at: float
    deadline_at: float
    trouble: str = ""  # why it cannot be settled, although it has ended


class PortTrack(Value):
    """Since when a tool has not answered."""

    since_at: float
    reason: str = ""


class Memory(Value):
    """Everything of witness.json; keys of the first Witness keep their names."""

    version: int = MEMORY_VERSION
    rig_name: str = ""
    state: str = "stopped"
    pid: int = 0
    started_at: float = 0.0
    monitored_polecats: tuple = ()
    last_check_at: float = 0.0
    stats: dict = {}
    config: dict = {}
    spawned_issues: tuple = ()
    polecats: dict = {}
    requests: dict = {}
    retirements: dict = {}
    issues: dict = {}
    escalations: dict = {}
    ports: dict = {}
    pending: dict = {}  # letters by key
    spawn: Spawn | None = None
    spawned_at: float = 0.0
    failures: tuple = ()  # times of failed spawns, for the breaker
    breaker_at: float = 0.0  # opened
    storm_at: float = 0.0  # host-level halt since
    calm_ticks: int = 0
    merged_at: float = 0.0  # last look for merged work
    owed: dict = {}  # by issue: what a shared queue would not be told, and when it is tried again
    missed: tuple = ()  # at the last look: issues whose worker was gone, and causes of what was told of others
    backend: str = ""  # the queue this rig had last; a database that is away is no reason for another
    swept_at: float = 0.0
    handled: tuple = ()  # mails that were dealt with and are in the inbox still: archiving them may have failed
    beat_at: float = 0.0  # last heartbeats for the workers of a town
    patrolled_at: float = 0.0  # last round through the town
    exceptions: int = 0
    day: str = ""  # the local day that the today_… figures belong to


# Which fields of Memory hold values, and of which kind.
MEMORY_TABLES = {
    "polecats": Track,
    "requests": Request,
    "retirements": Retirement,
    "issues": Effort,
    "owed": Effort,
    "escalations": Escalation,
    "ports": PortTrack,
    "pending": Letter,
}


def dump_value(value: Value) -> dict:
    """Return a value as JSON data: stamps as text, nested values as objects, defaults left out."""
    data = {}
    for field, content in value.fields().items():
        if field in value._defaults and content == value._defaults[field]:
            continue
        if field.endswith("_at") or field == "at":
            content = rfc3339(content)
        elif isinstance(content, Value):
            content = dump_value(content)
        elif isinstance(content, dict):
            content = {key: dump_value(one) if isinstance(one, Value) else one for key, one in content.items()}
        data[field] = content
    return data


def freeze(content):
    """Return JSON lists as tuples, at any depth."""
    return tuple(freeze(one) for one in content) if isinstance(content, list) else content


# What an entry of a list holds where it is no text: so many texts in a row, or a stamp as text.
ROW_LENGTHS = {"birth": 2, "blockers": 3}
STAMP_LISTS = frozenset({"restarts", "failures"})


def _is_entry(field: str, entry) -> bool:
    if field in ROW_LENGTHS:
        return (
            isinstance(entry, tuple)
            and len(entry) == ROW_LENGTHS[field]
            and all(isinstance(text, str) for text in entry)
        )
    if field in STAMP_LISTS and isinstance(entry, str):
        parse_rfc3339(entry)
    return isinstance(entry, str)


def _as_type(field: str, content, default):
    if default is None:
        return content
    fits = type(content) is type(default)
    if isinstance(default, tuple) and isinstance(content, list):
        content = freeze(content)
        fits = all(_is_entry(field, entry) for entry in content)
    elif field == "stats" and fits:
        fits = all(type(figure) in (int, float) for figure in content.values())
    if not fits:
        raise ValueError(f"{field} cannot be {clean_line(json.dumps(content), 40)}")
    return content


def load_value(kind: type, data, tables=()):
    """Read a value back; unknown keys are passed over (a later minor version wrote them).

    Raises:
        ValueError: not an object, a field or an entry of a list that is not of its type, or a field missing that has no
            default. What is let in here is believed from then on: a wrong entry would fail in every tick.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{kind.__name__} is no object")
    given = {}
    for field in kind._fields:
        if field not in data:
            continue
        content = data[field]
        if field.endswith("_at") or field == "at":
            if not isinstance(content, str):
                raise ValueError(f"{field} is no stamp")
            content = parse_rfc3339(content)
        elif field in tables:
            if not isinstance(content, dict):
                raise ValueError(f"{field} is no object")
            content = {key: load_value(tables[field], one) for key, one in content.items()}
        else:
            content = _as_type(field, content, kind._defaults.get(field, ""))
        given[field] = content
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(str(error)) from None


LONGEST_WAIT_S = SEND_RETRY_S[-1]  # nothing is put off for longer, so a later time comes of a clock that ran ahead


def forget_future(value, now: float):
    """Return a value with no time noted under a clock that ran ahead: nothing waits until it would come again."""
    changes = {}
    for field, one in value.fields().items():
        if isinstance(one, Value):
            changes[field] = forget_future(one, now)
        elif isinstance(one, dict):
            changes[field] = {key: forget_future(x, now) if isinstance(x, Value) else x for key, x in one.items()}
        elif field in ("restarts", "failures"):
            changes[field] = tuple(at for at in one if (parse_rfc3339(at) if isinstance(at, str) else at) <= now)
        elif field == "next_at":
            changes[field] = now if one > now + LONGEST_WAIT_S else one
        elif field.endswith("_at") and field not in ("deadline_at", "opened_at"):
            changes[field] = min(one, now)  # opened_at names the letter that told of it
    return value.but(**changes)


def dump_memory(memory: Memory) -> str:
    """Write witness.json; the same memory gives the same text."""
    return json.dumps({"version": memory.version, **dump_value(memory)}, indent=1, sort_keys=True) + "\n"


def load_memory(text: str) -> Memory:
    """Read witness.json.

    Raises:
        StateError: a newer major version wrote it.
        ValueError: it is no memory; the caller moves it aside.
    """
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("no object")
    version = data.get("version", MEMORY_VERSION)
    if isinstance(version, int) and not isinstance(version, bool) and version > MEMORY_VERSION:
        raise StateError(
            f"{MEMORY_FILE} was written by a newer Witness (format {version})", "use that one, or move the file away"
        )
    spawn = data.pop("spawn", None)
    # The first Witness wrote null where it had nothing.
    data = {key: value for key, value in data.items() if value is not None}
    memory = load_value(Memory, data, MEMORY_TABLES)
    return memory.but(spawn=load_value(Spawn, spawn)) if spawn else memory


def import_first(text: str) -> tuple | None:
    """Return (memory, its settings, what could not be taken) of a witness.json of the first Witness, else None.

    It wrote no version. 0 meant the default there, and "nudge:…" among the spawned issues was its memory of nudges.

    Raises:
        ValueError: it is no JSON.
    """
    data = json.loads(text)
    if not isinstance(data, dict) or "version" in data or not {"rig_name", "spawned_issues", "config"} & set(data):
        return None
    found, settings, lost = data.get("config"), {}, []
    for name, value in (found if isinstance(found, dict) else {}).items():
        if value in (0, "", None) and value is not False:
            continue
        try:
            settings[name] = check_setting(name, value, MEMORY_FILE)
        except ConfigError as error:
            lost.append(error.line())
    spawned = data.get("spawned_issues")
    issues = [one for one in spawned if isinstance(one, str)] if isinstance(spawned, list) else []
    figures = data.get("stats") if isinstance(data.get("stats"), dict) else {}
    memory = Memory(
        rig_name=str(data.get("rig_name") or ""),
        spawned_issues=tuple(one for one in issues if not one.startswith("nudge:")),
        stats={name: value for name, value in figures.items() if type(value) in (int, float)},
    )
    return memory, settings, lost


# ====================================================================================================
# room: actions — all that a tick can do; `decide` makes them, `perform` does each once
# ====================================================================================================


class Action(Value):
    """Base of all actions; `subject` is the polecat, issue or letter it is about."""

    subject: str
    why: str = ""


class LookTwice(Action):
    """Take the second look at a polecat."""

    pane_id: str = ""


class Nudge(Action):
    """Remind a stuck worker, in its pane or by mail."""

    text: str
    pane: Pane | None = None
    agents: tuple = ()
    via: str = "pane,mail"


class SendLetter(Action):
    """Send one letter of the outbox; its key is the subject."""

    letter: Letter


class AckMail(Action):
    """Take one handled mail out of the inbox; its id is the subject."""

    note: str = ""


class Restart(Action):
    """Start the agent of a dead worker again in its worktree."""

    issue: str = ""
    title: str = ""


class Retire(Action):
    """Go through the retirement from its recorded step; everything it does is one action."""

    retirement: Retirement


class StartSpawn(Action):
    """Claim an issue and start the spawn child for it."""

    issue: Issue
    name: str  # "" in a town: gt names the worker
    resting: tuple = ()  # idle workers that gt may use again


class EndSpawn(Action):
    """Settle the claim of a spawn that has ended, or end a spawn that is overdue."""

    sight: SpawnSight
    overdue: bool = False


class ReleaseOrphan(Action):
    """Set an issue free whose worker is gone without a trace."""

    claim: Claim


class SettleClaim(Action):
    """Bring the queue and a claim of ours together."""

    claim: Claim
    step: str  # tell: the queue what it is owed; keep: claim it again; free: somebody else set it free


class CheckMerged(Action):
    """Look whether handed-over work has reached the default branch; close its issue if so."""

    claim: Claim
    fetch: bool = False  # what was merged elsewhere, on the forge say, is fetched before


class SweepTrash(Action):
    """Delete kept folders of retired workers that are old enough."""


class KeepWork(Action):
    """Keep what a worktree without a worker holds, under a ref."""

    mark: str  # the state in which it is kept, see `mark_of`
    again: bool = False  # it was kept in this state, but somebody may have worked there without git


class SendHeartbeats(Action):
    """Tell gt that these sessions live; whoever is silent for 3 min is ended by its next sling."""

    sessions: tuple


class Patrol(Action):
    """Look at refinery, mayor and deacon, and let bd ring the timers of its gates."""


class StartSession(Action):
    """Let gt start the session of one who is no worker."""


def describe(action: Action) -> str:
    """Say in one line what an action does, for the log and for --dry-run."""
    words = {
        LookTwice: "look again at",
        Nudge: "nudge",
        SendLetter: "send letter",
        AckMail: "acknowledge mail",
        Restart: "restart",
        Retire: "retire",
        StartSpawn: "spawn a worker for",
        EndSpawn: "settle the spawn for",
        ReleaseOrphan: "release",
        SettleClaim: "bring queue and claim together for",
        CheckMerged: "look whether it is merged:",
        SweepTrash: "sweep",
        KeepWork: "keep the work of",
        SendHeartbeats: "send heartbeats for",
        Patrol: "look after",
        StartSession: "start the session of",
    }[type(action)]
    return clean_line(f"{words} {action.subject}" + (f" ({action.why})" if action.why else ""))


# ====================================================================================================
# FLOOR: reading
# ====================================================================================================

# ====================================================================================================
# room: formats — text of git, tmux and /proc into values; the only place that knows their shapes
# ====================================================================================================


def _is_id(text: str, kind: str) -> bool:
    return text[:1] == kind and text.isascii() and text[1:].isdecimal()  # no pattern: a thousand panes each tick


def parse_panes(text: str, mark: str = ""):
    """Read what PANE_FORMAT printed as a tuple of panes; a string says which line is none of them.

    One line that cannot be read makes the whole answer unknown: a worker missing from half an answer would look dead.
    mark: what ends each line besides the newline, for a program may call itself anything.
    """
    panes = []
    *lines, rest = text.split(f"\t{mark}\n" if mark else "\n")
    for line in (*lines, rest):
        if not line:
            continue
        if mark and line is rest:
            return f"tmux list-panes printed {clean_line(line, 60)!r}"
        words = line.split("\t", 10)
        try:
            numbers = [int(word) for word in (*words[:2], *words[3:5], *words[6:9])]
            server, created, attached, activity, pid, dead, in_mode = numbers
            created_at, activity_at = float(created), float(activity)
            session_id, pane_id, session, command = words[2], words[5], words[9], words[10]
        except (ValueError, IndexError, OverflowError):
            return f"tmux list-panes printed {clean_line(line, 60)!r}"
        if not (_is_id(session_id, "$") and _is_id(pane_id, "%")):
            return f"tmux list-panes printed {clean_line(line, 60)!r}"
        panes.append(
            Pane(
                session=session,
                session_id=session_id,
                created_at=created_at,
                attached=attached,
                server_pid=server,
                pane_id=pane_id,
                pid=pid,
                dead=bool(dead),
                in_mode=bool(in_mode),
                activity_at=activity_at,
                command=clean_line(command, 40),
            )
        )
    return tuple(panes)


def says_no_server(complaint: str, failure: str) -> bool:
    """Tell whether tmux said that no server runs, which is an answer and no failure."""
    return not failure and bool(
        re.search(
            r"no server running on|error connecting to .*\((?:No such file|Connection refused)|no sessions", complaint
        )
    )


def instance_of(pane: Pane) -> str:
    """Name one life of a polecat: names and ids repeat, all four together do not."""
    return f"{pane.server_pid}.{pane.session_id[1:]}.{int(pane.created_at)}"


def parse_proc_stat(data: bytes) -> Process | None:
    """Read /proc/PID/stat; the name in parentheses may itself hold parentheses and spaces."""
    before, _, after = data.rpartition(b")")
    words = after.split()
    try:
        return Process(
            pid=int(before.split(b"(", 1)[0]),
            start=int(words[19]),
            parent=int(words[1]),
            group=int(words[2]),
            foreground=int(words[5]),
            zombie=words[0] in (b"Z", b"X"),
        )
    except (ValueError, IndexError):
        return None


def parse_meminfo(data: bytes) -> float | None:
    """Return the MiB that can be had without swapping."""
    match = re.search(rb"^MemAvailable:\s+(\d{1,15}) kB", data, re.MULTILINE)
    return int(match.group(1)) / 1024 if match else None


def is_interactive_shell(argv) -> bool:
    """Tell whether a shell's argv has neither a script nor -c.

    >>> [is_interactive_shell(argv) for argv in (("-bash",), ("bash", "agent.sh"), ("sh", "-ec", "x"))]
    [True, False, False]
    """
    takes_value = {"--rcfile", "--init-file", "-o", "+o", "-O", "+O"}
    words = iter(argv[1:])
    for word in words:
        if word in takes_value:
            next(words, "")
        elif word.startswith("--command") or re.match(r"[^+-]|[+-](?!-).*c", word):
            return False
    return True


# What git notes of HEAD where a worktree makes nothing of its own: it only goes elsewhere.
IDLE_MOVE = (
    rb"(?:checkout|reset|switch|restore|clone|branch): .*|initial pull|"
    rb"(?:pull|merge)\b[^:]*: Fast-forward|.*\((?:start|finish|abort)\):.*|worktree: .*"
)


def list_made(reflog: bytes, branch: str = "") -> list:
    """Return the names of the commits made in a worktree, oldest first, as its own log of HEAD tells.

    What the log says in words that are not known is one, too. branch: where HEAD came to it from elsewhere, and had
    not begun there, only what followed counts: gt gives a worktree more than once.
    """
    lines, name, begun = reflog.splitlines(), branch.encode("utf-8", "surrogateescape"), 0
    moves = ((n, line.partition(b"\t")[2]) for n, line in enumerate(lines) if b"\tcheckout: moving from " in line)
    for n, said in moves if branch else ():
        if said.startswith(b"checkout: moving from " + name + b" to "):
            break
        if said.endswith(b" to " + name):
            begun = n
            break
    made = []
    for line in lines[begun:]:
        about, _, said = line.partition(b"\t")
        names = about.split(b" ", 2)[:2]
        if len(names) == 2 and names[0] != names[1] and said and not re.fullmatch(IDLE_MOVE, said):
            made.append(names[1].decode("ascii", "replace"))
    return made


def find_verb(argv) -> str:
    """Return the first word that is no option: `-c name=value` and `-L socket` take one more."""
    words = iter(argv[1:])
    for word in words:
        if word in ("-c", "-L", "-C"):
            next(words, "")
        elif not word.startswith("-"):
            return word
    return ""


def parse_gitfile(data: bytes) -> str | None:
    """Return the folder that a worktree's `.git` file or an admin folder's `gitdir` names."""
    line = data.split(b"\n", 1)[0].strip()
    line = line[len(b"gitdir:") :].strip() if line.startswith(b"gitdir:") else line
    # After a power loss a file may be all zeros, and no path can hold one.
    return None if b"\0" in line else line.decode("utf-8", "surrogateescape") or None


def parse_head(data: bytes) -> str | None:
    """Return the branch that HEAD names, "" for a detached one, None for what is no HEAD.

    Where git keeps its refs in tables, the file says `.invalid`, for old readers; what HEAD is stands elsewhere.
    """
    text = data.decode("utf-8", "surrogateescape").strip()
    if text.startswith("ref: refs/heads/"):
        branch = text[len("ref: refs/heads/") :]
        return branch if re.fullmatch(r"(?!\.)[^\x00-\x20\x7f]+", branch) else None
    return "" if re.fullmatch(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", text) else None


def parse_status(data: bytes):
    """Read `git status --porcelain=v2 -z` as a list of (kind, path); kinds 1, 2, u, ?, !.

    Raises:
        ValueError: a record of another form.
    """
    entries = []
    records = iter(data.split(b"\0"))
    for record in records:
        if not record or record.startswith(b"# "):
            continue
        kind = record[:1].decode("ascii", "replace")
        fields = {"1": 8, "2": 9, "u": 10, "?": 1, "!": 1}.get(kind)
        words = record.split(b" ", fields) if fields else []
        if not fields or len(words) != fields + 1:
            raise ValueError(f"git status printed {record[:60]!r}")
        entries.append((kind, words[-1].decode("utf-8", "surrogateescape")))
        if kind == "2":
            next(records, b"")  # the path it was renamed from
    return entries


# ====================================================================================================
# room: letters — mail in every spelling we know, and every text we write to others
# ====================================================================================================

# What a subject asks for. The first row that fits decides; what no row knows needs a mind and is forwarded.
#   shutdown  a request; the name from the group, or from the body's `Polecat:` line
#   done      the worker says it has finished: look now; a request only with retire_on_done
#   failed    the refinery could not merge a worker's branch: the worker and a mind must know
#   kill      the deacon asks for force, which is never used: a person is told
#   note      news for the log
SUBJECTS = (
    ("shutdown", r"LIFECYCLE: polecat requesting shutdown"),
    ("shutdown", r"LIFECYCLE: polecat-(?P<name>\S+) requesting shutdown"),
    ("shutdown", r"LIFECYCLE: ?Shutdown (?P<name>\S+)"),
    ("done", r"POLECAT_DONE (?P<name>\S+).*"),
    ("failed", r"MERGE_FAILED (?P<name>\S+).*"),
    ("kill", r"FORCE_KILL: ?unresponsive.*"),
    ("note", r"(?:CRASHED_POLECAT|RESTART_POLECAT|GUPP_VIOLATION|ORPHANED_WORK|ZOMBIE_DETECTED|SPAWN):.*"),
    ("note", r"Dependency resolved:.*|POLECAT_STARTED.*|WORK_DONE:.*|MERGED .*|🤝 ?HANDOFF.*"),
)
BODY_NAME = r"(?m)^[ \t]*Polecat:[ \t]*(?P<name>[^\s]*)[ \t]*$"
MAIL_CHARS = 8000  # of a mail's text that are read
# `gt sling --force` asks for the end of whoever had the bead before; only the bead itself tells whether that is so.
SLINGER = "gt-sling"
BODY_BEAD = r"(?m)^Bead:[ \t]*(\S+)[ \t]*$"


class Ask(Value):
    """What one mail wants."""

    # shutdown, done, failed, kill, note, mind, reassigned (a bead is said to be another's now), or bad (a request whose
    # name or sender cannot be believed)
    kind: str
    name: str = ""
    reason: str = ""
    bead: str = ""  # of reassigned


def _split_plain(data: bytes) -> tuple | None:
    """Return (From, Subject, text) of a message in which nothing is encoded or in parts, None of any other.

    Most are so, ours among them, and `email` with all that it imports takes 3.5 MiB of a daemon.
    """
    head = re.match(rb"(?:[!-9;-~]+:[ -~]*\n)+(?=\n|\Z)", data)
    if head is None or b"=?" in head.group():
        return None
    headers = {}
    for line in head.group().decode("ascii").splitlines():
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), value.strip(" "))
    kind = headers.get("content-type", "text/plain").lower()
    coding = headers.get("content-transfer-encoding", "8bit").lower()
    if not re.fullmatch(r'text/plain(?:; charset="?[a-z0-9-]+"?)?', kind) or coding not in ("7bit", "8bit"):
        return None
    return headers.get("from", ""), headers.get("subject", ""), data[head.end() + 1 :].decode("utf-8", "replace")


def _decode_header(raw) -> str:
    from email.errors import MessageError
    from email.header import decode_header

    try:
        text = ""
        for piece, charset in decode_header(raw):
            # Bytes as they are, against the rules, are UTF-8 wherever they are written today.
            charset = "utf-8" if charset in (None, "unknown-8bit") else charset
            text += piece if isinstance(piece, str) else piece.decode(charset, "replace")
    except (MessageError, ValueError, LookupError):
        text = str(raw)
    return text


def _split_any(data: bytes) -> tuple:
    """Return (From, Subject, text) of any message, decoded; the text is its first part that is text."""
    from email import message_from_bytes
    from email.parser import BytesHeaderParser

    text = ""
    try:
        message = message_from_bytes(data)
        for part in message.walk():
            if part.get_content_maintype() == "text" and not part.is_multipart():
                text = (part.get_payload(decode=True) or b"").decode("utf-8", "replace")
                break
    except RecursionError:  # a thousand parts, each within the last: nobody wrote this, but somebody may send it
        message, text = BytesHeaderParser().parsebytes(data), ""
    return _decode_header(message.get("From", "")), _decode_header(message.get("Subject", "")), text


def _mark_controls(text: str) -> str:
    """Replace control characters that are no white space by one that no name holds; to drop them would guess a name."""
    return re.sub(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]", "\ufffd", text)


def make_mail(mail_id: str, sender: str, subject: str, text: str, at: float) -> Mail:
    """Return a message of any mail system, cleaned; what would make another name of a name is marked, not dropped."""
    sender, subject = (clean_line(_mark_controls(one), 300) for one in (sender, subject))
    sender = re.sub(r".*<([^<>]*)>$", r"\1", sender)
    text = re.sub(r"(?m)^[ \t]*Polecat:.*$", lambda match: _mark_controls(match.group()), text)
    return Mail(id=mail_id, sender=sender, subject=subject, body=clean_text(text, MAIL_CHARS), at=at)


def parse_mail(mail_id: str, data: bytes, at: float) -> Mail:
    """Read one message; what is no message becomes one without a subject, which needs a mind."""
    sender, subject, text = _split_plain(data) or _split_any(data)
    return make_mail(mail_id, sender, subject, text, at)


def _write_header(text: str) -> str:
    if text.isascii() and "=?" not in text:  # what looks encoded would be decoded by whoever reads it
        return text
    from email.header import Header

    return Header(text, "utf-8", maxlinelen=70).encode()


def render_mail(sender: str, to: str, subject: str, body: str, at: float, key: str) -> bytes:
    """Write one message as any mail reader reads it."""
    days, months = "Mon Tue Wed Thu Fri Sat Sun".split(), "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    year, month, day, hour, minute, second = utc(at)
    weekday = days[(int(at) // 86400 + 3) % 7]  # 1970-01-01 was a Thursday
    lines = (
        f"From: {_write_header(clean_line(sender))}",
        f"To: {_write_header(clean_line(to))}",
        f"Subject: {_write_header(clean_line(subject, 300))}",
        f"Date: {weekday}, {day:02d} {months[month - 1]} {year} {hour:02d}:{minute:02d}:{second:02d} +0000",
        f"Message-ID: <{key}@witness>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        clean_text(body, 32000),
        "",
    )
    return "\n".join(lines).encode("utf-8", "replace")


def read_ask(mail: Mail, rig: str, trusted) -> Ask:
    """Say what a mail wants, and of whom; a name is never guessed and a foreign sender never believed."""
    fits = ((kind, re.fullmatch(pattern, mail.subject.strip())) for kind, pattern in SUBJECTS)
    kind, match = next(((kind, match) for kind, match in fits if match), ("mind", None))
    if kind in ("mind", "note", "kill"):
        return Ask(kind=kind)
    name = match.groupdict().get("name") or ""
    if kind == "failed":
        return Ask(kind=kind, name=name if is_polecat_name(name) else "")
    beads = re.findall(BODY_BEAD, mail.body) if mail.sender == SLINGER else ()
    if kind == "shutdown" and len(beads) == 1 and is_issue_id(beads[0]) and is_polecat_name(name):
        return Ask(kind="reassigned", name=name, bead=beads[0])
    named = {found.group("name") for found in re.finditer(BODY_NAME, mail.body)}
    if len(named | ({name} if name else set())) != 1:
        return Ask(kind="bad", reason="it names no polecat" if not (named or name) else "it names several polecats")
    name = name or named.pop()
    if not is_polecat_name(name):
        return Ask(kind="bad", reason=f"{clean_line(name, 40)!r} is no polecat's name")
    sender = mail.sender.strip().strip("/")
    believed = {f"{rig}/{name}", f"{rig}/polecats/{name}", *(one.strip("/") for one in trusted)} - {""}
    if sender not in believed:
        return Ask(kind="bad", name=name, reason=f"{clean_line(mail.sender, 60) or 'nobody'} may not ask for {name}")
    return Ask(kind=kind, name=name)


def handoff_letter(rig: str, name: str, at: float) -> tuple:
    """Return subject and body of a worker's request to be retired."""
    body = f"Lifecycle request from polecat.\n\nAction: shutdown\nTime: {rfc3339(at)}\nPolecat: {name}\nRig: {rig}\n"
    return "LIFECYCLE: polecat requesting shutdown", body


def nudge_text(name: str, quiet_s: float, command: str, in_town: bool = False) -> str:
    """Return the one line that reminds a stuck worker; one line, so that one Enter sends it."""
    # In a town only `gt done` hands finished work to the refinery.
    done = "gt done" if in_town else f"{command} handoff"
    ask = "gt mail send mayor/ -s HELP -m '…'" if in_town else f"{command} mail send mayor/ -s HELP"
    return (
        f"[witness] {name}: no progress seen for {span(quiet_s)}. Please go on with your task. When it is done, commit "
        f"everything and run `{done}`. If you are blocked, say so: `{ask}`."
    )


def refusal_letter(name: str, blockers, command: str) -> tuple:
    """Return subject and body that tell a worker why it cannot be shut down yet."""
    lines = [f"Your shutdown was looked at, {name}, and not done: something of your work could have been lost.", ""]
    for kind, evidence, remedy in blockers:
        lines += [f"- {kind}: {evidence}", f"    clear it with: {remedy}"]
    lines += ["", f"Nothing was touched. It is looked at again by itself; `{command} handoff` asks at once."]
    kind, evidence, _ = blockers[0]
    return f"NUDGE: Cannot shutdown - {clean_line(f'{kind}: {evidence}', 120)}", "\n".join(lines)


def escalation_letter(matter: Escalation, rig: str, command: str) -> tuple:
    """Return subject and body of an escalation: what, since when, the evidence, and what a person can do."""
    subject = {
        "stuck": f"ESCALATION: Polecat {matter.name} stuck",
        "dead": f"ESCALATION: Polecat {matter.name} dead",
        "busy": f"ESCALATION: Polecat {matter.name} busy without a change",
        "refused": f"ESCALATION: Polecat {matter.name} cannot be shut down",
    }.get(matter.cause, f"ESCALATION: {rig}: {clean_line(matter.summary, 100)}")
    lines = [matter.summary, "", f"Rig: {rig}", f"Since: {rfc3339(matter.opened_at)}"]
    if matter.raises > 1:
        lines.append(f"Told for the {matter.raises}. time")
    if matter.evidence:
        lines += ["", "Evidence:", *("  " + line for line in matter.evidence.splitlines())]
    lines += ["", "What you can do:"]
    if matter.name:
        lines += [
            f"  look     {command} status; {command} health {matter.name}",
            f"  leave it {command} hold {matter.name} --reason '…'",
            f"  retire   {command} shutdown {matter.name} --force (`{command} recover {matter.name}` undoes it)",
        ]
    else:
        lines += [f"  look     {command} status", f"  go on    {command} resume"]
    return subject, "\n".join(lines)


def resolved_letter(matter: Escalation, why: str) -> tuple:
    """Return subject and body that close an escalation."""
    subject = f"RESOLVED: {('Polecat ' + matter.name + ' ' if matter.name else '') + matter.cause}"
    return subject, f"{matter.summary}\n\nResolved: {why}\n"


def beside_notice(town: Town, rig: str, command: str) -> str:
    """Say that a sling of gt also starts a model in the witness's seat, and how to stop that; "" where it does not."""
    if town.seat == "ours":
        return ""
    told = f"each `gt sling` also starts {town.seat or 'a model'} in the witness's seat of {rig}"
    if town.can_seat:
        return f"{told}; `{command} seat install` puts Witness there"
    # gt 0.5 ends whatever sits there and does not call itself claude; a session that is there is not started again.
    stay = f"tmux new-session -d -s gt-{rig}-witness \"bash -c 'exec -a claude sleep infinity'\""
    return f"{told}; a placeholder keeps it out: `{stay}`"


def merge_letter(rig: str, name: str, mail: Mail) -> tuple:
    """Return subject and body that tell the refinery of a branch to merge, as gt's own witness wrote them."""
    given = dict(re.findall(r"(?m)^(Branch|Issue|MR):[ \t]*(\S+)[ \t]*$", mail.body))
    lines = [f"{key}: {clean_line(value, 200)}" for key, value in given.items()]
    return f"MERGE_READY {name}", "\n".join([*lines, f"Polecat: {name}", f"Rig: {rig}", ""])


def forwarded_letter(mail: Mail) -> tuple:
    """Return subject and body of a mail that needs a mind, handed on as it came."""
    return f"FWD: {mail.subject or '(no subject)'}", f"From: {mail.sender}\nAt: {rfc3339(mail.at)}\n\n{mail.body}"


# ====================================================================================================
# room: issues — beads' own JSONL: its lines, what is ready, who descends from whom
# ====================================================================================================

CLOSED = frozenset({"closed", "tombstone"})
LINK_DEFAULTS = (("issue_id", ""), ("type", "blocks"), ("depends_on_id", ""))


def parse_item(data) -> Issue:
    """Read one issue as every version of `bd` writes it, links passed over.

    Raises:
        ValueError: it is no issue, or a field has another type than it has in any version.
    """
    if not isinstance(data, dict):
        raise ValueError("no JSON object")
    if not isinstance(data.get("id"), str) or not is_issue_id(data["id"]):
        raise ValueError(f"no issue id: {clean_line(str(data.get('id')), 40)!r}")

    def text(key: str, default: str = "") -> str:
        value = data.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ValueError(f"{key} is no text")
        return value

    priority, labels = data.get("priority", 0), data.get("labels") or []
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise ValueError("priority is no number")
    if not isinstance(labels, list):
        raise ValueError("labels are no list")
    return Issue(
        id=data["id"],
        title=clean_line(text("title")),
        status=text("status", "open"),
        priority=priority,
        type=text("issue_type", "task"),
        assignee=text("assignee"),
        labels=tuple(str(label) for label in labels),
        created=text("created_at"),
        deferred_until=text("defer_until"),
        aside=next((key for key in ("pinned", "ephemeral", "wisp", "is_template") if data.get(key) is True), ""),
    )


def _parse_issue(data) -> Issue:
    issue, links = parse_item(data), data.get("dependencies") or []
    if not isinstance(links, list):
        raise ValueError("dependencies are no list")
    kinds = {"blocks": [], "parent-child": []}
    for link in links:
        if not isinstance(link, dict):
            raise ValueError("a dependency is no object")
        # What is missing or null is read so that it blocks.
        owner, kind, target = (link.get(key) or other for key, other in LINK_DEFAULTS)
        if not all(isinstance(one, str) for one in (owner, kind, target)):
            raise ValueError("a dependency is no link")
        # A line may also list links in which it is the target; only its own side says what it waits for.
        if owner in ("", issue.id) and kind in kinds:
            if not target:
                raise ValueError("a dependency names no issue")
            kinds[kind].append(target)
    return issue.but(blocked_by=tuple(kinds["blocks"]), parents=tuple(kinds["parent-child"]))


def parse_issues(text: str):
    """Read `.beads/issues.jsonl` as (issues in file order, reasons of bad lines).

    A later line of the same id replaces an earlier one; lines whose `_type` is no issue are passed over; a bad line
    is reported with its number and passed over.
    """
    issues, bad = {}, []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            if isinstance(data, dict) and data.get("_type", "issue") != "issue":
                continue
            issue = _parse_issue(data)
        except (ValueError, RecursionError) as error:
            bad.append(f"line {number}: {clean_line(str(error), 80)}")
            continue
        issues[issue.id] = issue
    return tuple(issues.values()), tuple(bad)


def find_ancestors(issue: Issue, by_id: dict) -> tuple:
    """Return the parents of an issue at any depth, nearest first; a ring of parents ends where it began."""
    found, todo = {}, list(issue.parents)
    while todo:
        parent = todo.pop(0)
        if parent in by_id and parent not in found and parent != issue.id:
            found[parent] = by_id[parent]
            todo += by_id[parent].parents
    return tuple(found.values())


def find_blocking(issue: Issue, by_id: dict) -> str:
    """Return the id that blocks an issue or one of its ancestors, "" if none does.

    A dependency that is not in the file is not known to be closed, so it blocks.
    """
    for one in (issue, *find_ancestors(issue, by_id)):
        for target in one.blocked_by:
            if target not in by_id or by_id[target].status not in CLOSED:
                return target
    return ""


def is_deferred(issue: Issue, now: float) -> bool:
    """Tell whether an issue is put off; a stamp that cannot be read puts it off too."""
    try:
        return parse_rfc3339(issue.deferred_until) > now
    except ValueError:
        return True


def in_order(issue: Issue) -> tuple:
    """Return the key that sorts issues in the queue's own order: its own ranks, else priority, age, id."""
    return issue.rank, issue.priority, issue.created, issue.id


def list_ready(issues, now: float) -> tuple:
    """Return the open, unblocked issues in the queue's own order."""
    by_id = {issue.id: issue for issue in issues}
    ready = [
        issue
        for issue in issues
        if (issue.status == "open" or issue.again) and not find_blocking(issue, by_id) and not is_deferred(issue, now)
    ]
    return tuple(sorted(ready, key=in_order))


def _write_line(data: dict) -> str:
    text = json.dumps(data, ensure_ascii=False)
    # Half a surrogate pair cannot be written as UTF-8, only as an escape.
    return json.dumps(data) if re.search("[\ud800-\udfff]", text) else text


def new_issue_line(issue_id: str, title: str, at: float, author: str, **extra) -> str:
    """Write one new open issue as a line of the file."""
    stamp = rfc3339(at)
    data = {
        "id": issue_id,
        "title": title,
        "description": "",
        "status": "open",
        "priority": 2,
        "issue_type": "task",
        "created_at": stamp,
        "created_by": author,
        "updated_at": stamp,
        **extra,
    }
    return _write_line(data) + "\n"


def close_issue_text(text: str, issue_id: str, at: float, reason: str) -> str:
    """Return the file's text with one issue closed; every other line stays as it is, byte by byte.

    Raises:
        KeyError: no line has this id.
    """
    lines, found = text.split("\n"), False
    for index, line in enumerate(lines):
        try:
            data = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict) and data.get("id") == issue_id and data.get("_type", "issue") == "issue":
            stamp = rfc3339(at)
            data.update(status="closed", updated_at=stamp, closed_at=stamp, close_reason=reason)
            lines[index], found = _write_line(data), True
    if not found:
        raise KeyError(issue_id)
    return "\n".join(lines)


# ====================================================================================================
# room: dialects — what each version of `bd` and `gt` takes and promises: one row where something differs
# ====================================================================================================
#
# Facts from exchanges with the real programs (tests/data/recorded) and, between those, from their sources.

NEWEST_BD = (1, 0, 5)  # the newest whose answers were recorded; a newer one is spoken to as this one
HANDED_OVER_LABEL = "witness:handed-over"
BD_LIMIT_BYTES = 64 << 20  # of one answer: ready issues come with their whole text, and ten thousand are 10 MB
BD_SHOWN = 50  # issues that one `bd show` is asked for: more could be too long for a command line
BD_ENVIRONMENT = {
    # Before 0.50 bd starts a daemon of its own, which a look must not leave behind; later ones know none of these.
    "BD_NO_DAEMON": "1",
    "BEADS_NO_DAEMON": "1",
    "BEADS_AUTO_START_DAEMON": "false",
    # A database server that is down is a person's: one that we started could be a second one on the same files.
    "BEADS_DOLT_AUTO_START": "0",
    # 0.57 commits a backup of its database to the repository, and pushes it, after whatever it was asked.
    "BD_BACKUP_ENABLED": "false",
}
# Where a shared server is; of all that begins with BD_ or BEADS_ only this reaches bd.
BD_KEPT_PREFIXES = ("BEADS_DOLT_", "BEADS_CREDENTIALS_FILE")


class BdDialect(Value):
    """One row: how `bd` is spoken to from a version on, and what a claim of it is worth."""

    since: tuple  # (major, minor, patch)
    claims: bool  # it knows --claim; without it status and assignee are set, whoever has the issue
    exclusive: bool  # of many who claim at once, on whatever host, exactly one wins
    reopens: bool  # a claim of a closed issue opens it
    deep: bool  # `ready --parent` gives children at every depth; else each level is asked for
    list_words: tuple = ()  # more words for `list`


BD_DIALECTS = tuple(
    BdDialect(since=since, claims=claims, exclusive=exclusive, reopens=reopens, deep=deep, list_words=list_words)
    for since, claims, exclusive, reopens, deep, list_words in (
        # since     claims exclusive reopens deep  list_words
        ((0, 30, 7), False, False, True, False, ()),
        ((0, 37, 0), False, False, True, True, ()),  # --parent
        ((0, 42, 0), True, False, True, True, ()),  # --claim, which looks and then sets: two may win
        ((0, 50, 0), True, False, True, False, ()),  # Dolt: --parent gives one level
        ((0, 57, 0), True, True, True, False, ()),  # one conditional update in a transaction, and status 1 to the loser
        ((0, 59, 0), True, True, True, False, ("--flat",)),  # `list --json` drew a tree
        ((0, 60, 0), True, True, True, False, ()),
        ((1, 0, 4), True, True, False, True, ()),  # a closed issue is refused; --parent is deep again
    )
)


def join_version(version: tuple) -> str:
    """Write a version as its program does."""
    return ".".join(str(part) for part in version)


def ready_argv(dialect: BdDialect, epic: str = "") -> tuple:
    """Ask for what is ready, all of it; below an epic where the version reaches every depth."""
    return ("bd", "ready", "--json", "--limit", "0", *(("--parent", epic) if epic and dialect.deep else ()))


def held_argv(dialect: BdDialect, status: str = "in_progress") -> tuple:
    """Ask for what is in progress, or on a hook, whoever has it."""
    return ("bd", "list", "--json", "--limit", "0", "--status", status, *dialect.list_words)


def show_argv(issues) -> tuple:
    """Ask for some issues by their ids; without one, bd would take the last that anybody touched."""
    return ("bd", "show", *issues, "--json")


def claim_argv(dialect: BdDialect, issue: str, actor: str) -> tuple:
    """Take an issue that nobody has."""
    words = ("--claim", "--actor", actor) if dialect.claims else ("--status", "in_progress", "--assignee", actor)
    return ("bd", "update", issue, *words, "--json")


def keep_argv(issue: str) -> tuple:
    """Set an issue in progress again that is assigned to us already."""
    return ("bd", "update", issue, "--status", "in_progress", "--json")


def release_argv(issue: str, marked: bool) -> tuple:
    """Give an issue back; marked: it carries our label, which goes, too."""
    unmark = ("--remove-label", HANDED_OVER_LABEL) if marked else ()
    return ("bd", "update", issue, "--status", "open", "--assignee", "", *unmark, "--json")


def hold_argv(issue: str, holder: str) -> tuple:
    """Hold an issue that is ours under a name, whoever had it on the hook."""
    return ("bd", "update", issue, "--status", "in_progress", "--assignee", holder, "--json")


def note_argv(issue: str, text: str) -> tuple:
    """Write a comment below an issue."""
    return ("bd", "comments", "add", issue, text)


def label_argv(issue: str, label: str, there: bool) -> tuple:
    """Put a label on an issue, or take it off."""
    return ("bd", "update", issue, "--add-label" if there else "--remove-label", label, "--json")


def close_argv(issue: str, reason: str) -> tuple:
    """Close an issue."""
    return ("bd", "close", issue, "--reason", reason, "--json")


# ---- gt ---------------------------------------------------------------------------------------------

NEWEST_GT = (1, 0, 1)
# Where the town's database server is; of all that begins with GT_ only this reaches gt.
GT_KEPT_PREFIXES = ("GT_DOLT_", *BD_KEPT_PREFIXES)


class GtDialect(Value):
    """One row: what `gt` can do and does from a version on."""

    since: tuple
    can: frozenset  # words of GT_WORDS
    provisioned: tuple  # what it puts into a worktree: (file, what it must be to be gt's own, see PROVISIONED)


GT_WORDS = {
    "native": "mail, `sling` and `nuke` are its own",
    "raw": "`sling` knows `--hook-raw-bead`",
    "feeds": "its daemon gives issues of open convoys to workers; `gt refinery ready` lists what waits to be merged",
    "prefixed": "sessions begin with the rig's prefix instead of `gt-RIG`; `gt deacon status` knows `--json`",
    "typed": "`gt done` types its news into the witness's pane, and the refinery hears of it without us",
    "reuses": "`sling` resets idle worktrees and ends sessions that have sent no heartbeat for 3 minutes",
    "beats": "`gt heartbeat` sends one",
    "hashed": "tmux runs on a socket of the town's own; `gt mayor status` knows `--running`",
    "seat": "any command may sit in the witness's seat",
}
# Files of gt's own in a worktree, each with what it must be, or it is somebody's work: "any", "lines …" (no others),
# "holds …" (this text), "same …" (as that file of the rig).
PROVISIONED = (
    (".beads/redirect", "any"),
    (".runtime/session_id", "any"),
    (".runtime/agent.lock", "any"),
    (".runtime/agent.lock.flock", "any"),
)
PROVISIONED_0_2 = (*PROVISIONED, ("AGENTS.md", "same mayor/rig/AGENTS.md"))
PROVISIONED_0_5 = (*PROVISIONED_0_2, (".gitignore", "lines .runtime/ .claude/ .beads/ .logs/"))
PROVISIONED_1_0 = (
    *PROVISIONED,
    ("CLAUDE.md", "holds IDLE POLECAT HERESY"),
    ("CLAUDE.local.md", "holds IDLE POLECAT HERESY"),
    (".claude/commands/done.md", "any"),
    (".claude/commands/handoff.md", "any"),
    (".claude/commands/review.md", "any"),
)


def _grow(rows) -> tuple:
    """Return the rows of a table in which each names only what is new in it."""
    grown, can = [], frozenset()
    for since, news, provisioned in rows:
        can = can | frozenset(news.split())
        grown.append(GtDialect(since=since, can=can, provisioned=provisioned))
    return tuple(grown)


GT_DIALECTS = _grow(
    (
        ((0, 0, 1), "", ()),
        ((0, 1, 1), "native", PROVISIONED_0_2),
        ((0, 5, 0), "raw", PROVISIONED_0_5),
        ((0, 6, 0), "feeds", PROVISIONED_0_5),
        ((0, 7, 0), "prefixed", PROVISIONED_0_5),
        ((0, 9, 0), "typed reuses", PROVISIONED_0_5),
        ((0, 10, 0), "beats", PROVISIONED_0_5),
        ((0, 13, 0), "hashed", PROVISIONED_1_0),
        ((1, 0, 0), "seat", PROVISIONED_1_0),
    )
)
DIALECTS = {"bd": (BD_DIALECTS, NEWEST_BD), "gt": (GT_DIALECTS, NEWEST_GT)}


def choose_dialect(tool: str, version: tuple) -> tuple:
    """Return (row, what is to be said of it): the newest row of bd or gt that the version has reached."""
    rows, newest = DIALECTS[tool]
    fitting = [row for row in rows if row.since <= version]
    told = f"{tool} {join_version(version)} is {'newer' if fitting else 'older'} than any that was tried; "
    if not fitting:
        return rows[0], f"{told}it is spoken to as {join_version(rows[0].since)}"
    return fitting[-1], f"{told}it is spoken to as {join_version(newest)}" if version > newest else ""


# Pairs that are known not to work: (gt from, gt before, bd from, bd before, why).
BAD_PAIRS = (
    ((0, 0, 1), (0, 1, 1), (0, 0, 0), (0, 30, 7), "its mail needs `bd mail` with --priority"),
    ((0, 0, 1), (0, 1, 1), (0, 32, 0), (99,), "bd has no mail of its own since 0.32"),
    ((0, 2, 6), (0, 8, 0), (0, 0, 0), (0, 44, 0), "this gt refuses every command with a bd before 0.44"),
    ((0, 2, 6), (0, 5, 0), (0, 49, 0), (0, 50, 0), "this gt files mail under a type that bd has no more since 0.49"),
    ((0, 1, 1), (0, 6, 0), (0, 50, 0), (99,), "this gt calls bd with --no-daemon, which is gone since 0.50"),
    ((0, 10, 0), (1, 0, 0), (0, 0, 0), (0, 57, 0), "this gt needs bd 0.57"),
    ((1, 0, 0), (1, 0, 2), (1, 0, 4), (99,), "no new town can be made, and one that was answers `schema skew check`"),
)


def find_bad_pair(gt: tuple, bd: tuple) -> str:
    """Return why these two are known not to work together, "" where nothing is known against them."""
    for gt_from, gt_before, bd_from, bd_before, why in BAD_PAIRS:
        if gt_from <= gt < gt_before and bd_from <= bd < bd_before:
            return f"gt {join_version(gt)} with bd {join_version(bd)}: {why}"
    return ""


def inbox_argv(dialect: GtDialect, address: str) -> tuple:
    """Ask for the mails of an address, given outright: what gt finds out by itself was another's inbox."""
    tool = "gt" if "native" in dialect.can else "bd"
    return (tool, "mail", "inbox", "--identity", address, "--json")


def send_argv(dialect: GtDialect, sender: str, to: str, subject: str, body: str) -> tuple:
    """Send a mail; gt takes the sender from its environment."""
    words = ("mail", "send", to, "-s", subject, "-m", body)
    return ("gt", *words) if "native" in dialect.can else ("bd", *words, "--identity", sender)


def archive_argv(dialect: GtDialect, mails) -> tuple:
    """Take mails out of the inbox for good; `gt mail ack` would only mark them as read."""
    return ("gt", "mail", "archive", *mails) if "native" in dialect.can else ("bd", "mail", "ack", *mails, "--json")


def sling_argv(dialect: GtDialect, rig: str, issue: str, name: str, words) -> tuple:
    """Give an issue a worker: a new one, or the one named; words: sling_args."""
    target = f"{rig}/polecats/{name}" if name else rig
    if "native" in dialect.can:
        return ("gt", "sling", issue, target, "--no-convoy", *words)
    if name:
        return ("gt", "spawn", f"{rig}/{name}", "--issue", issue)
    return ("gt", "spawn", "--rig", rig, "--issue", issue, "--create")


def start_argv(rig: str, name: str) -> tuple:
    """Start the session of a worker without touching what it works on, or of the refinery, which is no worker."""
    return ("gt", "refinery", "start", rig) if name == "refinery" else ("gt", "session", "start", f"{rig}/{name}")


def merges_argv(dialect: GtDialect, rig: str) -> tuple:
    """Ask for what waits to be merged."""
    words = ("refinery", "ready", rig, "--all") if "feeds" in dialect.can else ("mq", "list", rig)
    return ("gt", *words, "--json")


CONVOYS_ARGV = ("bd", "list", "--type=convoy", "--status=open", "--json", "--limit", "0")
GATES_ARGV = ("bd", "gate", "check", "--type=timer", "--escalate")
GATES_SINCE = (0, 44, 0)  # of bd


def nuke_argv(rig: str, name: str) -> tuple:
    """Put gt's own records of a worker right; only of one of whom nothing but an empty folder is left."""
    return ("gt", "polecat", "nuke", "--force", f"{rig}/{name}")


# ====================================================================================================
# room: answers — what `bd` and `gt` printed, into what it means; never "nothing" out of an error
# ====================================================================================================

# An answer that is neither: the issues it lists, or UNKNOWN.
MISSING, REFUSED = "missing", "refused"
# Of each that does not exist, by name. "no issues found matching the provided IDs", which bd prints when it could show
# none of them, is also what it says when the connection was lost.
# One that does not exist and begins or lies in the ids of several others is "ambiguous": whole ids are tried first.
SAYS_MISSING = r'(?:no issue found matching|ambiguous ID) \\?"([^"\\]+)\\?"'
# The last two are the server's word to all but one of those who claim at the same time.
SAYS_REFUSED = r"already claimed by|not claimable|Error 1213|serialization failure"


class BdAnswer(Value):
    """What one answer of `bd` means; `issues` counts only where kind is "issues"."""

    kind: str  # "issues", MISSING, REFUSED or UNKNOWN
    issues: tuple = ()
    missing: tuple = ()  # ids of which it says that there is no such issue
    bad: tuple = ()  # what of it could not be read, in words
    reason: str = ""  # what it complained of


def _read_json(text: str):
    """Return the JSON document of an answer, from the first line that begins one; warnings may stand before it.

    Raises:
        ValueError: there is none, or not a whole one.
    """
    start = re.search(r"^[ \t]*(?=[\[{]|null\s*$)", text, re.MULTILINE)
    if start is None:
        raise ValueError("it printed no JSON")
    data = json.loads(text[start.end() :])
    # BD_JSON_ENVELOPE, to be the default of 2.0: the same payload, one level down.
    is_envelope = isinstance(data, dict) and "data" in data and "id" not in data
    return data["data"] if is_envelope and not data.get("error") else data


def _is_nothing(ran, data) -> bool:
    """Tell whether an answer says that there is nothing, and complains of nothing."""
    complaints = ran.err.decode("utf-8", "replace")
    failed = re.search(r"(?im)^(error|fatal|panic)|dial tcp|connection refused|database is locked", complaints)
    return data in (None, []) and (failed is None or bool(re.search(SAYS_MISSING, complaints)))


def find_complaint(ran) -> str:
    """Return what a tool that failed says of it, in one line; ran as of Host.run.

    An error object counts wherever it was printed, then a line that says so: warnings stand before it.
    """
    if ran.failure:
        return ran.failure
    for raw in (ran.out, ran.err):
        text = raw.decode("utf-8", "replace")
        start = re.search(r"^[ \t]*(?=\{)", text, re.MULTILINE)
        try:
            data = json.JSONDecoder().raw_decode(text, start.end())[0] if start else None
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict) and isinstance(data.get("error"), str):
            return clean_line(data["error"], 300)
    # gt hands on all that bd said, its standing warnings first, in the middle of a line of its own.
    every = [line for line in ran.err.decode("utf-8", "replace").splitlines() if line.strip()]
    lines = [re.sub(r"(?i)\bwarning: .*", "", line) for line in every]
    lines = [line for line in lines if line.strip(" :")] or every
    begins = [number for number, line in enumerate(lines) if line.lower().startswith(("error", "fatal", "panic"))]
    said = " ".join(lines[begins[0] : begins[0] + 1 + lines[begins[0]].rstrip().endswith(":")]) if begins else ""
    return clean_line(said or (lines[-1] if lines else ""), 300)


def _read_items(items) -> BdAnswer:
    found, bad = {}, []
    for place, item in enumerate(items):
        try:
            issue = parse_item(item)
        except ValueError as error:
            bad.append(f"item {place + 1}: {clean_line(str(error), 80)}")
            continue
        found.setdefault(issue.id, issue.but(rank=place))
    if bad and not found:
        return BdAnswer(kind=UNKNOWN, reason=f"its answer is of no known form: {bad[0]}")
    return BdAnswer(kind="issues", issues=tuple(found.values()), bad=tuple(bad))


def decode_answer(ran) -> BdAnswer:
    """Return what an answer to any of our questions means.

    Only standard output is data. A status other than 0 or a complaint never means "no issue": it is MISSING, REFUSED
    or UNKNOWN. Which of these a claim was counts less than what is read back after it.
    """
    said, data = find_complaint(ran), False
    everything = (ran.out + b"\n" + ran.err).decode("utf-8", "replace")
    if not ran.failure and ran.status == 0:
        try:
            data = _read_json(ran.text())
        except (ValueError, RecursionError) as error:
            said = said or clean_line(str(error), 80)
        if (isinstance(data, list) and data) or _is_nothing(ran, data):
            complaints = ran.err.decode("utf-8", "replace")
            return _read_items(data or ()).but(missing=tuple(re.findall(SAYS_MISSING, complaints)))
        if isinstance(data, dict) and "error" not in data:
            return _read_items([data])
    missing = tuple(re.findall(SAYS_MISSING, everything))
    kind = MISSING if missing else REFUSED if re.search(SAYS_REFUSED, everything) else ""
    if ran.failure or not kind:
        return BdAnswer(kind=UNKNOWN, reason=said or f"exit {ran.status} without a word")
    return BdAnswer(kind=kind, missing=missing, reason=said)


def decode_children(ran) -> tuple | None:
    """Return the ids of the children of the issues that `bd show` lists, None where that cannot be known."""
    answer = decode_answer(ran)
    if answer.kind != "issues" or answer.bad:
        return None
    data, found = _read_json(ran.text()), []
    for item in data if isinstance(data, list) else [data]:
        links = item.get("dependents") if isinstance(item, dict) else None
        for link in links if isinstance(links, list) else ():
            if isinstance(link, dict) and link.get("dependency_type") == "parent-child":
                child = link.get("id")
                if not isinstance(child, str) or not is_issue_id(child):
                    return None
                found.append(child)
    return tuple(found)


def decode_version(ran) -> tuple | None:
    """Return the version that `bd version` or `gt version` prints as numbers; None where it prints none."""
    said = r"(?m)^(?:(?:bd|gt) version |Version: +|[ \t]*\"version\": \")(\d{1,5})\.(\d{1,5})\.(\d{1,5})\b"
    match = re.search(said, ran.text()) if ran.ok else None
    return tuple(int(part) for part in match.groups()) if match else None


# ---- gt ---------------------------------------------------------------------------------------------

DONE = "done"
SAYS_WORKER = (
    r"(?m)^(?:Allocated polecat(?: name)?|Created polecat|Reusing idle polecat): (\S+)$",
    r"(?m)^. Bead \S+ is already hooked to \S+/polecats/([^/\s,]+), no-op$",
)
# What does not exist: a bead, a worker, a message, a session.
SAYS_GONE = r"bead '[^']+' not found|polecat '[^']+' not found|session \"[^\"]+\" not found|can't find pane"
SAYS_WILL_NOT = (
    r"already hooked to|already in_progress|have active work|no available polecats|(?:unknown|invalid) recipient"
)
SAYS_NO_FORMULA = r"parsing formula: read (\S+): open"
# Of each mail, by name; one that is closed or gone is as good as archived.
SAYS_NOT_ARCHIVED = r"(?m)^[ \t]*Error: ([\w.-]+): (.*)$"
SAYS_ARCHIVED_BEFORE = r"message not found|no issue found matching|already acknowledged|: not found$"


def decode_convoys(ran) -> dict | None:
    """Return {issue: the open convoy that tracks it}, None where that cannot be known."""
    try:
        data = _read_json(ran.text()) if ran.ok else False
    except (ValueError, RecursionError):
        return None
    if data is not None and not isinstance(data, list):
        return None
    found = {}
    for item in data or ():
        links = item.get("dependencies", []) if isinstance(item, dict) else None
        if not isinstance(links, list) or not isinstance(item.get("id"), str):
            return None
        # The convoy that a sling makes says in words what it tracks; others list it.
        tracked = re.findall(r"\btracking (\S+)", str(item.get("description") or ""))
        for link in links:
            if isinstance(link, dict) and link.get("type") == "tracks":
                tracked.append(str(link.get("depends_on_id")).rpartition(":")[2])
        found.update((one, clean_line(item["id"], 60)) for one in tracked if is_issue_id(one))
    return found


def decode_merges(ran) -> int | None:
    """Return how many merge requests wait, None where that cannot be known."""
    try:
        data = _read_json(ran.text()) if ran.ok else False
    except (ValueError, RecursionError):
        return None
    return len(data) if isinstance(data, list) else 0 if data is None else None


def decode_deacon(ran) -> str | None:
    """Return what is wrong with the deacon, "" if nothing is, None where that cannot be known."""
    try:
        data = _read_json(ran.text()) if ran.ok else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not isinstance(data.get("running"), bool):
        return None
    beat = data.get("heartbeat")
    if not data["running"]:
        return "" if data.get("paused") is True else "it has no session"
    # It may rightly sleep for 15 min; gt itself calls it very stale after 20.
    silent = isinstance(beat, dict) and beat.get("very_stale") is True
    return "it has sent no heartbeat for 20 minutes" if silent else ""


class GtAnswer(Value):
    """What a call of `gt` that does something came to."""

    kind: str  # DONE, MISSING, REFUSED or UNKNOWN
    worker: str = ""  # whom it names as the one that gets, or has, the issue
    reason: str = ""  # what it complained of


class Inbox(Value):
    """What a call for the mails of an address means."""

    kind: str  # "mails" or UNKNOWN
    mails: tuple = ()  # oldest first
    bad: tuple = ()  # what of it could not be read, in words
    reason: str = ""


def decode_gt(ran) -> GtAnswer:
    """Return what came of a call that does something; only what it left behind tells for certain."""
    everything = (ran.out + b"\n" + ran.err).decode("utf-8", "replace")
    said = find_complaint(ran)
    names = [name for pattern in SAYS_WORKER for name in re.findall(pattern, everything)]
    worker = next((name for name in names if is_polecat_name(name)), "")
    if ran.ok:
        return GtAnswer(kind=DONE, worker=worker)
    formula = re.search(SAYS_NO_FORMULA, everything)
    if formula is not None:
        said = f"formula {clean_line(formula.group(1), 60)} is missing"
        said += "; `witness config set sling_args '[\"--hook-raw-bead\"]'` slings without it"
    kind = MISSING if re.search(SAYS_GONE, everything) else UNKNOWN
    kind = REFUSED if re.search(SAYS_WILL_NOT, everything) else kind
    if ran.failure:
        kind = UNKNOWN
    return GtAnswer(kind=kind, worker=worker, reason=said or f"exit {ran.status} without a word")


def _read_mail(item) -> Mail:
    """Read one mail of `gt mail`, or one issue of `bd mail`, which calls its parts otherwise.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not is_issue_id(item["id"]):
        raise ValueError("no mail")
    keys = (("from", "sender"), ("subject", "title"), ("body", "description"), ("timestamp", "created_at"))
    parts = [next((item[key] for key in pair if item.get(key) is not None), "") for pair in keys]
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("a part of it is no text")
    sender, subject, body, stamp = parts
    at = parse_rfc3339(stamp)
    if not at:  # a request without a time would be older than every worker
        raise ValueError("it has no time")
    return make_mail(item["id"], sender, subject, body, at)


def decode_inbox(ran) -> Inbox:
    """Return the mails that an inbox lists; an empty one is `null` or `[]`, never a call that failed."""
    said, data = find_complaint(ran), False
    if not ran.failure and ran.status == 0:
        try:
            data = _read_json(ran.text())
        except (ValueError, RecursionError) as error:
            said = said or clean_line(str(error), 80)
    if not (isinstance(data, list) and data) and not _is_nothing(ran, data):
        return Inbox(kind=UNKNOWN, reason=said or f"exit {ran.status} without a word")
    mails, bad = {}, []
    for place, item in enumerate(data or ()):
        try:
            mail = _read_mail(item)
            mails.setdefault(mail.id, mail)
        except ValueError as error:
            bad.append(f"mail {place + 1}: {clean_line(str(error), 80)}")
    if bad and not mails:
        return Inbox(kind=UNKNOWN, reason=f"its answer is of no known form: {bad[0]}")
    return Inbox(kind="mails", mails=tuple(sorted(mails.values(), key=lambda one: (one.at, one.id))), bad=tuple(bad))


def decode_archive(ran, mails) -> tuple:
    """Return which of the mails are archived for certain: all where it says so, else all but those it complains of."""
    if ran.failure:
        return ()
    try:
        data = _read_json(ran.text())
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict) and isinstance(data.get("errors") or [], list):  # of bd
        complaints = [str(one).partition(": ") for one in data.get("errors") or ()]
        done = {str(one) for one in data.get("acknowledged") or ()} if ran.ok else set()
        done |= {one for one, colon, why in complaints if re.search(SAYS_ARCHIVED_BEFORE, colon + why)}
        return tuple(one for one in mails if one in done)
    if ran.ok:
        return tuple(mails)
    complaints = dict(re.findall(SAYS_NOT_ARCHIVED, ran.text()))
    count = re.search(r"Archived (\d+)/(\d+) messages", ran.text())
    done, asked = map(int, count.groups()) if count else (-1, -1)
    if done + len(complaints) != asked or asked != len(mails):
        return ()  # it failed as a whole, or said less than all
    return tuple(one for one in mails if re.search(SAYS_ARCHIVED_BEFORE, complaints.get(one, "message not found")))


# ====================================================================================================
# FLOOR: judging
# ====================================================================================================

# ====================================================================================================
# room: health — the state of one polecat: the first rule that fits
# ====================================================================================================


class Signals(Value):
    """What the rules of one polecat look at; all of it given, nothing looked up."""

    sighting: Sighting
    track: Track
    now: float
    config: Config
    look: Look | None = None
    hold: str = ""
    requested: str = ""
    idle: str = ""  # why it is known to have no assignment
    issue: str = ""
    person: bool = False
    trouble: str = ""  # why nobody can be judged now
    spawn_at: float = 0.0  # when the spawn that is under way began, 0 where none is


class Verdict(Value):
    """The state of one polecat, and how it came to it."""

    name: str
    state: str
    why: str
    issue: str = ""
    progress_at: float = 0.0
    quiet_s: float = 0.0
    candidate: bool = False  # quiet for long enough to be stuck, not yet confirmed by a second look
    signals: Signals | None = None  # what it was judged by, for `explain`


def read_branch(branch: str) -> str:
    """Return the issue that a branch of gt names, "" where it names none.

    >>> read_branch("polecat/rust/de-1@mwrrquv8")
    'de-1'
    """
    match = re.fullmatch(r"polecat/[^/]+/([^@/]+)@\S+", branch)
    return match.group(1) if match and is_issue_id(match.group(1)) else ""


def is_claim_of(claim: Claim, tree: Worktree) -> bool:
    """Tell whether a claim is about what its worker does now: gt gives one that is idle another issue and branch."""
    return read_branch(tree.branch) in ("", claim.issue)


def find_assignment(sighting: Sighting, claim: Claim | None, statuses) -> tuple:
    """Return (issue, why it is known to be idle); ("", "") is work of one's own, on the branch.

    claim: the one that names this worker. It is idle only when something says so: silence of a record, a claim or a
    queue says nothing.
    """
    record = sighting.worktree.record
    issue = str(record.get("issue") or "")
    if not issue and claim is not None and claim.state in ("claimed", "working", "failed"):
        issue = claim.issue
    issue = issue if is_issue_id(issue) else read_branch(sighting.worktree.branch)
    if issue and (statuses or {}).get(issue) in CLOSED:
        return issue, f"its issue {issue} is closed"
    if not issue and str(record.get("state") or "") in ("idle", "done"):
        return "", "its own record says idle"
    return issue, ""


def find_progress(signals: Signals) -> tuple:
    """Return (newest progress, newest progress that is not only the pane's), epoch seconds.

    Stamps of the future count as now: they must not make a worker look quiet, and never do more than that.
    """
    sighting, track = signals.sighting, signals.track
    tree = sighting.worktree
    files_at = max(tree.git_at, tree.record_at, signals.look.files_at if signals.look and signals.look.ok else 0.0)
    born_at = max(tree.born_at, sighting.pane.created_at if sighting.pane else 0.0)
    pane_at = 0.0
    if sighting.pane is not None:
        pane_at = sighting.pane.activity_at
        # tmux keeps whole seconds, so the second of the nudge itself is ours too.
        if int(track.last_nudge_at) <= pane_at <= track.last_nudge_at + signals.config.nudge_wait:
            pane_at = 0.0
    now = signals.now
    return min(max(files_at, born_at, pane_at, track.quiet_from_at), now), min(max(files_at, born_at), now)


def _is_dead(signals: Signals, progress: tuple) -> str:
    sighting = signals.sighting
    if sighting.session == ABSENT:
        return "its session is gone" if signals.track.instance else "it has no session"
    if sighting.pane is None or sighting.pane.dead:
        return "its pane has ended"
    if sighting.shell == "interactive" and signals.track.agents:
        return f"its pane is back at a shell ({sighting.pane.command}), the agent is gone or suspended"
    return ""


def _is_unknown(signals: Signals, progress: tuple) -> str:
    sighting = signals.sighting
    if signals.trouble or sighting.worktree.trouble:
        return signals.trouble or sighting.worktree.trouble
    if sighting.session == UNKNOWN:
        return "tmux could not be asked"
    if sighting.session == ABSENT and sighting.process_lives:
        return f"no session, but its process {signals.track.pane_pid} still lives"
    # A death needs no second look.
    if signals.look is not None and not signals.look.ok and not _is_dead(signals, progress):
        return f"the second look failed: {signals.look.reason}"
    return ""


def _is_held(signals: Signals, progress: tuple) -> str:
    return f"on hold: {signals.hold}" if signals.hold else ""


def _is_requested(signals: Signals, progress: tuple) -> str:
    return signals.requested


def _is_idle(signals: Signals, progress: tuple) -> str:
    return signals.idle


def _is_starting(signals: Signals, progress: tuple) -> str:
    sighting = signals.sighting
    born_at = sighting.pane.created_at if sighting.pane is not None else 0.0
    if sighting.session == ABSENT and not signals.track.instance:
        born_at = sighting.worktree.born_at  # its first session may be on its way
        if signals.spawn_at and born_at >= signals.spawn_at:
            return "it is being made"
    age_s = signals.now - born_at
    return f"{span(age_s)} old" if 0 <= age_s < signals.config.start_grace else ""


def measure_quiet(signals: Signals, progress: tuple) -> float:
    """Return for how long nothing has moved; timers count from a start or a gap at the earliest."""
    since_at = progress[0]
    if not signals.person and not signals.track.quiet_from_at:
        since_at = max(since_at, signals.track.reset_at)
    return max(0.0, signals.now - since_at)


def _is_stuck(signals: Signals, progress: tuple) -> str:
    quiet_s = measure_quiet(signals, progress)
    if quiet_s < signals.config.stuck_after:
        return ""
    confirmed = signals.look is not None and signals.look.ok
    return f"no progress for {span(quiet_s)}" if confirmed or signals.track.state == "stuck" else ""


def _is_busy(signals: Signals, progress: tuple) -> str:
    known = signals.person or signals.track.busy_told
    files_at = max(progress[1], 0.0 if known else signals.track.reset_at)
    quiet_s = signals.now - files_at
    if measure_quiet(signals, progress) >= signals.config.stuck_after:
        return ""  # its pane stands still too: that is for the second look
    if signals.config.quiet_after and quiet_s >= signals.config.quiet_after:
        return f"its pane moves, but no file has changed for {span(quiet_s)}"
    return ""


def _is_working(signals: Signals, progress: tuple) -> str:
    return "its pane moves" if progress[0] > progress[1] else "its files change"


# Precedence: the first that fits is the state. `busy` is how `working` shows where only the pane moves. Each rule gets
# the signals and what find_progress makes of them, and says why it fits, or "".
HEALTH_RULES = (
    ("unknown", _is_unknown),
    ("held", _is_held),
    ("requested", _is_requested),
    ("idle", _is_idle),
    ("starting", _is_starting),
    ("dead", _is_dead),
    ("stuck", _is_stuck),
    ("busy", _is_busy),
    ("working", _is_working),
)


def judge_health(signals: Signals) -> Verdict:
    """Return the verdict of the first rule that fits; total, for the last one always does."""
    progress = find_progress(signals)
    state, why = next((state, why) for state, rule in HEALTH_RULES for why in (rule(signals, progress),) if why)
    quiet_s = measure_quiet(signals, progress)
    return Verdict(
        name=signals.sighting.name,
        state=state,
        why=why,
        issue=signals.issue,
        quiet_s=quiet_s,
        progress_at=progress[0],
        candidate=state in ("working", "busy") and quiet_s >= signals.config.stuck_after,
        signals=signals,
    )


def weigh_rules(signals: Signals) -> list:
    """Return (state, why it fits or "") of every rule, those behind the first that fits included."""
    progress = find_progress(signals)
    return [(state, rule(signals, progress)) for state, rule in HEALTH_RULES]


# ====================================================================================================
# room: draft — one decision while it is being made
# ====================================================================================================


class Decision(Value):
    """What one tick decided."""

    memory: Memory
    actions: tuple
    events: tuple = ()  # (kind, subject, text)
    verdicts: dict = {}


def _list_claims(seen: Observation) -> dict:
    """Return by the worker's name the claim of what it does, or did last."""
    found = {}
    for claim in (seen.claims or {}).values():
        sighting = seen.sightings.get(claim.name)
        if sighting is not None and not is_claim_of(claim, sighting.worktree):
            continue
        rank = (claim.state in ("claimed", "working", "failed"), claim.at, claim.issue)
        if claim.name not in found or rank > found[claim.name][0]:
            found[claim.name] = rank, claim
    return {name: claim for name, (_, claim) in found.items()}


class Draft:
    """Gather what one call of `decide` changes; nothing outside that call ever sees it."""

    def __init__(self, seen: Observation, memory: Memory, config: Config) -> None:
        self.seen = seen
        self.config = config
        self.memory = memory
        # By the worker's name; a tick of a thousand workers asks a thousand times.
        self.claims = _list_claims(seen)
        self.workers = None  # see index_workers
        self.actions = []
        self.events = []
        self.verdicts = {}

    def change(self, **fields) -> None:
        """Change fields of the memory."""
        self.memory = self.memory.but(**fields)

    def put(self, table: str, key: str, value) -> None:
        """Set one entry of a table of the memory; None takes it out."""
        entries = dict(getattr(self.memory, table))
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = value
        self.change(**{table: entries})

    def act(self, action) -> None:
        """Add an action of this tick."""
        self.actions.append(action)

    def tell(self, kind: str, subject: str, text: str) -> None:
        """Add an event of this tick."""
        self.events.append((kind, subject, clean_line(text, 400)))

    def count(self, what: str, number: int = 1) -> None:
        """Add to a figure of `stats`, in total and for today."""
        stats = dict(self.memory.stats)
        for scope in ("total", "today"):
            stats[f"{scope}_{what}"] = stats.get(f"{scope}_{what}", 0) + number
        self.change(stats=stats)

    def post(self, key: str, to: str, letter: tuple, **about: str) -> None:
        """Put a letter into the outbox, once per key; it stays there until it was sent.

        about: event, cause and name of an escalation, which goes to escalate_command, too.
        """
        if key not in self.memory.pending:
            subject, body = letter
            self.put("pending", key, Letter(to=to, subject=subject, body=body, at=self.seen.now, **about))

    def halted(self) -> str:
        """Say why nothing that a timer or a guess causes may be done now."""
        if self.seen.paused:
            return f"paused: {self.seen.paused}"
        if self.memory.storm_at:
            return "many workers fell ill at once; `witness resume` goes on"
        return ""

    def why_unknown(self, ports) -> str:
        """Say which of these ports does not answer, the first of them."""
        for port in ports:
            sight = self.seen.ports.get(port, Port())
            if sight.state == UNKNOWN:
                return f"{port} is unknown: {sight.reason}"
        return ""

    def find_stray(self, claim: Claim) -> str:
        """Return the session in which a claim's worker lives without its worktree, "" where it does not.

        One that was slung anew lives under the same name, but has its worktree, and works on another issue.
        """
        session = session_for(self.config.session_name, self.seen.rig, claim.name)
        return session if claim.name not in self.seen.sightings and session in (self.seen.sessions or ()) else ""

    def may_time(self) -> bool:
        """Tell whether timers may act: not in the first tick, nor after a gap, save for a person."""
        return self.seen.person or not (self.seen.first or self.seen.gap)


# ====================================================================================================
# room: alerts — the ledger of what a person should know: one open entry per cause and instance
# ====================================================================================================


def _send_matter(draft: Draft, key: str, matter: Escalation) -> None:
    matter = matter.but(raised_at=draft.seen.now, raises=matter.raises + 1)
    draft.put("escalations", key, matter)
    letter = escalation_letter(matter, draft.seen.rig, draft.seen.command)
    about = {"event": "opened" if matter.raises == 1 else "again", "cause": matter.cause, "name": matter.name}
    draft.post(f"{key}.{int(matter.opened_at)}.{matter.raises}", draft.config.mayor, letter, **about)


def raise_matter(draft: Draft, cause: str, name: str, instance: str, summary: str, evidence: str = "") -> None:
    """Open an escalation, or bring the open one up to date without telling anybody again."""
    key = f"{cause}.{name}.{instance}"
    now = draft.seen.now
    matter = draft.memory.escalations.get(key)
    if matter is not None:
        if evidence and evidence != matter.evidence:
            draft.put("escalations", key, matter.but(evidence=evidence))
        return
    matter = Escalation(cause=cause, name=name, instance=instance, summary=summary, opened_at=now, evidence=evidence)
    draft.tell("escalated", name or cause, summary)
    draft.count("escalations")
    _send_matter(draft, key, matter)


def close_matter(draft: Draft, cause: str, name: str, why: str) -> None:
    """Close what is open of a cause, and say so once to whom it was told."""
    for key, matter in list(draft.memory.escalations.items()):
        if matter.cause == cause and matter.name == name:
            draft.put("escalations", key, None)
            draft.tell("resolved", name or cause, why)
            about = {"event": "resolved", "cause": cause, "name": name}
            letter = resolved_letter(matter, why)
            draft.post(f"{key}.{int(matter.opened_at)}.resolved", draft.config.mayor, letter, **about)


def raise_again(draft: Draft) -> None:
    """Raise what nobody answered for RERAISE_S again, at most RERAISES times."""
    if not draft.may_time():
        return
    for key, matter in list(draft.memory.escalations.items()):
        if matter.raises <= RERAISES and draft.seen.now >= matter.raised_at + RERAISE_S:
            _send_matter(draft, key, matter)


def note_ports(draft: Draft) -> None:
    """Remember since when a tool does not answer; after a second tick of it a person is told, once."""
    now = draft.seen.now
    for name, port in draft.seen.ports.items():
        track = draft.memory.ports.get(name)
        if port.state == UNKNOWN and track is None:
            draft.put("ports", name, PortTrack(since_at=now, reason=port.reason))
            draft.tell("degraded", name, port.reason)
        elif port.state == UNKNOWN:
            if now >= track.since_at + 2 * draft.config.interval and draft.may_time():
                summary = f"{name} does not answer: {track.reason}; what depends on it is suspended"
                raise_matter(draft, f"port-{name}", "", "", summary)
        elif track is not None:
            draft.put("ports", name, None)
            draft.tell("recovered", name, f"answers again after {span(now - track.since_at)}")
            close_matter(draft, f"port-{name}", "", "it answers again")


def keep_back(draft: Draft, outcome: Outcome) -> float | None:
    """Note whether host or tools kept a spawn back; return how long its issue waits then, else None.

    It waits as long as this has lasted, so the waits double. A reason is an event once; a person learns what lasts.
    """
    now, why, track = draft.seen.now, clean_line(outcome.detail), draft.memory.ports.get("kept-back")
    if outcome.ok or outcome.data.get("fault") not in ("host", "tool"):
        if track is not None:
            draft.put("ports", "kept-back", None)
            close_matter(draft, "kept-back", "", f"a worker for {outcome.subject} could be started, or tried")
        return None
    tried_at = max(map(parse_rfc3339, draft.memory.failures), default=0.0)
    if track is not None and now > tried_at + 2 * KEPT_BACK_REST_S:
        track = None  # nothing was tried since: nobody knows whether it has lasted
    if track is None or track.reason != why:
        draft.tell("spawn-failed", outcome.subject, why)
        track = PortTrack(since_at=now if track is None else track.since_at, reason=why)
        draft.put("ports", "kept-back", track)
    lasted_s = now - track.since_at
    if lasted_s >= KEPT_BACK_S:
        evidence = f"{why}; an issue is tried every {span(KEPT_BACK_REST_S)}, at once after `spawn reset ISSUE`"
        summary = f"For {span(lasted_s)} no worker could be started: {why}"
        raise_matter(draft, "kept-back", "", "", summary, evidence)
    return min(max(lasted_s, SPAWN_BACKOFF_S[0]), KEPT_BACK_REST_S)


def watch_for_storm(draft: Draft) -> None:
    """Halt actions while many workers fell ill at once: that is the host, and a wave of nudges would not help it."""
    since_at = draft.seen.resumed_at
    judged = [verdict for verdict in draft.verdicts.values() if verdict.state not in ("unknown", "held", "idle")]
    ill = [verdict.name for verdict in judged if verdict.state in ("stuck", "dead")]
    fell_at = sorted(draft.memory.polecats[name].state_at for name in ill)
    fell_at = [at for at in fell_at if at > since_at]
    together = max((sum(0 <= at - first <= STORM_WINDOW_S for at in fell_at) for first in fell_at), default=0)
    now = draft.seen.now
    if draft.memory.storm_at:
        # Whoever cannot be judged is not known to be well.
        hidden = sum(verdict.state == "unknown" for verdict in draft.verdicts.values())
        calm_now = len(ill) + hidden < STORM_SHARE * max(len(judged) + hidden, 1)
        calm = draft.memory.calm_ticks + 1 if calm_now else 0
        if draft.seen.resumed_at > draft.memory.storm_at or calm >= 2:
            draft.change(storm_at=0.0, calm_ticks=0)
            close_matter(draft, "storm", "", "fewer than half of the workers are affected, or a person said go on")
        elif calm != draft.memory.calm_ticks:
            draft.change(calm_ticks=calm)
    elif len(judged) >= STORM_WORKERS and together >= STORM_SHARE * len(judged):
        draft.change(storm_at=now, calm_ticks=0)
        names = ", ".join(sorted(ill)[:NAMES_TOLD]) + (f" and {len(ill) - NAMES_TOLD} more" * (len(ill) > NAMES_TOLD))
        raise_matter(draft, "storm", "", "", f"{together} of {len(judged)} workers fell ill at once: {names}")


def send_due_letters(draft: Draft) -> None:
    """Send every letter of the outbox whose time has come; that trouble is over only after that there was some."""
    letters = draft.memory.pending.values()
    open_still = {(one.cause, one.name) for one in letters if one.event in ("opened", "again") and one.tries}
    for key, letter in draft.memory.pending.items():
        waits = letter.event == "resolved" and (letter.cause, letter.name) in open_still
        if letter.next_at <= draft.seen.now and not waits:
            draft.act(SendLetter(subject=key, letter=letter, why=f"{letter.subject} to {letter.to}"))


def settle_letter(draft: Draft, outcome: Outcome) -> None:
    """Take a sent letter out of the outbox; one that failed stays and is tried again later."""
    letter = draft.memory.pending.get(outcome.subject)
    if letter is None:
        return
    if outcome.ok:
        draft.put("pending", outcome.subject, None)
        return
    wait_s = SEND_RETRY_S[min(letter.tries, len(SEND_RETRY_S) - 1)]
    if not letter.tries:
        draft.tell("unsent", letter.to, f"{letter.subject}: {outcome.detail}")
    draft.put(
        "pending",
        outcome.subject,
        letter.but(
            tries=letter.tries + 1,
            next_at=draft.seen.now + wait_s,
            mailed=letter.mailed or bool(outcome.data.get("mailed")),
        ),
    )


# ====================================================================================================
# room: ladder — nudge, wait, escalate, wait for a person; what follows a death
# ====================================================================================================
#
#   progress          stuck confirmed         escalate_after, and nudge_wait    every 4 h, three times
#  +---------+       +---------------+       after the nudge +-----------+     +--------------------+
#  | working |------>| nudge, once   |--------------------->| escalate  |---->| wait for a person  |
#  +---------+       +---------------+                      +-----------+     +--------------------+
#       ^                    |                                    |                      |
#       +--------------------+------------- progress -------------+----------------------+


def _is_agent(sighting: Sighting) -> bool:
    """Tell whether a pane's foreground may be the agent: no interactive shell, no editor, pager, ssh or sudo."""
    command = sighting.pane.command.lstrip("-")
    return sighting.shell == "script" or (command != "" and command not in NEVER_TYPE)


def close_all_of(draft: Draft, name: str, why: str) -> None:
    """Close every open escalation of one polecat."""
    for cause in sorted({matter.cause for matter in draft.memory.escalations.values() if matter.name == name}):
        close_matter(draft, cause, name, why)


def follow_instance(draft: Draft, sighting: Sighting) -> None:
    """Keep the track of one polecat on its present instance; a new one starts from nothing."""
    seen = draft.seen
    track = draft.memory.polecats.get(sighting.name) or Track(reset_at=seen.now)
    pane = sighting.pane
    if pane is not None and instance_of(pane) != track.instance:
        if track.instance:
            draft.tell("instance", sighting.name, "a new session has taken its place")
            close_all_of(draft, sighting.name, "a new session has taken its place")
        track = Track(
            instance=instance_of(pane),
            pane_id=pane.pane_id,
            pane_pid=pane.pid,
            pane_start=sighting.pane_start,
            reset_at=seen.now,
            restarts=track.restarts,
            last_nudge_at=track.last_nudge_at,  # one nudge per worker, not per session
        )
    elif pane is not None and (pane.pane_id, pane.pid) != (track.pane_id, track.pane_pid):
        track = track.but(pane_id=pane.pane_id, pane_pid=pane.pid, pane_start=sighting.pane_start)
    if (seen.first or seen.gap) and not seen.person:
        track = track.but(reset_at=seen.now)
    if pane is not None and _is_agent(sighting) and pane.command not in track.agents:
        track = track.but(agents=(*track.agents, pane.command)[-AGENTS_KEPT:])
    look = seen.looks.get(sighting.name)
    if look is not None and look.ok:
        lines = look.screen.splitlines()
        track = track.but(screen=lines[-1] if lines else "", screen_at=look.at)
    recent = tuple(at for at in track.restarts if parse_rfc3339(at) > seen.now - 3600)
    if recent != track.restarts:
        track = track.but(restarts=recent)
    if track != draft.memory.polecats.get(sighting.name):
        draft.put("polecats", sighting.name, track)


def note_state(draft: Draft, verdict: Verdict) -> None:
    """Remember a change of state, and close what it ends."""
    track = draft.memory.polecats[verdict.name]
    now = draft.seen.now
    # What was ill before and after a look that failed, or a hold, has been ill all the time.
    relapse = (verdict.state == "dead" and track.dead_ticks) or (verdict.state == "stuck" and track.quiet_from_at)
    if verdict.state == "dead":
        track = track.but(dead_ticks=min(track.dead_ticks + 1, 2))
    elif track.dead_ticks and verdict.state != "unknown":
        track = track.but(dead_ticks=0)
    if track.state != verdict.state and not (verdict.candidate and track.state == "unknown"):
        draft.tell("state", verdict.name, f"{track.state or 'new'} -> {verdict.state}: {verdict.why}")
        since_at = track.state_at if relapse or verdict.state in ("unknown", "held") or verdict.candidate else now
        track = track.but(state=verdict.state, state_at=since_at)
    over = verdict.state in ("working", "busy") and not verdict.candidate
    if track.quiet_from_at and (over or verdict.state in ("idle", "dead")):
        if track.escalated_at:
            why = "it makes progress again" if over else f"it is {verdict.state}: {verdict.why}"
            close_matter(draft, "stuck", verdict.name, why)
        if over:
            draft.tell("progress", verdict.name, verdict.why)
        track = track.but(quiet_from_at=0.0, nudged_at=0.0, nudge_result="", escalated_at=0.0)
    if verdict.state not in ("dead", "unknown", "held", "requested"):
        close_matter(draft, "dead", verdict.name, f"it is {verdict.state}")
        close_matter(draft, "suspended", verdict.name, f"it is {verdict.state}")
    if track.busy_told and not verdict.candidate and verdict.state not in ("busy", "unknown", "held", "requested"):
        close_matter(draft, "busy", verdict.name, f"it is {verdict.state}")
        track = track.but(busy_told=False)
    if verdict.state == "stuck" and not track.quiet_from_at:
        track = track.but(quiet_from_at=verdict.progress_at)
    if track is not draft.memory.polecats[verdict.name]:  # each entry that is put copies the table
        draft.put("polecats", verdict.name, track)


def note_look(draft: Draft, verdict: Verdict) -> None:
    """Tell once of a worker whose second look keeps failing: nothing else would ever be said of it."""
    key = f"look.{verdict.name}"
    failing, look = draft.memory.ports.get(key), draft.seen.looks.get(verdict.name)
    if verdict.state == "unknown" and look is not None and not look.ok:
        if failing is None:
            draft.put("ports", key, PortTrack(since_at=draft.seen.now, reason=look.reason))
        elif draft.may_time() and draft.seen.now >= failing.since_at + 2 * draft.config.interval:
            instance = draft.memory.polecats[verdict.name].instance
            raise_matter(draft, "look", verdict.name, instance, f"{verdict.name} cannot be judged: {verdict.why}")
    elif failing is not None and verdict.state not in ("unknown", "held") and not verdict.candidate:
        draft.put("ports", key, None)
        close_matter(draft, "look", verdict.name, f"it is {verdict.state}")


def next_rung(track: Track, config: Config) -> tuple:
    """Return (what comes next, when) for an episode that is open."""
    if not track.nudged_at:
        # A start or a gap within the episode: it goes on no sooner than nudge_wait later.
        since_at = max(track.last_nudge_at, track.reset_at if track.reset_at > track.state_at else 0.0)
        return "nudge", since_at + config.nudge_wait if since_at else 0.0
    if not track.escalated_at:
        due_at = max(track.quiet_from_at + config.escalate_after, track.nudged_at + config.nudge_wait)
        return "escalate", max(due_at, track.reset_at + config.nudge_wait)
    return "person", 0.0


def look_twice(draft: Draft, sighting: Sighting, why: str) -> None:
    """Ask for the second look at a polecat."""
    pane_id = sighting.pane.pane_id if sighting.pane is not None else ""
    draft.act(LookTwice(subject=sighting.name, pane_id=pane_id, why=why))


def describe_evidence(verdict: Verdict, sighting: Sighting, track: Track, look: Look) -> str:
    """Write down what was seen: signals with their ages, git's verdict, the nudge, the pane's last lines."""
    now, tree = look.at, sighting.worktree
    lines = [
        f"worktree {tree.path}, branch {tree.branch or '(detached)'}"
        + (f", issue {verdict.issue}" * bool(verdict.issue)),
        f"git state changed {span(now - tree.git_at)} ago; {look.changed} changed or untracked files"
        + (f", the newest {span(now - look.files_at)} ago" if look.files_at else ""),
    ]
    if sighting.pane is not None:
        lines.append(
            f"pane {sighting.pane.pane_id} runs {sighting.pane.command}, last output "
            f"{span(now - sighting.pane.activity_at)} ago"
        )
    if track.nudged_at:
        lines.append(f"nudged {span(now - track.nudged_at)} ago: {track.nudge_result}")
    if look.screen:
        lines += ["last lines of the pane:", *("| " + line for line in look.screen.splitlines()[-8:])]
    return "\n".join(lines)


def climb(draft: Draft, verdict: Verdict, sighting: Sighting) -> None:
    """Take the next rung of a stuck worker when it is due; a second look of this tick precedes each."""
    track = draft.memory.polecats[verdict.name]
    rung, due_at = next_rung(track.but(reset_at=0.0) if draft.seen.person else track, draft.config)
    now = draft.seen.now
    if rung == "person" or now < due_at or not draft.may_time() or draft.halted():
        return
    look = draft.seen.looks.get(verdict.name)
    if look is None:
        look_twice(draft, sighting, f"before it is {'nudged' if rung == 'nudge' else 'escalated'}")
        return
    evidence = describe_evidence(verdict, sighting, track, look)
    if rung == "nudge":
        text = nudge_text(verdict.name, verdict.quiet_s, draft.seen.command, draft.seen.town is not None)
        draft.put(
            "polecats",
            verdict.name,
            track.but(nudged_at=now, last_nudge_at=now, nudge_result="its outcome is not known"),
        )
        draft.count("nudges")
        draft.act(
            Nudge(
                subject=verdict.name,
                text=text,
                pane=sighting.pane,
                agents=track.agents,
                why=verdict.why,
                via=draft.config.nudge_via,
            )
        )
    else:
        draft.put("polecats", verdict.name, track.but(escalated_at=now))
        raise_matter(
            draft,
            "stuck",
            verdict.name,
            track.instance,
            f"Polecat {verdict.name} has made no progress for {span(verdict.quiet_s)}; "
            f"a nudge {span(now - track.nudged_at)} ago did not help",
            evidence,
        )


def report_busy(draft: Draft, verdict: Verdict) -> None:
    """Tell once that a worker is busy: a spinner is not progress for ever, and no reason to disturb it."""
    track = draft.memory.polecats[verdict.name]
    if not track.busy_told and draft.may_time() and not draft.halted():
        draft.put("polecats", verdict.name, track.but(busy_told=True))
        raise_matter(draft, "busy", verdict.name, track.instance, f"Polecat {verdict.name}: {verdict.why}")


def may_restart(verdict: Verdict, seen: Observation, config: Config) -> bool:
    """Tell whether a dead worker is started again: only for an issue known to be open, else its work may be merged.

    What a failed spawn has left is no worker yet: it gets the next attempt of its issue.
    """
    is_open = any(
        one.id == verdict.issue
        and one.status not in CLOSED
        # Else it is another's, on whatever host, or may be in a moment.
        and (seen.whole or (one.status, one.assignee) == ("in_progress", seen.actor))
        for one in seen.issues or ()
    )
    claim = (seen.claims or {}).get(verdict.issue)
    is_its_own = seen.claims is not None and (claim is None or (claim.state, claim.name) == ("working", verdict.name))
    can_start = bool(config.agent_command) or seen.town is not None
    return config.on_dead == "restart" and can_start and is_open and is_its_own


def handle_dead(draft: Draft, verdict: Verdict, sighting: Sighting) -> None:
    """Report or restart a dead worker once its death was seen in two ticks; never anything more."""
    track = draft.memory.polecats[verdict.name]
    config, now = draft.config, draft.seen.now
    # Rounds that follow each other at once see one moment.
    seen_once = track.dead_ticks < 2 or now < track.state_at + config.interval / 2
    if draft.halted() or not draft.may_time() or (seen_once and not draft.seen.person):
        return
    if may_restart(verdict, draft.seen, config) and len(track.restarts) < config.max_restarts:
        if not track.restarts or now >= parse_rfc3339(track.restarts[-1]) + config.start_grace:
            draft.put("polecats", verdict.name, track.but(restarts=(*track.restarts, rfc3339(now)), dead_ticks=0))
            draft.count("restarts")
            title = next((one.title for one in draft.seen.issues or () if one.id == verdict.issue), "")
            draft.act(Restart(subject=verdict.name, issue=verdict.issue, title=title, why=verdict.why))
        return
    tree = sighting.worktree
    look = draft.seen.looks.get(verdict.name)
    told = (f"{cause}.{verdict.name}.{track.instance}" for cause in ("dead", "suspended"))
    if any(key in draft.memory.escalations for key in told):
        return
    if look is None:
        look_twice(draft, sighting, "what a dead worker left")
        return
    tried = f"; restarted {len(track.restarts)} times within an hour" if track.restarts else ""
    work = f"{look.changed} changed or untracked files" if look.ok else f"git could not be asked: {look.reason}"
    summary = f"Polecat {verdict.name} is dead: {verdict.why}{tried}. Its work is untouched in {tree.path}"
    raise_matter(
        draft,
        "dead",
        verdict.name,
        track.instance,
        summary,
        f"branch {tree.branch or '(detached)'}, {work}" + (f"\nissue {verdict.issue}" if verdict.issue else ""),
    )


def settle_restart(draft: Draft, outcome: Outcome) -> None:
    """Tell of a restart that could not be tried, and once of an agent that lives; one that was tells for itself."""
    track = draft.memory.polecats.get(outcome.subject)
    if outcome.data.get("lives") and track is not None:
        summary = f"Polecat {outcome.subject} was not restarted: {outcome.detail}"
        raise_matter(draft, "suspended", outcome.subject, track.instance, summary)
    elif not outcome.ok and not outcome.data.get("told"):
        draft.tell("restarted", outcome.subject, f"it could not be tried: {outcome.detail}")


def settle_nudge(draft: Draft, outcome: Outcome) -> None:
    """Record how a nudge arrived."""
    track = draft.memory.polecats.get(outcome.subject)
    if track is None:
        return
    draft.put("polecats", outcome.subject, track.but(nudge_result=clean_line(outcome.detail)))
    draft.tell("nudged", outcome.subject, outcome.detail)


# ====================================================================================================
# room: retire — what stands against a retirement, and what is written down of it
# ====================================================================================================


class Blocker(Value):
    """One reason why a worker cannot be retired now: predicate, evidence, and the command that clears it."""

    kind: str
    evidence: str
    remedy: str


class Finding(Value):
    """One thing that an inspection found."""

    kind: str
    what: str


UNHIDE = (  # one call with both options heeds the first alone
    "git -C {path} update-index --no-assume-unchanged -- {what}; "
    "git -C {path} update-index --no-skip-worktree -- {what}, then commit it"
)

# kind: (evidence, the command that clears it, whether --force preserves it instead of being refused because of it).
# {what} in the command is the first thing found; {path} and {name} are the worktree and the polecat.
BLOCKERS = {
    "modified": ("changed and not committed: {what}", "git -C {path} commit -a", True),
    "untracked": ("never committed: {what}", "git -C {path} add -A && git -C {path} commit (or delete it)", True),
    "hidden": (
        "changed behind assume-unchanged or skip-worktree: {what}",
        UNHIDE,
        True,
    ),
    "precious": (
        "ignored by git, and looks precious: {what}",
        "move {path}/{what} to a safe place, or delete it",
        True,
    ),
    "nested": ("a repository of its own inside: {what}", "move {path}/{what} out, or push it and delete it", False),
    "mount": ("another file system is mounted inside: {what}", "umount {what}", False),
    "alternate": ("the rig's objects are borrowed from inside it: {what}", "git repack -a -d, in the rig", False),
    "stash": ("a stash of this worker: {what}", "git -C {path} stash pop, then commit (or git stash drop)", False),
    "paused": (
        "an unfinished {what}",
        "git -C {path} {what} --continue (or --abort; a bisect: git bisect reset)",
        False,
    ),
    "lock": ("git is at work: {what} is held open", "let it finish", False),
    "detached": ("commits on no branch: {what}", "git -C {path} switch -c polecat/{name}-kept", False),
    "unborn": ("its branch has no commit yet: {what}", "git -C {path} commit", False),
    "locked": ("the worktree is locked: {what}", "git worktree unlock {path}", False),
    "gitlink": ("a submodule without .gitmodules: {what}", "git -C {path} rm --cached {what}, then commit", False),
    "submodule": ("a submodule holds work of its own: {what}", "commit and push inside it", False),
    "process": ("a process inside is not the worker's: {what}", "end it, or let it leave {path}", False),
    "attached": ("a person is looking at its session: {what}", "detach from it (prefix d)", False),
    "mirror": ("a fetch would delete our rescue refs: {what}", "git config --add {what} '^refs/witness/*'", False),
    "elsewhere": (
        "it lies on another file system than the state folder, and could not be moved there: {what}",
        "put polecats/ and the state folder on one file system",
        False,
    ),
    "held": ("a person said stop: {what}", "witness release {name}, or witness resume", False),
    "look": ("could not be looked at: {what}", "see that git and tmux work in {path}, then ask again", False),
}


def find_blockers(findings, retirement: Retirement) -> tuple:
    """Return all blockers of the findings, one a kind, in the order of BLOCKERS; --force lets some kinds pass."""
    by_kind = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(clean_line(finding.what, 120))
    blockers = []
    for kind, (evidence, remedy, forceable) in BLOCKERS.items():
        names = sorted(set(by_kind.get(kind, ())))
        if not names or (retirement.force and forceable):
            continue
        what = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        places = {"what": shell_word(names[0]), "path": shell_word(retirement.path), "name": retirement.name}
        blockers.append(Blocker(kind=kind, evidence=evidence.format(what=what), remedy=remedy.format(**places)))
    return tuple(blockers)


SWAP_FILES = (".*.sw?", "*~", "#*#", ".#*")  # what editors save on their way out


def is_swap_file(path: str) -> bool:
    """Tell whether a file is an editor's unsaved text."""
    from fnmatch import fnmatchcase

    return any(fnmatchcase(path.rpartition("/")[2], pattern) for pattern in SWAP_FILES)


def is_precious(path: str, patterns) -> bool:
    """Tell whether an ignored file is too dear to be dropped with its folder."""
    from fnmatch import fnmatchcase

    return any(fnmatchcase(path.rpartition("/")[2], pattern) for pattern in patterns)


def find_tips(named, printed: str) -> tuple:
    """Return those of the named commits that no other printed commit has as a parent.

    printed: `rev-list --parents`, one commit and its parents a line.
    """
    rows = [line.split() for line in printed.splitlines() if line]
    parents = {parent for row in rows for parent in row[1:]}
    return tuple(row[0] for row in rows if row[0] in named and row[0] not in parents)


def covers_rescue_refs(refspecs) -> bool:
    """Tell whether fetch refspecs of one remote take in refs/witness/, so that --prune would delete it."""
    if any(spec.startswith("^refs/witness/") for spec in refspecs):
        return False
    targets = [spec.partition(":")[2] for spec in refspecs if not spec.startswith("^")]
    return any(target in ("refs/*", "*") or target.startswith("refs/witness/") for target in targets)


# ====================================================================================================
# room: fate — whether a retired worker's branch may be deleted
# ====================================================================================================


class BranchFacts(Value):
    """Everything that was found out about a branch; what could not be told is in `doubt`."""

    name: str  # the one branch that may be deleted, "" for none
    there: bool = True
    symref: bool = False  # deleting an alias would delete its target
    default: bool = False  # it is the default branch, or base's HEAD names it
    moved: bool = False  # it does not point to the tip that was preserved
    checked_out: str = ""  # worktree that has it
    on_default: str = ""  # how its content is on the default branch
    on_remote: str = ""  # which branch of which remote holds it, by ls-remote
    doubt: str = ""


def decide_fate(facts: BranchFacts) -> tuple:
    """Return (deleted or kept, why): deleted only where its content is proved to be elsewhere; any doubt keeps it.

    One that is gone already counts as deleted: we were killed right after deleting it.
    """
    if not facts.name:
        return "kept", "it is not this worker's own"
    if facts.doubt:
        return "kept", f"git could not tell: {facts.doubt}"
    if not facts.there:
        return "deleted", "it is gone already"
    for fits, why in (
        (facts.symref, "it is an alias of another branch"),
        (facts.default, "it is the default branch"),
        (facts.moved, "it has moved since it was preserved"),
        (facts.checked_out, f"{facts.checked_out} has it checked out"),
    ):
        if fits:
            return "kept", why
    if facts.on_default or facts.on_remote:
        return "deleted", facts.on_default or facts.on_remote
    return "kept", "its content is not on the default branch or a remote"


# ====================================================================================================
# room: patrol — what only the witness of a Gas Town did, and what keeps its workers' work safe from gt
# ====================================================================================================


def tell_beside(draft: Draft) -> None:
    """Say once at the start what gt does beside us that costs tokens."""
    seen = draft.seen
    notice = beside_notice(seen.town, seen.rig, seen.command) if seen.town is not None and seen.first else ""
    if notice and not seen.person:
        draft.tell("beside", "gt", notice)


def mark_of(sighting: Sighting, rests: bool) -> str:
    """Return what changes as soon as somebody has worked in a worktree: its branch, and when git last wrote there.

    Without git it may have been worked in, too, until whoever was there came to rest.
    """
    tree = sighting.worktree
    return f"{tree.branch} {rfc3339(max(tree.git_at, tree.born_at))}" + " at rest" * rests


def list_at_risk(draft: Draft) -> list:
    """Return the workers whose worktrees gt may reset at any time: nobody is in them, or whoever is has no task.

    Nobody is where an agent has left its shell, too, whatever else is to be said of that worker.
    """
    seen = draft.seen
    if seen.town is None or not seen.town.reuses:
        return []
    found = []
    for name, sighting in seen.sightings.items():
        verdict, track = draft.verdicts.get(name), draft.memory.polecats.get(name, Track())
        if draft.memory.spawn is not None and not track.instance:
            continue  # it is being made
        gone = sighting.session == ABSENT and not sighting.process_lives
        pane = sighting.pane
        gone = gone or (pane is not None and (pane.dead or sighting.shell == "interactive"))
        left = verdict is not None and verdict.state in ("idle", "dead")
        if (gone or left) and not sighting.worktree.trouble:
            found.append(name)
    return found


def list_hooks(seen: Observation) -> dict:
    """Return {worker: the beads on its hook}; another host's of the same name cannot be told from it."""
    found = {}
    for issue in seen.issues or ():
        if issue.status == "in_progress":
            claim = (seen.claims or {}).get(issue.id)
            ours = claim is not None and claim.state == "working" and issue.assignee == seen.actor
            found.setdefault(claim.name if ours else read_hook(seen.rig, issue.assignee), []).append(issue.id)
    return found


def list_resting(draft: Draft) -> tuple:
    """Return the idle workers that gt may put to other work: nothing moves there any more, and no person looks in.

    With heartbeats they would look at work for ever: none would be used again, and each sling would make one more.
    One with a bead on its hook is none, whatever its branch says: a person may have slung that to it.
    """
    found, hooks = [], list_hooks(draft.seen)
    for name, verdict in draft.verdicts.items():
        pane = draft.seen.sightings[name].pane
        quiet = verdict.state == "idle" and verdict.quiet_s >= draft.config.stuck_after
        if quiet and name not in hooks and (pane is None or not pane.attached):
            found.append(name)
    return tuple(found)


def _list_marks(draft: Draft) -> dict:
    """Return {a worker at risk: the mark of the state in which its work is now}."""
    resting = list_resting(draft)
    return {name: mark_of(draft.seen.sightings[name], name in resting) for name in list_at_risk(draft)}


def list_unkept(draft: Draft) -> list:
    """Return the workers at risk whose work was not kept in the state in which it is now."""
    tracks = draft.memory.polecats
    return [name for name, mark in _list_marks(draft).items() if tracks.get(name, Track()).kept != mark]


def keep_due(draft: Draft) -> None:
    """Keep the work of everybody at risk in each state, and look every KEPT_LOOK_S whether it is another one.

    Who could not be kept before does not hold up others.
    """
    marks, due = _list_marks(draft), []
    for name, track in draft.memory.polecats.items():
        if track.kept and name in draft.seen.sightings and name not in marks:
            draft.put("polecats", name, track.but(kept=""))  # it works again, and need not call git for that
    failed = {matter.name for matter in draft.memory.escalations.values() if matter.cause == "unkept"}
    for name in sorted(failed - set(marks)):
        sighting = draft.seen.sightings.get(name)
        if sighting is not None and sighting.session == PRESENT and not sighting.worktree.trouble:
            close_matter(draft, "unkept", name, "its worker lives again")
    for name, mark in marks.items():
        track = draft.memory.polecats.get(name, Track())
        again = track.kept == mark
        if not again or draft.seen.now >= track.kept_at + KEPT_LOOK_S:
            due.append((name in failed, again, track.kept_at, name))
    for _, again, _, name in sorted(due)[:KEEPS_PER_TICK]:
        why = "gt may reset its worktree at any time"
        draft.act(KeepWork(subject=name, mark=marks[name], again=again, why=why))


def settle_kept(draft: Draft, outcome: Outcome) -> None:
    """Note that a worktree's work is kept; a person learns where it could not be."""
    name, track = outcome.subject, draft.memory.polecats.get(outcome.subject)
    if track is None:
        return
    mark = outcome.data.get("mark", "") if outcome.ok else ""
    draft.put("polecats", name, track.but(kept=mark, kept_at=draft.seen.now))
    if outcome.ok:
        close_matter(draft, "unkept", name, "its work is kept")
        if outcome.detail:
            draft.tell("kept", name, outcome.detail)
    else:
        summary = f"The work of {name}, who is gone, could not be kept: {clean_line(outcome.detail)}"
        raise_matter(draft, "unkept", name, track.instance, summary, "no worker is slung until it is")


def beat_due(draft: Draft) -> None:
    """Send heartbeats wherever an agent lives or somebody is attached: only gt's own commands in a session do so."""
    seen = draft.seen
    if seen.town is None or not seen.town.reuses or seen.now < draft.memory.beat_at + BEAT_S:
        return
    resting = list_resting(draft)
    sessions = tuple(
        sorted(
            one.pane.session
            for one in seen.sightings.values()
            if one.session == PRESENT
            and one.pane is not None
            and not one.pane.dead
            and (one.shell != "interactive" or one.pane.attached)  # a person may be at the shell
            and one.name not in resting
        )
    )
    if sessions:
        draft.change(beat_at=seen.now)
        draft.act(SendHeartbeats(subject="workers", sessions=sessions))


def settle_beat(draft: Draft, outcome: Outcome) -> None:
    """Send heartbeats again in the next tick where that failed: who has none for 3 minutes is ended by a sling."""
    if outcome.ok:
        close_matter(draft, "beat", "", "heartbeats are sent again")
        return
    draft.change(beat_at=0.0)
    summary = f"Heartbeats cannot be sent, and the next sling ends whoever has none: {clean_line(outcome.detail)}"
    raise_matter(draft, "beat", "", "", summary, "try `gt heartbeat --state=working` in the rig")


def patrol_due(draft: Draft) -> None:
    """Go through the town every PATROL_S."""
    seen = draft.seen
    if seen.town is not None and draft.may_time() and seen.now >= draft.memory.patrolled_at + PATROL_S:
        draft.change(patrolled_at=seen.now)
        draft.act(Patrol(subject="the town"))


def _judge_neighbour(draft: Draft, who: str, trouble: str | None, remedy: str) -> None:
    """Tell a person once of a neighbour that was found dead twice, PATROL_S apart; None is not known."""
    key, track = f"town.{who}", draft.memory.ports.get(f"town.{who}")
    if trouble is None:
        return
    if not trouble and track is not None:
        draft.put("ports", key, None)
        close_matter(draft, f"town-{who}", "", f"the {who} is alive again")
    elif trouble and track is None:
        draft.put("ports", key, PortTrack(since_at=draft.seen.now, reason=clean_line(trouble)))
    elif trouble and draft.seen.now > track.since_at:
        raise_matter(draft, f"town-{who}", "", "", f"The {who} is not alive: {clean_line(trouble)}", remedy)


def settle_patrol(draft: Draft, outcome: Outcome) -> None:
    """Draw the consequences of a round: work waits and nobody merges it, or nobody is there to escalate to."""
    seen, data = draft.seen, outcome.data
    for who in ("mayor", "deacon"):
        _judge_neighbour(draft, who, data.get(who), f"`gt {who} start` starts it")
    waiting, town = data.get("waiting"), seen.town
    if waiting is None or town is None or seen.sessions is None:
        return
    alone = bool(waiting) and town.refinery not in seen.sessions
    if alone and not seen.paused:
        draft.act(StartSession(subject="refinery", why=f"{waiting} merge requests wait, and it does not run"))
    trouble = f"{waiting} merge requests wait, and it has no session" if alone else ""
    _judge_neighbour(draft, "refinery", trouble, f"`gt refinery start {seen.rig}` starts it")


def settle_session(draft: Draft, outcome: Outcome) -> None:
    """Note that a neighbour was started, or that it could not be."""
    draft.tell("restarted", outcome.subject, outcome.detail or "it had work, and no session")
    if not outcome.ok:
        summary = f"The {outcome.subject} has work, and could not be started: {clean_line(outcome.detail)}"
        raise_matter(draft, f"town-{outcome.subject}", "", "", summary)


# ====================================================================================================
# room: slung — what a sling of gt has left behind, and what makes exactly one worker of it
# ====================================================================================================


class Slung(Value):
    """What is there of a worker for a bead."""

    hook: str = ""  # the worker of this rig on whose hook it hangs
    taken: str = ""  # somebody else who has it
    made: str = ""  # the worker whose worktree was made for it, although it hangs on no hook
    lives: frozenset = frozenset()  # workers whose sessions are there


def judge_slung(slung: Slung) -> tuple:
    """Return (state of the claim, worker): working, failed (residue that gets the next try), lost or released."""
    if slung.hook:
        return ("working" if slung.hook in slung.lives else "failed"), slung.hook
    if slung.taken:
        return "lost", ""
    return ("failed", slung.made) if slung.made else ("released", "")


def next_sling(dialect: GtDialect, rig: str, issue: str, slung: Slung, words) -> tuple:
    """Return what must be called next so that a claimed bead has one worker, () where it has one or is another's.

    What a sling leaves that was killed or has failed was found by killing real ones at every second.
    """
    if slung.hook:  # hooked, and its session never came or has ended: the bead is not touched
        return () if slung.hook in slung.lives else start_argv(rig, slung.hook)
    if slung.taken:  # by a sling that was quicker than ours, in the moment after the claim
        return ()
    if not slung.made:
        return sling_argv(dialect, rig, issue, "", words)
    if "reuses" in dialect.can or "native" not in dialect.can:
        return sling_argv(dialect, rig, issue, slung.made, words)
    if slung.made not in slung.lives:  # slung to, it would be passed over for a new one
        return start_argv(rig, slung.made)
    raw = ("--hook-raw-bead",) if "raw" in dialect.can and "--hook-raw-bead" not in words else ()
    return sling_argv(dialect, rig, issue, slung.made, (*words, *raw))


# ====================================================================================================
# room: spawn — which issue gets a worker, when, and what its failures mean
# ====================================================================================================


def why_not_ready(issue: Issue, now: float, by_id: dict) -> str:
    """Return why an issue is no work at present, whoever asks."""
    if issue.again:
        return f"deferred until {clean_line(issue.deferred_until, 40)}" if is_deferred(issue, now) else ""
    if issue.status != "open":
        return f"its status is {issue.status}" + f", with {clean_line(issue.assignee, 60)}" * bool(issue.assignee)
    blocking = find_blocking(issue, by_id)
    if blocking:
        return f"blocked by {blocking}" + ("" if blocking in by_id else ", which is not in the queue")
    if is_deferred(issue, now):
        return f"deferred until {clean_line(issue.deferred_until, 40)}"
    return f"assigned to {clean_line(issue.assignee, 60)}" if issue.assignee else ""


def why_filtered(issue: Issue, config: Config, by_id: dict) -> str:
    """Return which filter keeps an issue out; `spawn ISSUE` passes all of them by."""
    if issue.type in config.skip_types:
        return f"its type is {issue.type} (skip_types)"
    label = next((label for label in issue.labels if label.startswith("gt:")), "")
    if label:
        return f"its label {clean_line(label, 40)} marks it as no work"
    if issue.aside:
        return f"it is {issue.aside}"
    if config.issue_prefix and not issue.id.startswith(config.issue_prefix):
        return f"its id does not begin with {config.issue_prefix} (issue_prefix)"
    missing = [label for label in config.labels if label not in issue.labels]
    if missing:
        return f"it lacks the label {missing[0]} (labels)"
    above = {*issue.parents, *(parent.id for parent in find_ancestors(issue, by_id))} if config.epic_id else ()
    if config.epic_id and config.epic_id not in above:
        return f"it is no child of {config.epic_id} (epic_id)"
    return ""


def find_residue(claim: Claim, seen: Observation) -> str:
    """Return the worktree that an earlier attempt of ours has left and that gets the next one, "" if there is none."""
    sighting = seen.sightings.get(claim.name)
    # After `spawn reset` the claim is free; then only the branch tells the residue from what somebody made since.
    ours = claim.state == "failed" or (
        claim.state == "released"
        and sighting is not None
        and sighting.session == ABSENT
        and sighting.worktree.branch == claim.branch != ""
    )
    return claim.name if ours and claim.actor == seen.actor else ""


def index_workers(draft: Draft) -> tuple:
    """Return ({a name that an issue's worker would have: the worktrees that have it}, {issue: who works on it}).

    A worktree without a claim that is called NAME-2 may hold a second try of NAME's issue.
    """
    by_name, by_issue = {}, {}
    for name, sighting in draft.seen.sightings.items():
        first = name if name in draft.claims else re.sub(r"-\d+$", "", name)
        for wanted in {name, first}:
            by_name.setdefault(wanted, []).append(name)
        by_issue.setdefault(find_assignment(sighting, None, None)[0], []).append(name)
    return by_name, by_issue


def why_inhabited(issue: Issue, draft: Draft, claim: Claim | None) -> str:
    """Return which worktree may hold work on an issue although no claim says so; the claims may have been lost."""
    wanted = name_for_issue(issue.id)
    for name, retirement in draft.memory.retirements.items():
        # No pattern of the issue's id: `re` keeps five hundred of them, and a queue of a thousand makes each anew.
        tried = name not in draft.claims and wanted in (name, re.sub(r"-\d+$", "", name))
        if retirement.issue == issue.id or tried:
            return f"{name}, who had it, is being retired"
    if draft.workers is None:
        draft.workers = index_workers(draft)
    by_name, by_issue = draft.workers
    residue = find_residue(claim, draft.seen) if claim is not None else ""  # it gets the next try
    for names, why in (
        (by_name.get(wanted, ()), "a worktree of its name is there: {}"),
        (by_issue.get(issue.id, ()), "{} works on it"),
    ):
        for name in names:
            if name != residue:
                return why.format(name)
    return ""


def find_rival(issue: Issue, actor: str, now: float, within_s: float) -> str:
    """Return which other Witness is giving a bead to a worker: for seconds of its sling the bead looks free."""
    own = actor.rpartition("@")[2]
    for label in issue.labels:
        other, at = read_sling_label(label)
        if other and other != own and now < at + within_s:
            return f"the Witness {clean_line(other, 60)} is giving it to a worker"
    return ""


def _why_left(issue: Issue, seen: Observation, config: Config, claim: Claim | None) -> str:
    """Return who in a Gas Town gives an issue to a worker, or has done so, although it looks free."""
    if issue.id in seen.town.convoys:
        return f"left to gt: its daemon gives it to a worker, out of the convoy {seen.town.convoys[issue.id]}"
    rival = find_rival(issue, seen.actor, seen.now, 2 * config.spawn_timeout)
    if rival:
        return rival
    freed = claim is not None and claim.state in ("released", "closed", "failed")
    if HANDED_OVER_LABEL in issue.labels and not freed:
        return f"handed over: it waits to be merged (its label {HANDED_OVER_LABEL} says so)"
    return ""


def why_attended(issue: Issue, draft: Draft) -> str:
    """Return who has an issue already, or why it must wait after failures."""
    seen = draft.seen
    claim = (seen.claims or {}).get(issue.id)
    if claim is not None and claim.state in ("claimed", "working"):
        stray = draft.find_stray(claim)
        gone = f", which is gone; `spawn reset {issue.id}` frees it" * (claim.name not in seen.sightings)
        gone = f", which lives in session {stray} without its worktree; end that first" if stray else gone
        return f"worked on by {claim.name or claim.actor}{gone}"
    if claim is not None and claim.state == "handed-over":
        return f"handed over by {claim.name}: {claim.branch or claim.ref} waits to be merged; `spawn reset` frees it"
    if claim is not None and claim.state == "failed" and claim.actor != seen.actor:
        return f"claimed by {claim.actor}"
    if claim is not None and claim.owed:
        return f"the queue was not told yet what became of it ({claim.owed} is owed)"
    if seen.town is not None:
        why = _why_left(issue, seen, draft.config, claim)
        if why:
            return why
    effort = draft.memory.issues.get(issue.id)
    if effort is not None and effort.attempts >= SPAWN_ATTEMPTS:
        return f"failed {effort.attempts} times ({effort.error}); `spawn reset {issue.id}` tries again"
    if effort is not None and effort.next_at > seen.now:
        return f"after a failure it waits {span(effort.next_at - seen.now)} more ({effort.error})"
    return why_inhabited(issue, draft, claim)


def why_not_spawnable(issue: Issue, draft: Draft, by_id: dict) -> str:
    """Return the first reason why an issue gets no worker of its own accord, "" if it may have one."""
    return (
        why_not_ready(issue, draft.seen.now, by_id)
        or why_filtered(issue, draft.config, by_id)
        or why_attended(issue, draft)
    )


def _why_guarded(load: Load | None, config: Config) -> str:
    if load is None:
        return ""
    if config.max_load_per_core and load.per_core is not None and load.per_core > config.max_load_per_core:
        return f"load per core is {load.per_core:.1f}, max_load_per_core is {config.max_load_per_core:g}"
    if load.free_memory_mib is not None and load.free_memory_mib < config.min_free_memory:
        return f"{load.free_memory_mib:.0f} MiB of memory are free, min_free_memory is {config.min_free_memory:g}"
    if load.free_disk_mib is not None and load.free_disk_mib < config.min_free_disk:
        return f"{load.free_disk_mib:.0f} MiB of disk are free, min_free_disk is {config.min_free_disk:g}"
    return ""


def _why_broken(draft: Draft) -> str:
    opened_at = draft.memory.breaker_at
    if opened_at and draft.seen.now < opened_at + BREAKER_REST_S:
        return f"{BREAKER_FAILURES} spawns failed within {span(BREAKER_WINDOW_S)}; one is tried again in " + span(
            opened_at + BREAKER_REST_S - draft.seen.now
        )
    return ""


def _is_live(draft: Draft, sighting: Sighting) -> bool:
    verdict = draft.verdicts.get(sighting.name)
    state = verdict.state if verdict is not None else ""
    if state == "dead":
        restarts = draft.memory.polecats.get(sighting.name, Track()).restarts
        return may_restart(verdict, draft.seen, draft.config) and len(restarts) < draft.config.max_restarts
    return state != "idle" and (sighting.session != ABSENT or sighting.process_lives)


def count_live(draft: Draft) -> int:
    """Count live workers from ground truth: also who cannot be judged and who will be restarted, but no idle one."""
    return sum(_is_live(draft, sighting) for sighting in draft.seen.sightings.values())


def _why_unmade(draft: Draft) -> str:
    """Return what keeps a worker from being made, whatever it is for."""
    town = draft.seen.town
    if town is None and not draft.config.agent_command:
        return "agent_command is not set; `witness config set agent_command …` says what to run"
    unkept = sorted(list_unkept(draft))  # a sling may reset the worktree of one who is not there
    return (town.left if town is not None else "") or (f"the work of {unkept[0]} is not kept yet" if unkept else "")


def why_no_spawn(draft: Draft, by_hand: bool = False) -> str:
    """Return what keeps every spawn back now, "" if nothing does."""
    seen, memory, config = draft.seen, draft.memory, draft.config
    if draft.halted():
        return draft.halted()
    if not config.auto_spawn and not by_hand:
        return "auto_spawn is off"
    # Where no town is seen because its gt does not answer, an agent_command that is not set is no reason.
    left = draft.why_unknown(("spawner",) if seen.town is None else ()) or _why_unmade(draft)
    left = left or draft.why_unknown(("queue", "tmux", "git", "spawner"))
    if left:
        return left
    if seen.issues is None:
        return "the queue could not be read"
    if seen.claims is None:
        return "the claims cannot be read"
    if memory.spawn is not None:
        trouble = memory.spawn.trouble
        return f"the spawn for {memory.spawn.issue} is under way" + f", and what came of it: {trouble}" * bool(trouble)
    live = count_live(draft)
    if live >= config.max_workers:
        return f"{live} live workers, max_workers is {config.max_workers}"
    wait_s = memory.spawned_at + config.spawn_delay_ms / 1000 - seen.now
    if 0 < wait_s <= config.spawn_delay_ms / 1000 and not by_hand:
        return f"spawn_delay_ms: {wait_s:.1f} s more"
    return _why_guarded(seen.load, config) or _why_broken(draft)


def _settle_spawn_child(draft: Draft) -> bool:
    """Look after the spawn under way; True while there is one."""
    seen, spawn, sight = draft.seen, draft.memory.spawn, draft.seen.spawn
    issue = spawn.issue if spawn is not None else ""
    if not issue and seen.claims:  # a memory was lost: a claim still says what was under way
        issue = next(
            (one.issue for one in seen.claims.values() if one.state == "claimed" and one.actor == seen.actor), ""
        )
    blind = any(seen.ports.get(port, Port()).state == UNKNOWN for port in ("tmux", "git"))
    if sight is not None and sight.alive:
        issue = issue or sight.issue
        if spawn is None and issue:
            deadline_at = seen.now + draft.config.spawn_timeout
            draft.change(spawn=Spawn(issue=issue, at=seen.now, deadline_at=deadline_at))
        elif spawn is not None and seen.now > spawn.deadline_at and not blind:
            draft.act(EndSpawn(subject=issue, sight=sight, overdue=True, why="it took longer than spawn_timeout"))
        return True
    if not issue or blind:  # it is settled by its effects, and they must be seen
        return bool(issue)
    if sight is None or sight.issue != issue:
        # We died before the child began, or after it was settled; neither is a fault of the issue.
        sight = SpawnSight(alive=False, issue=issue, reason="it left no word of how it ended", fault="host")
    draft.act(EndSpawn(subject=issue, sight=sight, why=sight.reason))
    return True


def spawn_due(draft: Draft) -> None:
    """Settle a spawn that has ended, and start the next one when something is ready and nothing keeps it back."""
    if _settle_spawn_child(draft):
        return
    seen = draft.seen
    by_hand = bool(seen.person and seen.only)
    if why_no_spawn(draft, by_hand) or not draft.may_time():
        return
    by_id = {issue.id: issue for issue in seen.issues or ()}
    wanted = [by_id[issue] for issue in seen.only if issue in by_id] if by_hand else list_ready(seen.issues, seen.now)
    for issue in wanted:
        why = (
            (why_not_ready(issue, seen.now, by_id) or why_attended(issue, draft))
            if by_hand
            else why_not_spawnable(issue, draft, by_id)
        )
        if why:
            continue
        claim = seen.claims.get(issue.id)
        residue = find_residue(claim, seen) if claim is not None else ""
        taken = {
            *seen.sightings,
            *(folder for folder, _ in seen.strangers),
            # A name under which work was handed over stays its own; one of a try that left nothing is free again.
            *(one.name for one in seen.claims.values() if one.issue != issue.id or one.tip),
            *draft.memory.retirements,
        }
        name = residue or ("" if seen.town is not None else free_name(name_for_issue(issue.id), taken))
        deadline_at = seen.now + draft.config.spawn_timeout
        draft.change(spawn=Spawn(issue=issue.id, at=seen.now, deadline_at=deadline_at), spawned_at=seen.now)
        resting = list_resting(draft) if seen.town is not None else ()
        draft.act(StartSpawn(subject=issue.id, issue=issue, name=name, resting=resting, why=issue.title))
        return


def record_failure(draft: Draft, issue: str, error: str, counts: bool = True, wait_s: float | None = None) -> None:
    """Count a failed attempt of an issue; after SPAWN_ATTEMPTS it waits for a person, who is told.

    wait_s: until the next may follow.
    """
    effort = draft.memory.issues.get(issue, Effort())
    attempts = min(effort.attempts + counts, SPAWN_ATTEMPTS)
    wait_s = SPAWN_BACKOFF_S[min(max(attempts, 1), len(SPAWN_BACKOFF_S)) - 1] if wait_s is None else wait_s
    draft.put("issues", issue, Effort(attempts=attempts, next_at=draft.seen.now + wait_s, error=clean_line(error)))
    if attempts >= SPAWN_ATTEMPTS:
        summary = f"Issue {issue} was given up after {attempts} failed attempts: {clean_line(error)}"
        raise_matter(draft, f"spawn-{issue}", "", "", summary)


def settle_unsettled(draft: Draft, outcome: Outcome) -> None:
    """Tell why a spawn that has ended cannot be settled; a person learns of it when it has taken its whole time."""
    spawn, why = draft.memory.spawn, clean_line(outcome.detail)
    if spawn is None:
        return
    if why != spawn.trouble:
        draft.tell("spawn-failed", outcome.subject, f"what came of it cannot be told yet: {why}")
        draft.change(spawn=spawn.but(trouble=why))
    if draft.seen.now > spawn.deadline_at:
        summary = f"The spawn for {outcome.subject} has ended, and what came of it cannot be told: {why}"
        raise_matter(draft, "unsettled", "", "", summary, "no other worker is started until it can")


def settle_spawn(draft: Draft, outcome: Outcome) -> None:
    """Draw the consequences of a spawn's end; a fault of host or tool is no attempt of the issue."""
    draft.change(spawn=None)
    close_matter(draft, "unsettled", "", "it is settled")
    issue, wait_s = outcome.subject, keep_back(draft, outcome)
    if outcome.ok:
        draft.tell("spawned", outcome.data.get("name", ""), f"works on {issue}")
        draft.count("spawned")
        draft.change(failures=(), breaker_at=0.0)
        close_matter(draft, "breaker", "", f"a worker for {issue} was started")
        if issue not in draft.memory.spawned_issues:
            draft.change(spawned_issues=(*draft.memory.spawned_issues, issue))
        return  # its failed attempts are forgotten once its work is handed over, not before
    fault = outcome.data.get("fault", "")
    if fault == "lost":  # no failure of anybody, and no spawn: the next issue may have its worker at once
        draft.tell("lost", issue, outcome.detail)
        draft.change(spawned_at=0.0)
        effort = draft.memory.issues.get(issue, Effort())
        draft.put("issues", issue, effort.but(next_at=draft.seen.now + draft.config.interval, error=outcome.detail))
        return
    if wait_s is None:
        draft.tell("spawn-failed", issue, outcome.detail)
    if fault == "step":  # one of several that make a worker of what a sling has left
        record_failure(draft, issue, outcome.detail, wait_s=0)
        draft.change(spawned_at=0.0)
        return
    if fault == "taken":
        draft.put("issues", issue, Effort(attempts=SPAWN_ATTEMPTS, error=outcome.detail))
        raise_matter(draft, f"spawn-{issue}", "", "", f"Issue {issue} gets no worker: {outcome.detail}")
        return
    record_failure(draft, issue, outcome.detail, counts=not fault, wait_s=wait_s)
    recent = tuple(at for at in draft.memory.failures if parse_rfc3339(at) > draft.seen.now - BREAKER_WINDOW_S)
    recent = (*recent, rfc3339(draft.seen.now))[-BREAKER_FAILURES:]
    draft.change(failures=recent)
    if len(recent) >= BREAKER_FAILURES:
        draft.change(breaker_at=draft.seen.now)
        rate = f"{len(recent)} spawns failed within {span(BREAKER_WINDOW_S)}"
        raise_matter(draft, "breaker", "", "", f"{rate}; one is tried every {span(BREAKER_REST_S)}", outcome.detail)


# ====================================================================================================
# room: custody — issues in our hands after the spawn: given back, orphaned, merged, or changed by others
# ====================================================================================================


KEPT = "not released: "  # begins the evidence of an orphan of whose work something exists


def _may_judge(draft: Draft) -> bool:
    """Tell whether claims, issues and worktrees are known, so that what is not seen is not there."""
    seen = draft.seen
    return seen.claims is not None and seen.issues is not None and seen.ports.get("git", Port()).state != UNKNOWN


def _list_there(draft: Draft) -> set:
    return {*draft.seen.sightings, *draft.memory.retirements, *(folder for folder, _ in draft.seen.strangers)}


def _is_there(draft: Draft, claim: Claim, there: set) -> bool:
    """Tell whether the worker of a claim is there, and not on another issue by now; it may have lost its worktree."""
    sighting = draft.seen.sightings.get(claim.name)
    is_seen = claim.name in there and (sighting is None or is_claim_of(claim, sighting.worktree))
    return is_seen or bool(draft.find_stray(claim))


def _is_taken(claim: Claim, issue: Issue, seen: Observation) -> bool:
    held = claim.state in ("working", "failed") and seen.fresh
    return held and issue.status == "in_progress" and issue.assignee != seen.actor


def _tell_owed(draft: Draft) -> int:
    """Tell what is owed and due, the longest unheard first, and return how much that is.

    What is refused for good must not keep the rest back.
    """
    seen, owed = draft.seen, draft.memory.owed
    due = [
        claim for claim in seen.claims.values() if claim.owed and owed.get(claim.issue, Effort()).next_at <= seen.now
    ]
    due.sort(key=lambda claim: (owed.get(claim.issue, Effort()).next_at, claim.issue))
    for claim in due[:SETTLES_PER_TICK]:
        draft.act(SettleClaim(subject=claim.issue, claim=claim, step="tell", why=f"{claim.owed} is owed"))
    for issue in owed:
        if issue not in seen.claims or not seen.claims[issue].owed:
            draft.put("owed", issue, None)
            close_matter(draft, f"owed-{issue}", "", "the queue was told")
    return min(len(due), SETTLES_PER_TICK)


def _follow(claim: Claim, issue: Issue, is_there: bool) -> tuple:
    """Return (step, why) for a claim of ours by what others have done to its issue, ("", "") where nothing follows."""
    # While its worker is there, its claim says why that one is idle, and a reopened issue gets no second one.
    over = claim.state == "handed-over" or (claim.state in ("working", "failed") and not is_there)
    if issue.status in CLOSED and over:
        return "closed", "it was closed"
    own = claim.actor.rpartition("@")[2]
    if claim.state != "claimed" and any(read_sling_label(label)[0] == own for label in issue.labels):
        return "unmark", "a sling of it is over"
    if issue.status != "open" or issue.assignee:
        return "", ""
    is_held = claim.state in ("claimed", "working", "failed")
    if not claim.shared and (is_held or claim.state == "handed-over"):
        return "keep", "it was claimed before this queue was there"
    if is_held and is_there:
        return "keep", f"it was set open, and {claim.name} is on it"
    if claim.state == "handed-over" and HANDED_OVER_LABEL not in issue.labels:
        # Who sets it open leaves the label; a database that was put back to an earlier day has none.
        return "keep", f"its work waits to be merged, and its label {HANDED_OVER_LABEL} is gone"
    return ("free", "it was set open") if claim.state in ("working", "failed", "handed-over") else ("", "")


def settle_claims(draft: Draft) -> None:
    """Tell a shared queue what it is owed, and follow what others have done there to issues of ours."""
    seen = draft.seen
    if seen.whole or not _may_judge(draft):
        return
    room = SETTLES_PER_TICK - _tell_owed(draft)
    if seen.person:
        return
    by_id, there = {issue.id: issue for issue in seen.issues}, _list_there(draft)
    under_way, taken = draft.memory.spawn.issue if draft.memory.spawn is not None else "", {}
    for claim in seen.claims.values():
        issue = by_id.get(claim.issue)
        if claim.owed or claim.actor != seen.actor or issue is None or claim.issue == under_way:
            continue
        is_there = _is_there(draft, claim, there)
        step, why = _follow(claim, issue, is_there)
        if step == "free" and claim.state != "handed-over" and seen.sessions is None:
            continue  # it may live without its worktree
        if step:
            room -= step == "keep"
            if room < 0:
                continue  # the rest in the next tick: each asks bd three times
            draft.act(SettleClaim(subject=claim.issue, claim=claim, step=step, why=why))
        elif _is_taken(claim, issue, seen) and is_there:
            holder = issue.assignee or "nobody"
            taken[claim.issue] = f"{claim.issue}, which {claim.name} works on, is {holder}'s now"
    for issue, summary in taken.items():
        raise_matter(draft, f"taken-{issue}", "", "", summary, f"two may work on it: look with `explain {issue}`")
    if seen.fresh:
        for matter in list(draft.memory.escalations.values()):
            issue = matter.cause[len("taken-") :]
            if matter.cause == f"taken-{issue}" and issue not in taken:
                close_matter(draft, matter.cause, "", "it is ours again, or nobody of ours is on it")


def _find_orphans(draft: Draft) -> dict:
    """Return by issue the claims whose worker is gone; of an issue in progress that only the queue calls ours, too."""
    seen, there = draft.seen, _list_there(draft)
    under_way = draft.memory.spawn.issue if draft.memory.spawn is not None else ""
    found = {}
    for issue in seen.issues:
        claim = seen.claims.get(issue.id)
        if issue.status in CLOSED or issue.id == under_way or (claim is not None and claim.owed):
            continue
        if claim is not None and claim.state in ("claimed", "working", "failed", "handed-over"):
            ours = claim.state == "working" and claim.actor == seen.actor
        else:
            ours = not seen.whole and issue.status == "in_progress" and issue.assignee == seen.actor
        if not ours:
            continue
        claim = claim or Claim(issue=issue.id, actor=seen.actor, at=0.0, name=name_for_issue(issue.id))
        if _is_there(draft, claim, there):
            continue
        # A worktree of another name may hold it: a second try, say.
        if not why_inhabited(issue, draft, None):
            found[issue.id] = claim
    return found


def _find_strays(draft: Draft) -> dict:
    """Return by cause (summary, evidence) of the workers of ours of whom health tells nobody."""
    seen, found = draft.seen, {}
    for claim in seen.claims.values():
        if claim.state != "working" or claim.actor != seen.actor or claim.name in draft.memory.retirements:
            continue
        verdict = draft.verdicts.get(claim.name)
        # In a Gas Town an idle worker without a session is ordinary, and its work is kept.
        ended = verdict is not None and seen.town is None and seen.sightings[claim.name].session == ABSENT
        if ended and verdict.signals.idle and verdict.issue == claim.issue:
            cause = f"left-{claim.issue}"
            is_told = f"{cause}.." in draft.memory.escalations  # then neither a hold nor a request makes it untrue
            if verdict.state == "idle" or is_told:
                summary = f"{claim.name} ended without handing over, although its issue {claim.issue} is closed"
                path = seen.sightings[claim.name].worktree.path
                found[cause] = summary, f"what it left is untouched in {path}; `shutdown {claim.name}` retires it"
        session = draft.find_stray(claim)
        if session:
            summary = f"{claim.name}, which works on {claim.issue}, lives in session {session} without its worktree"
            evidence = (
                f"look with `tmux attach -t ={session}`; put its worktree back, or save what it has: "
                f"`tmux kill-session -t ={session}` ends it, then `spawn reset {claim.issue}` frees the issue"
            )
            found[f"stray-{claim.issue}"] = summary, evidence
    return found


def watch_orphans(draft: Draft) -> None:
    """Tell a person of an issue in progress whose worker was gone twice; free it only by release_orphans_after.

    Nobody would ever work on it again, and nobody would say so.
    """
    seen, memory = draft.seen, draft.memory
    if not _may_judge(draft) or not draft.may_time() or not seen.fresh or seen.sessions is None:
        return
    orphans, strays = _find_orphans(draft), _find_strays(draft)
    for matter in list(memory.escalations.values()):
        kind, _, issue = matter.cause.partition("-")
        if kind == "orphan" and issue not in orphans:
            close_matter(draft, matter.cause, "", "it is worked on again, closed or free")
        elif kind == "stray" and matter.cause not in strays:
            close_matter(draft, matter.cause, "", "its session has ended, or its worktree is back")
        elif kind == "left" and matter.cause not in strays:
            close_matter(draft, matter.cause, "", "it is retired, lives again, or its issue is open again")
    for cause, told in strays.items():
        if cause in memory.missed:
            raise_matter(draft, cause, "", "", *told)
    for issue, claim in orphans.items():
        matter = memory.escalations.get(f"orphan-{issue}..")
        after_s = draft.config.release_orphans_after
        if matter is None and issue in memory.missed:
            branch = f"; its branch was {claim.branch}, and nothing here has touched it" * bool(claim.branch)
            gone = "which works on another now" if claim.name in seen.sightings else "whose worktree is gone"
            summary = f"Issue {issue} was worked on by {claim.name}, {gone}{branch}"
            if not claim.at:
                summary = f"Issue {issue} is in progress for {claim.actor}, and nothing here works on it"
            evidence = f"nothing here works on it, seen twice; `spawn reset {issue}` frees it"
            raise_matter(draft, f"orphan-{issue}", "", "", summary, evidence)
        elif matter is None or not after_s or matter.evidence.startswith(KEPT) or claim.name in seen.sightings:
            continue
        elif seen.now >= matter.opened_at + after_s:
            draft.act(ReleaseOrphan(subject=issue, claim=claim, why=f"{claim.name} is gone"))
    missed = tuple(sorted([*orphans, *strays]))
    if missed != memory.missed:
        draft.change(missed=missed)


def settle_owed(draft: Draft, outcome: Outcome) -> None:
    """Note what a shared queue would not be told; a person learns of it when it is refused again and again."""
    issue = outcome.subject
    if outcome.ok:
        return
    tries = draft.memory.owed.get(issue, Effort()).attempts + 1
    next_at = draft.seen.now + SEND_RETRY_S[min(tries, len(SEND_RETRY_S)) - 1]
    draft.put("owed", issue, Effort(attempts=tries, next_at=next_at, error=clean_line(outcome.detail)))
    if tries >= SETTLE_TRIES:
        summary = f"The queue would not be told what became of {issue}: {clean_line(outcome.detail)}"
        raise_matter(draft, f"owed-{issue}", "", "", summary, f"mend it with `bd`; see `explain {issue}`")


def settle_release(draft: Draft, outcome: Outcome) -> None:
    """Note why an orphan was not released, so that it is not tried again and a person can read it."""
    matter = draft.memory.escalations.get(f"orphan-{outcome.subject}..")
    if matter is not None and outcome.data.get("kept"):
        draft.put("escalations", f"orphan-{outcome.subject}..", matter.but(evidence=KEPT + outcome.detail))


def check_merged(draft: Draft) -> None:
    """Look every MERGED_CHECK_S whether handed-over work has reached the default branch."""
    seen = draft.seen
    if not draft.config.close_merged or seen.now < draft.memory.merged_at + MERGED_CHECK_S or seen.claims is None:
        return
    waiting = [claim for claim in seen.claims.values() if claim.state == "handed-over" and not claim.owed]
    blind = any(seen.ports.get(port, Port()).state == UNKNOWN for port in ("git", "queue"))
    if waiting and not blind:
        draft.change(merged_at=seen.now)
        for claim in waiting:
            draft.act(CheckMerged(subject=claim.issue, claim=claim, fetch=claim is waiting[0]))


# ====================================================================================================
# room: requests — who asked to be retired, may they, and what became of it
# ====================================================================================================


def _acknowledge(draft: Draft, mail_id: str, note: str) -> bool:
    """Acknowledge a mail, once; False where this tick has no more room: then it is as if it had not been read."""
    settled = [action.subject for action in draft.actions if isinstance(action, AckMail)]
    if mail_id in settled or len(settled) >= ACKS_PER_TICK:
        return False
    draft.act(AckMail(subject=mail_id, note=clean_line(note)))
    if mail_id not in draft.memory.handled:
        draft.change(handled=(*draft.memory.handled, mail_id))
    return True


def _begin_of_life(draft: Draft, sighting: Sighting) -> int:
    """Return since when a name has its present life: the session that lives, else the last one, or the worktree."""
    if sighting.pane is not None:
        began_at = int(sighting.pane.created_at)
    else:
        last = re.search(r"\.(\d+)$", draft.memory.polecats.get(sighting.name, Track()).instance)
        began_at = max(int(sighting.worktree.born_at), int(last.group(1)) if last else 0)
    # Born under a clock that ran ahead: each of its requests would be older than itself.
    return began_at if began_at <= draft.seen.now else 0


def _take_request(draft: Draft, mail: Mail, ask: Ask) -> None:
    sighting = draft.seen.sightings.get(ask.name)
    if sighting is None:
        if ask.name in draft.memory.retirements or draft.seen.ports.get("git", Port()).state == UNKNOWN:
            return  # under way: its end acknowledges the mail; or nobody knows whether it is gone
        stranger = next((why for folder, why in draft.seen.strangers if folder == ask.name), "")
        if _acknowledge(draft, mail.id, stranger or f"{ask.name} is gone already"):
            draft.tell("mail", ask.name, stranger or "asked for shutdown and is gone already")
        return
    if sighting.session == UNKNOWN:
        return  # in which life of the name it was asked cannot be told now
    if mail.at < _begin_of_life(draft, sighting):
        if _acknowledge(draft, mail.id, "stale: older than the polecat that has the name now"):
            draft.tell("mail", ask.name, f"request of {rfc3339(mail.at)} is older than the polecat")
        return
    request = draft.memory.requests.get(ask.name)
    if request is None:
        draft.tell("requested", ask.name, f"shutdown asked by {mail.sender}")
        request = Request(name=ask.name, sender=mail.sender, at=mail.at, mails=(mail.id,))
    else:
        if mail.at > request.at:  # a mail that is only read again asks for no new look
            request = request.but(at=mail.at, next_at=0.0)
        if len(request.mails) < ACKS_PER_TICK:
            request = request.but(mails=(*request.mails, mail.id))
        else:
            _acknowledge(draft, mail.id, "asked already")
    draft.put("requests", ask.name, request)


def _weigh_reassigned(draft: Draft, mail: Mail, ask: Ask) -> None:
    """Take the word of a sling that somebody else has a worker's bead now for a request, where the bead says so, too.

    While a sling of ours runs it is our own word; then, and until the bead was looked at, the mail waits.
    """
    seen = draft.seen
    issue = next((one for one in seen.issues or () if one.id == ask.bead), None)
    if draft.memory.spawn is not None or issue is None:
        return
    claim = (seen.claims or {}).get(ask.bead)
    ours = claim is not None and issue.assignee == seen.actor
    name = claim.name if ours else read_hook(seen.rig, issue.assignee)
    sighting = seen.sightings.get(ask.name)
    present = find_assignment(sighting, draft.claims.get(ask.name), None)[0] if sighting is not None else ""
    if present in ("", ask.bead):  # by hand it may have been given one more
        present = next((one for one in list_hooks(seen).get(ask.name, ()) if one != ask.bead), present)
    if present not in ("", ask.bead):  # slung anew, it has other work by now
        if _acknowledge(draft, mail.id, f"{ask.name} works on {present}"):
            draft.tell("mail", ask.name, f"asked to end it for {ask.bead}, and it works on {present}")
    elif name and name != ask.name and issue.status == "in_progress":
        _take_request(draft, mail, ask)
    elif _acknowledge(draft, mail.id, f"{ask.bead} is not another's"):
        draft.tell("mail", ask.name, f"asked to end it for {ask.bead}, which is not another worker's")


def _hand_on(draft: Draft, mail: Mail, ask: Ask) -> None:
    """Hand a mail on to whoever must know of it, in the tick that reads it."""
    if not _acknowledge(draft, mail.id, "forwarded to " + draft.config.mayor):
        return
    # What asks for force is told as an escalation: force is never used.
    about = {"event": "opened", "cause": "force-kill"} if ask.kind == "kill" else {}
    draft.post(f"fwd.{mail.id}", draft.config.mayor, forwarded_letter(mail), **about)
    if ask.kind == "failed" and ask.name in draft.seen.sightings:
        draft.post(f"fwd.{mail.id}.worker", f"{draft.seen.rig}/{ask.name}", forwarded_letter(mail))
    draft.tell("forwarded", mail.sender, mail.subject)


def _feed_refinery(draft: Draft, mail: Mail, ask: Ask) -> None:
    """Tell the refinery what a finished worker wants merged, where gt leaves that to the witness."""
    town, rig = draft.seen.town, draft.seen.rig
    if ask.kind == "done" and town is not None and not town.typed and re.search(r"(?m)^MR:[ \t]*\S", mail.body):
        draft.post(f"merge.{mail.id}", f"{rig}/refinery", merge_letter(rig, ask.name, mail))


def _note(draft: Draft, mail: Mail, ask: Ask) -> None:
    """Archive a mail that is only news."""
    if _acknowledge(draft, mail.id, ask.reason or f"noted: {mail.subject}"):
        _feed_refinery(draft, mail, ask)
        draft.tell("mail", ask.name or mail.sender, ask.reason or mail.subject)


def read_mails(draft: Draft) -> None:
    """Turn each mail into a request, a note or a forwarded letter; acknowledge what is settled by it.

    A mail that was dealt with and is there still is acknowledged again, and nothing else.
    """
    seen, known = draft.seen, {mail for request in draft.memory.requests.values() for mail in request.mails}
    if seen.ports.get("mailbox", Port()).state == PRESENT and len(seen.mails) < MAILS_PER_TICK:
        there = {mail.id for mail in seen.mails} | known
        if any(one not in there for one in draft.memory.handled):
            draft.change(handled=tuple(one for one in draft.memory.handled if one in there))
    if seen.bad_mails:
        summary = f"{len(seen.bad_mails)} mails to {seen.rig}/witness cannot be read: {clean_line(seen.bad_mails[0])}"
        raise_matter(draft, "bad-mail", "", "", summary, "nobody deals with them: look with `gt mail inbox`")
    else:
        close_matter(draft, "bad-mail", "", "all mails can be read")
    for mail in seen.mails:
        if mail.id in known:
            continue
        if mail.id in draft.memory.handled:
            _acknowledge(draft, mail.id, "dealt with before")
            continue
        trusted = draft.config.trusted_senders
        if seen.town is not None and not seen.town.vouches:  # `gt handoff` of that age sends as the user of git
            trusted = (*trusted, mail.sender)
        ask = read_ask(mail, seen.rig, trusted)
        if ask.kind == "shutdown" or (ask.kind == "done" and draft.config.retire_on_done):
            _take_request(draft, mail, ask)
            request = draft.memory.requests.get(ask.name)
            if mail.id in draft.memory.handled or (request is not None and mail.id in request.mails):
                _feed_refinery(draft, mail, ask)  # once: from now on the mail is known
        elif ask.kind == "reassigned":
            _weigh_reassigned(draft, mail, ask)
        elif ask.kind in ("mind", "failed", "kill"):
            _hand_on(draft, mail, ask)
        else:
            _note(draft, mail, ask)


def describe_request(draft: Draft, name: str) -> str:
    """Say in words that a polecat asked, or is being retired; "" for neither."""
    if name in draft.memory.retirements:
        return f"being retired ({draft.memory.retirements[name].step})"
    request = draft.memory.requests.get(name)
    return f"shutdown asked by {request.sender}" if request is not None else ""


def why_not_begun(draft: Draft, name: str) -> str:
    """Say why a retirement may not begin now."""
    if draft.seen.only and name not in draft.seen.only:
        return "another was named"
    if name in draft.seen.holds:
        return "on hold"
    spawn = draft.memory.spawn
    claim = (draft.seen.claims or {}).get(spawn.issue) if spawn is not None else None
    if claim is not None and claim.name == name:
        return "its spawn is not settled yet"
    for port in ("tmux", "git"):
        sight = draft.seen.ports.get(port, Port())
        if sight.state == UNKNOWN:
            return f"{port} does not answer ({sight.reason})"
    if draft.seen.claims is None:
        return "the claims cannot be read"  # then nobody knows which issue it hands over
    sighting = draft.seen.sightings.get(name)
    if sighting is not None and (sighting.session == UNKNOWN or sighting.process_lives):
        return sighting.worktree.trouble or "its session is not known"
    return draft.seen.paused


def begin_retirement(draft: Draft, sighting: Sighting, request: Request) -> Retirement:
    """Return the record of a retirement that is about to begin."""
    now, name = draft.seen.now, sighting.name
    claim = draft.claims.get(name)
    track = draft.memory.polecats.get(name, Track())
    pane, tree = sighting.pane, sighting.worktree
    may_delete = (
        tree.branch
        if tree.branch == f"polecat/{name}" or tree.branch.startswith((f"polecat/{name}/", f"polecat/{name}-"))
        else ""
    )
    return Retirement(
        name=name,
        id=f"{name}/{time_id(now)}",
        at=now,
        force=request.force,
        issue=claim.issue if claim else find_assignment(sighting, None, None)[0],
        branch=claim.branch if claim and claim.branch == tree.branch else may_delete,
        start=claim.start if claim else "",
        birth=claim.birth if claim else (),
        path=tree.path,
        admin=tree.admin,
        session=pane.session if pane else "",
        instance=instance_of(pane) if pane else track.instance,
        pane_id=pane.pane_id if pane else "",
        pane_pid=pane.pid if pane else 0,
        pane_start=sighting.pane_start if pane else 0,
    )


def finish_request(draft: Draft, name: str, why: str) -> None:
    """Forget a request and acknowledge its mails."""
    request = draft.memory.requests.get(name)
    if request is not None:
        draft.put("requests", name, None)
        for mail in request.mails:
            _acknowledge(draft, mail, why)


def retire_due(draft: Draft) -> None:
    """Go on with unfinished retirements, then begin those whose request is due.

    From quiesce to close nothing stops one: the worker may be ended, only the rest brings its work to safety.
    """
    seen = draft.seen
    for retirement in draft.memory.retirements.values():
        begun = retirement.step not in ("verify", "preserve")
        if retirement.next_at <= seen.now and (begun or not why_not_begun(draft, retirement.name)):
            draft.act(Retire(subject=retirement.name, retirement=retirement, why=f"from step {retirement.step}"))
    for request in draft.memory.requests.values():
        name = request.name
        if name in draft.memory.retirements or request.next_at > seen.now or why_not_begun(draft, name):
            continue
        sighting = seen.sightings.get(name)
        if sighting is None:
            if name not in {folder for folder, _ in seen.strangers}:
                finish_request(draft, name, "it is gone already")
            continue
        if sighting.pane is not None and request.at < int(sighting.pane.created_at) <= seen.now and not seen.person:
            finish_request(draft, name, "stale: a new session has taken its place")
            draft.tell("mail", name, f"request of {rfc3339(request.at)} is older than the polecat")
            continue
        retirement = begin_retirement(draft, sighting, request)
        draft.put("retirements", name, retirement)
        draft.act(Retire(subject=name, retirement=retirement, why=f"asked by {request.sender}"))


def _settle_refusal(draft: Draft, name: str, outcome: Outcome) -> None:
    blockers = tuple(tuple(one) for one in outcome.data.get("blockers", ()))
    draft.tell("refused", name, "; ".join(f"{kind}: {evidence}" for kind, evidence, _ in blockers))
    draft.count("refusals")
    close_matter(draft, "retirement", name, "it was refused")
    request, looks = draft.memory.requests.get(name), 0
    if request is not None:
        looks = request.looks + 1
        wait_s = REFUSAL_BACKOFF_S[min(looks, len(REFUSAL_BACKOFF_S)) - 1]
        told = ",".join(sorted({f"{kind}: {evidence}" for kind, evidence, _ in blockers}))
        if blockers and told != request.told:
            key = f"refused.{name}.{int(request.at)}.{looks}"
            letter = refusal_letter(name, blockers, draft.seen.command)
            draft.post(key, f"{draft.seen.rig}/{name}", letter)
        request = request.but(looks=looks, next_at=draft.seen.now + wait_s, blockers=blockers, told=told)
        draft.put("requests", name, request)
    if looks >= REFUSALS_TO_ESCALATE or outcome.data.get("escalate"):
        track = draft.memory.polecats.get(name, Track())
        evidence = "\n".join(f"{kind}: {evidence} (clear it with: {remedy})" for kind, evidence, remedy in blockers)
        raise_matter(
            draft,
            "refused",
            name,
            track.instance,
            f"Polecat {name} asked for shutdown and is refused" + f" after {looks} looks" * bool(looks),
            evidence,
        )


def settle_retirement(draft: Draft, outcome: Outcome) -> None:
    """Draw the consequences of how a retirement ended."""
    name, result = outcome.subject, outcome.data.get("result")
    retirement = draft.memory.retirements.get(name)
    if result in ("retired", "gone"):
        draft.put("retirements", name, None)
        finish_request(draft, name, result)
        close_all_of(draft, name, f"it is {result}")
        draft.tell(result, name, outcome.detail)
        if result == "retired":
            draft.count("retired")
            if retirement is not None and retirement.issue and outcome.data.get("no_commits"):
                record_failure(draft, retirement.issue, f"{name} was retired without a commit")
            elif retirement is not None:
                draft.put("issues", retirement.issue, None)
    elif result == "refused":
        draft.put("retirements", name, None)
        _settle_refusal(draft, name, outcome)
    elif retirement is not None:
        wait_s = REFUSAL_BACKOFF_S[min(retirement.tries, len(REFUSAL_BACKOFF_S) - 1)]
        draft.put(
            "retirements",
            name,
            retirement.but(tries=retirement.tries + 1, next_at=draft.seen.now + wait_s, error=outcome.detail),
        )
        draft.tell("retirement-failed", name, outcome.detail)
        raise_matter(
            draft,
            "retirement",
            name,
            retirement.instance,
            f"The retirement of {name} stopped at step {retirement.step}; nothing is lost, it is tried again by itself",
            outcome.detail,
        )


# ====================================================================================================
# room: decide — one tick: what is seen and remembered into what is done; precedence stands here
# ====================================================================================================

# How each outcome is settled; kinds without a row need nothing.
SETTLE = {
    "nudge": settle_nudge,
    "letter": settle_letter,
    "retire": settle_retirement,
    "spawn": settle_spawn,
    "spawn-unsettled": settle_unsettled,
    "restart": settle_restart,
    "release": settle_release,
    "settle": settle_owed,
    "keep": settle_kept,
    "beat": settle_beat,
    "patrol": settle_patrol,
    "session": settle_session,
}


def _turn_day(draft: Draft) -> None:
    if draft.seen.day != draft.memory.day:
        stats = {name: 0 if name.startswith("today_") else value for name, value in draft.memory.stats.items()}
        draft.change(day=draft.seen.day, stats=stats)


def _forget_gone(draft: Draft) -> None:
    """Forget what no longer exists, so that memory stays bounded; never on a look that failed."""
    seen, memory = draft.seen, draft.memory
    if seen.ports.get("git", Port()).state != UNKNOWN:
        folders = {*seen.sightings, *(folder for folder, _ in seen.strangers)}
        for name in memory.polecats:
            if name not in folders and name not in memory.retirements:
                close_all_of(draft, name, "it is gone")
                draft.put("polecats", name, None)
                draft.put("ports", f"look.{name}", None)
    if seen.issues is not None:
        known = {issue.id: issue.status for issue in seen.issues}
        absent = "closed" if seen.whole else "not shown"
        for issue in memory.issues:
            if known.get(issue, absent) in CLOSED:
                draft.put("issues", issue, None)
        spawned = tuple(issue for issue in memory.spawned_issues if known.get(issue, absent) not in CLOSED)
        if spawned != memory.spawned_issues:
            draft.change(spawned_issues=spawned)
    for matter in list(draft.memory.escalations.values()):
        issue = matter.cause[len("spawn-") :]
        if matter.cause == f"spawn-{issue}" and issue not in draft.memory.issues:
            close_matter(draft, matter.cause, "", "the issue is closed, handed over or reset")
    there = {"", *draft.memory.polecats, *memory.retirements, *seen.sightings}
    for key, matter in list(draft.memory.escalations.items()):
        if matter.name not in there:
            draft.put("escalations", key, None)


def _why_blind(seen: Observation) -> str:
    for port in ("tmux", "git"):
        sight = seen.ports.get(port)
        if sight is not None and sight.state == UNKNOWN:
            return f"{port} could not be asked: {sight.reason}"
    return ""


def _gather_signals(draft: Draft, name: str, statuses: dict, trouble: str) -> Signals:
    """Return what the rules of one polecat look at; statuses of the issues by id, trouble as of _why_blind."""
    seen, sighting = draft.seen, draft.seen.sightings[name]
    issue, idle = find_assignment(sighting, draft.claims.get(name), statuses)
    if issue and not idle and seen.issues is None and draft.memory.polecats[name].state == "idle":
        idle = f"its issue {issue} was closed when the queue last answered"
    return Signals(
        sighting=sighting,
        track=draft.memory.polecats[name],
        now=seen.now,
        config=draft.config,
        look=seen.looks.get(name),
        hold=seen.holds.get(name, ""),
        requested=describe_request(draft, name),
        idle=idle,
        issue=issue,
        person=seen.person,
        trouble=trouble,
        spawn_at=draft.memory.spawn.at if draft.memory.spawn is not None else 0.0,
    )


def _judge_all(draft: Draft) -> None:
    seen = draft.seen
    statuses, trouble = {issue.id: issue.status for issue in seen.issues or ()}, _why_blind(seen)
    for name in sorted(seen.sightings):
        follow_instance(draft, seen.sightings[name])
        verdict = judge_health(_gather_signals(draft, name, statuses, trouble))
        draft.verdicts[name] = verdict
        note_state(draft, verdict)
        note_look(draft, verdict)


def _act_on_health(draft: Draft) -> None:
    for name, verdict in draft.verdicts.items():
        if draft.seen.only and name not in draft.seen.only:
            continue
        sighting = draft.seen.sightings[name]
        if verdict.candidate:
            if draft.may_time() and not draft.halted():
                look_twice(draft, sighting, f"quiet for {span(verdict.quiet_s)}")
        elif verdict.state == "stuck":
            climb(draft, verdict, sighting)
        elif verdict.state == "dead":
            handle_dead(draft, verdict, sighting)
        if verdict.state == "busy":
            report_busy(draft, verdict)


def _sweep(draft: Draft) -> None:
    if draft.seen.first or draft.seen.now >= draft.memory.swept_at + SWEEP_S:
        draft.change(swept_at=draft.seen.now)
        draft.act(SweepTrash(subject="kept folders"))


def _keep_books(draft: Draft) -> None:
    live = tuple(sorted(name for name, one in draft.seen.sightings.items() if one.session == PRESENT))
    if live != draft.memory.monitored_polecats:
        draft.change(monitored_polecats=live)


def decide(seen: Observation, memory: Memory, config: Config) -> Decision:
    """Return the new memory, the actions and the events of one tick.

    Pure, total and deterministic: the clock, the tools' answers and the operator's wishes are all in `seen`. Nothing
    destructive follows from UNKNOWN. The order of actions is: letters of what is known, looks, nudges, retirements,
    restarts, a spawn.
    """
    memory = memory.but(rig_name=seen.rig)
    if seen.first or seen.gap:
        memory = forget_future(memory, seen.now)
    if memory.spawn is not None and (seen.gap or memory.spawn.at > seen.now):
        # It slept as we did, or its times are of another clock: it gets its whole time anew.
        whole_s = memory.spawn.deadline_at - memory.spawn.at
        memory = memory.but(spawn=memory.spawn.but(at=seen.now, deadline_at=seen.now + whole_s))
    draft = Draft(seen, memory, config)
    tell_beside(draft)
    _turn_day(draft)
    for outcome in seen.outcomes:
        if outcome.kind in SETTLE:
            SETTLE[outcome.kind](draft, outcome)
    note_ports(draft)
    _forget_gone(draft)
    paused = bool(seen.paused)
    if "shutdown" in seen.duties and not paused and not seen.person:
        read_mails(draft)
    _judge_all(draft)
    watch_for_storm(draft)
    if not paused:
        beat_due(draft)  # first: what is kept may take longer than a session lives without one
        keep_due(draft)
    if "health" in seen.duties and not paused:
        _act_on_health(draft)
    if "shutdown" in seen.duties:
        retire_due(draft)
    if "spawn" in seen.duties and not paused:
        spawn_due(draft)
    if not paused:
        settle_claims(draft)
        if not seen.person:
            raise_again(draft)
            watch_orphans(draft)
            check_merged(draft)
            patrol_due(draft)
        send_due_letters(draft)
        if not seen.person:
            _sweep(draft)
    _keep_books(draft)
    return Decision(
        memory=draft.memory, actions=tuple(draft.actions), events=tuple(draft.events), verdicts=draft.verdicts
    )


def why_idle_queue(decision: Decision, seen: Observation, config: Config) -> str:
    """Return why no spawn is expected before the next interval, "" if only the delay stands between."""
    draft = Draft(seen, decision.memory.but(spawned_at=0.0), config)
    draft.verdicts = decision.verdicts
    by_id = {issue.id: issue for issue in seen.issues or ()}
    found = any(not why_not_spawnable(issue, draft, by_id) for issue in by_id.values())
    return why_no_spawn(draft) or ("" if found else "nothing is spawnable")


def next_deadline(decision: Decision, seen: Observation, config: Config) -> float:
    """Return when the next tick is due, epoch seconds: an interval, or sooner where something was scheduled."""
    memory = decision.memory
    due = [request.next_at for request in memory.requests.values()]
    due += [retirement.next_at for retirement in memory.retirements.values()]
    due += [letter.next_at for letter in memory.pending.values()]
    if seen.town is not None and seen.town.reuses and memory.beat_at:
        due.append(memory.beat_at + BEAT_S)
    if seen.issues and not why_idle_queue(decision, seen, config):
        due.append(memory.spawned_at + config.spawn_delay_ms / 1000)
    latest = seen.now + config.interval
    return min([at for at in due if at > seen.now] + [latest])


# ====================================================================================================
# FLOOR: telling
# ====================================================================================================

# ====================================================================================================
# room: report — what is shown, as data
# ====================================================================================================


def report_port(name: str, port: Port, memory: Memory) -> dict:
    """Return one outside tool as data."""
    track = memory.ports.get(name)
    data = {
        "state": "ok" if port.state == PRESENT else "degraded" if port.state == UNKNOWN else port.state,
        "version": port.version or None,
        "reason": port.reason or None,
    }
    return {**data, "since_at": rfc3339(track.since_at)} if track is not None else data


def report_blockers(rows) -> list:
    """Return blockers, kept as rows of three texts, as data."""
    return [dict(zip(("kind", "evidence", "remedy"), row)) for row in rows]


def report_next(verdict: Verdict, seen: Observation, memory: Memory, config: Config) -> dict | None:
    """Return what comes next for a worker, and when; None where nothing is scheduled."""
    track = memory.polecats[verdict.name]
    if verdict.state == "requested":
        wish = memory.retirements.get(verdict.name) or memory.requests.get(verdict.name)
        return {"action": "retire", "due_at": rfc3339(wish.next_at) or None} if wish is not None else None
    if verdict.state == "stuck":
        rung, due_at = next_rung(track, config)
        if rung == "person":
            return {"action": "wait for a person", "due_at": None}
        return {"action": rung, "due_at": rfc3339(due_at) or None}
    if verdict.state in ("working", "busy"):
        return {"action": "nudge", "due_at": rfc3339(max(verdict.progress_at, track.reset_at) + config.stuck_after)}
    if verdict.state == "dead" and may_restart(verdict, seen, config) and len(track.restarts) < config.max_restarts:
        return {"action": "restart", "due_at": None}
    return None


def attach_command(session: str, config: Config) -> str:
    """Return how a person gets to see a session; `=` keeps tmux from taking a longer name for it."""
    socket = f"-L {shell_word(config.tmux_socket)} " if config.tmux_socket else ""
    return f"tmux {socket}attach -t {shell_word('=' + session)}"


def _list_told(memory: Memory) -> dict:
    """Return of whom a person was told, and when last."""
    matters = sorted(memory.escalations.values(), key=lambda matter: matter.opened_at)
    return {matter.name: matter.opened_at for matter in matters}


def report_polecat(name: str, seen: Observation, decision: Decision, config: Config, told: dict) -> dict:
    """Return one worker as data, with what comes next for it and when; told as of _list_told."""
    verdict, sighting = decision.verdicts[name], seen.sightings[name]
    track = decision.memory.polecats[name]
    request = decision.memory.requests.get(name)
    pane = sighting.pane
    return {
        "name": name,
        "state": verdict.state,
        "why": verdict.why,
        "issue": verdict.issue or None,
        "branch": sighting.worktree.branch or None,
        "session": pane.session if pane is not None else None,
        "attach": attach_command(pane.session, config) if pane is not None else None,
        "instance": track.instance or None,
        "progress_at": rfc3339(verdict.progress_at) or None,
        "nudged_at": rfc3339(track.nudged_at) or None,
        "nudge_result": track.nudge_result or None,
        "escalated_at": rfc3339(told.get(name, 0.0)) or None,
        "screen": {"line": track.screen, "at": rfc3339(track.screen_at)} if track.screen_at else None,
        "blockers": report_blockers(request.blockers) if request else [],
        "next": report_next(verdict, seen, decision.memory, config),
    }


def report_polecats(seen: Observation, decision: Decision, config: Config) -> list:
    """Return every worker as data, by name."""
    told = _list_told(decision.memory)
    return [report_polecat(name, seen, decision, config, told) for name in sorted(decision.verdicts)]


# Who is shown first: the states in the order in which they want a person's eye.
ATTENTION = ("stuck", "dead", "unknown", "busy", "requested", "held", "starting", "working", "idle")
ROWS_SHOWN = 20  # workers of each kind, calm or not; a screen has 24 lines, and the rest is told by name


def wants_eye(polecat: dict) -> bool:
    """Tell whether a worker wants a person's attention now."""
    return polecat["state"] in ("stuck", "dead", "unknown", "busy") or bool(polecat["blockers"])


def _rank(polecat: dict) -> tuple:
    refused = polecat["state"] == "requested" and polecat["blockers"]
    state = "dead" if refused else polecat["state"]
    rank = ATTENTION.index(state) if state in ATTENTION else -1  # a later version's: it may be anything
    # Stamps of one form sort as their times do; a worker without one comes last.
    return rank, not polecat.get("escalated_at"), polecat.get("progress_at") or "never", polecat["name"]


def pick_rows(polecats) -> tuple:
    """Return (the workers that get a row on a screen, who wants attention first; all others)."""
    ranked = sorted(polecats, key=_rank)
    ill, calm = [one for one in ranked if wants_eye(one)], [one for one in ranked if not wants_eye(one)]
    return ill[:ROWS_SHOWN] + calm[:ROWS_SHOWN], ill[ROWS_SHOWN:] + calm[ROWS_SHOWN:]


def fold_polecats(polecats) -> dict:
    """Return state -> names of the workers that get no row of their own."""
    names = {}
    for one in polecats:
        names.setdefault(one["state"], []).append(one["name"])
    return names


def report_queue(draft: Draft) -> dict:
    """Return the queue's figures, and why nothing is spawned although something is ready."""
    if draft.seen.issues is None:
        reason = draft.seen.ports.get("queue", Port()).reason
        return {"ready": None, "spawnable": None, "reason": f"the queue is unknown: {reason}"}
    by_id = {issue.id: issue for issue in draft.seen.issues}
    free = [issue for issue in list_ready(draft.seen.issues, draft.seen.now) if not why_attended(issue, draft)]
    now, config = draft.seen.now, draft.config
    spawnable = sum(not (why_not_ready(one, now, by_id) or why_filtered(one, config, by_id)) for one in free)
    why = why_no_spawn(draft) if spawnable else ""
    bad_lines = list(draft.seen.bad_lines[:5])
    return {"ready": len(free), "spawnable": spawnable, "reason": why or None, "bad_lines": bad_lines}


def report_escalations(memory: Memory) -> list:
    """Return what a person was told and nobody has answered, the newest first."""
    rows = sorted(memory.escalations.values(), key=lambda matter: (-matter.opened_at, matter.cause, matter.name))
    return [
        {
            "cause": matter.cause,
            "name": matter.name or None,
            "summary": matter.summary,
            "opened_at": rfc3339(matter.opened_at),
            "raises": matter.raises,
        }
        for matter in rows
    ]


def report_tick(
    seen: Observation, decision: Decision, config: Config, due_at: float = 0.0, expected_by_at: float = 0.0
) -> dict:
    """Return the snapshot that `status` shows; stamps as text, ages are counted when it is shown.

    `polecats` are those that get a row, `others` the rest, which a screen tells by state and name, as in `folded`.
    due_at: when the next tick is; expected_by_at: from when on its absence means that the daemon hangs.
    """
    draft = Draft(seen, decision.memory, config)
    draft.verdicts = decision.verdicts
    shown, others = pick_rows(report_polecats(seen, decision, config))
    return {
        "rig": seen.rig,
        "version": __version__,
        "last_tick_at": rfc3339(seen.now),
        "expected_by_at": rfc3339(expected_by_at),
        "next_tick": {"due_at": rfc3339(due_at)} if due_at else None,
        "paused": seen.paused or None,
        "halted": draft.halted() or None,
        "ports": {name: report_port(name, port, decision.memory) for name, port in sorted(seen.ports.items())},
        "polecats": shown,
        "folded": fold_polecats(others),
        "strangers": [{"folder": folder, "reason": reason} for folder, reason in seen.strangers],
        "escalations": report_escalations(decision.memory),
        "queue": report_queue(draft),
        "requests": len(decision.memory.requests),
        "letters_waiting": len(decision.memory.pending),
        "mails_waiting": seen.mails_waiting,
        "stats": decision.memory.stats,
        "others": others,
    }


def report_issues(
    seen: Observation, memory: Memory, config: Config, verdicts: dict, only=(), by_hand: bool = False
) -> list:
    """Return each issue of the queue with the first reason why it gets no worker, in the queue's order.

    by_hand: as for `spawn ISSUE`, which passes the filters by.
    """
    draft = Draft(seen, memory, config)
    draft.verdicts = verdicts
    by_id = {issue.id: issue for issue in seen.issues or ()}
    general = why_no_spawn(draft, by_hand)
    rows = []
    for issue in sorted(by_id.values(), key=lambda one: (one.status in CLOSED, in_order(one))):
        if only and issue.id not in only:
            continue
        filtered = "" if by_hand else why_filtered(issue, config, by_id)
        attended = why_attended(issue, draft)
        # Of its own claims a shared queue says only that they are ours; which worker it is says more.
        own = attended if (issue.status, issue.assignee) == ("in_progress", seen.actor) else ""
        reason = own or why_not_ready(issue, seen.now, by_id) or filtered or attended
        rows.append(
            {
                "id": issue.id,
                "title": issue.title,
                "status": issue.status,
                "priority": issue.priority,
                "spawnable": not reason,
                "reason": reason or general or None,
            }
        )
    return rows


def report_actions(actions) -> list:
    """Return the actions of a round as data."""
    about_issues = (StartSpawn, EndSpawn, ReleaseOrphan, SettleClaim, CheckMerged)
    about_polecats = (LookTwice, Nudge, Restart, Retire)
    return [
        {
            "kind": type(action).__name__,
            "polecat": action.subject if isinstance(action, about_polecats) else None,
            "issue": action.subject if isinstance(action, about_issues) else None,
            "reason": action.why or None,
            "text": describe(action),
        }
        for action in actions
    ]


def add_ages(data, now: float):
    """Return the same data with seconds beside each stamp: `progress_at` gets `progress_age_s`, `due_at` `due_in_s`."""
    if isinstance(data, list):
        return [add_ages(one, now) for one in data]
    if not isinstance(data, dict):
        return data
    aged = {}
    for key, value in data.items():
        aged[key] = add_ages(value, now)
        if (key == "at" or key.endswith("_at")) and isinstance(value, str) and value:
            try:
                age_s = now - parse_rfc3339(value)
            except ValueError:
                continue
            ahead = key == "due_at"
            aged[key[:-2] + ("in_s" if ahead else "age_s")] = round(max(0.0, -age_s if ahead else age_s), 1)
    return aged


# ====================================================================================================
# room: explain — why a worker or an issue is where it is: what was seen, which rule decided, what comes next
# ====================================================================================================


def _signal(name: str, value, source: str, at: float = 0.0) -> dict:
    return {"name": name, "value": str(value), "from": source, "at": rfc3339(at) or None}


def list_signals(verdict: Verdict, memory: Memory) -> list:
    """Return what was seen of one worker, each with where it was read and, where it has one, its stamp."""
    signals = verdict.signals
    sighting, track, look, tree = signals.sighting, signals.track, signals.look, signals.sighting.worktree
    pane = sighting.pane
    rows = [_signal("session", sighting.session, "tmux list-panes", pane.created_at if pane else 0.0)]
    if pane is not None:
        rows.append(_signal("pane", f"{pane.pane_id} of {pane.session}", "tmux list-panes"))
        front = f"{pane.command}" + (f", {sighting.shell} shell" if sighting.shell else "")
        rows.append(_signal("foreground", front, "tmux list-panes and the process", 0.0))
        rows.append(_signal("last output", "of its window", "tmux window_activity", pane.activity_at))
        rows.append(_signal("clients", pane.attached, "tmux session_attached"))
    elif track.pane_pid:
        lives = "lives" if sighting.process_lives else "has ended"
        rows.append(_signal("process", f"{track.pane_pid} {lives}", "the process table"))
    rows.append(_signal("seen as agent", " ".join(track.agents) or "nothing yet", MEMORY_FILE))
    rows.append(_signal("branch", tree.branch or "(detached)", f"{tree.admin}/HEAD"))
    rows.append(_signal("git", "index, HEAD or its log written", tree.admin, tree.git_at))
    if tree.record_at:
        said = tree.record.get("state") or "written"
        rows.append(_signal("own record", said, f"{tree.path}/.gastown/state.json and its like", tree.record_at))
    if look is not None:
        said = f"{look.changed} changed or untracked" if look.ok else f"failed: {look.reason}"
        rows.append(_signal("files", said, "git status", look.files_at))
        last = look.screen.splitlines()[-1:]
        rows.append(_signal("screen", last[0] if last else "(empty)", "tmux capture-pane", look.at))
    rows.append(_signal("issue", verdict.issue or "none known", "record, branch and claim"))
    if track.nudged_at:
        rows.append(_signal("nudge", track.nudge_result, MEMORY_FILE, track.nudged_at))
    if signals.hold:
        rows.append(_signal("hold", signals.hold, HOLD_FILE))
    request = memory.requests.get(verdict.name)
    if request is not None:
        said = f"by {request.sender}, refused {request.looks} times" if request.looks else f"by {request.sender}"
        rows.append(_signal("shutdown asked", said, MEMORY_FILE, request.at))
    told = [matter for matter in memory.escalations.values() if matter.name == verdict.name]
    rows += [_signal("escalation", f"{one.cause}: {one.summary}", MEMORY_FILE, one.opened_at) for one in told]
    return rows


def list_rules(verdict: Verdict) -> list:
    """Return every rule in the order of precedence: which fitted first, and which it shadowed."""
    rows = []
    for state, why in weigh_rules(verdict.signals):
        decided = next((row["name"] for row in rows if row["fits"]), "")
        said = "no" if not why else f"would fit, but {decided} comes first: {why}" if decided else f"yes: {why}"
        rows.append({"name": state, "fits": bool(why), "why": said})
    return rows


def explain_polecat(name: str, seen: Observation, decision: Decision, config: Config, blockers, history) -> dict:
    """Return why one worker is where it is.

    blockers: what stands against its retirement now, as Blocker values; history: its events, oldest first.
    """
    verdict, row = decision.verdicts[name], report_polecat(name, seen, decision, config, _list_told(decision.memory))
    draft = Draft(seen, decision.memory, config)
    track = decision.memory.polecats[name]
    return {
        "subject": name,
        "kind": "polecat",
        "verdict": verdict.state,
        "why": verdict.why,
        "signals": list_signals(verdict, decision.memory),
        "rules": list_rules(verdict),
        "episode": {"quiet_from_at": rfc3339(track.quiet_from_at)} if track.quiet_from_at else None,
        "next": row["next"],
        "halted": draft.halted() or None,
        "blockers": report_blockers((one.kind, one.evidence, one.remedy) for one in blockers),
        "attach": row["attach"],
        "history": list(history),
    }


def explain_issue(issue: Issue, seen: Observation, decision: Decision, config: Config, history) -> dict:
    """Return why one issue has, gets or does not get a worker: every check, the first that fits is the reason."""
    draft = Draft(seen, decision.memory, config)
    draft.verdicts = decision.verdicts
    by_id = {one.id: one for one in seen.issues or ()}
    checks = (
        ("ready", why_not_ready(issue, seen.now, by_id), "its own status, links and assignee"),
        ("filters", why_filtered(issue, config, by_id), "skip_types, labels, issue_prefix, epic_id"),
        ("attended", why_attended(issue, draft), "claims, worktrees and failed attempts"),
        ("host", why_no_spawn(draft), "pause, cap, delay, guards and breaker"),
    )
    first = next((why for _, why, _ in checks if why), "")
    effort, claim = decision.memory.issues.get(issue.id, Effort()), (seen.claims or {}).get(issue.id)
    signals = [
        _signal("status", issue.status, "the queue"),
        _signal("type", issue.type, "the queue"),
        _signal("priority", issue.priority, "the queue"),
        _signal(
            "attempts",
            f"{effort.attempts} of {SPAWN_ATTEMPTS}" + f" ({effort.error})" * bool(effort.error),
            MEMORY_FILE,
        ),
    ]
    if claim is not None:
        signals.append(_signal("claim", f"{claim.state} by {claim.actor}", "claims/", claim.at))
        signals.append(_signal("worker", claim.name or "none", "claims/"))
    if claim is not None and claim.owed:
        error = decision.memory.owed.get(issue.id, Effort()).error
        signals.append(_signal("owed to the queue", claim.owed + f": {error}" * bool(error), "claims/"))
    if claim is not None and claim.state == "handed-over":
        signals.append(_signal("handed over", f"branch {claim.branch or '(deleted)'}, {claim.ref}", "claims/"))
    return {
        "subject": issue.id,
        "kind": "issue",
        "verdict": "not spawnable" if first else "spawnable",
        "why": first,
        "title": issue.title,
        "signals": signals,
        "rules": [
            {"name": name, "fits": bool(why), "why": why or f"nothing in the way: {what}"} for name, why, what in checks
        ],
        "next": {"action": "spawn again", "due_at": rfc3339(effort.next_at)} if effort.next_at > seen.now else None,
        "blockers": [],
        "history": list(history),
    }


def explain_retired(rows, history) -> dict:
    """Return what became of a retired worker; rows as of `retired`, newest first."""
    newest = rows[0]
    done = newest["ref"].startswith(RETIRED_REFS)
    return {
        "subject": newest["name"],
        "kind": "retired",
        "verdict": "retired" if done else "retiring",
        "why": f"`recover {newest['name']}` brings it back" if done else "its work is safe; the retirement goes on",
        "signals": [
            _signal(
                "retired" if row["ref"].startswith(RETIRED_REFS) else "retiring",
                f"{row['ref']} is {row['commit'][:12]}, branch {row['branch'] or '(detached)'}",
                "git",
                parse_rfc3339(row["at"]),
            )
            for row in rows
        ],
        "rules": [],
        "next": None,
        "blockers": [],
        "history": list(history),
    }


# ====================================================================================================
# room: render — data into the text people read
# ====================================================================================================


def plain(text: str) -> str:
    """Return text that can do nothing to a terminal but print: every control character is a blank."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def render_lines(lines) -> str:
    """Write lines of words that came from anywhere."""
    return "".join(plain(line) + "\n" for line in lines)


def render_table(rows, indent: str = "  ") -> str:
    """Align rows of words in columns; the last column is as long as it is."""
    rows = [[plain(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths)] + [row[-1]]
        lines.append(indent + "  ".join(cells).rstrip())
    return "\n".join(lines)


def render_shutdown(data: dict) -> str:
    """Write the answer of `shutdown`."""
    lines = []
    for one in data["polecats"]:
        lines.append(f"{one['name']}: {one['result']}" + (f" - {one['detail']}" if one.get("detail") else ""))
        if one.get("ref"):
            lines.append(
                f"  kept for ever under {one['ref']} ({one['commit'][:12]}); `recover {one['name']}` brings it back"
            )
        branch = one.get("branch") or {}
        if branch.get("name"):
            lines.append(f"  branch {branch['name']}: {branch['result']}, {branch['reason']}")
        for blocker in one.get("blockers", []):
            lines.append(f"  {blocker['kind']}: {blocker['evidence']}")
            lines.append(f"    clear it with: {blocker['remedy']}")
    return render_lines(lines)


def render_spawn(data: dict) -> str:
    """Write the answer of `spawn`."""
    rows = [(one["id"], one["result"], one.get("polecat") or "-", one.get("reason") or "") for one in data["issues"]]
    if not rows:
        return render_lines([f"nothing to spawn: {data.get('reason') or 'no issue is ready'}"])
    return render_table(rows, "") + "\n"


def render_issues(data: dict) -> str:
    """Write the answer of `issues`."""
    if not data["issues"]:
        return "no issues; `witness add TITLE` makes one\n"
    rows = [
        (
            one["id"],
            one["status"],
            f"P{one['priority']}",
            one["title"],
            "spawnable" if one["spawnable"] and not one["reason"] else one["reason"] or "",
        )
        for one in data["issues"]
    ]
    return render_table(rows, "") + "\n" + render_lines(f"issues.jsonl {line}" for line in data.get("bad_lines", ()))


def render_retired(data: dict) -> str:
    """Write the answer of `retired`."""
    if not data["retired"]:
        return "nobody was retired\n"
    rows = [
        (one["name"], one["issue"] or "-", one["at"], (one["commit"] or "")[:12], one["branch"] or "-", one["ref"])
        for one in data["retired"]
    ]
    return render_table([("NAME", "ISSUE", "AT", "COMMIT", "BRANCH", "REF"), *rows], "") + "\n"


def render_messages(data: dict) -> str:
    """Write the answer of `mail inbox`."""
    if not data["messages"]:
        return "no mail\n"
    lines = []
    for one in data["messages"]:
        lines += [one["id"], f"  from {one['from']} at {one['at']}", f"  {one['subject']}"]
        lines += ["    " + line for line in one["body"].splitlines()]
    return render_lines(lines)


def render_event(event: dict) -> str:
    """Write one event as one line."""
    at, kind, subject, text = (plain(str(event.get(key, ""))) for key in ("at", "kind", "subject", "text"))
    return f"{at}  {kind:<18} {subject:<16} {text}"


def render_findings(findings) -> str:
    """Write the answer of `doctor`: what needs attention stands out, with what to do."""
    lines = []
    for one in findings:
        lines.append(f"{'ok ' if one['ok'] else 'FIX'}  {one['name']}: {one['detail']}")
        if one["remedy"]:
            lines.append(f"       {one['remedy']}")
    bad = sum(not one["ok"] for one in findings)
    lines.append(f"{bad} of {len(findings)} need attention" if bad else f"all {len(findings)} are well")
    return render_lines(lines)


def render_json(command: str, ok: bool, data: dict) -> str:
    """Write any answer as one JSON object; in ASCII, for a branch that is no UTF-8 could not be printed."""
    return json.dumps({"schema": JSON_SCHEMA, "command": command, "ok": ok, **data}) + "\n"


# ====================================================================================================
# room: screen — the status and its like, for a person who has five seconds
# ====================================================================================================

COLOURS = {
    "working": "32",
    "starting": "36",
    "idle": "36",
    "stuck": "33",
    "busy": "33",
    "dead": "31",
    "unknown": "35",
    "requested": "34",
    "held": "35",
}


DETAILS_SHOWN = 5  # workers that are told in full; where more want a person, it is the host
ALERTS_SHOWN = 5  # open escalations; the rest is a number


def count_columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(bool(unicodedata.combining(char)) for char in text)


def fit(text: str, width: int) -> str:
    """Cut a line to so many columns, the mark of the cut included; 0 is no limit."""
    if not width or count_columns(text) <= width:
        return text
    kept = text[: width - 1]
    while count_columns(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…"


def fit_lines(lines, width: int) -> str:
    """Write lines of words that came from anywhere, each cut to the width."""
    return "".join(fit(plain(line), width) + "\n" for line in lines)


def wrap_lines(lines, width: int, indent: str = "") -> str:
    """Write lines that must not be cut: what does not fit goes on below, deeper by two."""
    if not width:
        return fit_lines((indent + line for line in lines), 0)
    import textwrap

    deeper = indent + "  "
    texts = [textwrap.wrap(plain(line), width, initial_indent=indent, subsequent_indent=deeper) for line in lines]
    return fit_lines((row for rows in texts for row in rows), width)


def paint(text: str, state: str, colour: bool) -> str:
    """Colour a word by its state, where colour is wanted."""
    return f"\x1b[{COLOURS[state]}m{text}\x1b[0m" if colour and state in COLOURS else text


def _say_next(polecat: dict) -> str:
    """Say what comes next for a worker, and when."""
    coming = polecat.get("next") or {}
    action, due_s = coming.get("action"), coming.get("due_in_s")
    when = f"in {span(due_s)}" if due_s else "soon"
    if action is None or (action == "nudge" and polecat["state"] in ("working", "busy")):
        return f"nudged {when} if nothing moves" if action else ""
    return {
        "retire": f"looked at again {when}",
        "wait for a person": "waits for a person",
        "escalate": f"a person is told {when}",
    }.get(action, f"{action} {when}")


def _list_details(polecat: dict) -> list:
    """Return the lines below a worker that wants attention: what was tried, what its screen shows, how to get there."""
    blockers, lines, tried = polecat["blockers"], [], []
    if blockers:
        more = f" (and {len(blockers) - 1} more: `witness explain {polecat['name']}`)" if len(blockers) > 1 else ""
        lines.append(f"refused: {blockers[0]['kind']}: {blockers[0]['evidence']}{more}")
    if polecat.get("nudged_at"):
        tried.append(f"nudged {span(polecat['nudged_age_s'])} ago ({polecat['nudge_result']})")
    if polecat.get("escalated_at"):
        tried.append(f"a person was told {span(polecat['escalated_age_s'])} ago")
    if tried or _say_next(polecat):
        lines.append("; ".join(part for part in (*tried, _say_next(polecat)) if part))
    shown = polecat.get("screen")
    if shown and shown["line"]:
        lines.append(f"| {shown['line']} ({span(shown['age_s'])} ago)")
    if polecat.get("attach"):
        lines.append(polecat["attach"])
    return lines


def render_polecats(shown, folded: dict, width: int = 0, colour: bool = False, now: float = 0.0) -> str:
    """Write the table of the workers: a row for each that is shown, with details where it wants attention.

    folded: state -> names of those that get none. now: where given, ages are counted here.
    """
    if not shown:
        return "no polecats\n"
    shown = add_ages(shown, now) if now else shown
    rows = [("NAME", "STATE", "PROGRESS", "ISSUE", "WHY")]
    for one in shown:
        age_s = one.get("progress_age_s")
        age = f"{span(age_s)} ago" if age_s is not None else "-"
        said = [one["why"] if one["state"] != "working" else "", "" if wants_eye(one) else _say_next(one)]
        why = "; ".join(part for part in said if part)
        rows.append((one["name"], one["state"], age, one["issue"] or "-", why or one["why"]))
    head, *lines = render_table(rows).split("\n")
    at = head.index("STATE")
    text = fit(head, width) + "\n"
    for number, (line, one) in enumerate(zip(lines, shown)):
        line = fit(line, width)
        text += line[:at] + line[at:].replace(one["state"], paint(one["state"], one["state"], colour), 1) + "\n"
        if wants_eye(one) and number < DETAILS_SHOWN:
            text += wrap_lines(_list_details(one), width, " " * at)
    counts = [f"{len(names)} {state}: {' '.join(names)}" for state, names in folded.items()]
    return text + wrap_lines(counts, width, "  ")


def _list_troubles(data: dict) -> list:
    """Return what a person should know beside the workers: pause, tools that do not answer, what was escalated."""
    lines, stopped = [], "paused" if data.get("paused") else "halted"
    if data.get(stopped):
        remedy = "" if "witness resume" in data[stopped] else "; `witness resume` goes on"
        lines.append(f"! {stopped}: {data[stopped]}{remedy}")
    ports = data.get("ports") or {}
    for name, port in sorted(ports.items()):
        if port["state"] == "degraded":
            since = f" for {span(port['since_age_s'])}" if port.get("since_age_s") is not None else ""
            words = " ".join(word for word in (name, port.get("version"), f"degraded{since}") if word)
            lines.append(f"! {words}: {port['reason']}")
    # What a worker's row or a tool's line says already is not said twice.
    rows, folded = data.get("polecats") or (), data.get("folded") or {}
    said = {one["name"] for one in rows} | {name for names in folded.values() for name in names}
    said |= {f"port-{name}" for name in ports}
    told = [one for one in data.get("escalations") or () if not {one["name"], one["cause"]} & said]
    lines += [f"! told {span(one['opened_age_s'])} ago: {one['summary']}" for one in told[:ALERTS_SHOWN]]
    if len(told) > ALERTS_SHOWN:
        lines.append(f"! and {len(told) - ALERTS_SHOWN} more open escalations: `witness mail inbox mayor/`")
    return lines


def _list_head(data: dict) -> list:
    """Return the lines on the daemon and the rig."""
    daemon, rig = data["daemon"], data["rig"]
    head = f"witness {data['verdict']}"
    if daemon["pid"] and daemon["running"]:
        up = f", up {span(daemon['started_age_s'])}" if daemon.get("started_age_s") is not None else ""
        head += f" (pid {daemon['pid']}, version {daemon['version']}{up})"
    if daemon.get("last_tick_age_s") is not None:
        head += f", looked {span(daemon['last_tick_age_s'])} ago"
    coming = data.get("next_tick") or {}
    if data["verdict"] == "running" and coming.get("due_in_s") is not None:
        head += f", next in {span(coming['due_in_s'])}"
    detail = [data["detail"]] if data.get("detail") else []
    return [head, *detail, f"rig {rig['name']} in {rig['path']}"]


def _list_foot(data: dict) -> list:
    """Return the lines on the queue, the kept folders and the day's figures."""
    lines, queue, kept, stats = [], data.get("queue"), data.get("kept") or {}, data.get("stats") or {}
    if queue is not None and queue["ready"] is None:  # why stands above, with the other tools
        lines.append("queue: unknown; nothing is spawned until it answers, workers go on")
    elif queue is not None:
        ready = f"queue: {queue['ready']} ready, {queue['spawnable']} spawnable"
        lines.append(ready + (f" ({queue['reason']})" if queue.get("reason") else ""))
    lines += [f"queue: {line}" for line in (queue or {}).get("bad_lines", ())[:1]]
    if kept.get("folders"):
        lines.append(f"kept: {kept['folders']} folders of retired workers, {kept['mib']:.0f} MiB")
    today = [(stats[key], key[len("today_") :]) for key in sorted(stats) if key.startswith("today_") and stats[key]]
    today = [f"{number} {word[:-1] if number == 1 and word.endswith('s') else word}" for number, word in today]
    if today:
        lines.append("today: " + ", ".join(today))
    return lines


def render_status(data: dict, width: int = 0, colour: bool = False, now: float = 0.0) -> str:
    """Write the answer of `status`; width is the terminal's, 0 for none; now as of render_polecats."""
    polecats = data.get("polecats") or []
    if data["verdict"] != "running" or data.get("paused") or data.get("halted"):
        polecats = [{**one, "next": None} for one in polecats]  # nothing comes next while nobody acts
    parts = (
        wrap_lines([*_list_head(data), *_list_troubles(data)], width),
        render_polecats(polecats, data.get("folded") or {}, width, colour, now),
        wrap_lines(_list_foot(data), width),
    )
    return "\n".join(part for part in parts if part)


def render_health(data: dict, width: int = 0, colour: bool = False) -> str:
    """Write the answer of `health`."""
    lines = [
        f"would {one['text']}"
        if data["dry_run"]
        else f"{'done' if one['done'] else 'failed'}: {one['text']}"
        + (f" - {one['detail']}" if one.get("detail") else "")
        for one in data["actions"]
    ]
    shown, others = pick_rows(data["polecats"])
    return render_polecats(shown, fold_polecats(others), width, colour) + render_lines(lines)


def render_explanation(data: dict, width: int = 0) -> str:
    """Write the answer of `explain`."""
    lines = [f"{data['subject']}: {data['verdict']}" + (f" - {data['why']}" if data["why"] else "")]
    if data.get("title"):
        lines.append(f"  {data['title']}")
    if data.get("halted"):
        lines.append(f"  nothing is done now: {data['halted']}")
    if data.get("episode"):
        lines.append(f"  quiet since {data['episode']['quiet_from_at']}")
    coming = data.get("next")
    if coming:
        due_s = coming.get("due_in_s")
        lines.append(f"  next: {coming['action']}" + (f" in {span(due_s)}" if due_s is not None else ""))
    if data.get("attach"):
        lines.append(f"  see it: {data['attach']}")
    for blocker in data["blockers"]:
        lines.append(f"  in the way of its retirement: {blocker['kind']}: {blocker['evidence']}")
        lines.append(f"    clear it with: {blocker['remedy']}")
    text = fit_lines(lines, width)
    ages = [span(one["age_s"]) + " ago" if one.get("age_s") is not None else "" for one in data["signals"]]
    rows = [(one["name"], one["value"], age, one["from"]) for one, age in zip(data["signals"], ages)]
    if rows:
        text += "seen\n" + fit_lines(render_table(rows).split("\n"), width)
    if data["rules"]:
        rows = [(one["name"], one["why"]) for one in data["rules"]]
        text += "rules; the first that fits decides\n" + fit_lines(render_table(rows).split("\n"), width)
    if data["history"]:
        text += "what happened\n" + fit_lines(("  " + render_event(one) for one in data["history"]), width)
    return text + "".join("\n" + render_explanation(one, width) for one in data.get("related", ()))


# ====================================================================================================
# room: units — what a service manager needs to run the daemon, and to spare the agents
# ====================================================================================================


def watchdog_s(config: Config) -> int:
    """Return after how many seconds without a sign of life the daemon hangs: one tick and its longest action."""
    return int(2 * config.interval + LONG_ACTION_TIMEOUTS * config.tool_timeout) + 1


def _systemd_word(text: str) -> str:
    """Quote a word for systemd: % begins a specifier there and $ a variable."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'


def systemd_unit(rig: Rig, argv, environment: dict, config: Config) -> str:
    """Return a systemd user unit; argv starts the daemon in the foreground."""
    name = f"witness-{rig.name}"
    command = " ".join(_systemd_word(word).replace("$", "$$") for word in argv)
    lines = [
        f"# The watchdog of the rig {plain(rig.path)}, as a unit of the user whose agents it watches:",
        f"#   {rig.agents_path} unit systemd > ~/.config/systemd/user/{name}.service",
        f"#   systemctl --user daemon-reload && systemctl --user enable --now {name}",
        "#   loginctl enable-linger    (it starts at boot, and it and the agents outlive a logout)",
        "[Unit]",
        f"Description=Witness of the rig {rig.name}",
        "",
        "[Service]",
        "Type=notify",
        f"ExecStart={command}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "RestartSec=10",
        "# It finishes the action in hand, a retirement say, before it ends.",
        f"TimeoutStopSec={watchdog_s(config)}",
        f"WatchdogSec={watchdog_s(config)}",
        "# The agents may run in a tmux server that was started from here; they are no part of this service: the",
        "# defaults would end them all with it, or hide their socket.",
        "KillMode=process",
        "OOMPolicy=continue",
        "PrivateTmp=no",
        *(f"Environment={_systemd_word(f'{key}={value}')}" for key, value in sorted(environment.items())),
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def launchd_unit(rig: Rig, argv, environment: dict, config: Config) -> str:
    """Return a launchd agent's property list; argv starts the daemon in the foreground."""
    import plistlib

    label = f"witness.{rig.name}"
    agent = {
        "Label": label,
        "ProgramArguments": list(argv),
        "EnvironmentVariables": dict(sorted(environment.items())),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": watchdog_s(config),
        "AbandonProcessGroup": True,  # the agents' tmux server may be a child of it
        "ProcessType": "Background",
        "StandardErrorPath": f"{rig.state}/{LOG_FILE}",
    }
    text = plistlib.dumps(agent, sort_keys=False).decode()
    head, mark, rest = text.partition("<plist")
    place = f"~/Library/LaunchAgents/{label}.plist"
    # A comment of XML holds no two hyphens in a row.
    how = f"{rig.agents_path} unit launchd > {place}; launchctl load -w {place}".replace("--", "- -")
    return f"{head}<!-- {plain(how)} -->\n{mark}{rest}"


UNITS = {"systemd": systemd_unit, "launchd": launchd_unit}


# ====================================================================================================
# THE LINE — above it nothing touches the outside, the clock or chance; below it nothing decides
# ====================================================================================================

# ====================================================================================================
# FLOOR: hands
# ====================================================================================================


# ====================================================================================================
# room: children — one outside call: started, fed, read, and ended in time
# ====================================================================================================
#
# Through os.posix_spawnp, not subprocess: what that brings along is 1.2 MiB of a daemon that shall take little more
# than an idle interpreter, 22 ms of each command that asks a tool, and a tenth of the CPU of a tick.


class Ran(Value):
    """How one outside call ended; `failure` is "" when it ran to its end, whatever its status."""

    argv: tuple
    status: int | None
    out: bytes
    err: bytes
    failure: str = ""  # missing, denied, timeout or too much output

    @property
    def ok(self) -> bool:
        """Tell whether it ran to its end with status 0."""
        return not self.failure and self.status == 0

    def text(self) -> str:
        """Return standard output as text, undecodable bytes kept reversibly."""
        return self.out.decode("utf-8", "surrogateescape")

    def reason(self) -> str:
        """Say in one line why it was not ok: tool, how it ended, its first line of complaint."""
        tool = " ".join(word for word in (os.path.basename(self.argv[0]), find_verb(self.argv)) if word)
        if self.failure:
            return f"{tool}: {self.failure}"
        lines = self.err.decode("utf-8", "replace").strip().splitlines()
        return clean_line(f"{tool}: exit {self.status}" + (f": {lines[0]}" if lines else ""))


class Child:
    """A child of ours, in a session and process group of its own; status is None until it has ended and was asked."""

    def __init__(self, pid: int) -> None:
        self.pid, self.status = pid, None

    def poll(self) -> int | None:
        """Return how it ended, a signal as its negative number; None while it lives."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def outlives(self, deadline: float) -> bool:
        """Wait for its end until then, in monotonic seconds; True where it still lives."""
        pause_s = 0.0005  # a child that has closed its pipes ends within that
        while self.poll() is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return True
            time.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, 0.05)
        return False

    def end_group(self) -> int:
        """End its whole process group and return how it ended; a member that ignores TERM is killed, too."""
        import signal

        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)  # the number stays reserved while the group has a member
            except (ProcessLookupError, PermissionError):
                pass
            self.outlives(time.monotonic() + KILL_GRACE_S)
        while self.poll() is None:
            time.sleep(0.05)  # KILL was sent; only the kernel can keep it now
        return self.status


def heed_children() -> None:
    """Let the kernel keep how our children end, although the caller ignores his (SIGCHLD), which we inherit."""
    import signal

    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _spawn(argv, env: dict, files, keep_fds) -> int:
    """Start a child where we stand, and return its pid."""
    import signal

    actions = [
        (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) if fd is None else (os.POSIX_SPAWN_DUP2, fd, number)
        for number, fd in enumerate(files)
    ]
    ignored = (signal.SIGPIPE, signal.SIGXFSZ)  # by Python, for itself
    try:
        return os.posix_spawnp(argv[0], argv, env, file_actions=actions, setsid=True, setsigdef=ignored)
    except NotImplementedError:  # of a Python built where posix_spawn knew no sessions: glibc before 2.26, FreeBSD
        import subprocess

        stdin, stdout, stderr = (subprocess.DEVNULL if fd is None else fd for fd in files)
        child = subprocess.Popen(
            argv, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True, pass_fds=keep_fds
        )
        child.returncode = 0  # nothing more for it to do: we wait for the pid ourselves
        return child.pid


def start_child(argv, env, files, cwd: str = "/", keep_fds=()) -> Child:
    """Start a child: files are the descriptors of its three standard files, None for /dev/null; keep_fds stay open.

    Raises:
        OSError: it cannot be started; its filename is cwd or the tool.
    """
    heed_children()
    env = {name: value for name, value in env.items() if name}  # `=x` stands in some environments, and is refused
    # There is no word for a child's folder: we go there ourselves. O_PATH, for we may stand where we may not read.
    try:
        here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    except OSError:  # not even enter, as after `sudo -u agent` in another's home: then there is nothing to go back to
        here = None
    try:
        os.chdir(cwd)
        for fd in keep_fds:
            os.set_inheritable(fd, True)
        return Child(_spawn(argv, env, files, tuple(keep_fds)))
    finally:
        if here is not None:
            os.fchdir(here)
            os.close(here)
        for fd in keep_fds:
            os.set_inheritable(fd, False)


def _talk(pipes: dict, stdin: bytes, takers: dict, deadline: float, limit_bytes: float) -> str:
    """Feed and read a child until both its pipes close, and return "" or why that was given up.

    pipes: our ends by what they are, each closed and taken out when it is done with; takers: what gets the pieces of
    each. A member of the child's group that keeps a pipe open counts as the child.
    """
    import select

    poll, size = select.poll(), 0
    for name, fd in pipes.items():
        poll.register(fd, select.POLLOUT if name == "stdin" else select.POLLIN)
    names = {fd: name for name, fd in pipes.items()}
    while pipes:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return "timeout"
        for fd, _ in poll.poll(1000 * min(left_s, 3600) + 1):  # it takes 24 days of milliseconds at most
            name = names[fd]
            if name == "stdin":
                try:
                    stdin = stdin[os.write(fd, stdin[:65536]) :]
                except BrokenPipeError:
                    stdin = b""
                done = not stdin
            else:
                piece = os.read(fd, 65536)
                done = not piece
                if piece:
                    takers[name](piece)
                size += len(piece)
            if done:
                poll.unregister(fd)
                os.close(pipes.pop(name))
            if size > limit_bytes:
                return f"printed more than {limit_bytes} bytes"
    return ""


def run_child(
    argv, env: dict, cwd: str, timeout_s: float, stdin: bytes, limit_bytes: float, keep_fds, sink, began=None
) -> Ran:
    """Run one child to its end and return how it went; see Host.run."""
    ours, theirs = {}, [None, None, None]
    deadline = time.monotonic() + timeout_s
    try:
        try:
            for number, name in enumerate(("stdin", "stdout", "stderr")):
                if name != "stdin":
                    ours[name], theirs[number] = os.pipe()
                elif stdin:
                    theirs[number], ours[name] = os.pipe()
                    os.set_blocking(ours[name], False)
            child = start_child(argv, env, theirs, cwd, keep_fds)
        except FileNotFoundError as error:
            return Ran(argv=argv, status=None, out=b"", err=b"", failure=f"{error.filename} is missing")
        except OSError as error:
            return Ran(argv=argv, status=None, out=b"", err=b"", failure=f"cannot be run: {error.strerror}")
        finally:
            for fd in theirs:
                if fd is not None:
                    os.close(fd)
        out, err = [], []
        try:
            if began is not None:
                began(child.pid)
            failure = _talk(ours, stdin, {"stdout": sink or out.append, "stderr": err.append}, deadline, limit_bytes)
            if not failure and child.outlives(deadline):
                failure = "timeout"
        except BaseException:  # an interrupt: what we started must not go on without us
            child.end_group()
            raise
    finally:
        for fd in ours.values():
            os.close(fd)
    status = child.end_group() if failure else child.status
    failure = f"no answer within {timeout_s:g} s" if failure == "timeout" else failure
    return Ran(argv=argv, status=status, out=b"".join(out), err=b"".join(err), failure=failure)


# ====================================================================================================
# room: host — the one gateway to clock, files and children
# ====================================================================================================
#
# Every outside call goes through Host.run, every durable change of a file through the methods below it: a subclass
# that counts, fails or kills at the n-th of them sees everything there is.


class Host:
    """The outside: real clock, files and children. Methods are small and decide nothing."""

    # -- clock ---------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the wall clock in epoch seconds."""
        return time.time()

    def mono(self) -> float:
        """Return the monotonic clock in seconds, for durations."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Wait inside an action, for a tool to catch up."""
        time.sleep(seconds)

    # -- children ------------------------------------------------------------------------------------

    def environment(self, extra=None) -> dict:
        """Return the environment of a child: the caller's, scrubbed, in a clean locale, plus extra."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in SCRUBBED_NAMES and not name.startswith(SCRUBBED_PREFIXES)
        }
        return {**kept, "LC_ALL": "C.UTF-8", **(extra or {})}

    def run(
        self,
        argv,
        timeout_s,
        cwd="/",
        env=None,
        stdin=b"",
        limit_bytes=OUTPUT_LIMIT_BYTES,
        keep_fds=(),
        sink=None,
        began=None,
    ) -> Ran:
        """Run one child to its end and return how it went; never raises for what the child does.

        It gets its own process group, which is ended (TERM, KILL_GRACE_S, KILL) when it takes longer than timeout_s
        or prints more than limit_bytes. keep_fds stay open in it. sink is called with each piece of standard output
        instead of keeping it, however much that is. began is called with its pid as soon as it has one.
        """
        limit_bytes = limit_bytes if sink is None else float("inf")
        env = self.environment(env)
        return run_child(tuple(argv), env, cwd, timeout_s, stdin, limit_bytes, keep_fds, sink, began)

    # -- files ---------------------------------------------------------------------------------------

    def look(self, path: str) -> os.stat_result | None:
        """Return the stat of what stands at a path, of a link its own; None where nothing can be seen."""
        try:
            return os.lstat(path)
        except (OSError, ValueError):
            return None

    def peek(self, path: str) -> os.stat_result | None:
        """Look at what changes only together with something that is looked at: a Shelf need not heed it."""
        return self.look(path)

    def resolve(self, path: str) -> str:
        """Return a path without symbolic links."""
        return os.path.realpath(path)

    def read(self, path: str, limit_bytes: int = OUTPUT_LIMIT_BYTES) -> bytes | None:
        """Return a regular file's content, None where there is none.

        Raises:
            OSError: it is there and cannot be read, is no regular file (a FIFO would hang us), or is too large.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:  # no `with open(fd)`: it leaves the descriptor of a folder open
            about = os.fstat(fd)
            if stat.S_ISDIR(about.st_mode):
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if not stat.S_ISREG(about.st_mode):
                raise OSError(errno.EINVAL, "is no regular file", path)
            if about.st_size > limit_bytes:
                raise OSError(errno.EFBIG, f"is larger than {limit_bytes} bytes", path)
            # Most are small, and a tick reads thousands; what is longer than it says (/proc) is read on.
            start = os.read(fd, min(about.st_size + 1, 1 << 20, limit_bytes))
            if len(start) <= about.st_size < 1 << 20:
                return start
            with open(fd, "rb", closefd=False) as file:
                return start + file.read(limit_bytes - len(start))
        finally:
            os.close(fd)

    def write(self, path: str, content: bytes, durable: bool = True, mode: int = 0o600) -> None:
        """Replace a file as a whole: temporary file, fsync, rename, fsync of the folder.

        Raises:
            OSError: any step failed; the old content stands and the temporary file is gone.
        """
        temporary = f"{path}.{os.getpid()}.tmp"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
            with open(fd, "wb") as file:
                os.fchmod(fd, mode)  # explicit: the umask is the caller's
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(fd)
            os.rename(temporary, path)
        except OSError:
            self._forget(temporary)
            raise
        if durable:
            self._sync_folder(os.path.dirname(path))

    def write_new(self, path: str, content: bytes, mode: int = 0o600) -> bool:
        """Create a file with its content, both or nothing; False where it exists.

        A link, not O_EXCL: a crash between create and write would leave an empty file that claims for nobody.
        """
        temporary = f"{path}.{os.getpid()}.new"
        self.write(temporary, content, mode=mode)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            self._forget(temporary)
        self._sync_folder(os.path.dirname(path))
        return True

    def append(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Add to the end of a file in one write, so that lines of two writers never mix."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            if os.fstat(fd).st_size == 0:
                os.fchmod(fd, mode)
            os.write(fd, content)
        finally:
            os.close(fd)

    def move(self, old: str, new: str) -> None:
        """Rename durably."""
        os.rename(old, new)
        self._sync_folder(os.path.dirname(new))
        if os.path.dirname(old) != os.path.dirname(new):
            self._sync_folder(os.path.dirname(old))

    def remove(self, path: str) -> None:
        """Remove a file; one that is gone already is fine."""
        self._forget(path)
        self._sync_folder(os.path.dirname(path))

    def make_folder(self, path: str, mode: int = 0o700) -> None:
        """Make a folder and its missing parents, with our own mode whatever the umask."""
        if os.path.isdir(path):
            return
        self.make_folder(os.path.dirname(path), mode)
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            return
        os.chmod(path, mode)

    def link(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        os.symlink(target, path)

    def copy(self, source: str, target: str, mode: int, durable: bool = True) -> None:
        """Copy a regular file to a new one with this mode, whatever its size; a link is not followed.

        Raises:
            OSError: it is no regular file, or the target exists.
        """
        import shutil

        with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as old:
            if not stat.S_ISREG(os.fstat(old.fileno()).st_mode):
                raise OSError(errno.EINVAL, "is no regular file", source)
            with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as new:
                shutil.copyfileobj(old, new, 1 << 20)
                os.fchmod(new.fileno(), mode)
                if durable:
                    new.flush()
                    os.fsync(new.fileno())

    def delete_tree(self, path: str) -> None:
        """Delete a folder and all below it: no link is followed, no other file system entered.

        Raises:
            OSError: something could not be deleted; what is left stays.
        """
        device = os.lstat(path).st_dev
        todo = [path]
        while todo:  # not by recursion: a tree may be deeper than Python's stack
            folders, folder = [], todo[-1]
            about = os.lstat(folder)
            if about.st_dev != device:
                raise OSError(errno.EXDEV, "is another file system", folder)
            if about.st_mode & stat.S_IRWXU != stat.S_IRWXU:
                os.chmod(folder, stat.S_IRWXU)  # module caches make their folders read-only
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                for entry in list(os.scandir(fd)):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(os.path.join(folder, entry.name))
                    else:
                        os.unlink(entry.name, dir_fd=fd)
            finally:
                os.close(fd)
            if folders:
                todo += folders
            else:
                os.rmdir(folder)
                todo.pop()

    @staticmethod
    def _forget(path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    @staticmethod
    def _sync_folder(path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


# ====================================================================================================
# room: processes — who runs, since when, and what it is; /proc isolated here
# ====================================================================================================

HAS_PROC = os.path.exists("/proc/self/stat")


# A file that is run is compiled each time, 30 MiB and a third of a second; a module that is imported is not.
# What the import made stays for good, so no collection need look through it.
IMPORT_US = (
    "import gc, sys; sys.path.insert(0, sys.argv[1]); del sys.argv[0]; "
    "import witness; gc.freeze(); sys.exit(witness.main())"
)


def call_ourselves(*words: str) -> list:
    """Return the argv of this very module with these words, for a process of its own.

    -I -S: small, and immune to PYTHON* variables, to site-packages, and to the archive being replaced under it.
    """
    folder, name = os.path.split(os.path.abspath(__file__))
    how = ("-c", IMPORT_US, folder) if name == "witness.py" else (os.path.join(folder, name),)
    return [sys.executable, "-I", "-S", *how, *words]


def _ask_ps(host: Host, pid: int) -> Process | None:
    """Ask ps, where there is no /proc (macOS): start is its text hashed to a number that compares equal."""
    import zlib

    ran = host.run(["ps", "-o", "pid=,ppid=,pgid=,tpgid=,state=,lstart=", "-p", str(pid)], 5)
    words = ran.text().split(None, 5)
    if ran.failure or (ran.status == 0 and len(words) < 6):
        raise OSError(errno.EIO, ran.reason())
    if ran.status != 0:
        return None
    return Process(
        pid=int(words[0]),
        start=zlib.crc32(words[5].strip().encode()),
        parent=int(words[1]),
        group=int(words[2]),
        foreground=int(words[3]),
        zombie=words[4].startswith("Z"),
    )


def read_process(host: Host, pid: int) -> Process | None:
    """Return a process that exists, None where there is none; a zombie is returned as such.

    Raises:
        OSError: it cannot be told.
    """
    if pid <= 0:
        return None
    if not HAS_PROC:
        return _ask_ps(host, pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return parse_proc_stat(file.read())
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_same_process(host: Host, pid: int, start: int) -> bool | None:
    """Tell whether the process that started then still lives; None where it cannot be told."""
    if not start:
        return None
    try:
        process = read_process(host, pid)
    except OSError:
        return None
    return process is not None and process.start == start and not process.zombie


def read_cwd(pid: int) -> str:
    """Return a process's working directory.

    Raises:
        OSError: it is gone, another user's, or this system does not tell.
    """
    return os.readlink(f"/proc/{pid}/cwd")


def read_argv(host: Host, pid: int) -> tuple | None:
    """Return a process's argv: None where it cannot be read, () of a zombie and, for a moment, within an exec."""
    if not HAS_PROC:
        ran = host.run(["ps", "-o", "args=", "-p", str(pid)], 5)
        return tuple(ran.text().split()) if ran.ok else None
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return tuple(os.fsdecode(word) for word in file.read(65536).split(b"\0")[:-1])
    except OSError:
        return None


def judge_shell(host: Host, pane: Pane) -> str:
    """Say what a pane's foreground is: "" no shell, "interactive", "script" (runs a script or -c), or UNKNOWN."""
    if pane.command.lstrip("-") not in SHELLS:
        return ""
    try:
        process = read_process(host, pane.pid)
    except OSError:
        return UNKNOWN
    argv = read_argv(host, process.foreground) if process is not None and process.foreground > 0 else None
    return UNKNOWN if not argv else ("interactive" if is_interactive_shell(argv) else "script")


def end_process(pid: int, start: int, number: int, host: Host) -> bool:
    """Signal a process if it is still the one that started then; True if the signal was sent."""
    if is_same_process(host, pid, start) is not True:
        return False
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def read_load(path: str) -> Load:
    """Return the host's load, free memory, and free disk at a path; None for what cannot be told."""
    try:
        per_core = os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        per_core = None
    try:
        with open("/proc/meminfo", "rb") as file:
            memory = parse_meminfo(file.read())
    except OSError:
        memory = None
    try:
        about = os.statvfs(path)
        disk = about.f_bavail * about.f_frsize / (1 << 20)
    except OSError:
        disk = None
    return Load(per_core=per_core, free_memory_mib=memory, free_disk_mib=disk)


# ====================================================================================================
# room: ground — which rig, which folders, and who we are in it
# ====================================================================================================


def find_common(host: Host, folder: str) -> str | None:
    """Return a repository's common git dir by reading its files; a git process would cost each start 5 ms."""
    git = os.path.join(folder, ".git")
    try:
        if os.path.isfile(git):
            named = parse_gitfile(host.read(git, 65536) or b"")
            git = os.path.normpath(os.path.join(folder, named)) if named else ""
            common = host.read(os.path.join(git, "commondir"), 65536)
            if common is not None:
                git = os.path.normpath(os.path.join(git, os.fsdecode(common.strip())))
        elif not os.path.isdir(git):
            git = folder  # bare
    except OSError:
        return None
    is_repository = os.path.isfile(os.path.join(git, "HEAD")) and os.path.isdir(os.path.join(git, "objects"))
    return os.path.realpath(git) if is_repository else None


def read_object(host: Host, path: str) -> dict:
    """Return the JSON object of a file, {} where there is none that can be read."""
    try:
        content = host.read(path, 1 << 20)
        data = json.loads(content) if content else {}
    except (OSError, ValueError, RecursionError):  # a worker's own file, nested too deep, once stopped every tick
        return {}
    return data if isinstance(data, dict) else {}


def _is_rig_config(host: Host, folder: str) -> bool:
    return read_object(host, os.path.join(folder, "config.json")).get("type") == "rig"


def _search_upward(host: Host, folder: str) -> str:
    top, here = "", folder
    while True:
        marked = os.path.isdir(os.path.join(here, "polecats")) or _is_rig_config(host, here)
        for state in STATE_FOLDERS:
            try:
                marked = marked or any(name.startswith("witness") for name in os.listdir(os.path.join(here, state)))
            except OSError:
                continue
        linked = os.path.isfile(os.path.join(here, ".git")) and find_common(host, here) is not None
        if marked and not linked:
            return here
        if not top and os.path.isdir(os.path.join(here, ".git")):
            top = here
        above = os.path.dirname(here)
        if above == here:
            return top
        here = above


RIG_NAME_LENGTH = 100  # with a worker's name of 64 it still makes a mail folder, whose name may have 200 characters


def _read_rig_name(host: Host, path: str) -> str:
    config = read_object(host, os.path.join(path, "config.json"))
    name = config.get("name") if config.get("type") == "rig" else ""
    name = name if isinstance(name, str) and name else os.path.basename(path)
    # It becomes part of session names and mail folders, and folders may be called anything.
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "_-") else " " for one in name)
    return "-".join(plain.split()).strip("-")[:RIG_NAME_LENGTH] or "rig"


def _choose_state(path: str) -> str:
    folders = [os.path.join(path, name) for name in STATE_FOLDERS]
    for folder in folders:
        if os.path.exists(os.path.join(folder, LOCK_FILE)):
            return folder
    only_runtime = os.path.isdir(folders[1]) and not os.path.isdir(folders[0])
    return folders[1] if only_runtime else folders[0]


def find_rig(host: Host, option: str, environ: dict, folder: str, called_as: str = "") -> Rig:
    """Find the rig: --rig, WITNESS_RIG, else upward from folder, linked worktrees skipped.

    Raises:
        UsageError: nothing found, or what was named is no rig; says what was looked for and where.
    """
    named = option or environ.get("WITNESS_RIG", "")
    path = os.path.realpath(os.path.join(folder, named)) if named else _search_upward(host, os.path.realpath(folder))
    if not path or not os.path.isdir(path):
        where = named or f"{folder} or above it"
        raise UsageError(
            f"no rig: {where} has no .gastown/witness*, .runtime/witness*, polecats/, rig config.json or "
            "git repository",
            "go into the repository, or name it with --rig PATH",
        )
    base = next(
        (os.path.join(path, one) for one in (".repo.git", "mayor/rig") if find_common(host, os.path.join(path, one))),
        path,
    )
    common = find_common(host, base)
    if common is None:
        raise UsageError(f"{path} holds no git repository", "a rig is a repository: `git init` it, or name another")
    return Rig(
        name=_read_rig_name(host, path),
        path=path,
        state=_choose_state(path),
        base=base,
        common=common,
        polecats=os.path.join(path, "polecats"),
        agents_path=called_as,
    )


def find_town(path: str) -> str:
    """Return the nearest folder above a rig that is a town, "" if none is."""
    while os.path.dirname(path) != path:
        path = os.path.dirname(path)
        if os.path.isfile(os.path.join(path, "mayor", "town.json")):
            return path
    return ""


def find_outermost_town(path: str) -> str:
    """Return the farthest folder above a rig that is a town, "" if none is; gt 1.0.1 takes that one."""
    found = ""
    while path:
        path = find_town(path)
        found = path or found
    return found


def _exclude_ours(host: Host, rig: Rig) -> None:
    """Keep polecats/ and the state folder out of a plain repository's status, in its own exclude file."""
    if rig.base != rig.path:
        return
    path = os.path.join(rig.common, "info", "exclude")
    # Anchored: unanchored, they once hid a worker's docs/polecats/.
    wanted = [f"/{os.path.basename(rig.state)}/", "/polecats/"]
    try:
        content = (host.read(path) or b"").decode("utf-8", "surrogateescape")
        missing = [line for line in wanted if line not in content.splitlines()]
        if missing:
            host.make_folder(os.path.dirname(path), 0o755)
            start = "" if not content or content.endswith("\n") else "\n"
            host.append(path, (start + "\n".join(missing) + "\n").encode(), 0o644)
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}", "make it writable: our folders must not dirty the tree") from None


def check_state_folder(rig: Rig) -> None:
    """Refuse a state folder that is a link, somebody else's, or for others to write; one not made yet is fine.

    Raises:
        StateError: says which.
    """
    try:
        about = os.lstat(rig.state)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError(f"state folder {rig.state}: {error.strerror}", "make the rig readable for its user") from None
    if not stat.S_ISDIR(about.st_mode):
        raise StateError(f"state folder {rig.state} is no folder", "move it away")
    if about.st_uid != os.geteuid() or about.st_mode & 0o022:
        raise StateError(
            f"state folder {rig.state} belongs to uid {about.st_uid}, mode {about.st_mode & 0o777:o}",
            "it must be ours and writable by nobody else: chmod go-w",
        )


def check_ground(host: Host, rig: Rig, config: Config) -> None:
    """Make the state folder and refuse a rig that is not ours to watch.

    Raises:
        StateError: the folder belongs to someone else, others can write it, or it cannot be made.
        UsageError: root, and the rig is somebody else's.
    """
    owner = os.stat(rig.path).st_uid
    if os.geteuid() == 0 and owner != 0 and not config.as_root:
        raise UsageError(
            f"{rig.path} belongs to uid {owner} and this is root", "run as the agents' user, or set as_root"
        )
    try:
        host.make_folder(rig.state)
    except OSError as error:
        raise StateError(f"state folder {rig.state}: {error.strerror}", "make the rig writable for its user") from None
    check_state_folder(rig)
    _exclude_ours(host, rig)


def find_backend(host: Host, rig: Rig, config: Config) -> tuple:
    """Return (backend, why): decided from what lies on disk, and never by what happens to answer."""
    if config.backend != "auto":
        return config.backend, "set"
    beads = os.path.join(rig.path, ".beads")
    if find_town(rig.path):
        return "gastown", "the rig stands in a town"
    try:
        names = os.listdir(beads)
    except OSError:
        names = []
    database = next((name for name in sorted(names) if name.endswith(".db") or name in ("dolt", "embeddeddolt")), "")
    if database or read_object(host, os.path.join(beads, "metadata.json")).get("dolt_mode"):
        return "beads", f".beads/{database or 'metadata.json'} is there"
    return "local", "no database is there"


def read_machine_id(host: Host) -> str:
    """Return what tells this machine from a clone of it, "" where the system has no such thing."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            text = host.read(path, 4096)
        except OSError:
            continue
        if text:
            return text.decode("ascii", "replace").strip()
    return os.uname().nodename


# ====================================================================================================
# room: store — the files of the state folder: memory, holds, locks, log, events
# ====================================================================================================


def take_lock(path: str, wait_s: float = 0.0, shared: bool = False) -> int | None:
    """Take a lock on a file and return the descriptor that holds it; None when it stays busy.

    flock, not fcntl locks: it belongs to the open file, survives forks and exec, and goes with the last holder.

    Raises:
        StateError: the file cannot be opened.
    """
    import fcntl

    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}", "without this lock nothing is done; mend the folder") from None
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return fd
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES) or time.monotonic() >= deadline:
                os.close(fd)
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                return None
        time.sleep(0.02)


def is_locked(path: str) -> bool | None:
    """Tell whether somebody holds a lock; None where it cannot be told. A missing file is held by nobody."""
    import fcntl

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EAGAIN, errno.EACCES) else None
    finally:
        os.close(fd)
    return False


def _parse_holds(content: bytes) -> dict:
    data = json.loads(content)
    if not isinstance(data, dict):
        raise ValueError("it holds no JSON object")
    if data.get("version", HOLD_VERSION) != HOLD_VERSION:
        raise ValueError(f"a newer Witness wrote it, in format {data['version']}")
    return data


class Store:
    """The state folder of one rig."""

    def __init__(self, host: Host, rig: Rig) -> None:
        self.host = host
        self.folder = rig.state
        self.rig = rig
        self.lock_fd = None  # the daemon's own lock, see is_ours
        self._memory = None
        self._signature = None

    def is_ours(self) -> bool:
        """Tell whether the folder is still the one whose lock we hold; who holds none need not ask.

        Asked before each write, not once a tick: a folder made anew at this path while an action ran got the old
        daemon's view.
        """
        if self.lock_fd is None:
            return True
        try:
            return os.path.samestat(os.fstat(self.lock_fd), os.stat(self.path(LOCK_FILE)))
        except OSError:
            return False

    def path(self, name: str) -> str:
        """Return the path of one of our files."""
        return os.path.join(self.folder, name)

    # -- memory --------------------------------------------------------------------------------------

    def load(self) -> Memory:
        """Return the memory, read again when another wrote it; what cannot be read is moved aside.

        Raises:
            StateError: a newer Witness wrote it, or the file cannot be read at all.
        """
        path = self.path(MEMORY_FILE)
        signature = self._sign(path)
        if self._memory is not None and signature == self._signature:
            return self._memory
        try:
            content = self.host.read(path, MEMORY_LIMIT_BYTES)
            memory = Memory() if content is None else load_memory(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            memory = Memory()
            self.set_aside(MEMORY_FILE, str(error))
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}", "nothing is done without a memory") from None
        self._memory, self._signature = memory, self._sign(path)
        return memory

    def save(self, memory: Memory) -> None:
        """Write the memory durably if it has changed.

        Raises:
            StateError: it cannot be saved; then nothing may be done.
        """
        if memory == self._memory and self._signature is not None:
            return
        if not self.is_ours():
            raise StateError(f"{self.path(LOCK_FILE)} is gone or replaced", "another Witness may be running here")
        memory = memory.but(last_check_at=self.host.now())
        try:
            self.host.write(self.path(MEMORY_FILE), dump_memory(memory).encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise StateError(
                f"{self.path(MEMORY_FILE)}: {error.strerror}",
                "without a saved intention nothing is done; free the disk or mend the folder",
            ) from None
        self._memory, self._signature = memory, self._sign(self.path(MEMORY_FILE))

    def import_first(self) -> None:
        """Take over a witness.json of the first Witness, once: its settings become ours, the file is kept beside.

        The caller holds the tick lock. A crash half-way is harmless: what is in the settings already stays.

        Raises:
            StateError: something could not be written.
            ConfigError: the settings that are there already are wrong.
        """
        path = self.path(MEMORY_FILE)
        try:
            content = self.host.read(path, MEMORY_LIMIT_BYTES)
            found = import_first(content.decode("utf-8")) if content is not None else None
        except (OSError, ValueError, RecursionError):
            return  # `load` says what is wrong with it
        if found is None:
            return
        memory, settings, lost = found
        config = self.read_config({})
        present = {name: config.values[name] for name, origin in config.origins.items() if origin != "default"}
        kept = f"{MEMORY_FILE}.first-{time_id(self.host.now())}"
        try:
            self.host.write(self.path(kept), content)
            if settings:
                text = json.dumps({**settings, **present}, indent=1, sort_keys=True) + "\n"
                self.host.write(self.path(CONFIG_FILE), text.encode())
            self.host.write(path, dump_memory(memory).encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise StateError(
                f"{error.filename or path}: {error.strerror}", "the old memory was not taken over"
            ) from None
        taken = ", ".join(sorted(settings)) or "no settings"
        self.tell("imported", MEMORY_FILE, f"of the first Witness: {taken}; the file is kept as {kept}")
        for line in lost:
            self.tell("not-imported", MEMORY_FILE, line)

    @staticmethod
    def _sign(path: str):
        try:
            about = os.stat(path)
        except OSError:
            return None
        return about.st_ino, about.st_mtime_ns, about.st_size

    def set_aside(self, name: str, why: str) -> None:
        """Move a file that is no use aside, and say so; it is never overwritten in silence."""
        aside = f"{name}.corrupt-{time_id(self.host.now())}"
        try:
            self.host.move(self.path(name), self.path(aside))
        except OSError as error:
            raise StateError(f"{self.path(name)} is damaged and cannot be moved aside: {error.strerror}") from None
        self.tell("corrupt", name, f"{clean_line(why)}; kept as {aside}, and made anew")

    # -- settings and holds --------------------------------------------------------------------------

    def read_config(self, environ: dict, sets=()) -> Config:
        """Return the settings in force.

        Raises:
            ConfigError: file, variable or --set is wrong.
        """
        path = self.path(CONFIG_FILE)
        try:
            content = self.host.read(path, 1 << 20)
            data = json.loads(content) if content is not None else {}
        except (OSError, ValueError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(f"{path}: {clean_line(why)}", "mend it, or move it away for the defaults") from None
        if not isinstance(data, dict):
            raise ConfigError(f"{path} holds no JSON object", 'write {"name": value, …}')
        return make_config(data, path, environ, sets)

    def _load_holds(self) -> tuple:
        """Return (the hold file's data, what of it is in force now, why it cannot be read)."""
        try:
            content = self.host.read(self.path(HOLD_FILE), 1 << 20)
            data = _parse_holds(content) if content is not None else {}
            holds = data.get("holds", {})
            now = self.host.now()
            current = {}
            for name, hold in holds.items():
                until_at = parse_rfc3339(hold.get("until") or "")
                if not until_at or until_at > now:
                    current[name] = str(hold.get("reason") or "no reason given")
            paused = data.get("paused") or {}
            until_at = parse_rfc3339(paused.get("until") or "")
            reason = str(paused.get("reason") or "no reason given") if paused else ""
            return (
                data,
                {
                    "paused": "" if until_at and until_at <= now else reason,
                    "holds": current,
                    "resumed_at": parse_rfc3339(data.get("resumed_at") or ""),
                    "stopped": bool(data.get("stopped")),
                },
                "",
            )
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            why = f"{HOLD_FILE} cannot be read ({clean_line(why, 80)})"
            paused = f"{why}; `witness resume` writes it anew"
            return {}, {"paused": paused, "holds": {}, "resumed_at": 0.0, "stopped": False}, why

    def read_holds(self) -> dict:
        """Return pause, holds, resumed_at and stopped; a file that cannot be read means paused."""
        return self._load_holds()[1]

    def change_holds(self, **changes) -> None:
        """Change the hold file: paused, stopped, resumed_at as values; a hold as hold=(name, entry or None).

        Raises:
            StateError: it cannot be written; or it cannot be read, and this is not the `resume` that writes it anew.
        """
        path = self.path(HOLD_FILE)
        data, _, damaged = self._load_holds()
        if damaged and set(changes) == {"stopped"}:
            return  # it means paused, and a start or stop must not end that
        if damaged and "resumed_at" not in changes:
            raise StateError(damaged, "`witness resume` writes it anew; say then again what is to be held or paused")
        if damaged:
            self.set_aside(HOLD_FILE, damaged)
        hold = changes.pop("hold", None)
        data.update(changes)
        if hold is not None:
            holds = dict(data.get("holds", {}))
            holds.pop(hold[0], None)
            data["holds"] = {**holds, hold[0]: hold[1]} if hold[1] is not None else holds
        data = {key: value for key, value in data.items() if value not in (None, False, {})}
        try:
            self.host.write(path, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode())
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}", "the change was not made") from None

    def read_actor(self) -> str:
        """Return our claim actor; its id is made once, and anew on a machine or path it was not made for."""
        path = self.path(ID_FILE)
        here = {"machine": read_machine_id(self.host), "rig": self.rig.path}
        data = read_object(self.host, path)
        made = str(data.get("id", ""))
        if (
            not re.fullmatch(r"(?:[A-Za-z0-9-]{1,32}-)?[0-9a-f]{12}", made)
            or {key: data.get(key) for key in here} != here
        ):
            # The host's name is for people: whoever lists what is in progress reads there who works on it.
            node = re.sub(r"[^A-Za-z0-9]+", "-", os.uname().nodename).strip("-")[:24].strip("-")
            made = f"{node or 'host'}-{os.urandom(6).hex()}"
            try:
                self.host.write(path, (json.dumps({"id": made, **here}) + "\n").encode())
            except OSError as error:
                raise StateError(f"{path}: {error.strerror}", "without an id of our own nothing is claimed") from None
            if os.path.isdir(self.path("claims")):
                told = f"{made} is our id from now on: what was claimed under another is left alone"
                self.tell("identity", self.rig.name, f"{told}; `witness doctor` names it and the way back")
        return f"{self.rig.name}/witness@{made}"

    # -- log, events, view ---------------------------------------------------------------------------

    def tell(self, kind: str, subject: str, text: str) -> None:
        """Write one event, for machines and for people; a full disk must not stop the watch."""
        now = self.host.now()
        event = {"at": rfc3339(now), "kind": kind, "subject": clean_line(subject), "text": clean_line(text, 400)}
        self._append(EVENTS_FILE, json.dumps(event, ensure_ascii=False) + "\n")
        self.log(f"{kind}: {event['subject']}: {event['text']}")

    def log(self, text: str) -> None:
        """Write to the log, every line with its stamp."""
        stamp = rfc3339(self.host.now())
        self._append(LOG_FILE, "".join(f"{stamp} {clean_line(line, 400)}\n" for line in text.splitlines()))

    def _append(self, name: str, text: str) -> None:
        if not self.is_ours():
            return
        path = self.path(name)
        try:
            if os.path.exists(path) and os.path.getsize(path) >= LOG_LIMIT_BYTES:
                for number in range(LOG_KEPT, 0, -1):
                    older = f"{path}.{number - 1}" if number > 1 else path
                    if os.path.exists(older):
                        os.replace(older, f"{path}.{number}")
            self.host.append(path, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            # The log is the last place to complain in; standard error may still be somebody's terminal.
            try:
                print(f"witness: {path}: {error.strerror}", file=sys.stderr)
            except OSError:
                return  # the daemon's standard error is this very log: it died of its own complaint

    def write_view(self, view: dict) -> None:
        """Replace what `status` shows; without fsync, it is never read back as memory."""
        if not self.is_ours():
            return
        try:
            # In ASCII: a branch whose name is no UTF-8 once made the whole file unreadable, and `status` blind.
            # `others` on a line of their own, the last: who wants no more than a screen reads a thousand workers less.
            head = {key: value for key, value in view.items() if key != "others"}
            lines = [json.dumps(part, separators=(",", ":")) for part in (head, view.get("others", []))]
            text = f'{lines[0][:-1]}\n,"others":{lines[1]}}}\n'
            self.host.write(self.path(VIEW_FILE), text.encode(), durable=False)
        except OSError as error:
            self.log(f"{VIEW_FILE}: {error.strerror}")

    def read_view(self, whole: bool = False) -> dict:
        """Return the latest snapshot, {} if there is none; `others` only where the whole is asked for."""
        try:
            content = self.host.read(self.path(VIEW_FILE), VIEW_LIMIT_BYTES) or b"{}"
            head, more, _ = content.partition(b"\n,")
            view = json.loads(head + b"}" if more and not whole else content)
        except (OSError, ValueError, RecursionError):
            return {}
        return view if isinstance(view, dict) else {}


# ====================================================================================================
# room: git — the one place where git is called, and what is read of its folders without it
# ====================================================================================================

# Each of these, set otherwise by a user or a tool, has hidden an edit (retirement.md).
GIT_TRUE_LOOK = (
    "-c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.untrackedCache=false -c core.fileMode=true"
    " -c core.trustctime=true -c core.checkStat=default -c status.showUntrackedFiles=all -c core.quotePath=false"
    " -c core.ignoreCase=false"
    # A fetch that goes on into submodules looks for their folders from where it was called: from /, and /lib is a link.
    " -c submodule.recurse=false -c fetch.recurseSubmodules=false -c push.recurseSubmodules=no"
).split()
GIT_NO_UPKEEP = "-c gc.auto=0 -c maintenance.auto=false".split()
GIT_NOBODY = {
    "GIT_AUTHOR_NAME": "witness",
    "GIT_AUTHOR_EMAIL": "witness@localhost",
    "GIT_COMMITTER_NAME": "witness",
    "GIT_COMMITTER_EMAIL": "witness@localhost",
}
DURABLY = "-c core.fsync=all -c core.fsyncMethod=fsync".split()  # for what must outlive a power cut
GIT_LIST_BYTES = 64 << 20  # of a list of paths: 60,000 ignored files are 5 MB
NO_REF = ""  # as the old value of update-ref: it must not exist; the zeros would be of the repository's own length


class Git:
    """git on one rig: `ask` for answers, `change` for changes; both raise ToolError when git does not do it."""

    def __init__(self, host: Host, rig: Rig, timeout_s: float, tick_lock_fd: int | None = None, began=None) -> None:
        self.host = host
        self.rig = rig
        self.timeout_s = timeout_s
        self.tick_lock_fd = tick_lock_fd
        self.began = began  # called with the pid of each change, as Host.run does

    def run(self, tree: Worktree | None, *words, stdin: bytes = b"", keep_fds=(), env=None, began=None) -> Ran:
        """Run git on the base repository, or pinned to one worktree; never raises for what git does."""
        pinned = {"GIT_DIR": self.rig.common}
        if tree is not None:
            # Without its .git file git walks up and reports the rig itself as clean.
            pinned = {
                "GIT_DIR": tree.admin,
                "GIT_WORK_TREE": tree.path,
                "GIT_CEILING_DIRECTORIES": os.path.dirname(tree.path),
            }
        pinned.update(GIT_NO_REPLACE_OBJECTS="1", GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", **GIT_NOBODY)
        return self.host.run(
            ["git", *GIT_TRUE_LOOK, *words],
            self.timeout_s,
            cwd=tree.path if tree is not None else "/",
            env={**pinned, **(env or {})},
            stdin=stdin,
            limit_bytes=GIT_LIST_BYTES,
            keep_fds=keep_fds,
            began=began,
        )

    def ask(self, tree: Worktree | None, *words, stdin: bytes = b"", env=None) -> bytes:
        """Return what git prints.

        Raises:
            ToolError: it could not be run, took too long or failed.
        """
        ran = self.run(tree, *words, stdin=stdin, env=env)
        if not ran.ok:
            raise ToolError(ran.reason())
        return ran.out

    def line(self, tree: Worktree | None, *words) -> str:
        """Return the one line that git prints, "" where it prints none."""
        return os.fsdecode(self.ask(tree, *words)).strip("\n")

    def value(self, tree: Worktree | None, *words) -> str:
        """Return the one line that git prints, "" where it says with status 1 that there is none.

        A call that failed in any other way raises ToolError: it is no answer.
        """
        ran = self.run(tree, *words)
        if ran.failure or ran.status not in (0, 1):
            raise ToolError(ran.reason())
        return ran.text().strip("\n") if ran.status == 0 else ""

    def test(self, tree: Worktree | None, *words) -> bool:
        """Return a yes or no that git gives by its status; anything but 0 and 1 raises ToolError."""
        ran = self.run(tree, *words)
        if ran.failure or ran.status not in (0, 1):
            raise ToolError(ran.reason())
        return ran.status == 0

    def change(self, tree: Worktree | None, *words, stdin: bytes = b"", env=None) -> bytes:
        """Change something; the child keeps the tick lock, so that a restarted daemon waits for it.

        Raises:
            ToolError: git did not do it.
        """
        keep_fds = () if self.tick_lock_fd is None else (self.tick_lock_fd,)
        ran = self.run(tree, *GIT_NO_UPKEEP, *words, stdin=stdin, keep_fds=keep_fds, env=env, began=self.began)
        if not ran.ok:
            raise ToolError(ran.reason())
        return ran.out


def _newest(look, folder: str, names) -> float:
    looks = [look(f"{folder}/{name}") for name in names]
    return max((seen.st_mtime for seen in looks if seen is not None), default=0.0)


def _read_admin(files, path: str, admin: str) -> dict:
    """Return what the admin folder and the worker's own files tell, as fields of a Worktree."""
    trouble, branch = "", ""
    try:
        head = parse_head(files.read(f"{admin}/HEAD", 65536) or b"")
        if head is None:
            trouble = "its HEAD cannot be read"
        branch = head or ""
    except OSError as error:
        trouble = f"its HEAD cannot be read: {error.strerror}"
    record, record_at = {}, _newest(files.look, path, (".beads/issues.jsonl",))
    for folder in STATE_FOLDERS:
        written_at = _newest(files.look, path, (f"{folder}/state.json",))
        if written_at and not record:
            record = read_object(files, f"{path}/{folder}/state.json")
        record_at = max(record_at, written_at)
    return {
        "branch": branch,
        "trouble": trouble,
        "record": record,
        "born_at": _newest(files.peek, admin, ("commondir",)),  # git writes it once, with gitdir
        "git_at": _newest(files.look, admin, ("index", "HEAD", "logs/HEAD")),
        "record_at": record_at,
    }


# ---- read from files, without a git process --------------------------------------------------------


def _is_link(look, path: str) -> bool:
    about = look(path)
    return about is not None and stat.S_ISLNK(about.st_mode)


UNREADABLE = "its .git cannot be read"  # a look that failed, unlike all else that a folder is no worktree for


def read_worktree(rig: Rig, name: str, files=None) -> Worktree | str | None:
    """Return the polecat of a name, None where nothing is there, or in words why what is there is none.

    Only files are read, and only through `files`, a Host or a Shelf: a tick may look at a thousand worktrees.
    """
    files = files or Host()
    top = f"{rig.polecats}/{name}"
    if not is_polecat_name(name):
        return "its name is no polecat's"
    about = files.look(top)
    if about is None:
        return None
    if not stat.S_ISDIR(about.st_mode):
        return "it is a symbolic link" if stat.S_ISLNK(about.st_mode) else "it is no folder"
    path = top if files.look(f"{top}/.git") is not None else os.path.join(top, rig.name)
    try:
        if path != top and _is_link(files.look, path):
            return "it is a symbolic link"
        admin = parse_gitfile(files.read(f"{path}/.git", 65536) or b"")
        if admin is None:
            return "it is no worktree: it has no .git file"
        admin = os.path.normpath(os.path.join(path, admin))
        back = parse_gitfile(files.read(os.path.join(admin, "gitdir"), 65536) or b"")
    except OSError as error:
        if os.path.isdir(os.path.join(path, ".git")):
            return "it is a repository of its own, no linked worktree"
        return f"{UNREADABLE}: {error.strerror}"
    entries = f"{rig.common}/worktrees"
    # Resolving paths is half of what a tick of a thousand workers costs; git writes them resolved.
    if os.path.dirname(admin) != entries or _is_link(files.look, admin) or _is_link(files.peek, entries):
        admin = files.resolve(admin)
    if os.path.dirname(admin) != entries:
        return "it is no worktree of this rig's repository"
    ours = f"{path}/.git"
    if back is None or (back != ours and files.resolve(os.path.join(admin, back)) != files.resolve(ours)):
        return "its repository does not know it under this path (`git worktree repair` mends that)"
    return Worktree(name=name, path=path, admin=admin, **_read_admin(files, path, admin))


# ---- questions that more than one duty asks --------------------------------------------------------


def changed_files(git: Git, tree: Worktree) -> tuple:
    """Return (paths that git calls changed or untracked, newest change of one of them).

    Raises:
        ToolError: git could not tell.
    """
    out = git.ask(tree, "status", "--porcelain=v2", "-z", "-uall", "--ignore-submodules=none")
    try:
        paths = [path for _, path in parse_status(out)]
    except ValueError as error:
        raise ToolError(str(error)) from None
    return paths, _newest(git.host.look, tree.path, paths)


def list_refs(git: Git, prefix: str, tree: Worktree | None = None) -> list:
    """Return (ref, object name) of every ref below a prefix, of the base repository or as seen from a worktree.

    Raises:
        ToolError: git could not tell.
    """
    out = git.ask(tree, "for-each-ref", "--format=%(refname) %(objectname)", prefix)
    found = [re.fullmatch(r"(?s)(refs/.+) ([0-9a-f]{40,64})", os.fsdecode(line)) for line in out.splitlines()]
    if not all(found):
        raise ToolError(f"git for-each-ref printed {clean_line(os.fsdecode(out), 60)!r}")
    return [match.groups() for match in found]


def _told_branch(git: Git, remote: str) -> str:
    """Return the default branch that gt keeps of a rig of its own: its shared clone has no HEAD of the remote."""
    about = read_object(git.host, os.path.join(git.rig.path, "config.json"))
    name = about.get("default_branch") or "main"
    if about.get("type") != "rig" or not isinstance(name, str):
        return ""
    ref = f"refs/remotes/{remote}/{name}"
    return ref if git.test(None, "show-ref", "--verify", "--quiet", ref) else ""


def default_branch(git: Git, config: Config) -> str:
    """Return the full ref of the branch that finished work ends on, "" where that is not known.

    The configured one, else the remote's HEAD, without a remote the branch that base's HEAD names.
    """
    remotes = git.ask(None, "remote").decode().split()
    remote = "origin" if "origin" in remotes else remotes[0] if len(remotes) == 1 else ""
    if config.default_branch:
        names = [f"refs/remotes/{remote}/{config.default_branch}"] if remote else []
        names.append(f"refs/heads/{config.default_branch}")
        return next((name for name in names if git.test(None, "show-ref", "--verify", "--quiet", name)), "")
    if remote:
        head = git.value(None, "symbolic-ref", "--quiet", f"refs/remotes/{remote}/HEAD")
        return head or _told_branch(git, remote)
    return "" if remotes else git.value(None, "symbolic-ref", "--quiet", "HEAD")


def fetch_remote(git: Git) -> None:
    """Fetch from the remote on which finished work ends, if there is one.

    Raises:
        ToolError: it does not answer.
    """
    remotes = git.ask(None, "remote").decode().split()
    for remote in remotes[:1] if "origin" not in remotes else ["origin"]:
        git.change(None, "fetch", "--quiet", "--no-tags", remote)
        if not git.value(None, "symbolic-ref", "--quiet", f"refs/remotes/{remote}/HEAD"):
            git.run(None, "remote", "set-head", remote, "--auto")


def fetch_start_point(git: Git, config: Config) -> tuple:
    """Return (commit a new branch starts at, "") or ("", why there is none): the freshly fetched default branch."""
    try:
        fetch_remote(git)
        name = default_branch(git, config)
        if not name:
            return "", "the default branch is not known; set default_branch"
        return git.line(None, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"), ""
    except ToolError as error:
        return "", error.message


def add_worktree(git: Git, path: str, branch: str, commit: str) -> str:
    """Make a worktree on a branch, made at commit where it does not exist yet; return "" or why not."""
    git.host.make_folder(os.path.dirname(path), 0o755)
    try:
        there = git.test(None, "show-ref", "--verify", "--quiet", f"refs/heads/{branch}")
        words = [path, branch] if there else ["--no-track", "-b", branch, path, commit]
        git.change(None, "worktree", "add", "--quiet", *words)
    except ToolError as error:
        return error.message
    return ""


# ====================================================================================================
# room: tmux — sessions and panes of one server, addressed by ids that never repeat
# ====================================================================================================

# Numbers first, text last: a session's name can hold no tab. A program calls itself what it likes, newlines too: what
# is kept of it is short, and ends in a mark that it cannot know.
PANE_FORMAT = "\t".join(
    f"#{{{field}}}"
    for field in (
        "pid session_created session_id session_attached window_activity pane_id pane_pid pane_dead pane_in_mode"
        " session_name =80:pane_current_command"
    ).split()
)


class Tmux:
    """One tmux server; socket "" is tmux's own default."""

    def __init__(self, host: Host, socket: str, timeout_s: float) -> None:
        self.host = host
        self.socket = socket
        self.timeout_s = timeout_s
        self.mark = os.urandom(6).hex()

    def run(self, *words: str, stdin: bytes = b"") -> Ran:
        """Run one tmux command, from / so that a server it starts stands in nobody's folder."""
        # -u: without it a client in a plain locale writes every tab and non-ASCII letter as "_".
        # TMUX_TMPDIR is left as the caller set it: it says where the sockets are.
        socket = ["-L", self.socket] if self.socket else []
        # tmux ends a command at an argument that ends in ";": an issue's title would go on as a command of tmux.
        words = [word[:-1] + "\\;" if word.endswith(";") else word for word in words]
        return self.host.run(["tmux", "-u", *socket, *words], self.timeout_s, stdin=stdin)

    def _run_twice(self, *words: str) -> Ran:
        """Run one command, once more where it met a server that was just ending with its last session."""
        ran = self.run(*words)
        ending = not ran.ok and re.search(rb"server exited unexpectedly|lost server", ran.err)
        return self.run(*words) if ending else ran

    def list_panes(self):
        """Return every pane of the server, () where no server runs; a string says why it cannot be told."""
        words = ("list-panes", "-a", "-F", f"{PANE_FORMAT}\t{self.mark}")
        ran = self._run_twice(*words)
        if ran.ok:
            return parse_panes(ran.text(), self.mark)
        return () if says_no_server(ran.err.decode("utf-8", "replace"), ran.failure) else ran.reason()

    def count_persons(self, session_id: str):
        """Return how many clients that are no control clients look at a session; a string says why not."""
        ran = self.run("list-clients", "-t", session_id, "-F", "#{client_control_mode}")
        return sum(line.strip() != "1" for line in ran.text().splitlines()) if ran.ok else ran.reason()

    def screen(self, pane_id: str) -> str | None:
        """Return the last lines of a pane as text, cleaned; None where it cannot be read."""
        ran = self.run("capture-pane", "-p", "-J", "-t", pane_id)
        if not ran.ok:
            return None
        lines = [line.rstrip() for line in ran.out.decode("utf-8", "replace").splitlines()]
        while lines and not lines[-1]:
            lines.pop()
        return mask_secrets(clean_text("\n".join(lines[-SCREEN_LINES:])))

    def start_session(self, session: str, folder: str, argv, environ: dict) -> Ran:
        """Make a detached session that runs argv directly, without a shell between."""
        # The server that this may start outlives us: Host.run hands it no descriptor of ours, and a scrubbed
        # environment.
        # tmux expands the folder as a format, and `#(…)` in one is a shell command; only `#[` stays as it is.
        folder = re.sub(r"#(?!#*\[)", "##", folder)
        words = ["new-session", "-d", "-s", session, "-c", folder, "-x", "200", "-y", "50"]
        # env(1), not -e: tmux has that only since 3.2. It also keeps a one-word agent away from tmux's own shell,
        # which is given a lone argument and would read it as a line of its language.
        command = ["/usr/bin/env", *(f"{name}={value}" for name, value in sorted(environ.items())), *argv]
        return self._run_twice(*words, "--", *command)

    def paste(self, pane_id: str, text: str, buffer: str) -> Ran:
        """Type text into a pane as one bracketed paste."""
        loaded = self.run("load-buffer", "-b", buffer, "-", stdin=text.encode())
        if not loaded.ok:
            return loaded
        return self.run("paste-buffer", "-d", "-p", "-r", "-b", buffer, "-t", pane_id)

    def enter(self, pane_id: str) -> Ran:
        """Press Enter in a pane."""
        return self.run("send-keys", "-t", pane_id, "Enter")

    def disarm(self, session_id: str, pane_id: str) -> None:
        """Take away what would bring a session back while it is being ended."""
        self.run("set-option", "-p", "-t", pane_id, "remain-on-exit", "off")
        for hook in ("pane-died", "pane-exited", "session-closed", "window-unlinked", "client-detached"):
            self.run("set-hook", "-u", "-t", session_id, hook)
            self.run("set-hook", "-u", "-p", "-t", pane_id, hook)

    def kill_session(self, session_id: str) -> Ran:
        """End one session by its id; `=name` would match again a session made a moment later."""
        return self.run("kill-session", "-t", session_id)


def find_session(rig: Rig, config: Config, name: str, panes) -> tuple:
    """Return (the panes of a polecat's session, ""), or ((), whose it is): rigs of one name call their sessions alike.

    Only what is seen to stand in another rig's worktree is another's: an agent may stand wherever it likes.
    """
    session, folder = session_for(config.session_name, rig.name, name), f"/polecats/{name}"
    own = tuple(pane for pane in panes if pane.session == session)
    for pane in own:
        try:
            head, found, rest = read_cwd(pane.pid).rpartition(folder)
            inside = found and rest[:1] in ("", "/")
            ours = rig.polecats + "/" + name
            if not inside or head + folder == ours:
                continue
            if not (os.path.exists(ours) and os.path.samefile(head + folder, ours)):
                return (), f"session {session} is of {head + folder}; give one rig another session_name or tmux_socket"
        except OSError:
            continue  # it ended, is another user's, or its folder is gone: nothing speaks against it
    return own, ""


# ====================================================================================================
# room: tools — the outside tools of one rig, held together
# ====================================================================================================


class Tools(Value):
    """What every hand that touches a worker needs."""

    host: Host
    rig: Rig
    config: Config
    git: Git
    tmux: Tmux
    dialect: GtDialect | None = None  # of the gt in whose town the rig stands


def make_tools(
    host: Host, rig: Rig, config: Config, tick_lock_fd: int | None = None, dialect: GtDialect | None = None
) -> Tools:
    """Return the tools of a rig under these settings."""
    return Tools(
        host=host,
        rig=rig,
        config=config,
        dialect=dialect,
        git=Git(host, rig, config.tool_timeout, tick_lock_fd),
        tmux=Tmux(host, config.tmux_socket, config.tool_timeout),
    )


# ====================================================================================================
# room: claims — one file per issue that a worker of ours has or had: the record that outlives the worker
# ====================================================================================================


CLAIM_REMEDY = "mend it, or remove it if its issue has no worker and no work that waits to be merged"


class Claims:
    """The claim files of one rig: whoever creates one has the issue on this host, and only he changes it."""

    def __init__(self, host: Host, rig: Rig) -> None:
        self.host = host
        self.folder = os.path.join(rig.state, "claims")
        self.trouble = ""  # why the last read found none
        self._kept = {}

    def read(self) -> dict | None:
        """Return every claim by issue, None where they cannot be read; one damaged claim makes all unknown.

        It is not moved aside and forgotten: whose its issue is, and whether its work is done, nothing else may tell.
        """
        found, self.trouble = {}, ""
        try:
            names = [entry.name for entry in os.scandir(self.folder) if entry.name.endswith(".json")]
        except FileNotFoundError:
            names = []
        except OSError as error:
            self.trouble = f"{self.folder}: {error.strerror}"
            return None
        for name in names:
            path = os.path.join(self.folder, name)
            try:
                about = os.stat(path)
                signature = (about.st_ino, about.st_mtime_ns, about.st_size)
                if self._kept.get(name, (None,))[0] != signature:
                    self._kept[name] = (signature, load_value(Claim, json.loads(self.host.read(path, 8 << 20))))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, TypeError, RecursionError) as error:
                why = error.strerror if isinstance(error, OSError) else "is no claim"
                self.trouble = f"{clean_line(path, 200)}: {why}"
                return None
            found[self._kept[name][1].issue] = self._kept[name][1]
        self._kept = {name: self._kept[name] for name in names if name in self._kept}
        return found

    def read_all(self) -> dict:
        """Return the claims.

        Raises:
            ToolError: they cannot be read; without them nobody knows whose an issue is.
        """
        found = self.read()
        if found is None:
            raise ToolError(f"the claims cannot be read: {self.trouble}", CLAIM_REMEDY)
        return found

    def take(self, claim: Claim) -> str:
        """Claim an issue; "" when it is ours now, else who has it. A claim that was set free is taken over."""
        path = self._path(claim.issue)
        self.host.make_folder(self.folder)
        if self.host.write_new(path, self._dump(claim)):
            return ""
        present = (self.read() or {}).get(claim.issue)
        if present is None:
            return "somebody (the claim cannot be read)"
        ours_again = present.actor == claim.actor and present.state in ("failed", "claimed")
        if present.state in ("released", "closed") or ours_again:
            self.change(claim.but(birth=present.birth, start=present.start) if ours_again else claim)
            return ""
        return f"{present.actor} ({present.state})"

    def change(self, claim: Claim) -> None:
        """Write a claim anew; only the holder of the tick lock does so."""
        self.host.make_folder(self.folder)
        self.host.write(self._path(claim.issue), self._dump(claim))

    def _path(self, issue: str) -> str:
        return os.path.join(self.folder, f"{issue}.json")

    @staticmethod
    def _dump(claim: Claim) -> bytes:
        return (json.dumps(dump_value(claim), sort_keys=True) + "\n").encode("utf-8", "surrogateescape")


# ====================================================================================================
# room: queue — the local queue: beads' JSONL file, written by nobody else
# ====================================================================================================


class LocalQueue:
    """Issues from beads' JSONL file; a claim is its file, and nobody else needs to be told."""

    whole = True  # it gives every issue there is: what it does not give does not exist
    fresh = True  # what it gives was read in this very look

    def __init__(self, host: Host, rig: Rig, backend: tuple) -> None:
        self.host = host
        self.backend, self.backend_why = backend
        self.file = os.path.join(rig.path, ".beads", "issues.jsonl")
        self.claims = Claims(host, rig)
        self.lock_file = os.path.join(rig.state, QUEUE_LOCK_FILE)
        self._issues = None

    def read_issues(self, _wanted=(), _asked=None, _named=(), _doubtful=()) -> tuple:
        """Return (issues or None, bad lines, port); read again only when the file has changed."""
        if self.backend != "local":
            reason = f"backend {self.backend} ({self.backend_why}) is not served by this version; see `backend`"
            return None, (), Port(state=UNKNOWN, reason=reason)
        try:
            about = os.stat(self.file)
            signature = (about.st_ino, about.st_mtime_ns, about.st_size)
            if self._issues is None or self._issues[0] != signature:
                content = self.host.read(self.file, 256 << 20) or b""
                self._issues = (signature, *parse_issues(content.decode("utf-8", "replace")))
        except FileNotFoundError:
            return (), (), Port(version="no file yet")
        except OSError as error:
            return None, (), Port(state=UNKNOWN, reason=f"{self.file}: {error.strerror}")
        return self._issues[1], self._issues[2], Port(version="issues.jsonl")

    def find(self, issue_id: str) -> Issue | None:
        """Return one issue as it is now, None where there is none."""
        return next((issue for issue in self.read_issues()[0] or () if issue.id == issue_id), None)

    # -- claims --------------------------------------------------------------------------------------

    def claim(self, claim: Claim) -> tuple:
        """Claim an issue; ("", "") when it is ours now, else (fault, who has it)."""
        holder = self.claims.take(claim)
        return ("host", holder) if holder else ("", "")

    def release(self, claim: Claim) -> str:
        """Give an issue back; return what a person should know of it, mostly ""."""
        self.claims.change(claim.but(state="released"))
        return ""

    def hand_over(self, claim: Claim) -> str:
        """Keep an issue whose work waits to be merged; return what could not be told, which is nothing."""
        self.claims.change(claim.but(state="handed-over"))
        return ""

    def finish(self, claim: Claim) -> str:
        """Close an issue whose work is on the default branch; return what could not be told, which is nothing.

        Raises:
            WitnessError: it is not in the file, or the file cannot be written.
        """
        self.close(claim.issue, f"merged; {claim.ref}")
        self.claims.change(claim.but(state="closed"))
        return ""

    def why_not_ours(self, _issue_id: str) -> str:
        """Return why a worker of ours may not go on with an issue: in a queue of our own nobody else has it."""
        return ""

    # -- writing the file ----------------------------------------------------------------------------

    def add(self, title: str, author: str, links=(), **extra) -> str:
        """Append an issue and return its new id; links are (type, id it depends on).

        Raises:
            WitnessError: the queue is not ours to write, busy, or cannot be written.
        """
        fd = self._begin_write("bd create")
        try:
            taken = {issue.id for issue in (self.read_issues()[0] or ())}
            prefix = re.sub(r"[^A-Za-z0-9]+", "", author.partition("/")[0])[:12] or "w"
            issue_id = next(one for one in iter(lambda: f"{prefix}-{os.urandom(2).hex()}", "") if one not in taken)
            if links:
                extra["dependencies"] = [
                    {"issue_id": issue_id, "depends_on_id": target, "type": kind} for kind, target in links
                ]
            line = new_issue_line(issue_id, title, self.host.now(), author, **extra)
            content = self.host.read(self.file, 256 << 20) or b""
            start = "\n" if content and not content.endswith(b"\n") else ""
            self.host.append(self.file, (start + line).encode(), 0o644)
        except OSError as error:
            raise StateError(f"{self.file}: {error.strerror}", "the issue was not added") from None
        finally:
            os.close(fd)
        return issue_id

    def close(self, issue_id: str, reason: str) -> None:
        """Mark an issue closed in the file, every other line untouched.

        Raises:
            WitnessError: no such issue, or the queue is not ours to write, busy, or cannot be written.
        """
        fd = self._begin_write(f"bd close {issue_id}")
        try:
            mode = stat.S_IMODE(os.stat(self.file).st_mode)
            text = (self.host.read(self.file, 256 << 20) or b"").decode("utf-8", "surrogateescape")
            text = close_issue_text(text, issue_id, self.host.now(), reason)
            self.host.write(self.file, text.encode("utf-8", "surrogateescape"), mode=mode)
        except (KeyError, FileNotFoundError):
            raise WitnessError(f"no issue {issue_id} in {self.file}", "`witness issues` lists them") from None
        except OSError as error:
            raise StateError(f"{self.file}: {error.strerror}", "the issue was not closed") from None
        finally:
            os.close(fd)

    def _begin_write(self, instead: str) -> int:
        if self.backend != "local":
            raise WitnessError(f"the queue of this rig is {self.backend} ({self.backend_why})", f"use `{instead}`")
        self.host.make_folder(os.path.dirname(self.file), 0o755)
        fd = take_lock(self.lock_file, 5)
        if fd is None:
            raise BusyError(f"{self.file} is being written by another", "try again")
        return fd


# ====================================================================================================
# room: programs — bd and gt, each asked in the dialect of its version, and left in peace while it hangs
# ====================================================================================================

LONGEST_REST_S = 320.0  # a tool that hangs is not asked again for up to this long, or each look would wait for it


def find_on_path(host: Host, name: str) -> tuple | None:
    """Return what differs as soon as a program was exchanged, None where it is not on the PATH."""
    for folder in (os.environ.get("PATH") or os.defpath).split(os.pathsep):
        path = os.path.join(folder or ".", name)
        try:
            about = os.stat(path)
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(about.st_mode) and os.access(path, os.X_OK):
            return path, about.st_ino, about.st_size, about.st_mtime_ns
    return None


class Program:
    """One program: asked in the rig's folder, in the dialect of its version, and left in peace while it hangs.

    environ: what it is told besides; kept: beginnings of the caller's variables that reach it.
    """

    longest_rest_s = LONGEST_REST_S

    def __init__(
        self, host: Host, tool: str, folder: str, timeout_s: float, environ=None, kept=BD_KEPT_PREFIXES
    ) -> None:
        self.host, self.tool, self.folder, self.timeout_s = host, tool, folder, timeout_s
        self.environ, self.kept = {**BD_ENVIRONMENT, **(environ or {})}, tuple(kept)
        self.dialect, self.version, self.numbers, self.note = None, "", (), ""
        self._program = None  # as it was when it told its version
        self._hung, self._rests_until = 0, 0.0

    def meet(self) -> str:
        """Learn the version, again after the program was exchanged or has failed; return "" or why it is not known."""
        program = find_on_path(self.host, self.tool)
        if program is None:
            self._program = None
            return f"{self.tool} is not on the PATH"
        if program == self._program:
            return ""
        ran = self.run(self.tool, "version")
        version = decode_version(ran)
        if version is None:
            said = find_complaint(ran) if not ran.ok else f"it printed {clean_line(ran.text(), 60)!r}"
            return f"{self.tool} version: {said}"
        self.dialect, self.note = choose_dialect(self.tool, version)
        self.numbers, self.version, self._program = version, join_version(version), program
        return ""

    def told(self) -> str:
        """Return its name and the version that it told last."""
        return f"{self.tool} {self.version}" if self.version else ""

    def environment(self) -> dict:
        """Return what it is told besides a child's usual environment."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(self.kept)}
        return {**self.environ, **kept}

    def run(self, *argv, timeout_s: float = 0.0, **environ: str) -> Ran:
        """Run it once; while it rests, say that it did not answer. timeout_s: 0 is tool_timeout."""
        now = self.host.mono()
        if now < self._rests_until:
            failure = f"it hung; it is asked again in {self._rests_until - now:.0f} s"
            return Ran(argv=argv, status=None, out=b"", err=b"", failure=failure)
        timeout_s = timeout_s or self.timeout_s
        env = {**self.environment(), **environ}
        ran = self.host.run(argv, timeout_s, cwd=self.folder, env=env, limit_bytes=BD_LIMIT_BYTES)
        if ran.ok:
            self._hung = self._hung if argv[1] == "version" else 0  # that asks no database
        else:
            self._program = None  # it may have been exchanged: ask its version again
            if ran.failure.startswith("no answer"):
                rest_s = min(2 * timeout_s * 2**self._hung, self.longest_rest_s)
                self._hung, self._rests_until = min(self._hung + 1, 8), self.host.mono() + rest_s
        return ran


class Bd(Program):
    """The program `bd`, and what its answers mean."""

    def __init__(self, host: Host, folder: str, timeout_s: float, environ=None) -> None:
        super().__init__(host, "bd", folder, timeout_s, environ)
        self._answers = {}  # by verb: of a long list that is printed again unchanged, what it meant

    def ask(self, argv) -> BdAnswer:
        """Return what an answer means."""
        ran = self.run(*argv)
        mark = argv, hash(ran.out), hash(ran.err), ran.status, ran.failure
        kept, answer = self._answers.get(argv[1], (None, None))
        if kept != mark:
            answer = decode_answer(ran)
        if argv[1] in ("ready", "list"):
            self._answers[argv[1]] = mark, answer
        return answer if answer.kind != UNKNOWN else answer.but(reason=f"{' '.join(argv[:2])}: {answer.reason}")


# ====================================================================================================
# room: town — a Gas Town around the rig: what its files say, and the program that runs it
# ====================================================================================================


CONVOYS_EVERY = 10  # looks: the open convoys are asked for in every tenth


def name_socket(path: str) -> str:
    """Return the tmux socket of a town, as gt names it since 0.13.

    >>> name_socket("/nowhere/My Town")
    'my-town-3e7c23'
    """
    import hashlib

    base = re.sub(r"[^a-z0-9-]+", "-", os.path.basename(path).lower()).strip("-") or "default"
    return f"{base}-{hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:6]}"


def is_seat_agent(agent) -> bool:
    """Tell whether an agent of a town's settings is this program in the witness's seat."""
    args = agent.get("args") if isinstance(agent, dict) else None
    return isinstance(args, list) and args[-1:] == ["seat"] and agent.get("prompt_mode") == "none"


class Gastown:
    """The town of one rig."""

    def __init__(self, host: Host, rig: Rig, config: Config) -> None:
        self.host, self.rig = host, rig
        self.path = find_town(rig.path) or os.path.dirname(rig.path)  # where it was, mostly; see `look`
        self.address = f"{rig.name}/witness"
        # Who we are is said outright: found out by gt itself, it was another's inbox.
        environ = {
            "GT_ROLE": self.address,
            "GT_RIG": rig.name,
            "BD_ACTOR": self.address,
            "GT_TOWN_ROOT": self.path,
            "GT_ROOT": self.path,
        }
        self.gt = Program(host, "gt", rig.path, config.tool_timeout, environ, GT_KEPT_PREFIXES)
        # Apart from all else that gt is asked: whatever hangs there, who gets no heartbeat is ended by the next sling.
        self.beats = Program(host, "gt", rig.path, min(config.tool_timeout, BEAT_TIMEOUT_S), environ, GT_KEPT_PREFIXES)
        self.beats.longest_rest_s = BEAT_REST_S
        self.bd = Bd(host, self.path, config.tool_timeout)  # the town's own database: convoys, mail
        self._convoys, self._looks = {}, 0
        self._prefix = ""  # as it was when it could be read last

    def can(self, word: str) -> bool:
        """Tell whether the gt in use can, or does, something of GT_WORDS."""
        return self.gt.dialect is not None and word in self.gt.dialect.can

    def read_settings(self) -> dict:
        """Return the town's settings, {} where they cannot be read."""
        return read_object(self.host, os.path.join(self.path, "settings", "config.json"))

    def read_prefix(self) -> str:
        """Return what the ids of the rig's beads, and its sessions, begin with; "" where that was never known.

        Under another prefix no session is found, and every worker would seem dead: a file that cannot be read, or has
        lost the rig, says nothing, and what it said before holds.
        """
        rigs = read_object(self.host, os.path.join(self.path, "mayor", "rigs.json")).get("rigs")
        if not isinstance(rigs, dict) or self.rig.name not in rigs:
            return self._prefix
        entry = rigs[self.rig.name]
        beads = entry.get("beads") if isinstance(entry, dict) else None
        prefix = beads.get("prefix") if isinstance(beads, dict) else None
        if isinstance(prefix, str) and re.fullmatch(r"[A-Za-z0-9][\w-]{0,63}", prefix):
            self._prefix = prefix
        self._prefix = self._prefix or "gt"  # gt's own word for a rig that has none
        return self._prefix

    def session_of(self, who: str) -> str:
        """Return the session of one who is no worker: witness, refinery."""
        name = self.rig.name
        if self.can("prefixed"):
            return f"{self.read_prefix()}-{who}"
        return f"gt-{name}-{who}" if self.can("native") or who != "witness" else f"gt-witness-{name}"

    def find_socket(self) -> str:
        """Return the socket on which the town's sessions are, "" for tmux's own."""
        told = os.environ.get("GT_TMUX_SOCKET", "")
        if not self.can("hashed"):
            return ""
        return told if told not in ("", "default", "auto") else name_socket(self.path)

    def read_seat(self) -> str:
        """Return which agent is set for the witness's seat, "ours" for this program; the rig's settings go first."""
        rig = read_object(self.host, os.path.join(self.rig.path, "settings", "config.json"))
        for settings in (rig, self.read_settings()):
            roles, agents = settings.get("role_agents"), settings.get("agents")
            name = roles.get("witness") if isinstance(roles, dict) else None
            if isinstance(name, str) and name:
                agent = agents.get(name) if isinstance(agents, dict) else None
                return "ours" if is_seat_agent(agent) else clean_line(name, 40)
        return ""

    def daemon_runs(self) -> bool:
        """Tell whether gt's daemon runs, or may run: its lock is the truth."""
        return is_locked(os.path.join(self.path, "daemon", "daemon.lock")) is not False

    def _why_left(self) -> str:
        """Return why gt alone gives issues to workers, "" if it does not."""
        scheduler = self.read_settings().get("scheduler")
        limit = scheduler.get("max_polecats") if isinstance(scheduler, dict) else None
        if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
            return f"left to gt: its scheduler gives issues to workers (scheduler.max_polecats is {limit})"
        return ""

    def _look_at_convoys(self) -> str:
        """Learn the open convoys while gt's daemon feeds from them; return why they are not known, mostly ""."""
        if not self.can("feeds") or not self.daemon_runs():
            self._convoys, self._looks = {}, 0
            return ""
        if self._looks % CONVOYS_EVERY == 0:
            trouble = self.bd.meet()
            ran = None if trouble else self.bd.run(*CONVOYS_ARGV)
            convoys = decode_convoys(ran) if ran is not None else None
            if convoys is None:
                self._looks = 0
                return f"its open convoys cannot be read: {trouble or find_complaint(ran) or 'no known answer'}"
            self._convoys = convoys
        self._looks += 1
        return ""

    def look(self) -> tuple:
        """Return (the town or None, the port of its spawner); what was known stays known while gt does not answer."""
        trouble = self.gt.meet()
        if self.gt.dialect is None:
            return None, Port(state=UNKNOWN, reason=trouble)
        home = os.path.join(self.path, "mayor")
        if not os.path.isfile(os.path.join(home, "town.json")):
            return None, Port(state=UNKNOWN, reason=f"the town is away: no town.json is in {home}")
        if self.can("prefixed") and not self.read_prefix():
            why = f"rigs.json in {home} does not tell of {self.rig.name}; it says what sessions are called"
            return None, Port(state=UNKNOWN, reason=why)
        unknown = self._look_at_convoys()  # also while gt does not answer: what is old would be believed afterwards
        trouble = trouble or unknown
        town = Town(
            path=self.path,
            version=self.gt.version,
            session=f"{self.read_prefix()}-{{name}}" if self.can("prefixed") else "gt-{rig}-{name}",
            refinery=self.session_of("refinery"),
            socket=self.find_socket(),
            typed=self.can("typed"),
            reuses=self.can("reuses"),
            vouches=self.can("native"),
            seat=self.read_seat(),
            can_seat=self.can("seat"),
            left=self._why_left(),
            convoys=self._convoys,
        )
        return town, Port(state=UNKNOWN if trouble else PRESENT, version=self.gt.told(), reason=trouble)

    # -- what only the witness did -------------------------------------------------------------------

    def patrol(self, sessions) -> dict:
        """Return what a round found: merge requests waiting, what is wrong with mayor and deacon; None is not known."""
        found = {"waiting": None, "mayor": None, "deacon": None, "gates": ""}
        if self.can("native"):
            found["waiting"] = decode_merges(self.gt.run(*merges_argv(self.gt.dialect, self.rig.name)))
        for who in ("mayor", "deacon"):
            session = f"hq-{who}" if self.can("native") else f"gt-{who}"
            found[who] = None if sessions is None else "" if session in sessions else "it has no session"
        if self.can("hashed"):  # a mayor may be spoken to without a session
            said = self.gt.run("gt", "mayor", "status", "--running").text().strip()
            found["mayor"] = {"true": "", "false": "it has no session"}.get(said)
        if self.can("prefixed"):
            found["deacon"] = decode_deacon(self.gt.run("gt", "deacon", "status", "--json"))
        return found


# ====================================================================================================
# room: beads — the queue that `bd` keeps, on this host or shared by many
# ====================================================================================================
#
# What a claim file says, the database is told afterwards: `owed` names what it was not told yet, and is tried again in
# every look until it was. Before an issue is claimed, its file says so: a kill between the two leaves a claim that
# is known as ours.

LIST_EVERY = 10  # looks: what is in progress, and what became of the issues we know, is asked for in every tenth
NOT_READY = "open, but not ready"
EPIC_LIMIT = 10000  # issues below one epic; a ring of them ends by itself, a mistake of this size is no epic


class BeadsQueue:
    """Issues and claims of a database that others use, too."""

    whole = False  # it gives what is ready and in progress, and what it was asked for
    HELD = ("in_progress",)  # statuses of an issue that somebody works on

    def __init__(self, host: Host, rig: Rig, config: Config, actor: str, backend: tuple) -> None:
        self.backend, self.backend_why = backend
        self.actor, self.epic = actor, config.epic_id
        self.claims = Claims(host, rig)
        self.rig = rig
        self.bd = Bd(host, rig.path, config.tool_timeout)
        self.fresh = False
        self._looks = 0
        self._held, self._known = {}, {}  # by id: in progress; closed, gone or hooked: as of the last fresh look
        self._below, self._placed = frozenset(), frozenset()  # below the epic; ready ids of which that is known

    # -- looking -------------------------------------------------------------------------------------

    def read_issues(self, wanted=(), asked=None, named=(), doubtful=()) -> tuple:
        """Return (issues or None, what could not be read, port): one call, and one more in every tenth look.

        wanted: ids whose state is told in a fresh look although they are neither ready nor in progress; doubtful: the
        same, of which somebody may have made up any; named: such whose state is told in every look. asked: None, or
        what a person named whose one-shot command looks; that one sees everything.
        """
        # Word that a bead has gone to another worker is weighed by what that one has besides.
        self.fresh = self._looks % LIST_EVERY == 0 or bool(named)
        self._looks += 1
        try:
            found, bad = self._read_all(wanted, asked, named, doubtful)
        except ToolError as error:
            self.fresh, self._looks = False, 0
            return None, (), Port(state=UNKNOWN, version=self.bd.told(), reason=error.message)
        return tuple(found), bad, Port(version=self.bd.told())

    def _ask(self, argv) -> BdAnswer:
        answer = self.bd.ask(argv)
        if answer.kind != "issues":
            raise ToolError(answer.reason, "`bd ready` in the rig shows what is wrong")
        return answer

    def _list_statuses(self) -> tuple:
        """Return the statuses of what somebody works on, as they are asked for."""
        return self.HELD

    def _list_held(self) -> tuple:
        """Return (what somebody works on, what of it cannot be read)."""
        answers = [self._ask(held_argv(self.bd.dialect, status)) for status in self._list_statuses()]
        bad = tuple(one for answer in answers for one in answer.bad)
        return tuple(one for answer in answers for one in answer.issues), bad

    def _meet(self) -> None:
        trouble = self.bd.meet()
        if trouble:
            raise ToolError(trouble, "install bd, or mend it")

    def _read_all(self, wanted, asked, named, doubtful) -> tuple:
        if self.epic and not is_issue_id(self.epic):
            said = clean_line(self.epic, 40)
            raise ToolError(f"epic_id is {said!r}, no issue's id", "`witness config set epic_id …` changes it")
        self._meet()
        ready = self._ask(ready_argv(self.bd.dialect, self.epic if asked is None else ""))
        bad, by_id = ready.bad, {issue.id: issue for issue in ready.issues}
        if self.fresh:
            held, unread = self._list_held()
            bad += unread
            self._held = {issue.id: issue for issue in held}
            known = {*by_id, *self._held}
            shown = self._show([one for one in wanted if one not in known])
            shown += self._show([one for one in doubtful if one not in known and one not in wanted], strict=False)
            meant = [one for one in asked or () if one not in known and one not in wanted and is_issue_id(one)]
            shown += [one for one in self._show(meant) if one.type]  # a name that is no issue's is none
            # Of what is open, only a person's own command keeps what was so a moment ago.
            lasting = (*CLOSED, *self.HELD)
            self._known = {one.id: one for one in shown if one.status in lasting or asked is not None}
            # What is open and was not among the ready waits for something: bd has judged that, not we.
            by_id.update({one.id: one.but(status=NOT_READY) if one.status == "open" else one for one in shown})
        for one in self._show([one for one in named if one not in by_id], strict=False):
            by_id[one.id] = one.but(status=NOT_READY) if one.status == "open" else one
        if self.epic:
            self._place(by_id, asked is not None)
            by_id = {key: one.but(parents=(self.epic,)) if key in self._below else one for key, one in by_id.items()}
        claims, last = self.claims.read() or {}, len(ready.issues)
        merged = {**self._known, **self._held, **by_id}
        known = [(self._name(one, claims.get(key)), claims.get(key)) for key, one in merged.items()]
        return [self._weigh(one, claim, last) for one, claim in known], bad

    def _name(self, issue: Issue, _claim: Claim | None) -> Issue:
        """Return an issue under the names that we know its status and its holder by."""
        return issue

    def _weigh(self, issue: Issue, claim: Claim | None, last: int) -> Issue:
        """Return an issue with what being ours means for it; what is not open stands behind all that is ready."""
        if issue.status == "open":  # assigned to us nobody else can take it: it is as free as if nobody had it
            return issue.but(assignee="") if issue.assignee == self.actor else issue
        if claim is not None and claim.state == "failed" and self._is_ours(issue, claim):
            return issue.but(rank=last, again=True, parents=(self.epic,) if self.epic else ())
        return issue.but(rank=last)

    def _show(self, ids, strict: bool = True) -> list:
        """Return issues by their ids; one that does not exist comes as a tombstone.

        Not strict, one that bd cannot tell of is left out: what somebody wrote into a mail or a branch must not make
        the whole queue unknown.
        """
        found = []
        for start in range(0, len(ids), BD_SHOWN):
            some = ids[start : start + BD_SHOWN]
            answer = self.bd.ask(show_argv(some))
            there = {**dict.fromkeys(answer.missing), **{issue.id: issue for issue in answer.issues}}
            # Of what bd has not told either, its own look may have failed: each of these is asked for alone.
            for one in some:
                try:
                    issue = there[one] if one in there else self.find(one)
                    found.append(issue or Issue(id=one, status="tombstone", type=""))
                except ToolError:
                    if strict:
                        raise
        return found

    def _place(self, by_id: dict, person: bool) -> None:
        """Learn which issues stand below the epic."""
        if self.bd.dialect.deep:
            answer = by_id.values() if not person else self._ask(ready_argv(self.bd.dialect, self.epic)).issues
            self._below = frozenset(issue.id for issue in answer)
        elif self.fresh or not self._placed.issuperset(by_id):
            self._below = self._walk()
            self._placed = frozenset(by_id)

    def _walk(self) -> frozenset:
        """Return what stands below the epic at any depth, asked for level by level."""
        found, level = {self.epic}, [self.epic]
        while level:
            children = []
            for start in range(0, len(level), BD_SHOWN):
                some = level[start : start + BD_SHOWN]
                ran = self.bd.run(*show_argv(some))
                below, answer = decode_children(ran), decode_answer(ran)
                shown = {*(issue.id for issue in answer.issues), *answer.missing}
                if answer.kind == MISSING and shown.issuperset(some):
                    below = ()  # no such epic: nothing stands below it
                if below is None or not shown.issuperset(some):
                    why = find_complaint(ran) or "an answer of no known form"
                    raise ToolError(f"what stands below {self.epic} is unknown: {why}", "look at epic_id")
                children += below
            level = [child for child in dict.fromkeys(children) if child not in found]
            found.update(level)
            if len(found) > EPIC_LIMIT:
                raise ToolError(f"more than {EPIC_LIMIT} issues stand below {self.epic}", "look at epic_id")
        return frozenset(found - {self.epic})

    def find(self, issue_id: str) -> Issue | None:
        """Return one issue as it is now, None where there is none.

        Raises:
            ToolError: that cannot be known.
        """
        self._meet()
        answer = self.bd.ask(show_argv((issue_id,)))
        found = next((issue for issue in answer.issues if issue.id == issue_id), None)
        # bd takes the beginning of an id for the id: where another is shown, this one does not exist.
        is_missing = issue_id in answer.missing or (bool(answer.issues) and not answer.bad)
        if found is None and not is_missing:
            raise ToolError(f"bd show {issue_id}: {answer.reason or 'it showed nothing'}", "look at it with `bd show`")
        return found

    def _list_holders(self, claim: Claim) -> tuple:
        """Return under which names an issue is held for a claim of ours."""
        return (claim.actor,)

    def _is_ours(self, issue: Issue | None, claim: Claim) -> bool:
        return issue is not None and issue.status in self.HELD and issue.assignee in self._list_holders(claim)

    # -- claims --------------------------------------------------------------------------------------

    def claim(self, claim: Claim) -> tuple:
        """Claim an issue for this Witness; ("", "") when it reads as ours, else (fault, why not).

        Raises:
            ToolError: whether it is ours cannot be known, or it could not be written; what is in doubt will be given
                back as soon as it can be.
        """
        earlier, claim = (self.claims.read() or {}).get(claim.issue), claim.but(shared=True)
        holder = self.claims.take(claim)
        if holder:
            return "host", holder
        self._looks = 0  # what is in progress changes: the next look asks for it
        again = earlier is not None and earlier.actor == claim.actor and earlier.state in ("failed", "claimed")
        try:
            fault, why, unsure = self._claim_there(claim, again)
        except ToolError:
            if again:
                self.claims.change(earlier)
            else:
                self.release(claim)
            raise
        if fault:
            # What was answered neither well nor badly may still take effect: it is looked at once more, a tick later.
            self.claims.change(claim.but(state="released", owed="release" if unsure else ""))
        if fault == "tool":
            raise ToolError(why, "look with `bd doctor`")
        return fault, why

    def _claim_there(self, claim: Claim, again: bool) -> tuple:
        issue = self.find(claim.issue)
        if issue is None:
            return "lost", "it is not in the queue any more", False
        if self._is_ours(issue, claim):
            # Our file came first, always: without one it is another's who calls himself as we do.
            return ("", "", False) if again else ("host", f"{claim.actor}, and nothing here knows of it", False)
        if issue.status != "open":  # before 1.0.4 a claim would open it again
            return "lost", f"somebody: its status is {issue.status}", False
        if issue.assignee not in ("", claim.actor):
            return "lost", issue.assignee, False
        if issue.assignee:  # a reopened one still names us, and before 0.63 that alone refuses a claim
            self.bd.run(*release_argv(claim.issue, HANDED_OVER_LABEL in issue.labels))
        # Its answer may be lost on the way, or say less than it did: what counts is what is read back.
        answer = self.bd.ask(claim_argv(self.bd.dialect, claim.issue, claim.actor))
        issue = self.find(claim.issue)
        if self._is_ours(issue, claim):
            return "", "", False
        if issue is not None and issue.status == "open" and not issue.assignee and answer.kind != REFUSED:
            # Nobody was faster: it was not written, of a full disk or a user who may only read, say.
            why = answer.reason or "it changed nothing"
            return "tool", f"bd update {claim.issue}: {why}", answer.kind == UNKNOWN
        who = (issue.assignee or f"nobody: its status is {issue.status}") if issue is not None else "nobody: it is gone"
        return "lost", who, answer.kind == UNKNOWN

    def release(self, claim: Claim) -> str:
        """Give an issue back, now or as soon as the database answers; return what a person should know of it."""
        return self._owe(claim.but(state="released"), "release")

    def hand_over(self, claim: Claim) -> str:
        """Keep an issue whose work waits to be merged, and mark it; return what could not be told."""
        return self._owe(claim.but(state="handed-over"), "label")

    def finish(self, claim: Claim) -> str:
        """Close an issue whose work is on the default branch; return what could not be told."""
        return self._owe(claim.but(state="closed"), "close")

    def keep(self, claim: Claim) -> str:
        """Claim an issue that is open although it is ours; return what could not be told."""
        return self._owe(claim, "claim")

    def why_not_ours(self, issue_id: str) -> str:
        """Return why a worker of ours may not go on with an issue, "" where it is in progress for us.

        Raises:
            ToolError: that cannot be known.
        """
        issue = self.find(issue_id)
        if issue is None:
            return f"{issue_id} is not in the queue any more"
        claim = (self.claims.read() or {}).get(issue_id)
        if self._is_ours(issue, claim or Claim(issue=issue_id, actor=self.actor, at=0.0)):
            return ""
        return f"{issue_id} is {issue.status} now" + f", with {clean_line(issue.assignee, 60)}" * bool(issue.assignee)

    def _owe(self, claim: Claim, owed: str) -> str:
        if claim.owed == "claim":  # what is written over was not told: it is told before the rest
            claim = claim.but(shared=False)
        claim = claim.but(owed=owed)
        self.claims.change(claim)
        try:
            return self.settle(claim)
        except ToolError as error:  # the file says what is owed
            return f"the queue is told as soon as it answers: {error.message}"

    def settle(self, claim: Claim) -> str:
        """Tell the database what it was not told yet; what others have done to the issue meanwhile stands.

        Returns what keeps the issue from being free, or closed, although we did our part.

        Raises:
            ToolError: it cannot be told now.
        """
        issue = self.find(claim.issue)
        closed = issue is None or issue.status in CLOSED
        if not closed and not claim.shared and claim.owed != "release":
            self._reclaim(claim, issue)  # no look of anybody has ever called it ours
            issue = self.find(claim.issue)
            closed = issue is None or issue.status in CLOSED
            claim = claim.but(shared=True)
        if closed and claim.owed != "claim":
            claim = claim.but(state="closed")  # so that a later reopening frees it
        elif claim.owed == "claim":
            if not closed:  # what is closed needs no claim
                self._reclaim(claim, issue)
        elif issue.assignee in self._list_holders(claim) and issue.status != "open":
            # A worker may have said blocked, say, of its own issue: it is still ours.
            marked = HANDED_OVER_LABEL in issue.labels
            if claim.owed == "release" and self._is_ours(issue, claim):
                self._tell(release_argv(claim.issue, marked), lambda now: not self._is_ours(now, claim))
            elif claim.owed == "label" and not marked:
                argv = label_argv(claim.issue, HANDED_OVER_LABEL, True)
                self._tell(argv, lambda now: now is None or HANDED_OVER_LABEL in now.labels)
            elif claim.owed == "close":
                self._tell(close_argv(claim.issue, f"merged; {claim.ref}"), lambda now: not now or now.status in CLOSED)
        elif claim.owed in ("label", "close"):
            claim = claim.but(state="released")  # somebody else has it, or set it free
        # What was only a claim beside a file is claimed first, then marked.
        label = "label" if claim.owed == "claim" and claim.state == "handed-over" and not closed else ""
        self.claims.change(claim.but(owed=label))
        told = {"release": closed or issue.status == "open" or self._is_ours(issue, claim)}
        told["close"] = claim.state == "closed"
        if told.get(claim.owed, True):
            return ""
        return f"it is {issue.status}" + f" with {clean_line(issue.assignee, 60)}" * bool(issue.assignee)

    def _reclaim(self, claim: Claim, issue: Issue) -> None:
        if issue.status == "open" and issue.assignee in ("", claim.actor):
            argv = keep_argv(claim.issue) if issue.assignee else claim_argv(self.bd.dialect, claim.issue, claim.actor)
            self._tell(argv, lambda now: now is None or now.status != "open" or now.assignee not in ("", claim.actor))

    def _tell(self, argv, is_done) -> Issue | None:
        """Change something, see that it has changed, and return the issue as it is now."""
        answer = self.bd.ask(argv)
        now = self.find(argv[2])
        if not is_done(now):
            raise ToolError(f"{' '.join(argv[:3])}: {answer.reason or 'it changed nothing'}", "look with `bd show`")
        return now

    # -- what only a person does, with bd itself -----------------------------------------------------

    def add(self, *_, **__) -> str:
        """Raise a WitnessError: bd does that."""
        raise self._refusal("bd create")

    def close(self, issue_id: str, _reason: str) -> None:
        """Raise a WitnessError: bd does that."""
        raise self._refusal(f"bd close {clean_line(issue_id, 60)}")

    def _refusal(self, instead: str) -> WitnessError:
        return WitnessError(f"the queue of this rig is {self.backend} ({self.backend_why})", f"use `{instead}`")


# ====================================================================================================
# room: hooks — the queue of a Gas Town: beads that hang on the hooks of its workers
# ====================================================================================================


class TownQueue(BeadsQueue):
    """Issues that `gt sling` gives to workers: ours while they are claimed, and while they hang on a hook of our claim.

    A hooked bead is in progress, and one on the hook of the worker that a claim of ours names is ours.
    """

    HELD = ("in_progress", "hooked")

    def __init__(self, host: Host, rig: Rig, config: Config, actor: str, backend: tuple, town: Gastown) -> None:
        super().__init__(host, rig, config, actor, backend)
        self.host, self.town = host, town

    def _list_holders(self, claim: Claim) -> tuple:
        hooks = (f"{self.rig.name}/polecats/{claim.name}", f"{self.rig.name}/{claim.name}") if claim.name else ()
        folder = os.path.join(self.rig.polecats, claim.name)
        places = (os.path.join(folder, ".git"), os.path.join(folder, self.rig.name, ".git"))
        if claim.owed == "release" and any(os.path.lexists(place) for place in places):
            tree = read_worktree(self.rig, claim.name)
            branch = tree.branch if isinstance(tree, Worktree) else ""
            # It is there: set open, the bead would get a second worker, unless the name has gone to another bead.
            hooks = () if read_branch(branch) in ("", claim.issue) else hooks
        return (claim.actor, self._park(claim), *hooks)

    @staticmethod
    def _park(claim: Claim) -> str:
        """Return our name without a slash: gt can make no session of it, so its daemon takes nothing held under it."""
        return claim.actor.replace("/", ":")

    def _holder(self, claim: Claim) -> str:
        """Return the name under which a bead is held whose work waits to be merged: any may come into a convoy yet."""
        return self._park(claim) if self.town.can("feeds") else claim.actor

    def _name(self, issue: Issue, claim: Claim | None) -> Issue:
        issue = issue.but(status="in_progress") if issue.status == "hooked" else issue
        held = claim is not None and claim.state not in ("released", "closed") and issue.status == "in_progress"
        return issue.but(assignee=claim.actor) if held and issue.assignee in self._list_holders(claim) else issue

    def find_hook(self, issue: Issue) -> str:
        """Return the worker on whose hook a bead hangs, "" if on none."""
        return read_hook(self.rig.name, issue.assignee) if issue.status in self.HELD else ""

    def list_hooked(self, name: str) -> list:
        """Return the ids of all beads that hang on a worker's hook.

        Raises:
            ToolError: that cannot be known.
        """
        self._meet()
        issues, bad = self._list_held()
        if bad:
            raise ToolError(f"bd list: {bad[0]}", f"look what hangs on the hook of {name}")
        return sorted({one.id for one in issues if self.find_hook(one) == name})

    def _list_statuses(self) -> tuple:
        return self.HELD if self.town.can("native") else super()._list_statuses()  # the first gt knew no hooks

    # -- the label of a sling ------------------------------------------------------------------------

    def mark(self, claim: Claim) -> Issue:
        """Label a claimed bead while it is given to a worker: for some seconds of a sling it is open and nobody's.

        Returns the bead as it is then.

        Raises:
            ToolError: it cannot be labelled; then it must not be slung.
        """
        own = f"{SLING_LABEL}{self.actor.rpartition('@')[2]}:{int(self.host.now())}"
        return self._tell(label_argv(claim.issue, own, True), lambda now: now is not None and own in now.labels)

    def unmark(self, issue_id: str) -> None:
        """Take our labels off, as far as that can be done now; one that is left says nothing after a while."""
        try:
            issue = self.find(issue_id)
        except ToolError:
            return
        own = self.actor.rpartition("@")[2]
        for label in issue.labels if issue is not None else ():
            if read_sling_label(label)[0] == own:
                self.bd.run(*label_argv(issue_id, label, False))

    def release(self, claim: Claim) -> str:
        """Give a bead back, now or as soon as the database answers; return what a person should know of it."""
        self.unmark(claim.issue)
        return super().release(claim)

    # -- handing over --------------------------------------------------------------------------------

    def settle(self, claim: Claim) -> str:
        """Tell the database what it was not told yet; see BeadsQueue.settle.

        A bead whose work waits to be merged is marked, taken off its hook, and told where the work is. Its worker is
        gone, and `gt polecat nuke` would open what still hangs on its hook. Where gt's daemon feeds from convoys it is
        held under a name that it takes for alive, or it would be given to a worker again.
        """
        issue = self.find(claim.issue) if claim.owed == "label" else None
        if issue is not None and issue.status == "open" and HANDED_OVER_LABEL in issue.labels:
            self._reclaim(claim, issue)  # we had marked it, and gt has opened it since
            issue = self.find(claim.issue)
        if issue is not None and issue.status != "open" and issue.assignee in self._list_holders(claim):
            marked = HANDED_OVER_LABEL in issue.labels
            if not marked:
                argv = label_argv(claim.issue, HANDED_OVER_LABEL, True)
                self._tell(argv, lambda now: now is None or HANDED_OVER_LABEL in now.labels)
            self._take_off(claim, issue)
            if not marked:  # for whoever reads it; the label is what counts
                told = f"handed over by Witness: branch {claim.branch or '(none)'}, {claim.ref}"
                self.bd.run(*note_argv(claim.issue, told))
        return super().settle(claim)

    def _take_off(self, claim: Claim, issue: Issue) -> None:
        """Take a bead off the hook of a worker that is gone."""
        holder = self._holder(claim)
        if issue.status in CLOSED or (issue.status, issue.assignee) == ("in_progress", holder):
            return
        argv = hold_argv(claim.issue, holder)
        self._tell(argv, lambda now: now is None or now.status in CLOSED or now.assignee == holder)

    def take_back(self, claim: Claim) -> str:
        """Claim a handed-over bead again that gt has opened meanwhile; return what could not be told."""
        return self._owe(claim.but(state="handed-over"), "claim")


# ====================================================================================================
# room: mailbox — Maildir folders: read, acknowledge, deliver
# ====================================================================================================


MTIME_SETTLED_S = 2.0  # older than the coarsest clock of a file system that we meet


def count_dead_letters(rig: Rig) -> int:
    """Return how many mails could not be handled and were put aside."""
    root, number = os.path.join(rig.state, "mail"), 0
    try:
        folders = os.listdir(root)
    except OSError:
        return 0
    for folder in folders:
        try:
            number += len(os.listdir(os.path.join(root, folder, "dead")))
        except OSError:
            continue  # most have none
    return number


class Mailbox:
    """The local mail: one Maildir per address, as any mail reader opens it."""

    def __init__(self, host: Host, rig: Rig) -> None:
        self.host = host
        self.root = os.path.join(rig.state, "mail")
        self.address = f"{rig.name}/witness"
        self._idle_since = None  # the inbox's mtime when nothing in it was new to us
        self._troubles = {}

    def folder(self, address: str) -> str:
        """Return the Maildir of an address, made where it is missing."""
        path = os.path.join(self.root, address_folder(address))
        for name in ("tmp", "new", "cur"):
            self.host.make_folder(os.path.join(path, name))
        return path

    bad = ()  # mails that could not be read, in words; here they are put aside instead

    def read_inbox(self, known, handled=()) -> tuple:
        """Return (mails not yet known, oldest first, how many wait, port); at most MAILS_PER_TICK are read.

        handled: mails that were dealt with; they stand behind all others, or those that cannot be archived would hide
        what comes after them.
        """
        folder = os.path.join(self.root, address_folder(self.address))
        new = os.path.join(folder, "new")
        try:
            mtime = os.stat(new).st_mtime_ns
            if mtime == self._idle_since:
                return (), len(known), Port()
            waiting = sorted(
                (entry.stat(follow_symlinks=False).st_mtime, entry.name, entry.is_file(follow_symlinks=False))
                for entry in os.scandir(new)
            )
        except FileNotFoundError:
            return (), 0, Port()  # nobody has written yet; a look makes no folders
        except OSError as error:
            return (), 0, Port(state=UNKNOWN, reason=f"{self.root}: {error.strerror}")
        fresh = sorted((one for one in waiting if one[1] not in known), key=lambda one: one[1] in handled)
        mails = []
        for at, name, regular in fresh[:MAILS_PER_TICK]:
            mail = self._read(folder, name, at) if regular else None
            if mail is None:
                self._note_trouble(folder, name)
            else:
                mails.append(mail)
        # A time of just now says nothing: what arrives in the same clock tick of the kernel does not change it.
        settled = self.host.now() - mtime / 1e9 > MTIME_SETTLED_S
        self._idle_since = mtime if settled and not fresh else None
        return tuple(mails), len(waiting), Port()

    def _read(self, folder: str, name: str, at: float) -> Mail | None:
        try:
            with open(os.path.join(folder, "new", name), "rb") as file:
                return parse_mail(name, file.read(MAIL_LIMIT_BYTES), at)
        except OSError:
            return None

    def _note_trouble(self, folder: str, name: str) -> None:
        """Put aside what could not be read so often; it stays in the mailbox's folder, out of the way."""
        self._troubles[name] = self._troubles.get(name, 0) + 1
        if self._troubles[name] >= DEAD_LETTER_TRIES:
            try:
                self.host.make_folder(os.path.join(folder, "dead"))
                self.host.move(os.path.join(folder, "new", name), os.path.join(folder, "dead", name))
            except OSError:
                return  # it stays, and is tried again: a look must not fail for it
            del self._troubles[name]

    def acknowledge(self, mail_id: str) -> None:
        """Mark a mail of our inbox as read: it moves from new to cur. One that is gone is done."""
        folder = self.folder(self.address)
        name = mail_id.partition(":")[0]
        try:
            self.host.move(os.path.join(folder, "new", mail_id), os.path.join(folder, "cur", f"{name}:2,S"))
        except FileNotFoundError:
            return

    def flush(self) -> str:
        """Do what `acknowledge` has left for later, which is nothing here."""
        return ""

    def deliver(self, to: str, subject: str, body: str, key: str, sender: str = "", again: bool = False) -> None:  # noqa: ARG002
        """Deliver a letter once: its file's name comes from the key, so a second delivery finds the first.

        Raises:
            OSError: it could not be written.
            UsageError: the address is none.
        """
        import zlib

        folder = self.folder(to)
        name = f"{re.sub(r'[^A-Za-z0-9-]+', '-', key)[:80]}.{zlib.crc32(key.encode()):08x}.witness"
        for place in ("new", "cur"):
            if any(one.partition(":")[0] == name for one in os.listdir(os.path.join(folder, place))):
                return
        temporary = os.path.join(folder, "tmp", name)
        content = render_mail(sender or self.address, to, subject, body, self.host.now(), name)
        self.host.write(temporary, content)
        self.host.move(temporary, os.path.join(folder, "new", name))


# ====================================================================================================
# room: post — the mail of a Gas Town: `gt mail`, or what bd kept before it
# ====================================================================================================


SUBJECT_BYTES = 480  # of one subject; bd takes 500
BODY_BYTES = 60000  # of one body; the database keeps 65,535


def _cut(text: str, limit_bytes: int) -> str:
    return text.encode("utf-8", "replace")[:limit_bytes].decode("utf-8", "ignore")


class TownMail:
    """The mail of the town, for the witness of one rig."""

    def __init__(self, host: Host, town: Gastown) -> None:
        self.host, self.town = host, town
        self.address = town.address
        self._boxes = {}  # by mail: which program, in whose folder, keeps it
        self._done = []  # acknowledged, to be archived in one call
        self._known = {}  # by program and identity: the answer of last time, and what it meant
        self.bad = ()  # mails that could not be read, in words

    def _list_boxes(self) -> list:
        """Return (program, identity) of every inbox that is ours: gt's own is one, bd kept four."""
        if self.town.can("native"):
            return [(self.town.gt, self.address)]
        names = (self.address, self.address.replace("/", "-"))
        here = Program(self.host, "bd", self.town.rig.path, self.town.gt.timeout_s)
        return [(program, name) for program in (here, self.town.bd) for name in names]

    def read_inbox(self, known, handled=()) -> tuple:
        """Return (mails not yet known, oldest first, how many wait, port); see Mailbox.read_inbox."""
        trouble = self.town.gt.meet()
        if trouble:
            return (), 0, Port(state=UNKNOWN, version=self.town.gt.told(), reason=trouble)
        found, bad = {}, ()
        for program, name in self._list_boxes():
            ran = program.run(*inbox_argv(self.town.gt.dialect, name))
            mark = hash(ran.out), ran.status, ran.failure
            kept, inbox = self._known.get((program.folder, name), (None, None))
            if kept != mark:  # ten thousand mails are not read anew for being there still
                inbox = decode_inbox(ran)
            self._known[program.folder, name] = mark, inbox
            if inbox.kind != "mails":
                reason = f"{program.tool} mail inbox: {inbox.reason}"
                return (), 0, Port(state=UNKNOWN, version=self.town.gt.told(), reason=reason)
            bad += inbox.bad
            for mail in inbox.mails:
                self._boxes[mail.id], found[mail.id] = program, mail
        self._boxes, self.bad = {one: program for one, program in self._boxes.items() if one in found}, bad
        fresh = (mail for mail in found.values() if mail.id not in known)
        waiting = sorted(fresh, key=lambda one: (one.id in handled, one.at, one.id))
        return tuple(waiting[:MAILS_PER_TICK]), len(found), Port(version=self.town.gt.told())

    def acknowledge(self, mail_id: str) -> None:
        """Have a mail taken out of the inbox by the next `flush`."""
        self._done.append(mail_id)

    def flush(self) -> str:
        """Archive what was acknowledged, one call for all; return why not all of it is, mostly "".

        What is not archived is in the next inbox again; that it was dealt with stands in the memory.
        """
        done, self._done = self._done, []
        left = []
        for program in {id(self._boxes.get(one)): self._boxes.get(one) for one in done}.values():
            some = [one for one in done if self._boxes.get(one) is program]
            if program is None or not some:
                continue
            ran = program.run(*archive_argv(self.town.gt.dialect, some))
            archived = set(decode_archive(ran, some))
            if not set(some) <= archived:
                left.append(find_complaint(ran) or f"{len(set(some) - archived)} mails")
        return f"not archived: {'; '.join(left)}" if left else ""

    def _find_copy(self, program: Program, to: str, mark: str) -> bool:
        """Tell whether a letter lies in an inbox already; where that cannot be known it is sent once more."""
        inbox = decode_inbox(program.run(*inbox_argv(self.town.gt.dialect, to)))
        return any(mark in mail.body.splitlines() for mail in inbox.mails)

    def deliver(self, to: str, subject: str, body: str, key: str, sender: str = "", again: bool = False) -> None:
        """Send a letter; again: it may have been sent before, and is looked for first.

        Raises:
            ToolError: it could not be sent.
            UsageError: the address is none.
        """
        address_folder(to)
        if not re.match(r"\w", to):  # it would be taken for an option
            raise UsageError(f"{clean_line(to)!r} is no mail address", "write RIG/NAME, RIG/witness or mayor/")
        trouble = self.town.gt.meet()
        if trouble:
            raise ToolError(trouble, "install gt, or mend it")
        if self.town.can("native"):
            program = self.town.gt
        else:  # the town's inboxes go by names without a slash
            program, to = self.town.bd, to if to.endswith("/") else to.replace("/", "-")
        mark = f"Witness-Key: {clean_line(key, 120)}"
        if again and self._find_copy(program, to, mark):
            return
        sender = sender or self.address
        subject = f"({subject})" if subject.startswith("-") else subject  # an older gt hands it to bd as an option
        subject, body = _cut(clean_line(subject, 300), SUBJECT_BYTES), _cut(clean_text(body, 32000), BODY_BYTES)
        # Of a long one, only the beginning is read back.
        text = f"{body}\n\n{mark}\n" if len(body) < MAIL_CHARS - 200 else f"{mark}\n\n{body}\n"
        argv = send_argv(self.town.gt.dialect, sender, to, subject or "(no subject)", text)
        rig, _, name = sender.partition("/")
        polecat = {"GT_ROLE": "polecat", "GT_POLECAT": name, "BD_ACTOR": f"{rig}/polecats/{name}"}
        ran = program.run(*argv, **(polecat if sender != self.address and is_polecat_name(name) else {}))
        answer = decode_gt(ran)
        if answer.kind == REFUSED and to != "mayor/":  # one who is gone, mostly: then a mind must know
            self.deliver("mayor/", f"for {to}: {subject}", f"gt knows no {to}.\n\n{body}", key, again=again)
        elif answer.kind != DONE:
            raise ToolError(f"{program.tool} mail send {to}: {answer.reason}", "it is tried again by itself")


# ====================================================================================================
# room: quiesce — whose processes are inside a worktree, and the end of the worker's own
# ====================================================================================================


def _list_pids() -> list:
    """Return every process's pid.

    Raises:
        ToolError: there is no /proc, so nobody can be proved to be absent.
    """
    if not HAS_PROC:
        raise ToolError("who is inside a folder cannot be told without /proc")
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def is_open(path: str) -> bool:
    """Tell whether a process of ours holds a file open, by device and inode."""
    about = os.lstat(path)
    for pid in _list_pids():
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                there = os.stat(f"/proc/{pid}/fd/{fd}")
                if (there.st_dev, there.st_ino) == (about.st_dev, about.st_ino):
                    return True
        except OSError:
            continue  # gone meanwhile, or another user's
    return False


def _stands_below(place: str, top) -> bool:
    """Tell whether a folder is another or lies below it, by device and inode on the way up.

    A place in another mount namespace has another name there.
    """
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            here = os.fstat(fd)
            if os.path.samestat(here, top):
                return True
            above = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = above
            if os.path.samestat(os.fstat(fd), here):
                return False
    finally:
        os.close(fd)


def _is_inside(pid: int, top: str) -> bool:
    """Tell whether a process stands in a folder: working directory, root, or an open file of it."""
    places = [f"/proc/{pid}/cwd", f"/proc/{pid}/root"]
    places += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    elsewhere = not os.path.samestat(os.stat(f"/proc/{pid}/ns/mnt"), os.stat("/proc/self/ns/mnt"))
    about = os.stat(top) if elsewhere else None
    for place in places:
        try:
            target = os.readlink(place)
            if target == top or target.startswith(top + os.sep):
                return True
            if elsewhere and target.startswith("/"):
                there = place if os.path.isdir(place) else f"/proc/{pid}/root{os.path.dirname(target)}"
                if _stands_below(there, about):
                    return True
        except OSError:
            continue
    return False


def _is_from_pane(pid: int, server_pid: str, pane_id: str) -> bool:
    """Tell by its environment whether a process was started in a pane of this very server."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        variables = dict(word.partition(b"=")[::2] for word in file.read(1 << 20).split(b"\0"))
    server = variables.get(b"TMUX", b"").split(b",")
    return len(server) == 3 and server[1].decode() == server_pid and variables.get(b"TMUX_PANE") == pane_id.encode()


def _read_living(host: Host) -> dict:
    found = {pid: read_process(host, pid) for pid in _list_pids()}
    return {pid: process for pid, process in found.items() if process is not None and not process.zombie}


def _list_family(processes: dict, pid: int, start: int) -> dict:
    """Return a process and all its descendants, if it is still the one that started then."""
    if pid not in processes or processes[pid].start != start:
        return {}
    family = {pid: processes[pid]}
    while True:
        more = {one.pid: one for one in processes.values() if one.parent in family and one.pid not in family}
        if not more:
            return family
        family.update(more)


def list_processes(tools: Tools, retirement: Retirement, path: str) -> tuple:
    """Return (the worker's own processes, others of our uid that are inside its folder).

    Own are the descendants of its pane, and what is inside and was started from that pane. Never Witness itself, nor
    a tmux server. Processes whose folders cannot be read are another user's and do not count.
    """
    top = os.path.realpath(path)
    server_pid = retirement.instance.partition(".")[0]
    processes = _read_living(tools.host)
    own = _list_family(processes, retirement.pane_pid, retirement.pane_start)
    spared = {os.getpid(), os.getppid(), int(server_pid or 0)}
    others = {}
    for pid, process in processes.items():
        if pid in own or pid in spared:
            continue
        try:
            if os.stat(f"/proc/{pid}").st_uid != os.geteuid() or not _is_inside(pid, top):
                continue
            ours = bool(server_pid) and _is_from_pane(pid, server_pid, retirement.pane_id)
        except OSError:
            continue
        (own if ours else others)[pid] = process
    return [one for pid, one in own.items() if pid not in spared], list(others.values())


def find_behind(host: Host, pane: Pane) -> str:
    """Return what lives behind the shell in front of a pane, an agent that is suspended, say; "" for nothing.

    Where that cannot be told, this is said.
    """

    def name_of(pid: int) -> str:
        return os.path.basename((read_argv(host, pid) or ("",))[0])

    try:
        processes = _read_living(host)
    except (OSError, ToolError) as error:
        return f"whether its agent is suspended cannot be told: {error}"
    first = processes.get(pane.pid)
    family = _list_family(processes, first.pid, first.start) if first is not None else {}
    front = first.foreground if first is not None else 0
    while front in family and name_of(front).lstrip("-") in SHELLS:  # the shell, and shells that it was started from
        front = family.pop(front).parent
    for pid in family:
        name = clean_line(name_of(pid), 40)
        return f"pid {pid} ({name}) lives behind the shell in its pane; `fg` there brings back what is suspended"
    return ""


def end_processes(tools: Tools, processes) -> list:
    """End processes by pid and start time: TERM, up to 3 s, KILL; return those that still live."""
    import signal

    host, left = tools.host, list(processes)
    for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0)):
        for one in left:
            end_process(one.pid, one.start, number, host)
        deadline = host.mono() + patience_s
        while left and host.mono() < deadline:
            left = [one for one in left if is_same_process(host, one.pid, one.start)]
            if left:
                host.pause(0.05)
    return left


def find_pane(tools: Tools, retirement: Retirement) -> Pane | None:
    """Return the worker's own pane if it still lives; ids and names repeat, all of them together do not.

    Raises:
        ToolError: tmux could not be asked.
    """
    panes = tools.tmux.list_panes()
    if isinstance(panes, str):
        raise ToolError(panes)
    return next(
        (
            pane
            for pane in panes
            if instance_of(pane) == retirement.instance
            and (pane.pane_id, pane.pid) == (retirement.pane_id, retirement.pane_pid)
        ),
        None,
    )


def quiesce(tools: Tools, retirement: Retirement, path: str) -> str:
    """End the worker's own processes and its session; return "" or what stands against it.

    Never SIGSTOP: an interactive shell would take the foreground back.
    """
    pane = find_pane(tools, retirement)
    own, others = list_processes(tools, retirement, path)
    if others:
        return f"pid {others[0].pid} is inside and not the worker's"
    if pane is not None:
        tools.tmux.disarm(pane.session_id, pane.pane_id)
    left = end_processes(tools, own)
    if left:
        return f"pid {left[0].pid} does not end"
    pane = find_pane(tools, retirement)
    if pane is not None:
        tools.tmux.kill_session(pane.session_id)
    own, others = list_processes(tools, retirement, path)  # what its end has started or set free
    left = end_processes(tools, own)
    return f"pid {(left or others)[0].pid} is still inside" if left or others else ""


# ====================================================================================================
# room: contents — what lies in a worktree, flags, filters and submodules seen through
# ====================================================================================================


NAMED_OBJECT = rb"(?<![0-9a-f])(?:[0-9a-f]{40}|[0-9a-f]{64})(?![0-9a-f])"


def read_names(path: str) -> set:
    """Return every object name that a file of git's holds; line by line, for a reflog may be of any length."""
    try:
        with open(path, "rb") as file:
            return {name.decode() for line in file for name in re.findall(NAMED_OBJECT, line)}
    except FileNotFoundError:
        return set()


def hash_files(git: Git, tree: Worktree, paths, write: bool = False) -> dict:
    """Return the raw object name of each path: filters would hide what differs. A link is hashed as its target.

    Raises:
        ToolError: one of them cannot be read.
    """
    names, plain, extra, durably = {}, [], ["-w"] if write else [], DURABLY if write else []
    for path in paths:
        full = os.path.join(tree.path, path)
        if os.path.islink(full):
            words, stdin = ["--stdin"], os.fsencode(os.readlink(full))
        elif "\n" in path or path.startswith('"') or path.endswith("\r"):
            # --stdin-paths takes one path a line, unquotes it and cuts its end: `"a"` would be read as `a`.
            words, stdin = ["--no-filters", "--", path], b""
        else:
            plain.append(path)
            continue
        out = git.ask(tree, *durably, "hash-object", *extra, "-t", "blob", *words, stdin=stdin)
        names[path] = out.decode().strip()
    if plain:
        listed = "".join(path + "\n" for path in plain)
        out = git.ask(tree, *durably, "hash-object", *extra, "--no-filters", "--stdin-paths", stdin=os.fsencode(listed))
        names.update(zip(plain, out.decode().split()))
    return names


def list_status(git: Git, tree: Worktree, submodules: bool = True) -> list:
    """Return what git status lists, as (kind, path); without submodules where the worktree was moved.

    A submodule's folder names its worktree's old place, so git cannot look into it there; we can, see list_populated.
    """
    ignore = f"--ignore-submodules={'none' if submodules else 'all'}"
    # A rename would name the new path alone, and a recovered worktree would have the old one, too.
    out = git.ask(tree, "status", "--porcelain=v2", "-z", "-uall", "--no-renames", ignore)
    try:
        return parse_status(out)
    except ValueError as error:
        raise ToolError(str(error)) from None


def list_index(git: Git, tree: Worktree) -> list:
    """Return the index as (mode, object name, stage, path)."""
    rows = []
    for record in git.ask(tree, "ls-files", "-s", "-z").split(b"\0"):
        if record:
            about, _, path = record.partition(b"\t")
            mode, name, stage = about.decode().split()
            rows.append((mode, name, int(stage), os.fsdecode(path)))
    return rows


def list_hidden(git: Git, tree: Worktree) -> list:
    """Return the paths under assume-unchanged or skip-worktree that are on disk and differ from the index."""
    flagged = set()
    for record in git.ask(tree, "ls-files", "-v", "-z").split(b"\0"):
        if record and (record[:1].islower() or record[:1] == b"S"):
            flagged.add(os.fsdecode(record[2:]))
    index = {path: name for _, name, _, path in list_index(git, tree)} if flagged else {}
    there = [path for path in sorted(flagged) if os.path.lexists(os.path.join(tree.path, path))]
    now = hash_files(git, tree, [path for path in there if not os.path.isdir(os.path.join(tree.path, path))])
    return [path for path, name in now.items() if index.get(path) != name]


def list_ignored(git: Git, tree: Worktree) -> list:
    """Return every ignored file; `status --ignored` would show only `local/` for `local/x/.env`."""
    out = git.ask(tree, "ls-files", "-o", "-i", "--exclude-standard", "-z")
    return [os.fsdecode(path) for path in out.split(b"\0") if path]


def list_submodules(git: Git, tree: Worktree) -> list:
    """Return the paths that the index knows as submodules, checked out or not."""
    return [path for mode, _, _, path in list_index(git, tree) if mode == "160000"]


def list_strays(git: Git, tree: Worktree) -> list:
    """Return the files in the folders of submodules that are not checked out: git shows them nowhere."""
    found = []
    for path in list_submodules(git, tree):
        top = os.path.join(tree.path, path)
        if os.path.islink(top) or os.path.lexists(os.path.join(top, ".git")):
            continue
        for folder, folders, files in os.walk(top):
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            found += [os.path.relpath(os.path.join(folder, name), tree.path) for name in (*files, *links)]
    return found


def list_populated(tools: Tools, retirement: Retirement, tree: Worktree, inside: str = "") -> list:
    """Return (path, itself as a worktree, the commit it should be at) of each submodule that is checked out.

    Its .git file names its folder from where the worktree stood, also after the worktree was moved. One within
    another comes right after it.
    """
    found = []
    for mode, commit, _, path in list_index(tools.git, tree):
        gitfile = os.path.join(tree.path, path, ".git")
        if mode != "160000" or not os.path.lexists(gitfile):
            continue
        whole = os.path.join(inside, path)
        named = parse_gitfile(tools.host.read(gitfile, 65536) or b"")
        if named is None:
            raise ToolError(f"{whole}/.git cannot be read")
        admin = os.path.normpath(os.path.join(retirement.path, whole, named))
        sub = Worktree(name=tree.name, path=os.path.join(tree.path, path), admin=admin)
        found += [(whole, sub, commit), *list_populated(tools, retirement, sub, whole)]
    return found


def list_modules(tree: Worktree) -> list:
    """Return (name, git dir) of every submodule whose repository is in the admin folder, checked out or not."""
    found, top = [], os.path.join(tree.admin, "modules")
    for folder, folders, files in os.walk(top):
        if "HEAD" in files and {"objects", "refs"} <= set(folders):
            found.append((os.path.relpath(folder, top), folder))
            folders[:] = [name for name in folders if name == "modules"]  # of a submodule within this one
    return found


def list_module_tips(git: Git, module: str) -> tuple:
    """Return ({commit that no remote of a submodule's repository has: a ref that names it, or ""}, is it shallow).

    Its branches, HEAD, stashes, and what its reflogs name.
    """
    sub = Worktree(name="", path=module, admin=module)
    refs = {name: ref for ref, name in list_refs(git, "refs/", sub) if not ref.startswith("refs/remotes/")}
    named = set(refs)
    for folder, _, files in os.walk(os.path.join(module, "logs")):
        for name in files:
            named |= read_names(os.path.join(folder, name))
    named |= read_names(os.path.join(module, "HEAD"))
    asked = "".join(f"{name}^{{commit}}\n" for name in sorted(named)).encode()
    rows = git.ask(sub, "cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=asked).decode().splitlines()
    commits = {row.split()[0] for row in rows if row.endswith(" commit")}
    if not commits:
        return {}, False
    listed = "".join(f"{name}\n" for name in sorted(commits)).encode()
    own = set(git.ask(sub, "rev-list", "--stdin", "--not", "--remotes", stdin=listed).decode().split())
    tips = {name: refs.get(name, "") for name in sorted(commits & own)}
    return tips, os.path.lexists(os.path.join(module, "shallow"))


# ====================================================================================================
# room: inspect — everything that could be lost with one worktree; a look that fails is a finding too
# ====================================================================================================


def is_provisioned(tools: Tools, tree: Worktree, path: str) -> bool:
    """Tell whether an untracked file is one that the tools put there, and nobody's work."""
    if path in tools.config.provisioned:
        return True
    rule, file = dict(tools.dialect.provisioned).get(path) if tools.dialect else None, os.path.join(tree.path, path)
    if rule is None or os.path.islink(file):
        return False
    kind, _, text = rule.partition(" ")
    try:
        if kind == "any":
            return os.path.isfile(file)
        content = tools.host.read(file, 1 << 20) or b""
        if kind == "same":
            return content == tools.host.read(os.path.join(tools.rig.path, text), 1 << 20)
    except OSError:
        return False
    if kind == "lines":
        return set(content.decode("utf-8", "replace").split("\n")) <= {"", *text.split()}
    return text.encode() in content


def _find_dirt(tools: Tools, retirement: Retirement, tree: Worktree) -> list:
    entries = list_status(tools.git, tree, submodules=tree.path == retirement.path)
    born = dict(retirement.birth)
    same = [
        path
        for kind, path in entries
        if kind == "1" and path in born and os.path.lexists(os.path.join(tree.path, path))
    ]
    now = hash_files(tools.git, tree, same)
    found = [Finding(kind="untracked", what=path) for path in list_strays(tools.git, tree)]
    for kind, path in entries:
        if kind == "?" and not is_provisioned(tools, tree, path):
            found.append(Finding(kind="untracked", what=path))
        elif kind != "?" and not (path in now and now[path] == born[path]):
            found.append(Finding(kind="modified", what=path))
    return found


def _find_hidden(tools: Tools, _retirement: Retirement, tree: Worktree) -> list:
    return [Finding(kind="hidden", what=path) for path in list_hidden(tools.git, tree)]


def _find_precious(tools: Tools, _retirement: Retirement, tree: Worktree) -> list:
    paths = list_ignored(tools.git, tree)
    return [Finding(kind="precious", what=path) for path in paths if is_precious(path, tools.config.precious)]


def _list_mounts(top: str) -> list:
    """Return the mount points below a folder; a bind mount has the same device, so the mount table is asked."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            points = [line.split()[4] for line in file if len(line.split()) > 4]
    except FileNotFoundError:
        device = os.lstat(top).st_dev
        return [path for path, _, _ in os.walk(top) if os.lstat(path).st_dev != device]
    unescaped = [re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match.group(1), 8)]), point) for point in points]
    return [os.fsdecode(point) for point in unescaped if os.fsdecode(point).startswith(os.path.realpath(top) + os.sep)]


def _find_nested(tools: Tools, _retirement: Retirement, tree: Worktree) -> list:
    known = set(list_submodules(tools.git, tree))
    found = [Finding(kind="mount", what=path) for path in _list_mounts(tree.path)]

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(tree.path, onerror=fail):
        inside = os.path.relpath(folder, tree.path)
        names = {*folders, *files}
        if inside in known and ".git" in names:
            folders[:] = []  # it is looked at as a submodule
            continue
        if inside != os.curdir and (".git" in names or {"HEAD", "objects", "refs"} <= names):
            found.append(Finding(kind="nested", what=inside))
        folders[:] = [one for one in folders if one != ".git" and not os.path.islink(os.path.join(folder, one))]
    return found


def _find_elsewhere(tools: Tools, _retirement: Retirement, tree: Worktree) -> list:
    same = os.lstat(tree.path).st_dev == os.stat(tools.rig.state).st_dev
    return [] if same else [Finding(kind="elsewhere", what=tree.path)]


def _find_alternate(tools: Tools, _retirement: Retirement, tree: Worktree) -> list:
    objects = os.path.join(tools.rig.common, "objects")
    content = tools.host.read(os.path.join(objects, "info", "alternates")) or b""
    paths = [
        os.path.realpath(os.path.join(objects, os.fsdecode(line))) for line in content.splitlines() if line.strip()
    ]
    top = os.path.realpath(tree.path) + os.sep
    return [Finding(kind="alternate", what=path) for path in paths if (path + os.sep).startswith(top)]


def list_stashes(git: Git, tree: Worktree, since_at: float) -> list:
    """Return (object name, message) of the stashes that are this worktree's: on its branch or on none, and newer.

    While HEAD is detached, as in a rebase, any of them may be.
    """
    if not git.test(None, "show-ref", "--verify", "--quiet", "refs/stash"):
        return []
    out = git.ask(None, "log", "-g", "-z", "--format=%H%x1f%ct%x1f%gs", "refs/stash", "--")
    found = []
    for record in out.split(b"\0"):
        words = record.decode("utf-8", "replace").strip("\n").split("\x1f")
        if len(words) != 3:
            continue
        match = re.match(r"(?:WIP on|On) (.*?): ", words[2])
        branch = match.group(1) if match else ""
        mine = branch in ("", "(no branch)", tree.branch) or not tree.branch
        if mine and float(words[1]) >= int(since_at):
            found.append((words[0], words[2]))
    return found


def instance_born(retirement: Retirement, tree: Worktree) -> float:
    """Return when the life that is being retired began: its session, or its worktree where it had none."""
    created = retirement.instance.rpartition(".")[2]
    return min(float(created) if created.isdigit() else tree.born_at, tree.born_at or float("inf"))


def _find_stashes(tools: Tools, retirement: Retirement, tree: Worktree) -> list:
    stashes = list_stashes(tools.git, tree, instance_born(retirement, tree))
    return [Finding(kind="stash", what=message) for _, message in stashes]


PAUSED = {
    "rebase-merge": "rebase",
    "rebase-apply/applying": "am",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
    "sequencer": "cherry-pick",
}


def list_paused(tree: Worktree) -> list:
    """Return what git has begun here and not ended, by the names of its commands."""
    there = [name for name in PAUSED if os.path.lexists(os.path.join(tree.admin, name))]
    if "rebase-apply/applying" in there:
        there.remove("rebase-apply")
    if "REVERT_HEAD" in there and "sequencer" in there:
        there.remove("sequencer")
    return [PAUSED[name] for name in there]


def _find_paused(_tools: Tools, _retirement: Retirement, tree: Worktree) -> list:
    return [Finding(kind="paused", what=word) for word in list_paused(tree)]


def _find_locks(_tools: Tools, _retirement: Retirement, tree: Worktree) -> list:
    locks = [name for name in os.listdir(tree.admin) if name.endswith(".lock")]
    held = [name for name in locks if is_open(os.path.join(tree.admin, name))]
    found = [Finding(kind="lock", what=name) for name in held]
    reason = os.path.join(tree.admin, "locked")
    if os.path.lexists(reason):
        with open(reason, "rb") as file:
            found.append(
                Finding(kind="locked", what=clean_line(file.read(400).decode("utf-8", "replace")) or "no reason")
            )
    return found


def _find_loose_head(tools: Tools, _retirement: Retirement, tree: Worktree) -> list:
    git = tools.git
    if not git.value(tree, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        return [Finding(kind="unborn", what=tree.branch or "HEAD")]
    if tree.branch:
        return []
    loose = git.line(
        tree, "rev-list", "--max-count=1", "HEAD", "--not", "--branches", "--tags", "--remotes", "--glob=refs/witness/*"
    )
    return [Finding(kind="detached", what=loose[:12])] if loose else []


def _find_submodules(tools: Tools, retirement: Retirement, tree: Worktree) -> list:
    git, found = tools.git, []
    if not os.path.lexists(os.path.join(tree.path, ".gitmodules")):
        found += [Finding(kind="gitlink", what=path) for path in list_submodules(git, tree)]
    for path, sub, wanted in list_populated(tools, retirement, tree):
        paused = list_paused(sub)
        unmoved = tree.path == retirement.path
        work = {
            "unpushed commits": git.line(sub, "rev-list", "-n1", "HEAD", "--branches", "--not", "--remotes"),
            "changes": list_status(git, sub, submodules=unmoved) or list_hidden(git, sub) or list_strays(git, sub),
            "another commit than the worktree names": git.line(sub, "rev-parse", "HEAD") != wanted,
            "precious files": [one for one in list_ignored(git, sub) if is_precious(one, tools.config.precious)],
            "a stash": git.value(sub, "rev-parse", "--verify", "--quiet", "refs/stash"),
            f"an unfinished {''.join(paused[:1])}": paused,
        }
        found += [Finding(kind="submodule", what=f"{path}: {word}") for word, there in work.items() if there]
    for name, module in list_modules(tree):
        tips, shallow = list_module_tips(git, module)
        if tips and shallow:  # it cannot be fetched from without making the rig's own repository shallow
            found.append(Finding(kind="submodule", what=f"{name}: commits of its own in a shallow clone"))
    return found


def _find_strangers(tools: Tools, retirement: Retirement, tree: Worktree) -> list:
    _, others = list_processes(tools, retirement, tree.path)
    return [
        Finding(kind="process", what=f"pid {one.pid} ({' '.join(read_argv(tools.host, one.pid) or ())[:60]})")
        for one in others
    ]


def find_persons(tools: Tools, retirement: Retirement, _tree: Worktree | None = None) -> list:
    """Return a finding where a person looks at the worker's session."""
    pane = find_pane(tools, retirement)
    if pane is None or not pane.attached:
        return []
    persons = tools.tmux.count_persons(pane.session_id)
    if isinstance(persons, str):
        raise ToolError(persons)
    return [Finding(kind="attached", what=pane.session)] if persons else []


def _find_mirrors(tools: Tools, _retirement: Retirement, _tree: Worktree) -> list:
    ran = tools.git.run(None, "config", "-z", "--get-regexp", r"^remote\..*\.fetch$")
    if ran.failure or ran.status not in (0, 1):
        raise ToolError(ran.reason())
    by_key = {}
    for record in ran.text().split("\0"):
        key, _, spec = record.partition("\n")
        by_key.setdefault(key, []).append(spec)
    return [Finding(kind="mirror", what=key) for key, specs in by_key.items() if key and covers_rescue_refs(specs)]


LOOKS = (
    ("status", _find_dirt),
    ("hidden files", _find_hidden),
    ("ignored files", _find_precious),
    ("folders inside", _find_nested),
    ("file systems", _find_elsewhere),
    ("alternates", _find_alternate),
    ("stashes", _find_stashes),
    ("unfinished operations", _find_paused),
    ("lock files", _find_locks),
    ("HEAD", _find_loose_head),
    ("submodules", _find_submodules),
    ("processes", _find_strangers),
    ("clients", find_persons),
    ("fetch refspecs", _find_mirrors),
)


def inspect_worktree(tools: Tools, retirement: Retirement, tree: Worktree) -> tuple:
    """Return the findings of every look of retirement.md 1, in the order of LOOKS."""
    findings = []
    for name, look in LOOKS:
        try:
            findings += look(tools, retirement, tree)
        except (ToolError, OSError, ValueError) as error:
            findings.append(Finding(kind="look", what=f"{name}: {clean_line(str(error))}"))
    return tuple(findings)


def read_birth(git: Git, tree: Worktree) -> list:
    """Return [path, raw hash] of what is dirty right after the checkout: line endings do that to some trees."""
    paths = [
        path for kind, path in list_status(git, tree) if kind == "1" and os.path.lexists(os.path.join(tree.path, path))
    ]
    return [list(pair) for pair in sorted(hash_files(git, tree, paths).items())]


# ====================================================================================================
# room: rescue — one commit that reaches all that only this worktree could reach
# ====================================================================================================


def find_rescue_tips(tools: Tools, retirement: Retirement, tree: Worktree) -> tuple:
    """Return the commits that only the admin folder, the branch's reflog or a stash names, the newest of each line."""
    git = tools.git
    named = set()
    for folder, folders, files in os.walk(tree.admin):
        folders[:] = [one for one in folders if one != "modules"]  # objects of submodules, see keep_submodules
        for name in files:
            path = os.path.join(folder, name)
            # Whatever names an object: HEAD, logs, *_HEAD, MERGE_AUTOSTASH, the files of a rebase. An index is no text.
            if stat.S_ISREG(os.lstat(path).st_mode) and not name.startswith(("index", "sharedindex")):
                named |= read_names(path)
    if retirement.branch:
        named |= read_names(os.path.join(tools.rig.common, "logs", "refs", "heads", retirement.branch))
    named |= {name for name, _ in list_stashes(git, tree, 0.0)}
    asked = "".join(f"{name}^{{commit}}\n" for name in sorted(named)).encode()
    rows = git.ask(None, "cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=asked).decode().splitlines()
    commits = {row.split()[0] for row in rows if row.endswith(" commit")}
    if not commits:
        return ()
    default = default_branch(git, tools.config)
    excluded = [f"--exclude=refs/heads/{retirement.branch}"] if retirement.branch else []
    known = [default] if default and default != f"refs/heads/{retirement.branch}" else []
    words = ["--not", *known, *excluded, "--branches", "--tags", "--glob=refs/witness/*"]
    listed = "".join(f"{name}\n" for name in sorted(commits)).encode()
    return find_tips(commits, git.ask(None, "rev-list", "--parents", "--stdin", *words, stdin=listed).decode())


def list_differing(tools: Tools, tree: Worktree) -> tuple:
    """Return (files whose bytes may differ from HEAD's blob, deleted paths), filters and flags seen through."""
    git = tools.git
    status = list_status(git, tree, submodules=False)
    listed = {path for _, path in status} | set(list_hidden(git, tree)) | set(list_strays(git, tree))
    tracked = [path for mode, _, stage, path in list_index(git, tree) if stage == 0 and mode != "160000"]
    asked = "".join(path + "\0" for path in tracked)
    out = git.ask(tree, "check-attr", "-z", "--stdin", "filter", stdin=os.fsencode(asked)).split(b"\0")
    listed |= {
        os.fsdecode(path) for path, value in zip(out[0::3], out[2::3]) if value not in (b"unspecified", b"unset")
    }
    changed = {path for kind, path in status if kind != "?"}
    there, deleted = [], []
    for path in sorted(listed):
        full = os.path.join(tree.path, path)
        if os.path.isdir(full) and not os.path.islink(full):
            deleted += [path] if path in changed else []  # a folder has taken the file's place
        else:
            (there if os.path.lexists(full) else deleted).append(path)
    # Out of a sparse cone, or deleted behind a flag: nothing that status lists, and a checkout would bring it.
    absent = {path for path in tracked if not os.path.lexists(os.path.join(tree.path, path))}
    return there, sorted({*deleted, *absent})


def save_precious(tools: Tools, retirement: Retirement, tree: Worktree, paths) -> list:
    """Copy precious files out of git's reach: secrets must never become git objects."""
    kept = os.path.join(tools.rig.state, "rescued", retirement.id)
    saved = []
    for path in paths:
        source = os.path.join(tree.path, path)
        if os.path.isfile(source) and not os.path.islink(source):
            target = os.path.join(kept, path)
            tools.host.make_folder(os.path.dirname(target))
            tools.host.write(target, tools.host.read(source, 1 << 30) or b"")
            saved.append(path)
    return saved


def _write_blobs(tools: Tools, tree: Worktree, contents) -> list:
    """Write (place in the tree, content) as blobs, as lines of an index."""
    lines = []
    for place, content in contents:
        name = tools.git.change(tree, *DURABLY, "hash-object", "-w", "--stdin", stdin=content).decode().strip()
        lines.append((place, "100644", name))
    return lines


def _file_mode(path: str) -> str:
    about = os.lstat(path)
    if stat.S_ISLNK(about.st_mode):
        return "120000"
    return "100755" if about.st_mode & 0o100 else "100644"


def _list_staged(git: Git, tree: Worktree) -> list:
    """Return (mode, object name, stage, path) of what the index holds and HEAD does not."""
    head = set()
    there = git.value(tree, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    for record in git.ask(tree, "ls-tree", "-r", "-z", "HEAD").split(b"\0") if there else []:
        about, _, path = record.partition(b"\t")
        if path:
            head.add((about.decode().split()[0], about.decode().split()[2], os.fsdecode(path)))
    return [
        (mode, name, stage, path)
        for mode, name, stage, path in list_index(git, tree)
        if mode != "160000" and (stage or (mode, name, path) not in head) and name.strip("0")
    ]


LATE_BYTES = 64 << 20  # of ignored files that changed since; a build that still runs can write gigabytes


def list_late(tools: Tools, retirement: Retirement, tree: Worktree) -> tuple:
    """Return (the ignored files that changed since the retirement began and what editors left unsaved, those left out).

    Swap files first, then the smallest; what is more than LATE_BYTES stays in the kept folder alone.
    """
    found = []
    for path in list_ignored(tools.git, tree):
        try:
            about = os.lstat(os.path.join(tree.path, path))
        except OSError:
            continue
        if stat.S_ISREG(about.st_mode) and (about.st_mtime >= retirement.at or is_swap_file(path)):
            found.append((not is_swap_file(path), about.st_size, path))
    taken, left, room = [], [], LATE_BYTES
    for _, size, path in sorted(found):
        room -= size
        (taken if room >= 0 else left).append(path)
    return taken, left


def _write_tree(tools: Tools, retirement: Retirement, tree: Worktree, committed: bool) -> str:
    """Write files/, index/<stage>/, admin/ and meta.json as one tree and return its name."""
    git, host = tools.git, tools.host
    paths, deleted = list_differing(tools, tree)
    late, left = list_late(tools, retirement, tree)
    paths = sorted({*paths, *late})
    precious = [path for path in [*paths, *list_ignored(git, tree)] if is_precious(path, tools.config.precious)]
    saved = save_precious(tools, retirement, tree, sorted(set(precious)))
    paths = [path for path in paths if path not in set(saved)]
    rows = [
        ("files/" + path, _file_mode(os.path.join(tree.path, path)), name)
        for path, name in hash_files(git, tree, paths, write=True).items()
    ]
    rows += [
        (f"index/{stage}/{path}", mode, name)
        for mode, name, stage, path in _list_staged(git, tree)
        if path not in set(saved)
    ]
    modes = {path: stat.S_IMODE(os.lstat(os.path.join(tree.path, path)).st_mode) for path in [*paths, *saved]}
    meta = {
        "version": MEMORY_VERSION,
        "witness": __version__,
        "committed": committed,
        "retirement": dump_value(retirement),
        "branch": tree.branch,
        "head": git.value(tree, "rev-parse", "--verify", "--quiet", "HEAD"),
        "deleted": deleted,
        "modes": modes,
        "precious": saved,
        "left": left,  # in the kept folder alone
    }
    contents = [("meta.json", (json.dumps(meta, sort_keys=True) + "\n").encode("utf-8", "surrogateescape"))]
    for folder, folders, files in os.walk(tree.admin):
        folders[:] = [one for one in folders if one != "modules"]  # submodules are fetched, see keep_submodules
        for name in files:
            full = os.path.join(folder, name)
            # A socket of an fsmonitor, a FIFO: nothing that could be kept.
            content = host.read(full, 1 << 30) if stat.S_ISREG(os.lstat(full).st_mode) else None
            if content is not None:
                contents.append(("admin/" + os.path.relpath(full, tree.admin), content))
    rows += _write_blobs(tools, tree, contents)
    listed = b"".join(f"{mode} {name}\t".encode() + os.fsencode(place) + b"\0" for place, mode, name in rows)
    # No name that a process of the same pid may have left, in a container that was started anew.
    index = os.path.join(tools.rig.state, "retiring", f"index.{os.urandom(6).hex()}")
    host.make_folder(os.path.dirname(index))
    try:
        env = {"GIT_INDEX_FILE": index}
        git.change(tree, "update-index", "-z", "--add", "--index-info", stdin=listed, env=env)
        return git.change(tree, *DURABLY, "write-tree", env=env).decode().strip()
    finally:
        for left in (index, f"{index}.lock"):
            host.remove(left)


def keep_submodules(tools: Tools, retirement: Retirement, tree: Worktree, folder: str = RETIRING_REFS) -> None:
    """Fetch what only a submodule's repository has to refs of ours: the repository goes with the worktree's entry.

    Those that are not checked out any more, too: `deinit` and a branch without them leave their commits there.

    Raises:
        ToolError: one could not be fetched.
    """
    git = tools.git
    for name, module in list_modules(tree):
        tips, _ = list_module_tips(git, module)
        if not tips:
            continue  # its remotes have everything
        place = f"{folder}{retirement.id}-sub/{re.sub(r'[^A-Za-z0-9/_-]+', '_', name)}"
        serve = "--upload-pack=git -c uploadpack.allowAnySHA1InWant=true upload-pack"
        specs = [f"+{tip}:{place}/tips/{tip}" for tip in tips]
        specs += [f"+{ref}:{place}/{ref}" for ref in tips.values() if ref]
        git.change(None, *DURABLY, "fetch", "--quiet", "--no-tags", serve, module, *specs)
        kept = {ref.rpartition("/")[2] for ref, _ in list_refs(git, f"{place}/tips/")}
        if set(tips) - kept:  # a fetch may refuse a ref and exit 0 all the same
            raise ToolError(f"commits of the submodule {name} could not be fetched")


def preserve(
    tools: Tools,
    retirement: Retirement,
    tree: Worktree,
    committed: bool = False,
    folder: str = RETIRING_REFS,
    note: str = "",
) -> str:
    """Write the rescue commit, or a further one on top of it, under its ref; return its name.

    folder: of the ref, that of retirements under way or of what is only kept. note: a line of its message.

    Raises:
        ToolError: anything failed; nothing was removed, and it can be done again.
    """
    git = tools.git
    ref = folder + retirement.id
    keep_submodules(tools, retirement, tree, folder)
    before = git.value(None, "rev-parse", "--verify", "--quiet", ref)
    parents = [before] if before else []
    tips = find_rescue_tips(tools, retirement, tree)
    head = git.value(tree, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    for one in (head, retirement.tip, *retirement.astray, *tips):
        if one and one not in parents:
            parents.append(one)
    content = _write_tree(tools, retirement, tree, committed)
    words = [word for one in parents for word in ("-p", one)]
    message = f"witness: {retirement.id}{' (committed)' if committed else ''}\n" + (f"\n{note}\n" if note else "")
    commit = git.change(tree, *DURABLY, "commit-tree", content, *words, stdin=message.encode()).decode().strip()
    git.change(None, *DURABLY, "update-ref", "--create-reflog", ref, commit, before or NO_REF)
    # A gc --prune=now that runs beside us can drop objects that nothing named a moment ago.
    git.ask(None, "rev-list", "--objects", "--quiet", commit)
    return commit


# ====================================================================================================
# room: removal — the worktree moved aside, its entry dropped, its branch deleted or kept
# ====================================================================================================


def find_moved(tools: Tools, retirement: Retirement) -> str:
    """Return where the worktree of a retirement lies now: its place, aside, or kept; "" if nowhere."""
    aside = os.path.join(tools.rig.state, "retiring", retirement.id.replace("/", "."))
    return next((path for path in (aside, aside + ".kept", retirement.path) if os.path.lexists(path)), "")


def _move_tree(tools: Tools, tree: Worktree, target: str) -> None:
    try:
        tools.git.change(None, "worktree", "move", tree.path, target)
    except ToolError:
        if os.path.lexists(target) or not os.path.lexists(tree.path):
            raise
        try:
            tools.host.move(tree.path, target)
            tools.host.write(
                os.path.join(tree.admin, "gitdir"), os.fsencode(os.path.join(target, ".git")) + b"\n", mode=0o644
            )
        except OSError as error:
            raise ToolError(f"{tree.path} cannot be moved: {error.strerror}") from None


def move_aside(tools: Tools, retirement: Retirement, tree: Worktree) -> Worktree:
    """Move a worktree into the state folder; where git cannot (submodules), by hand. Return it at its new place.

    Raises:
        ToolError: it could not be moved; it is where it was.
    """
    aside = os.path.join(tools.rig.state, "retiring", retirement.id.replace("/", "."))
    tools.host.make_folder(os.path.dirname(aside))
    _move_tree(tools, tree, aside)
    return tree.but(path=aside)


def move_back(tools: Tools, retirement: Retirement, tree: Worktree) -> None:
    """Move a worktree back to where it was."""
    _move_tree(tools, tree, retirement.path)


def is_anothers(tools: Tools, retirement: Retirement) -> bool:
    """Tell whether git has given the name of the dropped entry to another worktree since.

    In a town all worktrees are called as the rig, so the next one that anybody makes gets it.
    """
    named = parse_gitfile(tools.host.read(os.path.join(retirement.admin, "gitdir"), 65536) or b"") or ""
    if not named or os.path.dirname(os.path.dirname(named)) == os.path.join(tools.rig.state, "retiring"):
        return False
    back = parse_gitfile(tools.host.read(named, 65536) or b"") if os.path.isfile(named) else ""
    return bool(back) and os.path.realpath(back) == os.path.realpath(retirement.admin)


def drop_entry(tools: Tools, retirement: Retirement) -> None:
    """Rename the folder once more and drop the worktree's entry, which then takes no file with it.

    git's own removal works in place: a late writer left half a folder, a kill in the middle hundreds of deletions.
    """
    aside = os.path.join(tools.rig.state, "retiring", retirement.id.replace("/", "."))
    if os.path.lexists(aside):
        tools.host.move(aside, aside + ".kept")
    if os.path.isdir(retirement.admin) and not is_anothers(tools, retirement):
        # The path that the entry records: a kill inside `worktree move` leaves the old one there.
        named = parse_gitfile(tools.host.read(os.path.join(retirement.admin, "gitdir"), 65536) or b"")
        recorded = os.path.dirname(named or "")
        if not recorded or os.path.lexists(recorded):
            raise ToolError(f"{recorded or retirement.admin} is there again: nothing is removed")
        # The path is missing, so this drops the entry and nothing else; `prune` would take a neighbour's too.
        tools.git.change(None, "worktree", "remove", recorded)


def _merges_to_nothing(git: Git, tip: str, default: str) -> bool:
    """Tell whether merging would give the default branch's own tree; False where git is too old (before 2.38)."""
    drivers = git.run(None, "config", "-z", "--name-only", "--get-regexp", r"^merge\..*\.driver$").text().split("\0")
    # A configured merge driver is a program of somebody's, and may answer anything.
    words = [word for key in drivers if key for word in ("-c", f"{key}=false")]
    ran = git.run(None, *words, "merge-tree", "--write-tree", default, tip)
    return ran.ok and ran.text().split()[:1] == [git.line(None, "rev-parse", f"{default}^{{tree}}")]


DIFF = "diff-tree -p -r --full-index --binary --no-renames --no-ext-diff --no-textconv".split()


def _patch_id(git: Git, old: str, new: str) -> str:
    """Return the id of the change from one commit to another, "" for an empty one."""
    patch = git.ask(None, *DIFF, old, new)
    return git.ask(None, "patch-id", "--verbatim", stdin=patch).decode().partition(" ")[0] if patch else ""


def _list_patches(git: Git, base: str, default: str) -> set:
    commits = git.ask(None, "rev-list", "--no-merges", f"{base}..{default}")
    patches = git.ask(None, *DIFF, "--stdin", "--root", stdin=commits) if commits else b""
    out = git.ask(None, "patch-id", "--verbatim", stdin=patches) if patches else b""
    return {line.split()[0] for line in out.decode().splitlines()}


# ---- the branch --------------------------------------------------------------------------------------


def is_on_default(git: Git, tip: str, default: str) -> str:
    """Say how a commit's content is on the default branch, "" if it is not proved to be.

    The four ways of retirement.md 7; git cherry and tracking information prove nothing.

    Raises:
        ToolError: git could not tell.
    """
    if git.test(None, "merge-base", "--is-ancestor", tip, default):
        return "merged"
    bases = git.run(None, "merge-base", "--all", default, tip)
    if not bases.ok or len(bases.text().split()) != 1:
        return ""
    base = bases.text().strip()
    if _merges_to_nothing(git, tip, default):
        return "merging it would change nothing"
    there = _list_patches(git, base, default)
    whole = _patch_id(git, base, tip)
    if whole and whole in there and _patch_id(git, tip, base) not in there:
        return "squashed"
    if git.line(None, "rev-list", "--merges", f"{default}..{tip}"):
        return ""
    commits = git.line(None, "rev-list", f"{default}..{tip}").split()
    each = [(_patch_id(git, f"{one}^", one), _patch_id(git, one, f"{one}^")) for one in commits]
    good = bool(each) and all(forth and forth in there and back not in there for forth, back in each)
    return "rebased" if good else ""


def _find_on_remote(git: Git, tip: str) -> str:
    """Say which remote branch holds a commit, asked with ls-remote: tracking refs prove nothing."""
    for remote in git.line(None, "remote").split():
        ran = git.run(None, "ls-remote", "--heads", remote)
        for line in ran.text().splitlines() if ran.ok else ():
            there, _, name = line.partition("\t")
            known = git.run(None, "cat-file", "-e", f"{there}^{{commit}}").ok
            if known and git.test(None, "merge-base", "--is-ancestor", tip, there):
                return f"on {remote} as {name.rpartition('refs/heads/')[2]}"
    return ""


def _find_checked_out(git: Git, ref: str) -> str:
    """Return the worktree that has a branch checked out, "" if none has."""
    path = ""
    for line in git.ask(None, "worktree", "list", "--porcelain").decode("utf-8", "replace").splitlines():
        path = line[len("worktree ") :] if line.startswith("worktree ") else path
        if line == f"branch {ref}":
            return path
    return ""


def gather_branch_facts(tools: Tools, retirement: Retirement) -> BranchFacts:
    """Return what can be found out about the branch of a retired worker."""
    git, branch, tip = tools.git, retirement.branch, retirement.tip
    ref = f"refs/heads/{branch}"
    if not branch:
        return BranchFacts(name="")
    try:
        if not git.test(None, "show-ref", "--verify", "--quiet", ref):
            return BranchFacts(name=branch, there=False)
        default = default_branch(git, tools.config)
        how = is_on_default(git, tip, default) if default else ""
        return BranchFacts(
            name=branch,
            symref=bool(git.value(None, "symbolic-ref", "--quiet", ref)),
            default=ref in (default, git.value(None, "symbolic-ref", "--quiet", "HEAD"))
            or default.endswith(f"/{branch}"),
            moved=git.line(None, "rev-parse", ref) != tip,
            checked_out=_find_checked_out(git, ref),
            on_default=f"{how} on {default.partition('/')[2].partition('/')[2]}" if how else "",
            on_remote="" if how else _find_on_remote(git, tip),
        )
    except ToolError as error:
        return BranchFacts(name=branch, doubt=error.message)


def settle_branch(tools: Tools, retirement: Retirement) -> tuple:
    """Delete the branch where its content is safe elsewhere; return (deleted or kept, why)."""
    git, ref = tools.git, f"refs/heads/{retirement.branch}"
    facts = gather_branch_facts(tools, retirement)
    result, why = decide_fate(facts)
    if result == "deleted" and facts.there:
        try:
            git.change(None, "update-ref", "--no-deref", "-d", ref, retirement.tip)
            holder = _find_checked_out(git, ref)
            if holder:
                git.change(None, "update-ref", ref, retirement.tip, NO_REF)
                return "kept", f"{holder} has just checked it out"
        except ToolError as error:
            return "kept", f"git could not delete it: {error.message}"
        git.run(None, "config", "--remove-section", f"branch.{retirement.branch}")
    return result, why


def push_branch(tools: Tools, retirement: Retirement) -> str:
    """Push the branch where that is wanted; return why it failed, which never blocks."""
    if not tools.config.push_on_retire or not retirement.branch:
        return ""
    try:
        remotes = tools.git.line(None, "remote").split()
        remote = "origin" if "origin" in remotes else remotes[0] if remotes else ""
        if not remote:
            return "there is no remote"
        tools.git.change(None, "push", "--quiet", remote, f"{retirement.tip}:refs/heads/{retirement.branch}")
    except ToolError as error:
        return error.message
    return ""


# ====================================================================================================
# room: trash — the kept folders of retired workers, deleted when they are old enough
# ====================================================================================================


def measure_tree(path: str) -> int:
    """Return the bytes that a folder takes on disk, all below it included; what cannot be read counts as nothing."""
    used, folders = 0, [path]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                used += entry.stat(follow_symlinks=False).st_blocks * 512  # st_blocks is in units of 512 bytes
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
            except OSError:
                continue
    return used


def measure_kept(rig: Rig, known: dict) -> dict:
    """Return the bytes of each kept folder by name; those known are not measured again, for nobody writes there."""
    root = os.path.join(rig.state, "retiring")
    try:
        names = [name for name in os.listdir(root) if name.endswith(".kept")]
    except OSError:
        return {}
    return {name: known[name] if name in known else measure_tree(os.path.join(root, name)) for name in names}


def measure_kept_mib(rig: Rig) -> float:
    """Return what the kept folders take on disk, in MiB."""
    return sum(measure_kept(rig, {}).values()) / (1 << 20)


def sweep_trash(tools: Tools, now: float) -> list:
    """Delete kept folders older than trash_hours, the oldest sooner where disk runs low; return what was done."""
    root = os.path.join(tools.rig.state, "retiring")
    try:
        there = os.listdir(root)
    except FileNotFoundError:
        return []
    for name in there:
        if name.startswith("index."):  # a rescue's, that a kill or a full disk left; nobody writes one now
            tools.host.remove(os.path.join(root, name))
    names = [name for name in there if name.endswith(".kept")]
    swept = []
    for at, name in sorted((os.lstat(os.path.join(root, name)).st_ctime, name) for name in names):
        free_mib = read_load(root).free_disk_mib
        short = free_mib is not None and free_mib < tools.config.min_free_disk
        if at + tools.config.trash_hours * 3600 <= now or short:
            try:
                tools.host.delete_tree(os.path.join(root, name))
                swept.append(name)
            except OSError as error:
                swept.append(f"{name} is left: {error.filename}: {error.strerror}")
    return swept


# ====================================================================================================
# room: retirement — the eight steps, each recorded before it is done and safe to repeat
# ====================================================================================================


class RefusedError(Exception):
    """A retirement found that something could be lost; nothing was lost."""

    def __init__(self, blockers, escalate: bool = False) -> None:
        super().__init__("; ".join(one.evidence for one in blockers))
        self.blockers = blockers
        self.escalate = escalate


def read_start(tools: Tools, branch: str) -> str:
    """Return where a branch began, as its own reflog tells; "" where that is not known."""
    path = os.path.join(tools.rig.common, "logs", "refs", "heads", *branch.split("/"))
    log = (tools.host.read(path, 1 << 30) or b"") if branch else b""
    first = re.match(rb"([0-9a-f]{40,64}) ([0-9a-f]{40,64}) [^\t\n]*\t?([^\n]*)", log)
    if first is None:
        return ""
    old, new, said = (part.decode("utf-8", "replace") for part in first.groups())
    # In a bare clone, such as gt's, its making is not written down: then the first change of it says what was before.
    return old if old.strip("0") else new if said.startswith("branch: Created from") else ""


def _find_astray(tools: Tools, retirement: Retirement, made) -> tuple:
    """Return the newest of the commits made here that lie on another branch, neither on the tip nor where work ends.

    A worker may leave its work on a branch and stand elsewhere in the end. What an amend or a rebase has replaced is
    on no branch, and no work.
    """
    git, default = tools.git, default_branch(tools.git, tools.config)
    known = [one for one in (retirement.tip, retirement.start, default) if one]
    there = set(git.line(None, "rev-list", "--branches", "--not", *known).split()) if made else set()
    named = there.intersection(made)
    if not named:
        return ()
    listed = "".join(f"{name}\n" for name in sorted(named)).encode()
    return find_tips(named, git.ask(None, "rev-list", "--parents", "--stdin", "--not", *known, stdin=listed).decode())


def _sum_up(tools: Tools, retirement: Retirement) -> dict:
    git, tip, astray = tools.git, retirement.tip, retirement.astray
    default = default_branch(git, tools.config)
    since = f"{retirement.start}..{tip}"
    merged = not astray and bool(default and is_on_default(git, tip, default))
    # Commits of others that it pulled in are none of its own; what is nowhere else may have come by a fast-forward.
    empty = (retirement.idle and merged) or (bool(retirement.start) and not git.line(None, "rev-list", "-n1", since))
    return {
        "start": retirement.start,
        "ref": RETIRED_REFS + retirement.id,
        "commit": retirement.commit,
        "tip": tip if not astray else astray[0] if len(astray) == 1 else "",  # what is to be merged
        "branch": {"name": retirement.branch, "result": retirement.branch_result, "reason": retirement.branch_reason},
        "no_commits": empty and not astray,
        "merged": merged,
    }


def _find_tree(tools: Tools, retirement: Retirement) -> Worktree:
    """Return the worktree where it lies now, as its own files describe it."""
    path = find_moved(tools, retirement)
    if path == retirement.path:
        tree = read_worktree(tools.rig, retirement.name)
        if not isinstance(tree, Worktree) or tree.trouble:
            raise ToolError(tree.trouble if isinstance(tree, Worktree) else tree or f"{path} is gone")
        return tree
    head = parse_head(tools.host.read(os.path.join(retirement.admin, "HEAD")) or b"")
    if not path or head is None:
        raise ToolError(f"the worktree of {retirement.name} is not where it was left")
    return Worktree(name=retirement.name, path=path, admin=retirement.admin, branch=head)


def _find_tip(tools: Tools, retirement: Retirement, tree: Worktree) -> str:
    if retirement.branch:
        tip = tools.git.value(None, "rev-parse", "--verify", "--quiet", f"refs/heads/{retirement.branch}^{{commit}}")
        if tip:
            return tip
    return tools.git.line(tree, "rev-parse", "HEAD^{commit}")


def rename_ref(tools: Tools, old: str, new: str) -> None:
    """Rename a ref, and those of its submodules, in one transaction; what is renamed already is done."""
    git = tools.git
    refs = [(ref, name) for ref, name in list_refs(git, old) if ref == old]
    refs += list_refs(git, f"{old}-sub/")
    if refs:
        lines = [f"update {new}{ref[len(old) :]} {name}\ndelete {ref} {name}\n" for ref, name in refs]
        git.change(None, *DURABLY, "update-ref", "--stdin", stdin=("start\n" + "".join(lines) + "commit\n").encode())
    elif not list_refs(git, new):
        raise ToolError(f"{old} is gone")


def _keep_ref(tools: Tools, retirement: Retirement) -> None:
    rename_ref(tools, RETIRING_REFS + retirement.id, KEPT_REFS + retirement.id)


def _refuse(tools: Tools, retirement: Retirement, findings, escalate: bool = False) -> None:
    """Call the retirement off where a finding stands against it; what was preserved so far stays under a kept ref."""
    blockers = find_blockers(findings, retirement)
    if not blockers:
        return
    if list_refs(tools.git, RETIRING_REFS + retirement.id):
        _keep_ref(tools, retirement)
    raise RefusedError(blockers, escalate)


def _verify(tools: Tools, retirement: Retirement) -> Retirement:
    try:
        tree = _find_tree(tools, retirement)
    except ToolError as error:
        raise RefusedError(find_blockers([Finding(kind="look", what=error.message)], retirement)) from None
    retirement = retirement.but(path=tree.path, admin=tree.admin)
    # Where it got further before, nobody may be left to tell.
    _refuse(tools, retirement, inspect_worktree(tools, retirement, tree), escalate=bool(retirement.commit))
    return retirement.but(tip=_find_tip(tools, retirement, tree))


def _preserve(tools: Tools, retirement: Retirement) -> Retirement:
    return retirement.but(commit=preserve(tools, retirement, _find_tree(tools, retirement)))


def _quiesce(tools: Tools, retirement: Retirement) -> Retirement:
    # A person may have come since the verification; this is the last moment before somebody is ended.
    _refuse(tools, retirement, find_persons(tools, retirement))
    why = quiesce(tools, retirement, retirement.path)
    _refuse(tools, retirement, [Finding(kind="process", what=why)] if why else ())
    return retirement


def _move(tools: Tools, retirement: Retirement) -> Retirement:
    tree = _find_tree(tools, retirement)
    if tree.path == retirement.path:
        tree = move_aside(tools, retirement, tree)
    findings = inspect_worktree(tools, retirement, tree)
    if find_blockers(findings, retirement):
        move_back(tools, retirement, tree)
        _refuse(tools, retirement, findings, escalate=True)  # nobody is left to tell
    log = tools.host.read(os.path.join(tree.admin, "logs", "HEAD"), 1 << 30)
    made = list_made(log or b"", tree.branch)
    # A log that is gone, or that somebody let expire, says nothing.
    retirement = retirement.but(tip=_find_tip(tools, retirement, tree), idle=bool(log) and not made)
    # Of a worker that others made no claim says where it began.
    retirement = retirement.but(start=retirement.start or read_start(tools, tree.branch))
    retirement = retirement.but(astray=_find_astray(tools, retirement, made))
    return retirement.but(commit=preserve(tools, retirement, tree))


def _decide(tools: Tools, retirement: Retirement) -> Retirement:
    retirement = retirement.but(unpushed=push_branch(tools, retirement))
    return retirement.but(
        commit=preserve(tools, retirement, _find_tree(tools, retirement), committed=True), committed=True
    )


def _remove(tools: Tools, retirement: Retirement) -> Retirement:
    drop_entry(tools, retirement)
    return retirement


def _settle(tools: Tools, retirement: Retirement) -> Retirement:
    result, reason = settle_branch(tools, retirement)
    return retirement.but(branch_result=result, branch_reason=reason)


def _close(tools: Tools, retirement: Retirement) -> Retirement:
    tree = read_worktree(tools.rig, retirement.name)
    # Another folder at its place, a build service's say, is not it.
    there = os.path.lexists(retirement.admin) or (isinstance(tree, Worktree) and tree.admin == retirement.admin)
    if there and not is_anothers(tools, retirement):
        raise ToolError(f"{retirement.admin} is still there")
    if retirement.pane_id and find_pane(tools, retirement) is not None:
        raise ToolError(f"its session {retirement.session} is still there")
    rename_ref(tools, RETIRING_REFS + retirement.id, RETIRED_REFS + retirement.id)
    parent = os.path.dirname(retirement.path)
    if parent != tools.rig.polecats and tools.dialect is None:  # else gt takes it away with its own records
        try:
            os.rmdir(parent)  # polecats/<name> of the nested layout, where nothing else is left in it
        except OSError:
            return retirement
    return retirement


STEPS = (
    ("verify", _verify),
    ("preserve", _preserve),
    ("quiesce", _quiesce),
    ("move", _move),
    ("decide", _decide),
    ("remove", _remove),
    ("branch", _settle),
    ("close", _close),
)


# Until the worktree is moved a worker may work on: a step of these that is tried again begins with a new look.
LOOKED_AT_ANEW = ("preserve", "quiesce", "move")


def _take_up_again(tools: Tools, retirement: Retirement) -> Retirement | None:
    """Return the record to go on from, None where somebody has removed the worktree meanwhile."""
    moved = find_moved(tools, retirement)
    if retirement.step in LOOKED_AT_ANEW and moved == retirement.path:
        return retirement.but(step="verify")
    if retirement.step in LOOKED_AT_ANEW and not moved and not os.path.lexists(retirement.admin):
        return None
    return retirement


def retire_worktree(tools: Tools, retirement: Retirement, record, ask_stopped=None) -> Outcome:
    """Go through the steps from the recorded one; record(retirement) saves it durably before each.

    Killed anywhere, it goes on from the record. ask_stopped() says right before somebody is ended whether a person
    said stop meanwhile, "" if not. data of the outcome: result (retired, refused, gone, failed),
    blockers, escalate, ref, commit, tip, branch {name, result, reason}, no_commits, merged.
    """

    def end(result: str, detail: str, **data) -> Outcome:
        return Outcome(
            kind="retire",
            subject=retirement.name,
            ok=result in ("retired", "gone"),
            at=tools.host.now(),
            detail=detail,
            data={"result": result, **data},
        )

    try:
        again = _take_up_again(tools, retirement)
        if again is None:
            if list_refs(tools.git, RETIRING_REFS + retirement.id):
                _keep_ref(tools, retirement)
            return end("gone", "somebody removed it meanwhile; what was preserved stays under its kept ref")
        retirement = again
        if retirement.step == "verify" and read_worktree(tools.rig, retirement.name) is None:
            return end("gone", "it is gone already")
        for step, do in STEPS[[name for name, _ in STEPS].index(retirement.step) :]:
            retirement = retirement.but(step=step)
            record(retirement)
            if step == "quiesce" and ask_stopped is not None and ask_stopped():
                _refuse(tools, retirement, [Finding(kind="held", what=ask_stopped())])
            retirement = do(tools, retirement)
            record(retirement)
        said = f"branch {retirement.branch_result}: {retirement.branch_reason}"
        said += f"; not pushed: {retirement.unpushed}" if retirement.unpushed else ""
        return end("retired", said, **_sum_up(tools, retirement))
    except RefusedError as refused:
        return end(
            "refused",
            str(refused),
            escalate=refused.escalate,
            blockers=[[one.kind, one.evidence, one.remedy] for one in refused.blockers],
        )
    except (ToolError, OSError) as error:
        return end("failed", f"step {retirement.step}: {clean_line(str(error))}")


def find_retirement_blockers(tools: Tools, retirement: Retirement) -> tuple:
    """Return what would block a retirement now; nothing is changed."""
    try:
        _verify(tools, retirement)
    except RefusedError as refused:
        return refused.blockers
    return ()


# ====================================================================================================
# room: recover — what was retired, what was left unfinished, and the way back
# ====================================================================================================


def read_meta(git: Git, commit: str) -> dict:
    """Return the meta.json of a rescue commit.

    Raises:
        ToolError: there is none that can be read.
    """
    try:
        meta = json.loads(git.ask(None, "cat-file", "blob", f"{commit}:meta.json"))
        meta["retirement"] = load_value(Retirement, meta["retirement"])
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(f"{commit[:12]} holds no meta.json we know: {clean_line(str(error))}") from None
    return meta


def list_retired(tools: Tools, refs: str = RETIRED_REFS) -> list:
    """Return every retired polecat, newest first; with RETIRING_REFS those whose retirement is under way."""
    rows = []
    for ref, commit in list_refs(tools.git, refs):
        if re.match(RETIREMENT_ID + "-sub/", ref[len(refs) :]):
            continue  # of a submodule, beside it
        try:
            retirement = read_meta(tools.git, commit)["retirement"]
        except ToolError:
            retirement = Retirement(name=ref[len(refs) :].partition("/")[0], id=ref[len(refs) :], at=0.0)
        rows.append(
            {
                "name": retirement.name,
                "issue": retirement.issue or None,
                "at": rfc3339(retirement.at),
                "commit": commit,
                "tip": retirement.tip,
                "ref": ref,
                "branch": retirement.branch or None,
            }
        )
    return sorted(rows, key=lambda row: (row["at"], row["ref"]), reverse=True)


def find_unfinished(tools: Tools, known) -> tuple:
    """Return (the retirements that only git knows of, because the memory of them was lost; what stood against a look).

    One whose instance has gone on to live, or that never went beyond preserving, becomes a kept ref.

    Raises:
        ToolError: git could not be asked.
    """
    found, troubles = [], []
    for ref, commit in list_refs(tools.git, RETIRING_REFS):
        retirement_id = ref[len(RETIRING_REFS) :]
        # Those of submodules stand beside it and are renamed with it.
        if retirement_id in known or not re.fullmatch(RETIREMENT_ID, retirement_id):
            continue
        try:
            meta = read_meta(tools.git, commit)
            retirement = meta["retirement"].but(commit=commit)
            if find_moved(tools, retirement) == retirement.path:
                rename_ref(tools, ref, KEPT_REFS + retirement.id)
                continue
        except ToolError as error:  # one that cannot be read must not hide the others
            troubles.append(f"{ref}: {error.message}")
            continue
        found.append(retirement.but(committed=meta["committed"], step="remove" if meta["committed"] else "move"))
    return found, troubles


def _refuse_to_overwrite(tools: Tools, retirement: Retirement, branch: str) -> None:
    if os.path.lexists(retirement.path):
        raise WitnessError(f"{retirement.path} is there", "move it away first")
    session = session_for(tools.config.session_name, tools.rig.name, retirement.name)
    panes = tools.tmux.list_panes()
    if isinstance(panes, str):
        raise ToolError(panes)
    if any(pane.session == session for pane in panes):
        raise WitnessError(f"session {session} is there", "end it first")
    there = tools.git.value(None, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}") if branch else ""
    if there and there != retirement.tip:
        raise WitnessError(f"branch {branch} has moved since", "rename it first: git branch -m")


def _is_brought_back(inside: str) -> bool:
    """Tell which of the old admin folder's files the new one takes over: not those that name its own place."""
    own_place = ("gitdir", "commondir", "HEAD", "locked", "refs")
    return inside.partition("/")[0] not in own_place and not inside.endswith(".lock")


def _put_file(host: Host, target: str, content: bytes, mode: str, bits) -> None:
    host.make_folder(os.path.dirname(target), 0o755)
    if os.path.isdir(target) and not os.path.islink(target):
        host.delete_tree(target)  # of the checkout just made: what was a folder there had become a file
    if os.path.islink(target) or (mode == "120000" and os.path.lexists(target)):
        host.remove(target)
    if mode == "120000":
        os.symlink(os.fsdecode(content), target)
        return
    host.write(target, content, mode=bits if bits is not None else 0o755 if mode == "100755" else 0o644)


def _drop_file(host: Host, top: str, path: str) -> None:
    """Take a file out of a fresh checkout, and the folders that it leaves empty."""
    target = os.path.join(top, path)
    if os.path.lexists(target) and (os.path.islink(target) or not os.path.isdir(target)):
        host.remove(target)
    try:
        while os.path.dirname(target) != top:
            target = os.path.dirname(target)
            os.rmdir(target)
    except OSError:
        return  # something else is in it


def _write_back(tools: Tools, tree: Worktree, commit: str, meta: dict) -> None:
    git = tools.git
    for path in meta["deleted"]:  # first: a file may have taken a folder's place, or a folder a file's
        _drop_file(tools.host, tree.path, path)
    for record in git.ask(None, "ls-tree", "-r", "-z", commit, "files/", "admin/").split(b"\0"):
        about, _, place = record.partition(b"\t")
        if not place:
            continue
        mode, _, name = about.decode().split()
        where, _, inside = os.fsdecode(place).partition("/")
        if where == "admin" and not _is_brought_back(inside):
            continue
        target = os.path.join(tree.path if where == "files" else tree.admin, inside)
        content = git.ask(None, "cat-file", "blob", name)
        _put_file(tools.host, target, content, mode, meta["modes"].get(inside) if where == "files" else None)
    kept = os.path.join(tools.rig.state, "rescued", meta["retirement"].id)
    for path in meta["precious"]:
        _put_file(
            tools.host,
            os.path.join(tree.path, path),
            tools.host.read(os.path.join(kept, path), 1 << 30) or b"",
            "100644",
            meta["modes"].get(path, 0o600),
        )


def _bring_ignored(tools: Tools, retirement: Retirement, tree: Worktree) -> None:
    """Bring back from the kept folder what git ignores, while it is there."""
    kept = os.path.join(tools.rig.state, "retiring", retirement.id.replace("/", ".") + ".kept")
    if not os.path.isdir(kept):
        return
    for folder, folders, files in os.walk(kept):
        inside = os.path.relpath(folder, kept)
        for name in [*files, *(one for one in folders if os.path.islink(os.path.join(folder, one)))]:
            source, target = os.path.join(folder, name), os.path.normpath(os.path.join(tree.path, inside, name))
            if (inside, name) == (os.curdir, ".git") or os.path.lexists(target):
                continue
            if os.path.islink(source):
                _put_file(tools.host, target, os.fsencode(os.readlink(source)), "120000", None)
            elif os.path.isfile(source):
                bits = stat.S_IMODE(os.lstat(source).st_mode)
                _put_file(tools.host, target, tools.host.read(source, 1 << 34) or b"", "100644", bits)


def _clear_stage(tools: Tools, stage: str) -> None:
    """Take away what a recovery that was killed has left; all that was in it is in the ref still."""
    ours = os.fsencode(os.path.join(stage, ".git"))
    named = parse_gitfile(tools.host.read(os.fsdecode(ours), 65536) or b"")
    if named and os.path.isdir(named):
        tools.host.write(os.path.join(named, "gitdir"), ours + b"\n", mode=0o644)  # it may name its last place already
    if os.path.lexists(stage):
        tools.host.delete_tree(stage)
    entries = os.path.join(tools.rig.common, "worktrees")
    for entry in os.listdir(entries) if os.path.isdir(entries) else ():
        admin = os.path.join(entries, entry)
        if (tools.host.read(os.path.join(admin, "gitdir"), 65536) or b"").strip() == ours:
            tools.host.remove(os.path.join(admin, "locked"))  # git locks an entry while it makes it
            tools.git.change(None, "worktree", "remove", "--force", stage)


def recover_worktree(tools: Tools, name: str, at: str = "") -> dict:
    """Bring a retired polecat's worktree back: branch, files, index, deletions, modes, unfinished operations.

    It is made beside its place and moved there when it is whole: one that was killed half-way is simply done again.

    Raises:
        WitnessError: nothing of that name, or something stands in its place.
    """
    git, rig = tools.git, tools.rig
    rows = [row for row in list_retired(tools) if row["name"] == name and (not at or at in row["ref"])]
    if not rows:
        raise WitnessError(f"nobody called {name}{'@' + at if at else ''} was retired", "`witness retired` lists them")
    commit = rows[0]["commit"]
    meta = read_meta(git, commit)
    retirement = meta["retirement"]
    _refuse_to_overwrite(tools, retirement, meta["branch"])
    path, branch = retirement.path, meta["branch"]
    stage = os.path.join(rig.state, "recovering", name)
    _clear_stage(tools, stage)
    for folder, mode in ((os.path.dirname(path), 0o755), (os.path.dirname(stage), 0o700)):
        tools.host.make_folder(folder, mode)
    # Whole paths: with relative ones the .git file would be wrong after the move.
    add = ("-c", "worktree.useRelativePaths=false", "worktree", "add", "--quiet")
    if branch and git.test(None, "show-ref", "--verify", "--quiet", f"refs/heads/{branch}"):
        git.change(None, *add, stage, branch)
    elif branch:
        git.change(None, *add, "--no-track", "-b", branch, stage, retirement.tip)
    else:
        git.change(None, *add, "--detach", stage, meta["head"] or f"{commit}^1")
    admin = parse_gitfile(tools.host.read(os.path.join(stage, ".git"), 65536) or b"")
    if admin is None:
        raise ToolError(f"{stage} did not come back")
    made = Worktree(name=name, path=stage, admin=admin)
    _write_back(tools, made, commit, meta)
    _bring_ignored(tools, retirement, made)
    tools.host.write(os.path.join(admin, "gitdir"), os.fsencode(os.path.join(path, ".git")) + b"\n", mode=0o644)
    tools.host.move(stage, path)
    tree = read_worktree(rig, name)
    if not isinstance(tree, Worktree):
        raise ToolError(f"{path} did not come back: {tree or 'it is not there'}")
    return {"name": name, "path": tree.path, "ref": rows[0]["ref"], "commit": commit, "branch": branch or None}


# ====================================================================================================
# room: spawner — a worker is made outside the tick, by a recorded child that tells how it ended
# ====================================================================================================
#
# The child holds SPAWN_LOCK_FILE for its life, so whether it lives can be asked without its pid, also after our own
# crash; SPAWN_FILE says who it is and how it ended. Each of its steps finds what an earlier try has left.


def worker_environment(rig: Rig, name: str, issue: str) -> dict:
    """Return what an agent is told of its place."""
    return {
        "GT_RIG": rig.name,
        "GT_POLECAT": name,
        "WITNESS_RIG": rig.path,
        "WITNESS_POLECAT": name,
        "WITNESS_ISSUE": issue,
        "WITNESS_COMMAND": rig.agents_path,
    }


def fill_command(template, rig: Rig, name: str, issue: str, title: str, path: str) -> tuple:
    """Return agent_command with its places filled, each still one word; braces in a title stay text."""
    values = {"rig": rig.name, "name": name, "issue": issue, "title": title, "worktree": path}
    return tuple(
        re.sub(r"\{(rig|name|issue|title|worktree)\}", lambda match: values[match.group(1)], word) for word in template
    )


def start_agent(tools: Tools, name: str, issue: str, title: str, path: str) -> str:
    """Start the agent's session in its worktree; return "" or why not."""
    rig, config = tools.rig, tools.config
    argv = fill_command(config.agent_command, rig, name, issue, title, path)
    session = session_for(config.session_name, rig.name, name)
    ran = tools.tmux.start_session(session, path, argv, worker_environment(rig, name, issue))
    return "" if ran.ok else ran.reason()


def start_spawn_child(store: Store, order: dict):
    """Start the child that carries out a spawn order; return it, or in words why it could not be started."""
    fd = take_lock(store.path(SPAWN_LOCK_FILE))
    if fd is None:
        return "another spawn still runs"
    try:
        store.host.remove(store.path(SPAWN_FILE))
        read_fd, write_fd = os.pipe()
        try:
            child = start_child(call_ourselves("_spawn", str(fd)), os.environ, (read_fd, None, None), keep_fds=(fd,))
        except OSError:
            os.close(write_fd)
            raise
        finally:
            os.close(read_fd)  # or a child that ended before it read would leave us writing for ever
        with open(write_fd, "wb") as file:
            file.write(json.dumps(order).encode())
    except OSError as error:
        return f"the spawn child could not be started: {error.strerror}"
    finally:
        os.close(fd)  # the child's copy keeps the lock
    return child


def _watch_birth(tools: Tools, session: str) -> str:
    """See that a new session still lives a moment later; most wrong commands end at once."""
    for _ in range(2):
        tools.host.pause(0.5)
        panes = tools.tmux.list_panes()
        if isinstance(panes, str):
            return panes
        if not any(pane.session == session and not pane.dead for pane in panes):
            return f"the agent ended at once: {clean_line(' '.join(tools.config.agent_command), 120)}"
    return ""


def _is_unfinished(host: Host, tree: Worktree) -> bool:
    """Tell whether the making of a worktree was broken off: git locks its entry while it makes it."""
    return (host.read(os.path.join(tree.admin, "locked"), 4096) or b"").strip() == b"initializing"


def _finish_worktree(tools: Tools, tree: Worktree, tell) -> None:
    """Make a worktree whole whose making was killed, before an agent takes what is missing for deleted.

    git's mark is taken away last, so each step can be repeated. What lies there nobody has ever looked at: it is kept
    as the folder of a retired worker is.

    Raises:
        ToolError: git did not do it.
        OSError: a file could not be moved.
    """
    host = tools.host
    if host.look(os.path.join(tree.admin, "index")) is None:  # git writes it when all files are there
        kept = os.path.join(tools.rig.state, "retiring", f"{tree.name}.{int(host.now() * 1000)}.kept")
        host.make_folder(kept)
        for name in os.listdir(tree.path):
            if name != ".git":
                host.move(os.path.join(tree.path, name), os.path.join(kept, name))
        host.remove(os.path.join(tree.admin, "index.lock"))
        tools.git.change(tree, "reset", "--hard", "--quiet")
        tell(birth=read_birth(tools.git, tree))
    host.remove(os.path.join(tree.admin, "locked"))


def _make_worker(tools: Tools, order: dict, tell) -> tuple:
    """Return (fault, reason); ("", "") is a worker that lives."""
    name, branch = order["name"], order["branch"]
    path = os.path.join(tools.rig.polecats, name)
    sight = read_worktree(tools.rig, name)
    if isinstance(sight, Worktree) and _is_unfinished(tools.host, sight):
        if sight.branch != branch:  # killed before it had one, or somebody is making one of this name just now
            return "tool", f"{path}: it is half made; `git worktree remove -f -f {path}` takes it away"
        _finish_worktree(tools, sight, tell)
    if sight is None:
        panes = tools.tmux.list_panes()
        if isinstance(panes, str):
            return "tool", panes
        own, trouble = find_session(tools.rig, tools.config, name, panes)
        if own or trouble:
            return (
                "host",
                trouble or f"a session {own[0].session} is there already, and is no worker's; end or rename it",
            )
        commit, reason = fetch_start_point(tools.git, tools.config)
        if reason:
            return "host", reason
        tell(commit=commit)
        reason = add_worktree(tools.git, path, branch, commit)
        if reason:
            return "tool", reason
        sight = read_worktree(tools.rig, name)
        if isinstance(sight, Worktree):
            tell(birth=read_birth(tools.git, sight))
    if not isinstance(sight, Worktree) or sight.trouble:
        return "tool", f"{path}: {sight.trouble if isinstance(sight, Worktree) else sight or 'it is not there'}"
    session = session_for(tools.config.session_name, tools.rig.name, name)
    panes = tools.tmux.list_panes()
    if isinstance(panes, str):
        return "tool", panes
    own, trouble = find_session(tools.rig, tools.config, name, panes)
    if trouble:
        return "tool", trouble
    if not own:
        reason = start_agent(tools, name, order["issue"], order["title"], sight.path)
        if reason:
            return "tool", reason
    return "", _watch_birth(tools, session)


def _sling(host: Host, order: dict, tell, began) -> tuple:
    """Let gt make a worker; return (fault, reason): ("", "") where it says that it did."""
    folder, timeout_s = order["rig"]["path"], order["config"]["spawn_timeout"]
    ran = host.run(order["argv"], timeout_s, cwd=folder, env=order["environ"], began=began)
    answer = decode_gt(ran)
    if answer.worker:
        tell(name=answer.worker)
    # What it refuses, or does not know, is about the issue; what it cannot do is a fault of the tool.
    fault = "" if answer.kind in (MISSING, REFUSED) else "tool"
    return ("", "") if answer.kind == DONE else (fault, f"{' '.join(order['argv'][:2])}: {answer.reason}")


def run_spawn_child(host: Host, fd: int, order: dict) -> int:
    """Be the spawn child: fetch, worktree, session, then see that the worker lives; say all of it in SPAWN_FILE."""
    import signal

    os.set_inheritable(fd, False)  # a tmux server started from here must not keep the lock for life
    # Ended for taking too long, it must take its git with it: an orphan would make the worktree after all.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_FAILED))
    rig = load_value(Rig, order["rig"])
    config = Config({**order["config"]}, {})
    path = os.path.join(rig.state, SPAWN_FILE)
    process = read_process(host, os.getpid())
    note = {key: order[key] for key in ("issue", "name", "branch", "before") if key in order}
    note.update(pid=os.getpid(), start=process.start if process else 0, at=rfc3339(host.now()), ok=None)

    def tell(**changes) -> None:
        note.update(changes)
        host.write(path, (json.dumps(note, sort_keys=True) + "\n").encode("utf-8", "surrogateescape"))

    def note_tool(pid: int) -> None:
        process = read_process(host, pid)
        if process is not None:
            tell(tool=[pid, process.start])

    tell()
    # A fetch or a checkout may take as long as the whole spawn.
    tools = make_tools(host, rig, config).but(git=Git(host, rig, config.spawn_timeout, began=note_tool))
    try:
        fault, reason = _sling(host, order, tell, note_tool) if "argv" in order else _make_worker(tools, order, tell)
    except (OSError, WitnessError) as error:  # without a word of it, "no worker came of it" would be all that is known
        fault, reason = "tool", error.line() if isinstance(error, WitnessError) else str(error)
    tell(ok=not reason, reason=reason, fault=fault)
    return EXIT_FAILED if reason else EXIT_OK


def read_spawn(store: Store) -> SpawnSight | None:
    """Return the spawn child as it is now, None where nothing is known of one."""
    busy = is_locked(store.path(SPAWN_LOCK_FILE))
    data = read_object(store.host, store.path(SPAWN_FILE))
    if not data and not busy:
        return None
    pid, start, tool = data.get("pid", 0), data.get("start", 0), data.get("tool")
    is_pair = isinstance(tool, list) and len(tool) == 2 and all(type(one) is int for one in tool)
    tool = tuple(tool) if is_pair else ()
    # Both of us may be killed, and gt or git go on: nothing is settled before it has ended, too.
    lives = bool(tool) and data.get("ok") is None and is_same_process(store.host, *tool) is not False
    return SpawnSight(
        alive=busy is not False or lives,
        tool=tool,
        issue=str(data.get("issue", "")),
        name=str(data.get("name", "")),
        pid=pid if isinstance(pid, int) and isinstance(start, int) else 0,
        start=start if isinstance(pid, int) and isinstance(start, int) else 0,
        ok=data.get("ok"),
        reason=str(data.get("reason", "")),
        fault=str(data.get("fault", "")),
        branch=str(data.get("branch", "")),
        commit=str(data.get("commit", "")),
        birth=freeze(data.get("birth", [])),
        before=tuple(str(one) for one in data.get("before", ()) if isinstance(data.get("before"), list)),
    )


# ====================================================================================================
# FLOOR: running
# ====================================================================================================

# ====================================================================================================
# room: observe — one look at everything; a look that fails is a value
# ====================================================================================================


RACY_S = 2.0  # a file changed so lately may change again within one step of its clock, and look the same (as for git)


def _mark(seen: os.stat_result | None) -> tuple | None:
    """Return what differs as soon as a file was changed; of a folder, whose times change with each file, what it is."""
    if seen is None:
        return None
    if stat.S_ISDIR(seen.st_mode):
        return seen.st_dev, seen.st_ino, seen.st_mode
    return seen.st_dev, seen.st_ino, seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


class Shelf:
    """What was made of files that seldom change, made anew as soon as one of them looks different.

    Of a thousand worktrees most stand still between two ticks; ten looks at stats cost half of reading one anew.
    """

    def __init__(self, host: Host) -> None:
        self.host, self.now = host, 0.0
        self.before, self.current = {}, {}  # name -> (what was made, the mark of each path it was made of)
        self.asked, self.settled = {}, True  # of what is being made

    def turn(self, now: float) -> None:
        """Begin a look: what the last one did not ask for is forgotten."""
        self.now, self.before, self.current = now, self.current, {}

    def make(self, name: str, maker, *words):
        """Return maker(*words, self), or what it returned in the last look where nothing it looked at has changed."""
        value, asked = self.before.get(name, (None, None))
        if asked is None or asked != {path: _mark(self.host.look(path)) for path in asked}:
            self.asked, self.settled = {}, True
            value = maker(*words, self)
            asked = self.asked if self.settled else None
        if asked is not None:
            self.current[name] = value, asked
        return value

    def look(self, path: str) -> os.stat_result | None:
        """Look as Host.look does; what looks different from one time to the next is not kept."""
        seen = self.host.look(path)
        mark = _mark(seen)
        if self.asked.setdefault(path, mark) != mark:
            self.settled = False
        return seen

    def peek(self, path: str) -> os.stat_result | None:
        """Look without a mark: what this is about changes only together with what has one."""
        seen = self.host.look(path)
        if seen is None:  # it is always there: this was a look that failed
            self.settled = False
        return seen

    def read(self, path: str, limit_bytes: int = OUTPUT_LIMIT_BYTES) -> bytes | None:
        """Return a file's content as Host.read does, and raise what that raises."""
        seen = self.look(path)
        if seen is not None and (stat.S_ISLNK(seen.st_mode) or seen.st_ctime >= self.now - RACY_S):
            self.settled = False
        try:
            return self.host.read(path, limit_bytes)
        except OSError:  # too many open files, say: that has an end of which no stat tells
            self.settled = False
            raise

    def resolve(self, path: str) -> str:
        """Resolve as Host.resolve does; the links on the way leave no mark."""
        self.settled = False
        return self.host.resolve(path)


class Station:
    """What one process holds to watch one rig: hands, settings, and what it carries from tick to tick."""

    def __init__(self, host: Host, rig: Rig, config: Config) -> None:
        self.host, self.rig = host, rig
        self.store = Store(host, rig)
        self.tick_lock_fd = None
        self.actor = self.store.read_actor()
        self.use(config)
        self.first = True
        self.taken_up = False  # git was asked for retirements that a lost memory knew of
        self.outcomes = ()
        self.looks = {}
        self.shelf = Shelf(host)
        self.versions = {}  # of the tools, as they were told last
        self.proved = set()  # tools that have told theirs and have not failed since
        self.sink_failed_at = 0.0  # when escalate_command failed last
        self.kept = {}  # bytes of the kept folders by name, as of the latest sweep
        self.spawn_child = None  # kept only to be reaped; whether it lives its lock says
        self.memory = Memory()  # the latest, also while actions are performed

    def use(self, config: Config) -> None:
        """Take settings into use."""
        self.config = config
        backend = self._find_backend()
        self.town = Gastown(self.host, self.rig, config) if backend[0] == "gastown" else None
        self.queue = self._make_queue(backend)
        self.mailbox = Mailbox(self.host, self.rig) if self.town is None else TownMail(self.host, self.town)
        self.make_tools()

    def _make_queue(self, backend: tuple):
        if self.town is not None:
            return TownQueue(self.host, self.rig, self.config, self.actor, backend, self.town)
        if backend[0] == "beads":
            return BeadsQueue(self.host, self.rig, self.config, self.actor, backend)
        return LocalQueue(self.host, self.rig, backend)

    def make_tools(self) -> None:
        """Make the tools anew: settings, lock or town have changed."""
        dialect = self.town.gt.dialect if self.town is not None else None
        self.tools = make_tools(self.host, self.rig, self.config, self.tick_lock_fd, dialect)

    def look_at_town(self) -> tuple:
        """Return (the town or None, the port of the spawner), and take the town's sessions for those to be watched."""
        if self.town is None:
            named = bool(self.config.agent_command)
            return None, Port() if named else Port(state=ABSENT, reason="agent_command is not set")
        town, port = self.town.look()
        if town is not None:
            told, values, origins = {"session_name": town.session, "tmux_socket": town.socket}, {}, {}
            for name, value in told.items():
                if self.config.origins[name] in ("default", "gt"):
                    values[name], origins[name] = value, "gt"
            if {**self.config.values, **values} != self.config.values or self.tools.dialect != self.town.gt.dialect:
                config = self.config
                self.config = Config({**config.values, **values}, {**config.origins, **origins})
                self.make_tools()
        return town, port

    def _find_backend(self) -> tuple:
        """Return (backend, why): the one that this rig had, where its database is away."""
        found = find_backend(self.host, self.rig, self.config)
        if self.config.backend != "auto" or found[0] == "gastown":
            return found
        try:
            had = json.loads(self.host.read(self.store.path(MEMORY_FILE), MEMORY_LIMIT_BYTES) or b"{}")
        except OSError as error:  # nobody can tell which it was
            return "unknown", f"{MEMORY_FILE}: {error.strerror}"
        except (ValueError, RecursionError):  # it is moved aside, and made anew
            return found
        had = had.get("backend") if isinstance(had, dict) else ""
        if had == "gastown":  # its rig has a database of its own, which says nothing of the town
            return had, "remembered; its town is away"
        return (had, "remembered; its database is away") if had == "beads" and found[0] == "local" else found

    def remember(self, memory: Memory) -> None:
        """Save a memory, and keep it as the present one."""
        self.store.save(memory)
        self.memory = memory


def _ask_version(station: Station, tool: str, argv) -> Port:
    """Ask a tool's version once per process, and again while it does not answer or after it may have failed."""
    version = station.versions.get(tool, "")
    if tool not in station.proved:
        ran = station.host.run(argv, station.config.tool_timeout)
        match = re.search(r"\d+\.\d+\S*", ran.text()) if ran.ok else None
        if match is None:
            reason = f"{' '.join(argv)} printed {clean_line(ran.text(), 60)!r}" if ran.ok else ran.reason()
            return Port(state=UNKNOWN, version=version, reason=reason)
        version = station.versions[tool] = match.group()
        station.proved.add(tool)
    return Port(version=version)


def list_worktrees(rig: Rig, shelf: Shelf) -> tuple:
    """Return (worktrees, (folder, reason) of what is none, why the folder cannot be read)."""
    if not os.path.realpath(rig.polecats).startswith(rig.path + os.sep):
        return (), (), f"{rig.polecats}: leads out of the rig; move what it names into the rig"
    try:
        names = sorted(os.listdir(rig.polecats))
    except FileNotFoundError:
        return (), (), ""
    except OSError as error:
        return (), (), f"{rig.polecats}: {error.strerror}"
    if os.path.islink(f"{rig.common}/worktrees"):
        shelf.before = {}  # where it leads may change without a sign in what lies there
    worktrees, strangers = [], []
    for name in names:
        if name.startswith("."):
            continue
        found = shelf.make(name, read_worktree, rig, name)
        if isinstance(found, Worktree):
            worktrees.append(found)
        elif found is not None:
            strangers.append((clean_line(name, 80), found))
    return tuple(worktrees), tuple(strangers), ""


def _sight(station: Station, tree: Worktree, panes, memory: Memory) -> Sighting:
    """Return one polecat as seen now; the recorded pane is its own, whatever else was split off beside it."""
    if isinstance(panes, str):
        return Sighting(name=tree.name, worktree=tree)
    host = station.host
    own, trouble = find_session(station.rig, station.config, tree.name, panes)
    if trouble:
        return Sighting(name=tree.name, worktree=tree.but(trouble=trouble))
    track = memory.polecats.get(tree.name) or Track()
    if not own:
        lives = is_same_process(host, track.pane_pid, track.pane_start) is True
        return Sighting(name=tree.name, worktree=tree, session=ABSENT, process_lives=lives)
    pane = next((one for one in own if one.pane_id == track.pane_id and instance_of(one) == track.instance), None)
    pane = pane or min(own, key=lambda one: int(one.pane_id[1:]))
    start = track.pane_start if (track.pane_pid, track.instance) == (pane.pid, instance_of(pane)) else 0
    if not start:
        try:
            process = read_process(host, pane.pid)
            start = process.start if process is not None else 0
        except OSError:
            start = 0
    return Sighting(
        name=tree.name,
        worktree=tree,
        session=PRESENT,
        panes=own,
        pane=pane,
        pane_start=start,
        shell=judge_shell(host, pane),
    )


def _sight_all(station: Station, worktrees, panes, memory: Memory) -> dict:
    """Return every polecat as seen now; the panes are dealt out first, for among a thousand a thousand would search."""
    if isinstance(panes, str):
        return {tree.name: _sight(station, tree, panes, memory) for tree in worktrees}
    by_session = {}
    for pane in panes:
        by_session.setdefault(pane.session, []).append(pane)
    names = {tree.name: session_for(station.config.session_name, station.rig.name, tree.name) for tree in worktrees}
    return {tree.name: _sight(station, tree, by_session.get(names[tree.name], ()), memory) for tree in worktrees}


def _list_wanted(memory: Memory, claims: dict | None) -> tuple:
    """Return the issues whose state counts although they are neither ready nor in progress."""
    ours = [claim.issue for claim in (claims or {}).values() if claim.state != "released" and claim.state != "closed"]
    return tuple(one for one in dict.fromkeys([*ours, *memory.issues, *memory.spawned_issues]) if is_issue_id(one))


def observe(station: Station, memory: Memory, gap: bool = False, **wish) -> Observation:
    """Look at everything once: one tmux call, no git call; the rest are files.

    wish: person, duties, only of a one-shot command.
    """
    host, rig, store = station.host, station.rig, station.store
    if station.spawn_child is not None and station.spawn_child.poll() is not None:
        station.spawn_child = None
    town, spawner = station.look_at_town()
    lost = station.town is not None and town is None  # then nobody knows on which server the sessions are
    panes = f"which tmux server it is only gt tells: {spawner.reason}" if lost else station.tools.tmux.list_panes()
    ports = {"tmux": Port(), "spawner": spawner}
    if isinstance(panes, str):
        ports["tmux"] = Port(state=UNKNOWN, version=station.versions.get("tmux", ""), reason=panes)
    ports["git"] = _ask_version(station, "git", ("git", "--version"))
    if ports["tmux"].state == PRESENT:
        ports["tmux"] = _ask_version(station, "tmux", ("tmux", "-V"))
    station.shelf.turn(host.now())
    worktrees, strangers, trouble = list_worktrees(rig, station.shelf)
    if trouble:
        ports["git"] = Port(state=UNKNOWN, reason=trouble)
    known = {mail for request in memory.requests.values() for mail in request.mails}
    mails, waiting, ports["mailbox"] = station.mailbox.read_inbox(known, memory.handled)
    claims = station.queue.claims.read()
    asked = wish.get("only", ()) if wish else None
    # Workers of a town may be somebody else's, and then only their branches tell what they work on.
    doubtful = tuple(filter(None, (read_branch(tree.branch) for tree in worktrees))) if town is not None else ()
    asks = (read_ask(mail, rig.name, ()) for mail in mails if mail.sender == SLINGER)
    named = tuple({ask.bead: None for ask in asks if ask.kind == "reassigned"})[:ACKS_PER_TICK]
    issues, bad_lines, ports["queue"] = station.queue.read_issues(_list_wanted(memory, claims), asked, named, doubtful)
    trouble = station.queue.claims.trouble
    if claims is None and ports["queue"].state == PRESENT:  # no issue is given to a worker, and none set free
        ports["queue"] = ports["queue"].but(state=UNKNOWN, reason=f"{trouble}; {CLAIM_REMEDY}")
    holds = store.read_holds()
    now = host.now()
    return Observation(
        now=now,
        day=time.strftime("%Y-%m-%d", time.localtime(now)),
        rig=rig.name,
        first=station.first,
        gap=gap,
        ports=ports,
        sightings=_sight_all(station, worktrees, panes, memory),
        strangers=strangers,
        sessions=None if isinstance(panes, str) else frozenset(pane.session for pane in panes),
        looks=station.looks,
        outcomes=station.outcomes,
        mails=mails,
        mails_waiting=waiting,
        bad_mails=station.mailbox.bad,
        issues=issues,
        whole=station.queue.whole,
        fresh=station.queue.fresh,
        bad_lines=bad_lines,
        claims=claims,
        spawn=read_spawn(store),
        load=read_load(rig.path),
        paused=holds["paused"],
        holds=holds["holds"],
        resumed_at=holds["resumed_at"],
        actor=station.actor,
        command=rig.agents_path,
        town=town,
        **wish,
    )


# ====================================================================================================
# room: typing — a reminder into an agent's pane, and never into a shell
# ====================================================================================================


def _squeeze(text: str) -> str:
    return re.sub(r"\W+", "", text)


def _wait_for_screen(station: Station, pane: Pane, accept) -> bool:
    for _ in range(10):
        screen = station.tools.tmux.screen(pane.pane_id)
        if screen is not None and accept(screen):
            return True
        station.host.pause(0.1)
    return False


def _find_typable(station: Station, action: Nudge) -> tuple:
    """Return (the pane as it is now, "") if it may be typed into, else (None, why not)."""
    panes = station.tools.tmux.list_panes()
    if isinstance(panes, str):
        return None, panes
    wanted = action.pane
    pane = next((one for one in panes if wanted is not None and one.pane_id == wanted.pane_id), None)
    if pane is None or (instance_of(pane), pane.pid) != (instance_of(wanted), wanted.pid):
        return None, "the pane is gone"
    if pane.dead or pane.in_mode:
        return None, "the pane has ended" if pane.dead else "the pane is in copy mode"
    if pane.command.lstrip("-") in NEVER_TYPE or pane.command not in action.agents:
        return None, f"{clean_line(pane.command, 40)} is in front, which was not seen as the agent"
    if pane.attached:
        persons = station.tools.tmux.count_persons(pane.session_id)
        if persons:
            return None, persons if isinstance(persons, str) else "a person is attached"
    return pane, ""


def type_nudge(station: Station, action: Nudge) -> tuple:
    """Paste a nudge into the agent's pane and see that it arrived; (delivered, how it went).

    Everything is looked at again right before, for the agent may have exited since: then a shell would run the words.
    One pane is typed into by one Witness at a time because the tick lock is held.
    """
    tmux = station.tools.tmux
    pane, refusal = _find_typable(station, action)
    if pane is None:
        return False, f"not typed: {refusal}"
    before = tmux.screen(pane.pane_id)
    text = clean_line(action.text, 1000)
    pasted = tmux.paste(pane.pane_id, text, f"witness-{pane.pane_id[1:]}")
    if not pasted.ok:
        return False, f"not typed: {pasted.reason()}"
    shown = _wait_for_screen(station, pane, lambda screen: _squeeze(text)[:60] in _squeeze(screen))
    if _find_typable(station, action)[0] is None:
        return True, "unconfirmed: pasted, but the pane changed before Enter"
    middle = tmux.screen(pane.pane_id)
    entered = tmux.enter(pane.pane_id)
    if not entered.ok:
        return True, f"unconfirmed: pasted, Enter failed: {entered.reason()}"
    moved = _wait_for_screen(station, pane, lambda screen: screen not in (middle, before))
    if shown and moved:
        return True, "delivered to the pane"
    return True, "unconfirmed: typed, " + ("nothing moved after Enter" if shown else "but it did not show")


# ====================================================================================================
# room: ward — what gt may reset kept in time, whoever lives told of, and what only the witness did
# ====================================================================================================


def make_outcome(station: Station, kind: str, action: Action, ok: bool, detail: str = "", **data) -> Outcome:
    """Return how an action ended."""
    return Outcome(kind=kind, subject=action.subject, ok=ok, at=station.host.now(), detail=detail, data=data)


def _fingerprint(tools: Tools, tree: Worktree) -> str:
    """Return what differs as soon as a worktree holds something else than before, of all that `preserve` keeps."""
    import zlib

    there, deleted = list_differing(tools, tree)
    patterns = (*tools.config.precious, *SWAP_FILES)
    there += [path for path in list_ignored(tools.git, tree) if is_precious(path, patterns)]
    for _, module in list_modules(tree):  # commits and stashes of a submodule
        for folder, _, files in os.walk(os.path.join(module, "logs")):
            there += [os.path.join(folder, file) for file in files]
    head = tools.git.value(tree, "rev-parse", "--verify", "--quiet", "HEAD")
    log = tools.host.look(os.path.join(tree.admin, "logs", "HEAD"))
    said = [head, tree.branch, log.st_size if log else 0, deleted]
    for path in sorted(there):  # what came with its old time, out of an archive say, has a new ctime
        about = tools.host.look(os.path.join(tree.path, path))
        said.append((path, about and (about.st_size, about.st_mtime_ns, about.st_ctime_ns)))
    staged = tools.git.ask(tree, "diff-index", "--cached", "-z", "HEAD") if head else b""
    digest = zlib.crc32(staged, zlib.crc32(repr(said).encode("utf-8", "surrogateescape")))
    return f"state {digest:08x} of {(head or 'nothing')[:12]}"


def keep_work(tools: Tools, tree: Worktree) -> str:
    """Keep all that a worktree holds under a ref, unless one that is kept holds the same; return the new ref or "".

    Raises:
        ToolError: it could not be kept.
    """
    mark, now = _fingerprint(tools, tree), tools.host.now()
    kept = [one for one in list_refs(tools.git, f"{KEPT_REFS}{tree.name}/") if one[0].count("/") == 4]  # no submodules'
    named = "".join(f"{commit}\n" for _, commit in sorted(kept)[-KEPTS_COMPARED:])
    if kept and mark.encode() in tools.git.ask(None, "cat-file", "--batch", stdin=named.encode()):
        return ""
    record = Retirement(name=tree.name, id=f"{tree.name}/{time_id(now)}", at=now, branch=tree.branch, path=tree.path)
    tip = tools.git.value(tree, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    preserve(tools, record.but(admin=tree.admin, tip=tip or ""), tree, folder=KEPT_REFS, note=mark)
    return KEPT_REFS + record.id


def perform_keep(station: Station, action: KeepWork) -> Outcome:
    """Keep the work of one whose worktree gt may reset."""
    tree = read_worktree(station.rig, action.subject)
    if not isinstance(tree, Worktree) or tree.trouble:
        trouble = tree.trouble if isinstance(tree, Worktree) else tree or "it is gone"
        return make_outcome(station, "keep", action, False, trouble)
    ref = keep_work(station.tools, tree)
    told = f"{ref}: {action.why}" if ref else ""
    return make_outcome(station, "keep", action, True, told, mark=action.mark, again=action.again)


def perform_heartbeats(station: Station, action: SendHeartbeats) -> Outcome:
    """Send the heartbeats that only gt's own commands in a session send."""
    failed = []
    for session in action.sessions if station.town.can("beats") else ():
        ran = station.town.beats.run("gt", "heartbeat", "--state=working", GT_SESSION=session)
        if not ran.ok:
            failed.append(f"{session}: {find_complaint(ran)}")
        if ran.failure:
            break  # the rest would wait as long
    return make_outcome(station, "beat", action, not failed, "; ".join(failed))


def list_trees(station: Station) -> tuple:
    """Return (the worktrees by name as they are now, {name: why} of those that cannot be read).

    Raises:
        ToolError: their folder cannot be read.
    """
    found, strangers, fault = list_worktrees(station.rig, Shelf(station.host))
    if fault:
        raise ToolError(fault)
    return {tree.name: tree for tree in found}, {name: why for name, why in strangers if why.startswith(UNREADABLE)}


def list_lives(station: Station, names, accept=None) -> frozenset | None:
    """Return those of the workers whose sessions are there, None where that cannot be known.

    accept: says of a pane whether it counts.
    """
    panes, found = station.tools.tmux.list_panes(), set()
    if isinstance(panes, str):
        return None
    for name in names:
        for pane in find_session(station.rig, station.config, name, panes)[0]:
            if not pane.dead and (accept is None or accept(pane)):
                found.add(name)
    return frozenset(found)


def raise_error(error: OSError) -> None:
    """Raise what `os.walk` would pass over: a folder that cannot be read is not empty."""
    raise error


def find_doomed(rig: Rig) -> str:
    """Return a folder that the next sling deletes although something is in it, "" if there is none.

    To gt, which looks for NAME/RIG/.git, also a clone or a worktree at NAME itself is what a dead sling has left.
    """
    try:
        with os.scandir(rig.polecats) as entries:
            names = sorted(one.name for one in entries if one.is_dir(follow_symlinks=False) and one.name[:1] != ".")
    except FileNotFoundError:  # nobody was ever made here
        return ""
    for name in names:
        folder = os.path.join(rig.polecats, name)
        is_its_own = os.path.lexists(os.path.join(folder, rig.name, ".git"))
        if not is_its_own and any(files for _, _, files in os.walk(folder, onerror=raise_error)):
            return folder
    return ""


def _keep_all(station: Station, trees) -> str:
    """Keep the work of each of these worktrees; return why that of one is not kept."""
    for tree in trees:
        try:
            ref = keep_work(station.tools, tree) if not tree.trouble else ""
        except (ToolError, OSError) as error:
            return f"the work of {tree.name} cannot be kept: {clean_line(str(error))}"
        if tree.trouble:
            return f"the work of {tree.name} cannot be kept: {tree.trouble}"
        if ref:
            station.store.tell("kept", tree.name, f"{ref}: before a sling")
    return ""


def protect(station: Station, resting=()) -> str:
    """Keep the work of everybody who has no session or rests, and send heartbeats for all others; return why not.

    A person attached to what is left of a session gets both: the agent is gone, and the person must not be ended.
    Asked right before a sling, however lately it was done: the sling chooses whom it resets by itself.
    """
    if not station.town.can("reuses"):
        return ""
    found, strangers, fault = list_worktrees(station.rig, Shelf(station.host))
    if fault:
        return fault
    trees = {tree.name: tree for tree in found}
    agents = list_lives(station, trees, lambda pane: judge_shell(station.host, pane) != "interactive")
    attended = list_lives(station, trees, lambda pane: pane.attached)
    if agents is None or attended is None:
        return "tmux does not answer, so nobody knows whose worktrees are at risk"
    agents -= set(resting)
    lives = agents | attended
    try:
        doomed = find_doomed(station.rig)
    except OSError as error:
        return f"{error.filename} cannot be looked through: {error.strerror}"
    if doomed:
        return f"{doomed} holds files, and gt deletes each folder there that is no worktree of its own; move it away"
    for name, why in strangers:  # to gt it is a worktree all the same, and idle
        if os.path.lexists(os.path.join(station.rig.polecats, name, station.rig.name, ".git")):
            return f"the work of {clean_line(name, 60)} cannot be kept: {why}"
    fault = _keep_all(station, [tree for name, tree in trees.items() if name not in agents])
    if fault:
        return fault
    if lives and not station.town.can("beats"):
        return f"{station.town.gt.told()} would end {min(lives)}, and knows no `gt heartbeat` that keeps it alive"
    sessions = tuple(session_for(station.config.session_name, station.rig.name, name) for name in sorted(lives))
    told = perform_heartbeats(station, SendHeartbeats(subject="workers", sessions=sessions))
    return "" if told.ok else f"a heartbeat could not be sent, and gt would end its session: {told.detail}"


def perform_patrol(station: Station, action: Patrol) -> Outcome:
    """Go through the town once, and let bd ring the timers of its gates."""
    panes = station.tools.tmux.list_panes()
    found = station.town.patrol(None if isinstance(panes, str) else {pane.session for pane in panes})
    bd = station.queue.bd
    if not bd.meet() and bd.numbers >= GATES_SINCE:
        bd.run(*GATES_ARGV)
    return make_outcome(station, "patrol", action, True, **found)


# ====================================================================================================
# room: sling — a worker made by gt, outside the tick: what came of it read back
# ====================================================================================================


def end_child(station: Station, sight: SpawnSight) -> SpawnSight:
    """End a spawn child that takes too long, with all that it has started; return what is known of it then."""
    import signal

    host = station.host
    end_process(sight.pid, sight.start, signal.SIGTERM, host)
    host.pause(KILL_GRACE_S)
    if sight.tool and is_same_process(host, *sight.tool):  # it leads a group of its own, and would go on alone
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(sight.tool[0], number)
            except (ProcessLookupError, PermissionError):
                break
            host.pause(KILL_GRACE_S)
    end_process(sight.pid, sight.start, signal.SIGKILL, host)
    return read_spawn(station.store) or sight


def _see_all(unread: dict, names) -> None:
    """See that none of the worktrees that count cannot be read: what is there, and is not seen, is not gone."""
    for name, why in unread.items():
        if name in names:
            raise ToolError(f"the worktree of {name} cannot be read, so nobody knows what came of the sling: {why}")


def look_at_slung(station: Station, claim: Claim, sight: SpawnSight | None) -> tuple:
    """Return (what is there of a worker for a claimed bead, the worktrees).

    Raises:
        ToolError: that cannot be known now.
    """
    queue, (trees, unread) = station.queue, list_trees(station)
    issue = queue.find(claim.issue)
    lives = list_lives(station, trees)
    if lives is None:
        raise ToolError("tmux does not answer, so nobody knows what came of the sling")
    hook = queue.find_hook(issue) if issue is not None else ""
    _see_all(unread, {hook, claim.name, sight.name if sight is not None else ""})
    if hook:
        branch = trees[hook].branch if hook in trees else ""
        if hook in trees and is_claim_of(claim, trees[hook]):
            return Slung(hook=hook, lives=lives), trees
        return Slung(taken=f"{issue.assignee}{f' ({branch})' if branch else ''}", lives=lives), trees
    if issue is None or (issue.status != "open" and issue.assignee not in ("", claim.actor)):
        return Slung(taken=f"somebody: it is {issue.status if issue else 'gone'}", lives=lives), trees
    claims = queue.claims.read_all().values()
    others = {
        one.name
        for one in claims
        if one.issue != claim.issue
        and one.state in ("working", "failed", "claimed")
        and one.name in trees
        and is_claim_of(one, trees[one.name])  # one that is done may have been given this bead since
    }
    # Its branch names the bead; in versions whose branches do not, it is the one that was not there before.
    made = [one for one, tree in trees.items() if read_branch(tree.branch) == claim.issue and one not in others]
    if not made and sight is not None:
        told = [one for one in (claim.name, sight.name) if one in trees and one not in others]
        _see_all(unread, set(unread).difference(sight.before) if sight.pid else ())
        new = [one for one in trees if one not in {*sight.before, *others} and not read_branch(trees[one].branch)]
        made = told or (new if len(new) == 1 and sight.pid else [])
    elif not made and claim.name in trees and is_claim_of(claim, trees[claim.name]):
        made = [claim.name]
    # One who lives comes first: a second one is left as it is, and reported.
    return Slung(made=min(made, key=lambda one: (one not in lives, one)) if made else "", lives=lives), trees


def _find_start(git: Git, config: Config, tree: Worktree) -> str:
    """Return where the work of a new worktree begins, "" where that cannot be told: it must settle all the same."""
    try:
        default = default_branch(git, config)
        return (git.value(tree, "merge-base", "HEAD", default) if default else "") or ""
    except ToolError:  # a kill inside `git worktree add` leaves a HEAD that names nothing
        return ""


def _settle_slung(station: Station, action: Action, claim: Claim, slung: Slung, trees, reason, fault="") -> Outcome:
    queue, git = station.queue, station.tools.git
    state, name = judge_slung(slung)
    tree, start = trees.get(name), claim.start
    if tree is not None and not start:
        start = _find_start(git, station.config, tree)
    branch = tree.branch if tree is not None else claim.branch
    claim = claim.but(state=state, name=name or claim.name, branch=branch, start=start)
    if state == "working":
        queue.claims.change(claim)
        queue.unmark(claim.issue)
    elif state == "failed":  # cut while it was open: without label and claim, another host would take it
        if not queue.keep(claim):
            queue.unmark(claim.issue)
    elif state == "lost":  # what another holds is not given back
        queue.claims.change(claim.but(state="released"))
        queue.unmark(claim.issue)
    else:
        queue.release(claim)
    station.host.remove(station.store.path(SPAWN_FILE))
    if state == "working":
        return make_outcome(station, "spawn", action, True, name=name)
    if state == "lost":
        return make_outcome(station, "spawn", action, False, f"claimed by {slung.taken}", fault="lost")
    if not reason and name in slung.lives:
        return make_outcome(station, "spawn", action, False, f"{name} lives, its bead is not hooked yet", fault="step")
    reason = reason or "no worker came of it"
    return make_outcome(station, "spawn", action, False, reason, name=name, fault=fault)


def _give_back(station: Station, claim: Claim, residue: Claim | None) -> None:
    """Undo a claim of which nothing came; what an earlier try has left stays ours to finish."""
    if residue is None:
        station.queue.release(claim)
    else:
        station.queue.claims.change(residue)


def start_sling(station: Station, action: StartSpawn) -> Outcome:
    """Protect who is at risk, claim, label, and start the child that slings; an earlier try's residue is used."""
    issue, queue, town = action.issue, station.queue, station.town
    earlier = queue.claims.read_all().get(issue.id)
    residue = earlier is not None and earlier.name == action.name != ""
    fault = protect(station, action.resting)
    if fault:
        return make_outcome(station, "spawn", action, False, fault, fault="tool")
    claim = Claim(
        issue=issue.id,
        actor=station.actor,
        at=station.host.now(),
        name=action.name if residue else "",
        branch=earlier.branch if residue else "",
        start=earlier.start if residue else "",
        base=earlier.base if residue else default_branch(station.tools.git, station.config),
    )
    try:
        fault, holder = queue.claim(claim)
        if fault:
            return make_outcome(station, "spawn", action, False, f"claimed by {holder}", fault=fault)
        claim = claim.but(shared=True)
        try:
            marked = queue.mark(claim)
            rival = find_rival(marked, station.actor, claim.at, 2 * station.config.spawn_timeout)
            if rival:  # its sling has opened the bead for a moment, and would take it from us again
                _give_back(station, claim, earlier if residue else None)
                return make_outcome(station, "spawn", action, False, rival, fault="lost")
            slung, trees = look_at_slung(station, claim, None)
        except ToolError:
            _give_back(station, claim, earlier if residue else None)
            raise
    except ToolError as error:
        return make_outcome(station, "spawn", action, False, error.line(), fault="tool")
    argv = next_sling(town.gt.dialect, station.rig.name, issue.id, slung, station.config.sling_args)
    if not argv:  # an earlier sling has come to its end after all
        return _settle_slung(station, action, claim, slung, trees, "")
    order = {
        "rig": dump_value(station.rig),
        "config": station.config.values,
        "issue": issue.id,
        "name": claim.name,
        "branch": "",
        "argv": argv,
        "environ": town.gt.environment(),
        "before": sorted(trees),
    }
    child = start_spawn_child(station.store, order)
    if isinstance(child, str):
        _give_back(station, claim, earlier if residue else None)
        return make_outcome(station, "spawn", action, False, child, fault="host")
    station.spawn_child = child
    return make_outcome(station, "spawn-started", action, True)


def end_sling(station: Station, action: EndSpawn, sight: SpawnSight, claim: Claim | None) -> Outcome:
    """Read back what a sling has made, and settle its claim by that."""
    if claim is None:
        station.host.remove(station.store.path(SPAWN_FILE))
        return make_outcome(station, "spawn", action, False, "its claim is gone", fault="host")
    try:
        slung, trees = look_at_slung(station, claim, sight if sight.issue == claim.issue else None)
    except ToolError as error:
        return make_outcome(station, "spawn-unsettled", action, False, error.message)
    return _settle_slung(station, action, claim, slung, trees, sight.reason or action.why, sight.fault)


# ---- sessions -----------------------------------------------------------------------------------------


SESSION_START_S = 60.0  # gt itself waits up to 180 s for an agent; a tick cannot


def start_session(station: Station, name: str) -> str:
    """Let gt start the session of a worker, or of the refinery; return "" or why not."""
    timeout_s = max(SESSION_START_S, station.config.tool_timeout)
    answer = decode_gt(station.town.gt.run(*start_argv(station.rig.name, name), timeout_s=timeout_s))
    return "" if answer.kind == DONE else answer.reason


def perform_session(station: Station, action: StartSession) -> Outcome:
    """Start the session of one who is no worker."""
    reason = start_session(station, action.subject)
    return make_outcome(station, "session", action, not reason, reason)


# ---- after a retirement --------------------------------------------------------------------------------


def find_slung(station: Station, name: str) -> str:
    """Return the one bead that hangs on a retired worker's hook and that it had here, "" where there is none.

    A hook names no host: on another one that shares the queue a worker of the same name may be at work. A branch of
    the worker's tells, or a claim of ours; before gt 0.6 a town shares its database with nobody.
    """
    claims = station.queue.claims.read_all().values()
    ours = {one.issue for one in claims if one.name == name and one.state in ("claimed", "working", "failed")}
    branches = [ref for ref, _ in list_refs(station.tools.git, f"refs/heads/polecat/{name}/")]
    ours.update(read_branch(ref[len("refs/heads/") :]) for ref in branches)
    hooked = [one for one in station.queue.list_hooked(name) if one in ours or not station.town.can("feeds")]
    return hooked[0] if len(hooked) == 1 else ""


def take_over(station: Station, retirement: Retirement) -> Claim | None:
    """Return a claim for the bead of a retired worker that somebody else has slung, None where it has none."""
    issue = station.queue.find(retirement.issue) if is_issue_id(retirement.issue) else None
    if issue is None or station.queue.find_hook(issue) != retirement.name:
        return None
    trees, unread = list_trees(station)
    _see_all(unread, (retirement.name,))
    if retirement.name in trees:  # the name has a new worker, who may be on the same bead
        return None
    return Claim(
        issue=retirement.issue,
        actor=station.actor,
        at=station.host.now(),
        state="working",
        name=retirement.name,
        branch=retirement.branch,
        start=retirement.start,
        shared=True,
    )


def _why_not_nuked(station: Station, retirement: Retirement, folder: str) -> str:
    """Return why gt may not be told to forget a worker; it destroys what it finds, and opens what is on its hook."""
    name = retirement.name
    if station.tools.git.test(None, "show-ref", "--verify", "--quiet", f"refs/heads/polecat/{name}"):
        return f"it would delete the branch polecat/{name}"
    hooked = station.queue.list_hooked(name)
    if hooked:
        return f"it would open {', '.join(hooked)}, on its hook still"
    lives = list_lives(station, (name,))
    if lives is None or lives:
        return "a session of that name is there" if lives else "tmux does not answer"
    for _, _, files in os.walk(folder, onerror=raise_error):
        if files:
            return f"{folder} holds files"
    return ""


def put_records_right(station: Station, retirement: Retirement) -> None:
    """Let gt forget a retired worker of whom nothing but an empty folder is left, and see that it does no harm.

    Every branch is compared before and after, and the bead is claimed again where gt has opened it.
    """
    git, store, name = station.tools.git, station.store, retirement.name
    folder = os.path.join(station.rig.polecats, name)
    if not station.town.can("native") or not os.path.isdir(folder):
        return
    try:
        claim = station.queue.claims.read_all().get(retirement.issue)
        # The bead may hang on its hook yet, and gt would open it.
        untold = claim is not None and claim.name == name and claim.owed
        why = f"the queue was not told yet what became of {claim.issue}" if untold else ""
        why = why or _why_not_nuked(station, retirement, folder)
        if not why:
            before = dict(list_refs(git, "refs/heads/"))
            answer = decode_gt(station.town.gt.run(*nuke_argv(station.rig.name, name), timeout_s=SESSION_START_S))
            after = dict(list_refs(git, "refs/heads/"))
            for ref in set(before) - set(after):
                git.change(None, "update-ref", ref, before[ref], NO_REF)
                store.tell("kept", name, f"{ref}: gt deleted it, it is back")
            why = "" if answer.kind == DONE else answer.reason
        if claim is not None and claim.state == "handed-over" and claim.name == name and not untold:
            issue = station.queue.find(claim.issue)
            if issue is not None and issue.status == "open":
                left = station.queue.take_back(claim)
                store.tell("claimed", claim.issue, f"gt opened it; {left}" if left else "gt opened it")
    except (ToolError, OSError) as error:
        why = clean_line(str(error))
    if why:
        store.tell("retired", name, f"gt's own record of it is left as it is: {why}")
    try:
        os.rmdir(folder)
    except OSError:
        return  # gt took it away, or it holds something


# ====================================================================================================
# room: upkeep — our claims brought together with their queue: handed over, given back, told, closed
# ====================================================================================================


def find_goal(git: Git, config: Config, claim: Claim) -> str:
    """Return the branch on which work closes its issue, "" where that cannot be told or where there is no such work.

    Where nobody knows what was there before, a tip there is no proof of work, and neither is an empty commit that says
    why it could not be done. Without a remote base's HEAD names whatever a person looks at, that very work say.
    """
    default = default_branch(git, config)
    looked_at = claim.base.startswith("refs/heads/") and claim.base != default and not config.default_branch
    if looked_at and git.test(None, "show-ref", "--verify", "--quiet", claim.base):
        return ""
    changed = claim.tip and claim.start and not git.test(None, "diff", "--quiet", claim.start, claim.tip)
    return default if changed else ""


def hand_over_issue(station: Station, retirement: Retirement, outcome: Outcome) -> None:
    """Hand an issue over: closed where its work is on the default branch, set free where there was none."""
    queue, git = station.queue, station.tools.git
    claim = queue.claims.read_all().get(retirement.issue)
    if station.town is not None and not (
        claim is not None
        and (claim.actor, claim.name) == (station.actor, retirement.name)
        and claim.state not in ("released", "closed")
    ):  # somebody else has slung it, and what a claim of ours says was before that
        claim = take_over(station, retirement) or claim
    if claim is None or claim.actor != station.actor or claim.name != retirement.name:
        return
    ref, tip, start = (outcome.data.get(key) or "" for key in ("ref", "tip", "start"))
    claim = claim.but(ref=ref, tip=tip, start=claim.start or start)
    if outcome.data.get("no_commits"):
        left = queue.release(claim)
        told = f"{claim.name} was retired without a commit"
        station.store.tell("released", claim.issue, f"{told}; {left}" if left else told)
    elif outcome.data.get("merged") and station.config.close_merged and find_goal(git, station.config, claim):
        try:
            left = queue.finish(claim)
        except WitnessError as error:  # its line was deleted, say: the retirement must end all the same
            left = error.line()
            queue.hand_over(claim)
        told = f"the work of {claim.name} is on the default branch"
        station.store.tell("unclosed" if left else "closed", claim.issue, left or told)
    else:
        queue.hand_over(claim)


def _find_work(station: Station, claim: Claim) -> str:
    """Return what exists of a gone worker's work, "" if nothing does."""
    git, own = station.tools.git, claim.branch or f"polecat/{claim.name}"
    default = default_branch(git, station.config)
    for ref, commit in list_refs(git, "refs/heads/"):
        branch = ref[len("refs/heads/") :]
        # It may have renamed its branch, or gone on with one of its own, which began where it did.
        strange = not branch.startswith("polecat/") and read_start(station.tools, branch) == claim.start != ""
        if (
            (branch == own or strange)
            and commit != claim.start
            and not (default and is_on_default(git, commit, default))
        ):
            return (
                f"its branch {branch} has commits" if branch == own else f"{branch}, which began with it, has commits"
            )
    for folder in (RETIRING_REFS, RETIRED_REFS, KEPT_REFS):
        for ref, _ in list_refs(git, f"{folder}{claim.name}/"):
            return f"{ref} has work of it"
    return ""


def _find_others_work(station: Station, issue_id: str) -> str:
    """Return what tells of work on an issue whose claim was lost: then nobody knows which worker had it."""
    git, issue = station.tools.git, station.queue.find(issue_id)
    if issue is not None and HANDED_OVER_LABEL in issue.labels:
        return f"its label {HANDED_OVER_LABEL} says that its work waits to be merged"
    default = default_branch(git, station.config)
    for ref, commit in list_refs(git, "refs/heads/polecat/"):
        branch = ref[len("refs/heads/") :]
        if read_branch(branch) == issue_id and not (default and is_on_default(git, commit, default)):
            return f"its branch {branch} has commits"
    for row in list_retired(station.tools):
        if row["issue"] == issue_id:
            return f"{row['ref']} has work of it"
    return ""


def perform_release(station: Station, action: ReleaseOrphan) -> Outcome:
    """Set an orphan free, unless something of its worker's work exists."""
    claim = station.queue.claims.read_all().get(action.subject)
    if (claim or action.claim) != action.claim or read_worktree(station.rig, action.claim.name) is not None:
        return make_outcome(station, "release", action, False, "it is worked on again")
    work = _find_work(station, action.claim) or (_find_others_work(station, action.subject) if claim is None else "")
    if work:
        return make_outcome(station, "release", action, False, work, kept=True)
    left = station.queue.release(action.claim)
    station.store.tell("released", action.subject, f"{action.why}; {left}" if left else action.why)
    return make_outcome(station, "release", action, True)


def perform_settle(station: Station, action: SettleClaim) -> Outcome:
    """Bring one claim and the queue together."""
    queue, claim = station.queue, action.claim
    if queue.claims.read_all().get(action.subject) != claim:
        return make_outcome(station, "settle", action, True, "it has changed meanwhile")
    if action.step == "tell":
        queue.settle(claim)
    elif action.step == "keep":
        left = queue.keep(claim)
        station.store.tell("claimed", action.subject, f"{action.why}; {left}" if left else action.why)
    elif action.step == "closed":
        queue.claims.change(claim.but(state="closed"))  # so that a later reopening frees it
    elif action.step == "unmark":
        if station.town is not None:  # another backend leaves the label to its age
            queue.unmark(claim.issue)
    else:
        queue.claims.change(claim.but(state="released"))
        station.store.tell("released", action.subject, action.why)
    return make_outcome(station, "settle", action, True)


def perform_check_merged(station: Station, action: CheckMerged) -> Outcome:
    """Close an issue whose work has reached the default branch."""
    claim, git, queue = action.claim, station.tools.git, station.queue
    # A shared queue has told of what is closed already; asked for each of hundreds, it would hold up the tick.
    issue = queue.find(claim.issue) if queue.whole else None
    if issue is not None and issue.status in CLOSED:
        queue.claims.change(claim.but(state="closed"))  # so that a later reopening frees it
        return make_outcome(station, "merged", action, True, "closed already")
    if action.fetch and station.town is None:  # gt looks after its own
        try:
            fetch_remote(git)
        except ToolError:
            pass  # what is here is looked at all the same
    default = find_goal(git, station.config, claim)
    how = is_on_default(git, claim.tip, default) if default else None
    if how:
        left = queue.finish(claim)
        told = f"its work is on {default} ({how})"
        if left:
            station.store.tell("unclosed", claim.issue, f"{told}; {left}")
        else:
            station.store.tell("closed", claim.issue, told)
    return make_outcome(station, "merged", action, bool(how), how or "not on the default branch")


# ====================================================================================================
# room: perform — each action once; what came of it is a value
# ====================================================================================================


def _perform_look(station: Station, action: LookTwice) -> Outcome:
    tools, now = station.tools, station.host.now()
    tree = read_worktree(station.rig, action.subject)
    if not isinstance(tree, Worktree) or tree.trouble:
        reason = tree.trouble if isinstance(tree, Worktree) else tree or "it is gone"
        look = Look(name=action.subject, at=now, ok=False, reason=reason)
    else:
        try:
            changed, files_at = changed_files(tools.git, tree)
            screen = (tools.tmux.screen(action.pane_id) or "") if action.pane_id else ""
            look = Look(name=action.subject, at=now, ok=True, files_at=files_at, changed=len(changed), screen=screen)
        except ToolError as error:
            look = Look(name=action.subject, at=now, ok=False, reason=error.message)
    station.looks = {**station.looks, action.subject: look}
    return make_outcome(station, "look", action, look.ok, look.reason)


def _perform_nudge(station: Station, action: Nudge) -> Outcome:
    details, delivered = [], False
    for way in action.via.split(","):
        if way == "pane":
            delivered, detail = type_nudge(station, action)
        else:
            subject, body = "NUDGE: " + action.subject, action.text
            key = f"nudge.{action.subject}.{int(station.host.now())}"
            station.mailbox.deliver(f"{station.rig.name}/{action.subject}", subject, body, key)
            delivered, detail = True, "delivered by mail"
        details.append(detail)
        if delivered:
            break
    return make_outcome(station, "nudge", action, delivered, "; ".join(details))


def _call_sink(station: Station, action: SendLetter) -> str:
    """Hand an escalation to escalate_command; return "" or why it did not take it."""
    letter, host = action.letter, station.host
    if 0 <= host.now() - station.sink_failed_at < SEND_RETRY_S[0]:
        return "escalate_command failed a moment ago"  # one that hangs would hold up the tick once a letter
    told = {
        "rig": station.rig.name,
        "path": station.rig.path,
        "event": letter.event,
        "cause": letter.cause,
        "polecat": letter.name or None,
        "to": letter.to,
        "subject": letter.subject,
        "body": letter.body,
        "at": rfc3339(letter.at),
        "key": action.subject,
    }
    # As variables, too: a line of shell can use them quoted, and needs no tool to read JSON.
    words = {f"WITNESS_{word.upper()}": told[word] or "" for word in ("event", "polecat", "subject", "body")}
    command, timeout_s = station.config.escalate_command, station.config.tool_timeout
    ran = host.run(command, timeout_s, stdin=json.dumps(told).encode(), env=words)
    if not ran.ok:
        station.sink_failed_at = host.now()
    return "" if ran.ok else ran.reason()


def _perform_letter(station: Station, action: SendLetter) -> Outcome:
    """Send a letter over every sink that is configured; it counts as sent when each of them took it."""
    letter, failed, mailed = action.letter, [], action.letter.mailed
    if not mailed:
        try:
            again = letter.tries > 0 or station.first  # it may have been sent, and the memory not have learned of it
            station.mailbox.deliver(letter.to, letter.subject, letter.body, action.subject, again=again)
            mailed = True
        except (OSError, WitnessError) as error:
            failed.append(f"mail to {letter.to}: {error}")
    if letter.event and station.config.escalate_command:
        reason = _call_sink(station, action)
        failed += [reason] if reason else []
    station.store.tell("letter", letter.to, letter.subject + (f" - not sent: {'; '.join(failed)}" if failed else ""))
    return make_outcome(station, "letter", action, not failed, "; ".join(failed), mailed=mailed)


def _perform_ack(station: Station, action: AckMail) -> Outcome:
    station.mailbox.acknowledge(action.subject)
    return make_outcome(station, "ack", action, True)


def _perform_restart(station: Station, action: Restart) -> Outcome:
    tools = station.tools
    tree = read_worktree(station.rig, action.subject)
    panes = tools.tmux.list_panes()
    name = action.subject
    own, reason = ((), panes) if isinstance(panes, str) else find_session(station.rig, station.config, name, panes)
    reason = reason or (station.queue.why_not_ours(action.issue) if action.issue else "")
    alive = ""
    if not isinstance(tree, Worktree) or tree.trouble:
        reason = "its worktree cannot be used"
    elif not reason:
        if any(pane.attached for pane in own) or len(own) > 1:
            reason = "its session is in use: a client is attached, or it has other panes"
        elif own and not own[0].dead and judge_shell(station.host, own[0]) != "interactive":
            reason = "something runs in its pane again"
        elif own:
            reason = alive = "" if own[0].dead else find_behind(station.host, own[0])
            if not alive:
                tools.tmux.kill_session(own[0].session_id)  # only a shell or a dead pane: its name must be free
    if not reason and station.town is not None:
        reason = start_session(station, action.subject)
    elif not reason:
        reason = start_agent(tools, action.subject, action.issue, action.title, tree.path)
    if not alive:  # else a person is told, once for all tries
        station.store.tell("restarted", action.subject, reason or action.why)
    return make_outcome(station, "restart", action, not reason, reason, told=True, lives=bool(alive))


def _perform_retire(station: Station, action: Retire) -> Outcome:
    def record(retirement: Retirement) -> None:
        table = {**station.memory.retirements, retirement.name: retirement}
        station.remember(station.memory.but(retirements=table))

    def ask_stopped() -> str:
        holds = station.store.read_holds()
        return holds["paused"] or holds["holds"].get(action.subject, "")

    retirement = action.retirement
    outcome = retire_worktree(station.tools, retirement, record, ask_stopped)
    if outcome.data.get("result") != "retired":
        return outcome
    if station.town is not None and not retirement.issue:
        retirement = retirement.but(issue=find_slung(station, retirement.name))  # its branch may be called anything
    if retirement.issue:
        hand_over_issue(station, retirement, outcome)
    if station.town is not None:
        put_records_right(station, retirement)
    return outcome


def _drop_unused(tools: Tools, claim: Claim) -> bool:
    """Delete the branch that a try without a worker has left; True where it is gone. Anything else on it keeps it."""
    ref = f"refs/heads/{claim.branch}"
    named = tools.git.line(None, "log", "-g", "--format=%H", ref, "--").split()  # commits that were reset away, too
    if not claim.start or {*named} - {claim.start}:
        return False
    spent = Retirement(name=claim.name, id="", at=0.0, branch=claim.branch, tip=claim.start)
    return settle_branch(tools, spent)[0] == "deleted"


def _perform_start_spawn(station: Station, action: StartSpawn) -> Outcome:
    """Claim, then start the child; anything that keeps it from starting ends the spawn here."""
    if station.town is not None:
        return start_sling(station, action)
    issue, rig, tools, name = action.issue, station.rig, station.tools, action.name
    earlier = station.queue.claims.read_all().get(issue.id)
    branches = {ref[len("refs/heads/polecat/") :] for ref, _ in list_refs(tools.git, "refs/heads/polecat/")}
    if earlier is None:
        # No record although something of it exists: the state folder was lost, and the work may be done already.
        left = [name for name, _ in list_refs(tools.git, f"{RETIRED_REFS}{name}/")]
        left += [f"branch polecat/{name}"] if name in branches else []
        if left:
            return make_outcome(
                station, "spawn", action, False, f"{left[0]} is there from an earlier worker", fault="taken"
            )
    tree = read_worktree(rig, name) if earlier is not None and earlier.name == name else None
    left = isinstance(tree, Worktree) and tree.branch == earlier.branch != ""
    residue = earlier is not None and earlier.name == name and (earlier.state == "failed" or left)
    if not residue and earlier is not None and (earlier.actor, earlier.state) == (station.actor, "released"):
        # Else each failed `worktree add` leaves one more branch, and the next try takes one more name.
        own = earlier.name in branches and earlier.branch == f"polecat/{earlier.name}"
        branches -= {earlier.name} if own and _drop_unused(tools, earlier) else set()
    name = name if residue else free_name(name, branches)
    claim = Claim(
        issue=issue.id,
        actor=station.actor,
        at=station.host.now(),
        name=name,
        branch=earlier.branch if residue else f"polecat/{name}",
        start=earlier.start if residue else "",
        base=earlier.base if residue else default_branch(tools.git, station.config),
        birth=earlier.birth if residue else (),
    )
    try:
        fault, holder = station.queue.claim(claim)
    except ToolError as error:
        return make_outcome(station, "spawn", action, False, error.line(), fault="tool")
    if fault:
        return make_outcome(station, "spawn", action, False, f"claimed by {holder}", fault=fault)
    order = {
        "rig": dump_value(rig),
        "config": station.config.values,
        "issue": issue.id,
        "title": issue.title,
        "name": name,
        "branch": claim.branch,
    }
    child = start_spawn_child(station.store, order)
    if isinstance(child, str):
        station.queue.release(claim)
        return make_outcome(station, "spawn", action, False, child, fault="host")
    station.spawn_child = child
    return make_outcome(station, "spawn-started", action, True)


def _perform_end_spawn(station: Station, action: EndSpawn) -> Outcome:
    """Settle a spawn by its effects: what it says of itself matters less than what is there."""
    sight, host = (end_child(station, action.sight) if action.overdue else action.sight), station.host
    claim = station.queue.claims.read_all().get(action.subject)
    name = claim.name if claim is not None else sight.name
    if claim is not None and claim.state not in ("claimed", "failed"):
        host.remove(station.store.path(SPAWN_FILE))
        if claim.state == "released":
            return make_outcome(station, "spawn", action, False, "it was given back", fault="host")
        # Settled before a crash: only the memory missed it.
        return make_outcome(station, "spawn", action, True, name=name)
    if station.town is not None:
        return end_sling(station, action, sight, claim)
    panes = station.tools.tmux.list_panes()
    if isinstance(panes, str):
        return make_outcome(station, "spawn-unsettled", action, False, panes)
    alive = any(not pane.dead for pane in find_session(station.rig, station.config, name, panes)[0])
    tree = read_worktree(station.rig, name) if name else None
    reason = "" if alive and tree is not None else sight.reason or action.why or "no worker came of it"
    if claim is not None:
        # Without a worktree nothing of ours is left; a session of its name is somebody's.
        state = "working" if not reason else "failed" if tree is not None else "released"
        own = sight.issue == claim.issue
        claim = claim.but(
            start=claim.start or (sight.commit if own else ""), birth=claim.birth or (sight.birth if own else ())
        )
        if state == "released":
            station.queue.release(claim)
        else:
            station.queue.claims.change(claim.but(state=state))
    host.remove(station.store.path(SPAWN_FILE))
    return make_outcome(station, "spawn", action, not reason, reason, name=name, fault=sight.fault if reason else "")


def _perform_sweep(station: Station, action: SweepTrash) -> Outcome:
    swept = sweep_trash(station.tools, station.host.now())
    for one in swept:
        station.store.tell("swept", "kept folder", str(one))
    station.kept = measure_kept(station.rig, station.kept)
    return make_outcome(station, "sweep", action, True)


PERFORM = {
    LookTwice: _perform_look,
    Nudge: _perform_nudge,
    SendLetter: _perform_letter,
    AckMail: _perform_ack,
    Restart: _perform_restart,
    Retire: _perform_retire,
    StartSpawn: _perform_start_spawn,
    EndSpawn: _perform_end_spawn,
    ReleaseOrphan: perform_release,
    SettleClaim: perform_settle,
    CheckMerged: perform_check_merged,
    SweepTrash: _perform_sweep,
    KeepWork: perform_keep,
    SendHeartbeats: perform_heartbeats,
    Patrol: perform_patrol,
    StartSession: perform_session,
}
# The kind of outcome that an action which raised is settled as.
OUTCOME_KIND = {
    LookTwice: "look",
    Nudge: "nudge",
    SendLetter: "letter",
    AckMail: "ack",
    Restart: "restart",
    Retire: "retire",
    StartSpawn: "spawn",
    EndSpawn: "spawn-unsettled",
    ReleaseOrphan: "release",
    SettleClaim: "settle",
    CheckMerged: "merged",
    SweepTrash: "sweep",
    KeepWork: "keep",
    SendHeartbeats: "beat",
    Patrol: "patrol",
    StartSession: "session",
}


def perform(station: Station, action: Action) -> Outcome:
    """Do one action and return its outcome; a failure we expect is an outcome too."""
    kind = type(action)
    try:
        outcome = PERFORM[kind](station, action)
    except (OSError, WitnessError) as error:
        text = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else error.line()
        outcome = make_outcome(station, OUTCOME_KIND[kind], action, False, clean_line(text, 300))
    if not outcome.ok:
        station.proved.discard("git")  # it may be git: the next look asks it
    return outcome


# ====================================================================================================
# room: loop — observe, decide, save, perform, wait; the only place that catches what nobody expected
# ====================================================================================================


def take_tick_lock(station: Station, wait_s: float) -> int:
    """Take the lock that makes ticks one at a time, daemon or one-shot.

    Raises:
        BusyError: another tick takes longer than wait_s.
    """
    fd = take_lock(station.store.path(TICK_LOCK_FILE), wait_s)
    if fd is None:
        raise BusyError("another Witness is acting on this rig right now", "try again in a moment")
    station.tick_lock_fd = fd
    station.make_tools()
    return fd


def _take_up(station: Station, memory: Memory) -> tuple:
    """Return (memory, whether git could be asked) with the unfinished retirements that only git knows of."""
    known = {retirement.id for retirement in memory.retirements.values()}
    try:
        found, troubles = find_unfinished(station.tools, known)
    except ToolError as error:
        if station.first:
            station.store.tell("degraded", "unfinished retirements", error.message)
        return memory, False
    for trouble in troubles if station.first else ():
        station.store.tell("degraded", "unfinished retirements", trouble)
    for retirement in found:
        if retirement.name not in memory.retirements:
            station.store.tell("taken-up", retirement.name, f"unfinished retirement {retirement.id}")
            memory = memory.but(retirements={**memory.retirements, retirement.name: retirement})
    return memory, True


def run_round(station: Station, gap: bool = False, act: bool = True, guard=None, **wish):
    """Do one round under the tick lock and return (observation, decision, outcomes).

    guard is asked before the memory is saved (with None) and before each action, and raises where nothing may be
    done any more. Without act nothing is saved and only second looks, which change nothing, are performed.
    """
    memory = station.store.load()
    if station.queue.backend != "unknown":
        memory = memory.but(backend=station.queue.backend)
    taken_up = station.taken_up
    if not taken_up:
        memory, taken_up = _take_up(station, memory)
    station.memory = memory
    seen = observe(station, memory, gap, **wish)
    weighed = station.outcomes, station.looks
    station.outcomes, station.looks = (), {}  # what decide stumbles over is not put before it again
    decision = decide(seen, memory, station.config)
    if guard is not None:
        guard(None)
    if act:
        try:
            station.remember(decision.memory)
        except StateError:
            station.outcomes, station.looks = weighed  # what was done is not forgotten for a full disk
            raise
        for event in decision.events:
            station.store.tell(*event)
    for action in decision.actions:
        if not act and not isinstance(action, LookTwice):
            continue
        if guard is not None:
            guard(action)
        if act and not isinstance(action, (LookTwice, SweepTrash)):
            station.store.log(describe(action))
        station.outcomes += (perform(station, action),)  # at once: the next one may raise
    said = station.mailbox.flush()
    if said:
        station.store.log(said)
    station.first, station.taken_up = False, taken_up
    return seen, decision.but(memory=station.memory if act else decision.memory), list(station.outcomes)


def asks_for_more(outcomes) -> bool:
    """Tell whether the outcomes should be weighed at once rather than at the next interval.

    A look that failed is not taken again at once: git that hangs would be asked twelve times in a row. So it is with
    a queue that cannot be told something. No sling waits for work that was kept already.
    """
    again = dict.fromkeys(("sweep", "settle", "beat", "session", "spawn-unsettled"), False)
    return any(
        outcome.ok and not outcome.data.get("again")
        if outcome.kind in ("look", "keep")
        else again.get(outcome.kind, True)
        for outcome in outcomes
    )


LONG_ACTIONS = (
    *(Retire, StartSpawn, EndSpawn, SettleClaim, ReleaseOrphan, CheckMerged, SweepTrash),
    *(KeepWork, SendHeartbeats, Patrol, StartSession),
)

# Signals are heeded between two tries: a one-shot command that retires for minutes must not keep `stop` waiting.
TICK_LOCK_WAIT_S = 1.0


class StopActingError(Exception):
    """The daemon must do nothing more and end."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Loop:
    """The daemon's main loop."""

    def __init__(self, station: Station, lock_fd: int, reload_config, notify, life_fd: int = -1) -> None:
        self.station = station
        station.store.lock_fd = lock_fd
        self.life_fd = life_fd  # a pipe whose other end our seat holds, and never writes to
        self.reload_config = reload_config
        self.notify = notify
        self.caught = []
        self.stopping = ""
        self.lost = False  # our lock file is gone: the state folder is not ours any more
        self.troubles = 0
        self.ticks = self.waits = 0  # so far, for whoever measures
        self.wake_fd = -1
        self.watch_fd = -1  # of the mailbox's folder

    def install_signals(self) -> None:
        """Let signals be queued: handlers only note the number, the wait wakes and handles it."""
        import signal

        self.wake_fd, write_fd = os.pipe()
        for fd in (self.wake_fd, write_fd):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGIO"):
            signal.signal(getattr(signal, name), lambda number, _: self.caught.append(number))
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def watch_mailbox(self) -> None:
        """Let a new mail wake the wait at once, where the kernel can tell (Linux F_NOTIFY); else the interval does.

        Asked before each look: who clears the mailbox away makes another folder of the same name.
        """
        import fcntl

        if not isinstance(self.station.mailbox, Mailbox) or not hasattr(fcntl, "F_NOTIFY"):
            return
        if not self.station.store.is_ours():  # a folder taken away is not made anew
            return
        try:
            folder = os.path.join(self.station.mailbox.folder(self.station.mailbox.address), "new")
            # While the old folder is held open, its number is given to no other.
            if self.watch_fd >= 0 and os.path.samestat(os.fstat(self.watch_fd), os.stat(folder)):
                return
            before, self.watch_fd = self.watch_fd, os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if before >= 0:
                os.close(before)  # that ends its notices
            fcntl.fcntl(self.watch_fd, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT)
        except OSError:
            return

    def run(self) -> int:
        """Tick until told to stop; return the exit status."""
        station, host = self.station, self.station.host
        gap, rounds = False, 0
        while not self.stopping:
            self.watch_mailbox()
            mono, now = host.mono(), host.now()
            more, due_at = self._tick(gap)
            if self.stopping:
                break
            # Both clocks show a slow tick; a suspend or a clock set anew within it shows on one of them only.
            jump_s = (host.now() - now) - (host.mono() - mono)
            rounds = rounds + 1 if more else 0
            wait_s = 0.0 if more and rounds <= FOLLOW_UPS else max(0.05, due_at - host.now())
            gap = self._wait(min(wait_s, self._longest_wait_s()))
            self.stopping = self.stopping or ("its seat is gone" if self._is_orphan() else "")
            gap = gap or jump_s < -2 or jump_s > max(2 * station.config.interval, 10)
        self.notify("STOPPING=1")
        if self.lost:
            print(f"{rfc3339(host.now())} stopped: {self.stopping}", file=sys.stderr, flush=True)
            return EXIT_FAILED
        try:
            station.store.save(station.store.load().but(state="stopped", pid=0))
        except StateError as error:
            self._complain(error.line())  # a full disk: the end is not kept back for being noted
        station.store.tell("stopped", "daemon", self.stopping)
        return EXIT_OK

    def _tick(self, gap: bool) -> tuple:
        """Do one tick; (ask again at once, when the next is due). Whatever it raises, the daemon goes on."""
        station = self.station
        host, interval = station.host, station.config.interval
        fd = None
        try:
            self._check_lock()
            fd = take_tick_lock(station, min(interval, TICK_LOCK_WAIT_S))
            seen, decision, outcomes = run_round(station, gap, guard=self._guard)
            self.troubles = 0
            due_at = next_deadline(decision, seen, station.config)
            self._show(seen, decision, due_at)
            self.notify(f"WATCHDOG=1\nSTATUS={len(decision.verdicts)} polecats")
            return asks_for_more(outcomes), due_at
        except BusyError:
            return False, host.now() + 1
        except StateError as error:
            self._complain(error.line())
        except StopActingError as stop:
            self.stopping = stop.why
        except Exception:  # noqa: BLE001
            # The one place that catches what nobody expected: a watchdog that dies of a bug watches nobody.
            self._survive()
        finally:
            if fd is not None:
                station.tick_lock_fd = None
                os.close(fd)
        self.troubles += 1
        return False, host.now() + self._longest_wait_s()

    def _longest_wait_s(self) -> float:
        """Return how long the wait lasts at most: an interval, and longer and longer while ticks fail."""
        interval = self.station.config.interval
        return min(interval * 2 ** min(self.troubles, 5), max(interval, 600))

    def _complain(self, text: str) -> None:
        self.station.store.log(text)

    def _escalate_bug(self) -> None:
        """Tell a person once of a tick that failed by a bug of ours."""
        station = self.station
        try:
            memory = station.store.load()
            station.remember(memory.but(exceptions=memory.exceptions + 1))
            body = f"A tick failed unexpectedly; the traceback is in {station.store.path(LOG_FILE)}. It goes on."
            key = f"bug.{memory.started_at:.0f}"
            station.mailbox.deliver(station.config.mayor, f"ESCALATION: Witness of {station.rig.name}", body, key)
        except Exception as error:  # noqa: BLE001 - the bug may be in what is used here, too
            station.store.log(f"and it could not be escalated: {error}")

    def _check_lock(self) -> None:
        """Stop where the lock file is gone or another's: the folder is not ours any more, nothing is written there."""
        path = self.station.store.path(LOCK_FILE)
        if not self.station.store.is_ours():
            self.lost = True
            raise StopActingError(f"{path} is gone or replaced: another Witness may be running")

    def _survive(self) -> None:
        """Log and escalate the exception at hand, unless it came of a state folder that was taken away."""
        import traceback

        try:
            self._check_lock()
        except StopActingError as stop:
            self.stopping = stop.why
            return
        self._complain("bug: " + traceback.format_exc())
        self._escalate_bug()

    def _is_orphan(self) -> bool:
        """Tell whether the seat that started us has ended, by -9 even: then nobody holds the pipe's other end."""
        import select

        return self.life_fd >= 0 and bool(select.select([self.life_fd], [], [], 0)[0])

    def _guard(self, action: Action | None) -> None:
        """Stop acting where the lock is lost or a stop was asked for meanwhile."""
        import signal

        self._check_lock()
        if action is not None and self._is_orphan():
            raise StopActingError("its seat is gone")
        if action is not None and {signal.SIGTERM, signal.SIGINT} & set(self.caught):
            raise StopActingError("asked to stop")
        self._show_busy(action)

    def _show(self, seen: Observation, decision: Decision, due_at: float) -> None:
        # Slack: a loaded host is late, a tool may use its whole time-out; beyond that the daemon hangs.
        slack_s = max(2 * self.station.config.interval, 10) + self.station.config.tool_timeout
        view = report_tick(seen, decision, self.station.config, due_at, due_at + slack_s)
        sizes = self.station.kept.values()
        kept = {"folders": len(sizes), "mib": round(sum(sizes) / (1 << 20), 1)}
        self.ticks += 1
        loop = {"ticks": self.ticks, "waits": self.waits}
        self.station.store.write_view({**view, "kept": kept, "loop": loop, "pid": os.getpid()})

    def _show_busy(self, action: Action | None) -> None:
        """Say before an action that takes long that it does, so that `status` does not call it hanging."""
        if isinstance(action, LONG_ACTIONS):
            view = self.station.store.read_view(whole=True)
            expected_by_at = self.station.host.now() + LONG_ACTION_TIMEOUTS * self.station.config.tool_timeout
            self.station.store.write_view({**view, "expected_by_at": rfc3339(expected_by_at)})
            self.notify("WATCHDOG=1")

    def _wait(self, wait_s: float) -> bool:
        """Wait for time, a signal or mail; True after a gap: suspend, SIGSTOP or a clock jump."""
        import select

        mono, now = self.station.host.mono(), self.station.host.now()
        if not self.caught:
            try:
                select.select([self.wake_fd, *([self.life_fd] if self.life_fd >= 0 else [])], [], [], wait_s)
                while os.read(self.wake_fd, 512):
                    pass
            except BlockingIOError:
                pass
        self.waits += 1
        slept_s = max(self.station.host.mono() - mono, self.station.host.now() - now)
        jumped_back = self.station.host.now() - now < -2
        self._handle_signals()
        return jumped_back or slept_s > wait_s + max(2 * self.station.config.interval, 10)

    def _handle_signals(self) -> None:
        import signal

        while self.caught:
            number = self.caught.pop(0)
            if number in (signal.SIGTERM, signal.SIGINT):
                self.stopping = f"got {signal.Signals(number).name}"
            elif number == signal.SIGHUP:
                self._reload()

    def _reload(self) -> None:
        """Take changed settings into use; bad ones leave the old in force, and it is said."""
        self.notify("RELOADING=1")
        try:
            self.station.use(self.reload_config())
            self.station.store.tell("reloaded", "settings", "the new settings are in force")
        except ConfigError as error:
            self.station.store.tell("reload-failed", "settings", f"{error.line()}; the old settings stay")
        self.notify("READY=1")


# ====================================================================================================
# room: rehearsal — every outside call that Witness makes, tried on a throw-away rig and tmux server
# ====================================================================================================


REHEARSAL = "witness-try-"  # how its folder and its tmux server are called


class Rehearsal:
    """One life of a worker on a rig of its own: spawned, looked at, nudged, retired, recovered."""

    def __init__(self, host: Host, folder: str, timeout_s: float) -> None:
        self.host, self.folder = host, folder
        self.path = os.path.join(folder, "rig")
        self.socket = f"{REHEARSAL}{os.urandom(6).hex()}"
        settings = {
            "agent_command": ["cat"],  # echoes what is typed, as an agent's prompt does
            "tmux_socket": self.socket,
            "tool_timeout": timeout_s,
            "start_grace": 0,
            "max_load_per_core": 0,
            "min_free_memory": 0,
            "min_free_disk": 0,
            "spawn_delay_ms": 0,
            "close_merged": False,
            "backend": "local",
        }
        self.config = make_config(settings, "the rehearsal", {})
        self.tmux = Tmux(host, self.socket, timeout_s)
        self.socket_path = self.issue = ""

    def _git(self, *words, folder: str = "") -> None:
        ran = self.host.run(["git", *words], self.config.tool_timeout, cwd=folder or self.path, env=GIT_NOBODY)
        if not ran.ok:
            raise ToolError(ran.reason())

    def _rounds(self, duty: str) -> list:
        """Do rounds of one duty until nothing follows; return the outcomes."""
        outcomes = []
        for _ in range(FOLLOW_UPS):
            _, decision, done = run_round(self.station, person=True, duties=frozenset({duty}), only=(self.issue,))
            outcomes += done
            if not asks_for_more(done) and decision.memory.spawn is None:
                break
            self.host.pause(0.3)
        failed = next((one for one in outcomes if not one.ok), None)
        if failed is not None:
            raise ToolError(f"{failed.kind}: {failed.detail}")
        return outcomes

    def begin(self) -> str:
        """Make a repository with a remote, and a rig of it."""
        self.host.make_folder(self.path)
        self._git("init", "--quiet", "--bare", "remote.git", folder=self.folder)
        self._git("init", "--quiet")
        self._git("commit", "--quiet", "--allow-empty", "--message", "first")
        self._git("branch", "-M", "main")
        remote = os.path.join(self.folder, "remote.git")
        self._git("symbolic-ref", "HEAD", "refs/heads/main", folder=remote)  # `init -b` came with git 2.28
        self._git("remote", "add", "origin", remote)
        self._git("push", "--quiet", "origin", "main")
        rig = find_rig(self.host, self.path, {}, "/", "witness")
        check_ground(self.host, rig, self.config)
        self.station = Station(self.host, rig, self.config)
        return "git init, commit, push"

    def spawn(self) -> str:
        """Let a worker be started for an issue, by the spawn child as always."""
        self.issue = self.station.queue.add("a rehearsal", "try")
        self._rounds("spawn")
        seen = observe(self.station, self.station.store.load())
        self.name = next(iter(seen.sightings), "")
        if not self.name or seen.sightings[self.name].session != PRESENT:
            raise ToolError(f"no worker came of it: {seen.ports['tmux'].reason or 'its session is not there'}")
        self.pane = seen.sightings[self.name].pane
        # Asked while the server lives: it ends with its last session and leaves the socket.
        self.socket_path = self.tmux.run("display-message", "-p", "#{socket_path}").text().strip()
        return "git fetch, worktree add; tmux new-session, list-panes"

    def look(self) -> str:
        """Take the second look."""
        outcome = perform(self.station, LookTwice(subject=self.name, pane_id=self.pane.pane_id))
        if not outcome.ok:
            raise ToolError(outcome.detail)
        return "git status; tmux capture-pane"

    def nudge(self) -> str:
        """Type a reminder into the agent's pane."""
        action = Nudge(subject=self.name, text="a rehearsal", pane=self.pane, agents=(self.pane.command,), via="pane")
        outcome = perform(self.station, action)
        if outcome.detail != "delivered to the pane":
            raise ToolError(outcome.detail)
        return "tmux load-buffer, paste-buffer, send-keys"

    def retire(self) -> str:
        """Commit something as the worker, and let it be retired."""
        tree = os.path.join(self.station.rig.polecats, self.name)
        self._git("commit", "--quiet", "--allow-empty", "--message", "work", folder=tree)
        self.issue = self.name  # `only` names whom a round is about
        memory = self.station.store.load()
        request = Request(name=self.name, sender="a person", at=self.host.now())
        self.station.remember(memory.but(requests={self.name: request}))
        outcome = next((one for one in self._rounds("shutdown") if one.kind == "retire"), None)
        if outcome is None or outcome.data.get("result") != "retired":
            raise ToolError(outcome.detail if outcome is not None else "it was not begun")
        return "git rev-list, hash-object, commit-tree, update-ref, worktree move and remove; tmux kill-session"

    def recover(self) -> str:
        """Bring the retired worker back."""
        recover_worktree(self.station.tools, self.name)
        return "git worktree add, ls-tree, cat-file"

    def end(self) -> None:
        """Leave nothing behind: no server, no socket, no folder."""
        self.tmux.run("kill-server")
        if os.path.basename(self.socket_path) == self.socket:
            self.host.remove(self.socket_path)
        self.host.delete_tree(self.folder)


def rehearse(host: Host, timeout_s: float) -> list:
    """Return (step, ok, what was called or what went wrong) for each step; after the first that fails none is tried."""
    import tempfile

    rehearsal = Rehearsal(host, os.path.realpath(tempfile.mkdtemp(prefix=REHEARSAL)), timeout_s)
    rows = []
    try:
        for step in ("begin", "spawn", "look", "nudge", "retire", "recover"):
            try:
                rows.append((step, True, getattr(rehearsal, step)()))
            except (WitnessError, OSError) as error:
                rows.append((step, False, error.line() if isinstance(error, WitnessError) else str(error)))
                break
    finally:
        rehearsal.end()
    return rows


# ====================================================================================================
# room: daemon — lock, double fork, readiness, PID file, notify; start, stop and status of it
# ====================================================================================================
#
#   start        takes the lock -> fork -> setsid -> fork -> exec of this very file under -I -S, lock and pipe kept
#   the daemon   reads its settings, writes its PID file, says "ready" into the pipe, and ticks
#   start        reads "ready" (or why not), exits with that status


class DaemonSight(Value):
    """What is true of the daemon right now."""

    verdict: str  # running, hanging, dead, not running, unknown
    pid: int = 0
    version: str = ""
    started_at: float = 0.0
    detail: str = ""
    pid_fits: bool = False  # the recorded process is there, with the recorded start time


def _read_pulse(view: dict, pid: int) -> tuple:
    """Return when that process looked last and until when it should again, (0, 0) where the view does not tell."""
    try:
        stamps = [parse_rfc3339(view[key]) for key in ("last_tick_at", "expected_by_at")]
    except (KeyError, ValueError, TypeError, AttributeError):
        return 0.0, 0.0
    return tuple(stamps) if view.get("pid") == pid else (0.0, 0.0)


def _lock_inode(store: Store) -> int:
    try:
        return os.stat(store.path(LOCK_FILE)).st_ino
    except OSError:
        return 0


def see_daemon(store: Store) -> DaemonSight:
    """Tell whether the daemon runs: the lock is the truth, the PID file only says who."""
    locked = is_locked(store.path(LOCK_FILE))
    note = read_object(store.host, store.path(PID_FILE))
    there = os.path.lexists(store.path(PID_FILE))
    pid, start = note.get("pid"), note.get("start_time")
    pid = pid if isinstance(pid, int) and 0 < pid < 1 << 31 else 0
    fits = bool(pid) and is_same_process(store.host, pid, start if isinstance(start, int) else 0) is True
    # While a copy of a rig starts, its lock is busy and its pid file still the original's.
    fits = fits and note.get("lock") in (None, _lock_inode(store))
    try:
        started_at = parse_rfc3339(note.get("started_at") or "")
    except (ValueError, AttributeError):
        started_at = 0.0
    about = {"pid": pid, "version": str(note.get("version", "")), "started_at": started_at, "pid_fits": fits}
    if locked is None:
        return DaemonSight(verdict="unknown", detail=f"{store.path(LOCK_FILE)} cannot be asked", **about)
    if locked:
        last_tick_at, expected_by_at = _read_pulse(store.read_view(), pid)
        if fits and expected_by_at and store.host.now() > expected_by_at:
            late = span(store.host.now() - last_tick_at)
            return DaemonSight(verdict="hanging", detail=f"its last look was {late} ago", **about)
        if not fits:
            return DaemonSight(
                verdict="running", detail="it is starting, or its PID file is not its own", **{**about, "pid": 0}
            )
        return DaemonSight(verdict="running", **about)
    if there:
        return DaemonSight(verdict="dead", detail="it ended without taking its PID file away", **about)
    return DaemonSight(verdict="not running", **about)


def _await_other(store: Store, timeout_s: float) -> tuple:
    """Wait until the daemon another has started is ready: of twenty starts at once each succeeds."""
    deadline = store.host.mono() + timeout_s
    while store.host.mono() < deadline:
        sight = see_daemon(store)
        if sight.pid_fits and sight.verdict in ("running", "hanging"):
            return EXIT_OK, f"already running (pid {sight.pid})"
        if sight.verdict in ("not running", "dead"):
            return EXIT_BUSY, "another start has just failed; try again, or see `witness logs`"
        store.host.pause(0.02)
    return EXIT_FAILED, f"the lock {store.path(LOCK_FILE)} is held, but no daemon says it is ready"


def _read_ready(fd: int, timeout_s: float) -> str:
    """Return what a daemon says of its start: `ready PID` or `STATUS why`; else in words why it says nothing."""
    import select

    said = b""
    deadline = time.monotonic() + timeout_s
    while not said.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            said = f"the daemon did not come up within {span(timeout_s)}\n".encode()
            break
        piece = os.read(fd, 4096)
        said = said + piece if piece else b"the daemon ended before it was ready\n"
    os.close(fd)
    return said.decode("utf-8", "replace").strip()


def call_daemon(rig: Rig, sets, lock_fd: int, ready_fd: int = -1, life_fd: int = -1) -> list:
    """Return the argv of a daemon to which these descriptors are handed."""
    fds = (str(fd) for fd in (lock_fd, ready_fd, life_fd))
    return call_ourselves("_daemon", rig.path, rig.agents_path, *fds, *sets)


def exec_daemon(rig: Rig, sets, lock_fd: int, ready_fd: int = -1) -> None:
    """Become the daemon in this very process, the lock kept; never returns."""
    os.chdir("/")  # our working directory must pin nobody's worktree
    os.set_inheritable(lock_fd, True)
    os.execv(sys.executable, call_daemon(rig, sets, lock_fd, ready_fd))  # noqa: S606


def _become_daemon(store: Store, rig: Rig, sets, lock_fd: int, ready_fd: int) -> None:
    """Be the first child: leave the session, fork again, and become the daemon by exec; never returns."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)  # not exit: nothing may be flushed or unlocked twice
        null = os.open(os.devnull, os.O_RDWR)
        log = os.open(store.path(LOG_FILE), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for fd, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, fd)
        for fd in [int(name) for name in os.listdir("/dev/fd")]:  # what the caller left open is none of ours
            if fd > 2 and fd not in (lock_fd, ready_fd):
                try:
                    os.close(fd)
                except OSError:
                    continue  # the one that listed the folder
        os.set_inheritable(ready_fd, True)
        exec_daemon(rig, sets, lock_fd, ready_fd)
    except BaseException as error:  # noqa: BLE001 - whatever it is, a forked child must not run on as its parent
        os.write(ready_fd, f"{EXIT_FAILED} the daemon could not be started: {error}\n".encode())
    os._exit(EXIT_FAILED)


def start_daemon(store: Store, rig: Rig, sets, timeout_s: float) -> tuple:
    """Start the daemon and return (status, line): 0 only when it runs, whoever started it."""
    lock_fd = take_lock(store.path(LOCK_FILE), 0.2)  # a passing `status` holds it for a moment
    if lock_fd is None:
        return _await_other(store, timeout_s)
    store.change_holds(stopped=None)
    read_fd, write_fd = os.pipe()
    sys.stdout.flush()
    heed_children()
    child = os.fork()
    if not child:
        _become_daemon(store, rig, sets, lock_fd, write_fd)
    os.close(write_fd)
    os.close(lock_fd)
    os.waitpid(child, 0)
    said = _read_ready(read_fd, timeout_s)
    if said.startswith("ready "):
        return EXIT_OK, f"started (pid {said.split()[1]}), rig {rig.name} in {rig.path}"
    status, _, line = said.partition(" ")
    if not status.isdigit():
        return EXIT_FAILED, f"{said}; see {store.path(LOG_FILE)}"
    return int(status), line


def make_notifier():
    """Return a function that tells systemd (sd_notify) how we are; does nothing without NOTIFY_SOCKET."""
    address = os.environ.pop("NOTIFY_SOCKET", "")

    def notify(text: str) -> None:
        if not address.startswith(("/", "@")):
            return
        import socket

        target = "\0" + address[1:] if address.startswith("@") else address
        if "RELOADING=1" in text:
            text += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as channel:
            try:
                channel.sendto(text.encode(), target)
            except OSError:
                return  # a manager that does not listen must not end the watch

    return notify


def run_daemon(host: Host, rig: Rig, sets, lock_fd: int, ready_fd: int = -1, life_fd: int = -1) -> int:
    """Be the daemon until stopped: lock held, readiness told once everything stands."""

    def say(text: str) -> None:
        if ready_fd >= 0:
            os.write(ready_fd, (text + "\n").encode("utf-8", "replace"))
            os.close(ready_fd)

    os.set_inheritable(lock_fd, False)
    store = Store(host, rig)
    try:
        config = store.read_config(os.environ, sets)
        station = Station(host, rig, config)
        process = read_process(host, os.getpid())
        memory = store.load()
        now = host.now()
        store.save(memory.but(state="running", pid=os.getpid(), started_at=now, rig_name=rig.name))
        note = {
            "pid": os.getpid(),
            "start_time": process.start if process else 0,
            "version": __version__,
            "module": os.path.abspath(__file__),  # another one is another build, whatever its version
            "started_at": rfc3339(now),
            "lock": os.fstat(lock_fd).st_ino,  # tells this rig from a copy of it
        }
        loop = Loop(station, lock_fd, lambda: store.read_config(os.environ, sets), make_notifier(), life_fd)
        loop.install_signals()
        # From here on a hang shows: the first tick is expected in time although there was none yet.
        store.write_view(
            {
                "pid": os.getpid(),
                "last_tick_at": rfc3339(now),
                "expected_by_at": rfc3339(now + max(2 * config.interval, 10) + 3 * config.tool_timeout),
            }
        )
        if os.path.isdir(store.path(PID_FILE)):
            store.set_aside(PID_FILE, "it is a folder")
        host.write(store.path(PID_FILE), (json.dumps(note) + "\n").encode())
    except WitnessError as error:
        say(f"{error.status} {error.line()}")
        raise
    except OSError as error:
        say(f"{EXIT_FAILED} {error}")
        raise StateError(f"{error.filename or rig.state}: {error.strerror}") from None
    store.tell("started", "daemon", f"version {__version__}, pid {os.getpid()}, backend {station.queue.backend}")
    loop.notify("READY=1")
    say(f"ready {os.getpid()}")
    try:
        status = loop.run()
    finally:
        if read_object(host, store.path(PID_FILE)).get("pid") == os.getpid():
            host.remove(store.path(PID_FILE))
    return status


NOT_SIGNALLED = "is another user's; nothing was signalled - ask as that user"  # EPERM: it is alive


def stop_daemon(store: Store, timeout_s: float, force: bool) -> tuple:
    """Stop the daemon and return (status, line); what is not proved to be the daemon is never signalled."""
    import signal

    sight = see_daemon(store)
    if sight.verdict in ("not running", "dead"):
        return EXIT_OK, "not running"
    if sight.verdict == "unknown":
        return EXIT_UNKNOWN, f"cannot tell whether it runs: {sight.detail}"
    deadline = store.host.mono() + timeout_s
    while not sight.pid_fits and store.host.mono() < deadline:
        store.host.pause(0.05)  # it may be just starting
        sight = see_daemon(store)
        if sight.verdict in ("not running", "dead"):
            return EXIT_OK, "not running"
    note = read_object(store.host, store.path(PID_FILE))
    pid, start = note.get("pid"), note.get("start_time")
    if not sight.pid_fits:
        return EXIT_FAILED, (
            f"somebody holds {store.path(LOCK_FILE)}, but {store.path(PID_FILE)} names pid {pid!r}, "
            "which is not that daemon; nothing was signalled - find it with `fuser`"
        )
    for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        if number == signal.SIGKILL and not force:
            break
        if not end_process(pid, start, number, store.host) and is_same_process(store.host, pid, start):
            return EXIT_FAILED, f"pid {pid} {NOT_SIGNALLED}"
        deadline = store.host.mono() + patience_s
        while store.host.mono() < deadline:
            if is_locked(store.path(LOCK_FILE)) is False:
                return EXIT_OK, f"stopped (pid {pid})" + (" by KILL" if number == signal.SIGKILL else "")
            store.host.pause(0.02)
    return EXIT_FAILED, (
        f"pid {pid} has not ended within {span(timeout_s)}; it finishes the action in hand - wait, or "
        "`witness stop --force`"
    )


def signal_daemon(store: Store, number: int) -> int:
    """Send the daemon a signal and return its pid.

    Raises:
        NotRunningError: it does not run, or its pid is not proved.
        WitnessError: it is another user's.
    """
    sight = see_daemon(store)
    start = read_object(store.host, store.path(PID_FILE)).get("start_time", 0)
    runs = sight.pid_fits and sight.verdict in ("running", "hanging")
    if not runs or not end_process(sight.pid, start, number, store.host):
        if runs and is_same_process(store.host, sight.pid, start):
            raise WitnessError(f"pid {sight.pid} {NOT_SIGNALLED}")
        raise NotRunningError("the daemon is not running", "`witness start` starts it")
    return sight.pid


# ====================================================================================================
# room: desk — what a one-shot command needs: its rig, its settings, one round at a time
# ====================================================================================================


class Desk:
    """One command's view of the rig; everything is made when it is first needed."""

    def __init__(self, host: Host, rig_option: str, sets, called_as: str) -> None:
        self.host = host
        self.sets = sets
        try:
            folder = os.getcwd()
        except FileNotFoundError:  # a shell whose worktree was retired under it
            folder = ""
        if not folder and not rig_option and not os.environ.get("WITNESS_RIG"):
            raise UsageError("the working directory is gone", "go into the rig, or name it with --rig PATH")
        self.rig = find_rig(host, rig_option, os.environ, folder or "/", called_as)
        self.store = Store(host, self.rig)

    def config(self) -> Config:
        """Return the settings in force."""
        return self.store.read_config(os.environ, self.sets)

    def prepare(self) -> Config:
        """Check the ground, take over what the first Witness left, and return the settings in force."""
        check_ground(self.host, self.rig, self.config())
        if os.path.exists(self.store.path(MEMORY_FILE)):
            fd = take_lock(self.store.path(TICK_LOCK_FILE), 1.0)
            if fd is not None:  # else a Witness is at work, which has done this when it began
                try:
                    self.store.import_first()
                finally:
                    os.close(fd)
        return self.config()

    def station(self) -> Station:
        """Return a station of our own, after the ground was checked."""
        station = Station(self.host, self.rig, self.prepare())
        station.look_at_town()  # it tells where the sessions are
        return station

    def run_rounds(self, station: Station, wish: dict, act: bool = True, prepare=None, until=None):
        """Do rounds under the tick lock until nothing more follows at once; the daemon's ticks wait meanwhile.

        prepare changes the memory before the first round; until(decision) ends a wait for what runs outside the tick.
        Returns (observation, decision, [(action, outcome)…]).
        """
        done = []
        deadline = self.host.mono() + station.config.spawn_timeout + 30
        for number in range(100000):
            fd = take_tick_lock(station, station.config.tool_timeout + 10)
            try:
                if prepare is not None and number == 0:
                    station.remember(prepare(station.store.load()))
                seen, decision, outcomes = run_round(station, act=act, person=True, **wish)
            finally:
                station.tick_lock_fd = None
                os.close(fd)
            performed = [action for action in decision.actions if act or isinstance(action, LookTwice)]
            done += zip(performed, outcomes)
            more = asks_for_more(outcomes) and number < FOLLOW_UPS
            if not more and (until is None or until(decision) or self.host.mono() > deadline):
                break
            if not more:
                self.host.pause(0.2 if station.queue.whole else 1.0)  # each look at a shared queue calls it
        return seen, decision, done


# ====================================================================================================
# FLOOR: front door
# ====================================================================================================

# ====================================================================================================
# room: worker — the worker's side: handoff and mail
# ====================================================================================================


class Answer(Value):
    """What a command has to say: exit status, data for --json, text for people."""

    status: int
    data: dict
    text: str


def find_self(rig: Rig, folder: str) -> Worktree:
    """Return the polecat whose worktree a folder lies in.

    Raises:
        UsageError: it lies in none.
    """
    inside = os.path.relpath(os.path.realpath(folder), os.path.realpath(rig.polecats)).split(os.sep)
    tree = read_worktree(rig, inside[0]) if inside[0] not in (os.curdir, os.pardir) else None
    if not isinstance(tree, Worktree):
        raise UsageError(
            f"{folder} lies in no worker's worktree of {rig.polecats}", "go into it, or use `shutdown NAME`"
        )
    return tree


def inspect_for_handoff(station: Station, tree: Worktree) -> tuple:
    """Return what would block the retirement of a worktree now."""
    seen = observe(station, Memory(), person=True, duties=frozenset(), only=(tree.name,))
    request = Request(name=tree.name, sender="self", at=seen.now)
    draft = Draft(seen, Memory(), station.config)
    retirement = begin_retirement(
        draft, seen.sightings.get(tree.name, Sighting(name=tree.name, worktree=tree)), request
    )
    return find_retirement_blockers(station.tools, retirement)


def cmd_handoff(desk: Desk, words) -> Answer:
    """Check that nothing of this worktree could be lost, then ask to be shut down."""
    tree = find_self(desk.rig, os.getcwd())
    station = desk.station()
    blockers = [one for one in inspect_for_handoff(station, tree) if one.kind not in ("attached", "process")]
    if blockers:
        rows = [one.fields() for one in blockers]
        text = "not handed off, something of this worktree could be lost:\n" + "".join(
            f"- {one.kind}: {one.evidence}\n    clear it with: {one.remedy}\n" for one in blockers
        )
        return Answer(status=EXIT_FAILED, data={"polecat": tree.name, "blockers": rows}, text=text)
    now = desk.host.now()
    subject, body = handoff_letter(desk.rig.name, tree.name, now)
    key = f"handoff.{tree.name}.{now:.6f}"
    station.mailbox.deliver(station.mailbox.address, subject, body, key, sender=f"{desk.rig.name}/{tree.name}")
    text = f"handed off: {tree.name} asked to be shut down; everything is committed\n"
    if see_daemon(station.store).verdict != "running":
        text += "the daemon does not run: `witness start`, then it is looked at\n"
    return Answer(status=EXIT_OK, data={"polecat": tree.name, "blockers": []}, text=text)


def _own_address(desk: Desk) -> str:
    """Return the address of whoever calls: the worktree's polecat, else the overseer."""
    try:
        return f"{desk.rig.name}/{find_self(desk.rig, os.getcwd()).name}"
    except UsageError:
        return "overseer"


def _send_mail(desk: Desk, words) -> Answer:
    if not words.words:
        raise UsageError("mail send needs an address", "write `witness mail send RIG/witness -s SUBJECT -b BODY`")
    to, sender = words.words[0], words.sender or _own_address(desk)
    body = words.body if words.body is not None else ""
    mailbox = desk.station().mailbox
    mailbox.deliver(to, words.subject or "", body, f"mail.{desk.host.now():.6f}.{os.getpid()}", sender)
    return Answer(status=EXIT_OK, data={"to": to, "from": sender}, text=f"sent to {clean_line(to)}\n")


def _open_maildir(desk: Desk, address: str) -> tuple:
    """Return (a Maildir, the keys of its messages); no FIFO, which would hang us, and no link, which leads anywhere."""
    import mailbox

    box = desk.station().mailbox
    if not isinstance(box, Mailbox):
        raise WitnessError("the mail of this rig is gt's", "use `gt mail inbox` and `gt mail archive`")
    folder = box.folder(address)
    entries = [entry for name in ("new", "cur") for entry in os.scandir(os.path.join(folder, name))]
    keys = {regular: set() for regular in (True, False)}
    for entry in entries:
        keys[entry.is_file(follow_symlinks=False)].add(entry.name.partition(":")[0])
    return mailbox.Maildir(folder, factory=None), sorted(keys[True] - keys[False])


def _list_mail(desk: Desk, words) -> Answer:
    address = words.words[0] if words.words else _own_address(desk)
    rows = []
    maildir, keys = _open_maildir(desk, address)
    for key in keys:
        message = maildir.get(key)
        if message is None or message.get_subdir() != "new":
            continue
        mail = parse_mail(key, maildir.get_bytes(key), message.get_date())
        rows.append(
            {
                "id": key,
                "from": mail.sender,
                "to": address,
                "subject": mail.subject,
                "at": rfc3339(mail.at),
                "body": mail.body,
            }
        )
    rows.sort(key=lambda row: row["at"])
    data = {"messages": rows}
    return Answer(status=EXIT_OK, data=data, text=render_messages(data))


def _ack_mail(desk: Desk, words) -> Answer:
    address = words.address or _own_address(desk)
    (maildir, keys), done = _open_maildir(desk, address), []
    for key in words.words:
        if key in keys:
            message = maildir[key]
            message.set_subdir("cur")
            message.add_flag("S")
            maildir[key] = message
            done.append(key)
    missing = [key for key in words.words if key not in done]
    text = render_lines([*(f"acknowledged {key}" for key in done), *(f"no message {key}" for key in missing)])
    return Answer(
        status=EXIT_FAILED if missing or not words.words else EXIT_OK,
        data={"acknowledged": done, "missing": missing},
        text=text or "name the messages: `witness mail ack ID…`\n",
    )


def cmd_mail(desk: Desk, words) -> Answer:
    """Send, list or acknowledge mail."""
    check_state_folder(desk.rig)
    return {"send": _send_mail, "inbox": _list_mail, "ack": _ack_mail}[words.verb](desk, words)


# ====================================================================================================
# room: person — the person's side: look, retire, spawn, hold, queue
# ====================================================================================================


def cmd_health(desk: Desk, words) -> Answer:
    """Look at every worker now and do what is due."""
    station = desk.station()
    wish = {"duties": frozenset({"health"}), "only": tuple(words.names)}
    seen, decision, done = desk.run_rounds(station, wish, act=not words.dry_run)
    missing = [name for name in words.names if name not in decision.verdicts]
    if missing:
        if seen.ports["git"].state == UNKNOWN:
            why = f"{clean_line(missing[0], 60)} is not known: {seen.ports['git'].reason}"
            raise ToolError(why, "mend that, then look again")
        raise WitnessError(
            f"no polecat {clean_line(missing[0], 60)} in {desk.rig.polecats}", "`witness status` lists them"
        )
    polecats = report_polecats(seen, decision, station.config)
    polecats = [one for one in polecats if not words.names or one["name"] in words.names]
    rows = [
        {**one, "done": outcome.ok, "detail": outcome.detail}
        for one, outcome in zip(report_actions([action for action, _ in done]), [outcome for _, outcome in done])
    ]
    if words.dry_run:
        due = [action for action in decision.actions if not isinstance(action, LookTwice)]
        rows = [{**one, "done": False, "detail": ""} for one in report_actions(due)]
    data = add_ages({"polecats": polecats, "actions": rows, "dry_run": words.dry_run}, seen.now)
    ill = any(one["state"] in ("dead", "stuck", "unknown") for one in polecats)
    return Answer(
        status=EXIT_FAILED if ill else EXIT_OK, data=data, text=render_health(data, words.width, words.colour)
    )


def _report_retired(outcome: Outcome) -> dict:
    data = outcome.data
    return {
        "result": data.get("result", "failed"),
        "ref": data.get("ref"),
        "commit": data.get("commit") or "",
        "branch": data.get("branch"),
        "blockers": report_blockers(data.get("blockers", ())),
    }


def _forget_asked(station: Station, names) -> None:
    """Forget what a person asked and was refused: the person has the answer, only a worker's mail waits on."""
    fd = take_tick_lock(station, station.config.tool_timeout + 10)
    try:
        memory = station.store.load()
        kept = {name: one.but(force=False) for name, one in memory.requests.items() if name not in names or one.mails}
        station.remember(memory.but(requests=kept))
    finally:
        os.close(fd)


def _preview_shutdown(desk: Desk, station: Station, words) -> Answer:
    rows = []
    for name in words.names:
        tree = read_worktree(desk.rig, name)
        if not isinstance(tree, Worktree):
            rows.append({"name": name, "result": "gone" if tree is None else "failed", "detail": tree or ""})
            continue
        blockers = inspect_for_handoff(station, tree)
        rows.append(
            {
                "name": name,
                "result": "refused" if blockers else "would retire",
                "detail": "",
                "blockers": [one.fields() for one in blockers],
            }
        )
    data = {"polecats": rows}
    ok = all(one["result"] != "refused" for one in rows)
    return Answer(status=EXIT_OK if ok else EXIT_FAILED, data=data, text=render_shutdown(data))


def cmd_shutdown(desk: Desk, words) -> Answer:
    """Retire workers now, each only after proof that nothing of its work can be lost."""
    station = desk.station()
    for name in words.names:
        if not is_polecat_name(name):
            raise UsageError(f"{clean_line(name, 60)!r} is no polecat's name", "`witness status` lists them")
    if words.dry_run:
        return _preview_shutdown(desk, station, words)
    names = words.names or sorted(station.store.load().requests)
    wish = {"duties": frozenset({"shutdown"}), "only": tuple(names) or ("-",)}

    def prepare(memory: Memory) -> Memory:
        requests = dict(memory.requests)
        for name in names:
            asked = requests.get(name, Request(name=name, sender="a person", at=desk.host.now()))
            requests[name] = asked.but(force=words.force, next_at=0.0)
        return memory.but(requests=requests)

    seen, decision, done = desk.run_rounds(station, wish, prepare=prepare)
    ended = {outcome.subject: outcome for action, outcome in done if isinstance(action, Retire)}
    _forget_asked(station, names)
    rows = []
    for name in names:
        outcome = ended.get(name)
        if outcome is not None:
            rows.append({"name": name, "detail": outcome.detail, **_report_retired(outcome)})
        elif name in seen.sightings:
            draft = Draft(seen, decision.memory, station.config)
            why = seen.holds.get(name) or seen.paused or why_not_begun(draft, name) or "see the log"
            rows.append({"name": name, "result": "failed", "detail": f"not begun: {why}"})
        else:
            stranger = next((why for folder, why in seen.strangers if folder == name), "")
            if not stranger and seen.ports["git"].state == UNKNOWN:  # nobody can tell whether it is gone
                stranger = f"not begun: {seen.ports['git'].reason}"
            rows.append({"name": name, "result": "failed" if stranger else "gone", "detail": stranger})
    data = {"polecats": rows}
    good = all(one["result"] in ("retired", "gone") for one in rows)
    return Answer(
        status=EXIT_OK if good else EXIT_FAILED,
        data=data,
        text=render_shutdown(data) if rows else "nobody asked to be shut down; name a polecat\n",
    )


def _spawn_round(desk: Desk, station: Station, issue: str) -> list:
    """Start what may be started and wait for how it ends, whoever of us and the daemon settles it."""
    wish = {"duties": frozenset({"spawn"}), "only": (issue,) if issue else ()}
    before = station.store.load()
    seen, decision, done = desk.run_rounds(station, wish, until=lambda decision: decision.memory.spawn is None)
    begun = [action.subject for action, _ in done if isinstance(action, StartSpawn)]
    if issue and not begun:
        rows = report_issues(seen, before, station.config, decision.verdicts, (issue,), by_hand=True)
        unknown = f"the queue is unknown: {seen.ports['queue'].reason}" if seen.issues is None else ""
        reason = rows[0]["reason"] if rows else unknown or "no such issue"
        return [{"id": issue, "result": "not spawned", "reason": reason, "polecat": None}]
    claims = station.queue.claims.read() or {}
    failed = {outcome.subject: outcome.detail for _, outcome in done if outcome.kind == "spawn" and not outcome.ok}
    rows = []
    for one in begun:
        good = one in claims and claims[one].state == "working"
        reason = None if good else failed.get(one) or decision.memory.issues.get(one, Effort()).error
        rows.append(
            {
                "id": one,
                "result": "spawned" if good else "failed",
                "reason": reason,
                "polecat": claims[one].name if good else None,
            }
        )
    return rows


def _explain_spawn(desk: Desk, station: Station, words) -> Answer:
    before = station.store.load()
    seen, decision, _ = desk.run_rounds(
        station, {"duties": frozenset({"spawn"}), "only": tuple(words.issues)}, act=False
    )
    only = tuple(words.issues)
    rows = report_issues(seen, before, station.config, decision.verdicts, only, by_hand=bool(only))
    rows = [row for row in rows if row["status"] not in CLOSED or words.issues]
    started = [action.subject for action in decision.actions if isinstance(action, StartSpawn)]
    for row in rows:
        row["result"] = "would spawn" if row["id"] in started else "not spawned" if row["reason"] else "next"
    if words.dry_run and not words.explain:
        rows = [row for row in rows if row["id"] in started]
    data = {"issues": rows, "reason": report_tick(seen, decision, station.config)["queue"]["reason"]}
    return Answer(status=EXIT_OK, data=data, text=render_spawn(data))


def _is_being_spawned(station: Station, memory: Memory, claim: Claim) -> bool:
    """Tell whether a spawn is under way for an issue; set free now, it would get a second worker."""
    sight = read_spawn(station.store)
    under_way = memory.spawn is not None and memory.spawn.issue == claim.issue
    return under_way or (sight is not None and sight.alive and sight.issue in ("", claim.issue))


def _why_not_reset(station: Station, memory: Memory, claim: Claim) -> str:
    """Return why an issue must not be set free now: it would get a second worker."""
    if _is_being_spawned(station, memory, claim):
        return "a worker is being started for it; wait for that"
    if claim.state not in ("claimed", "working"):
        return ""
    tree = read_worktree(station.rig, claim.name)
    if isinstance(tree, Worktree):  # slung anew, it works on another issue by now
        return f"{claim.name} works on it; `witness shutdown {claim.name}` first" * is_claim_of(claim, tree)
    town, port = station.look_at_town()  # only it knows what the sessions are called, and on which server
    panes = station.tools.tmux.list_panes() if station.town is None or town is not None else port.reason
    if isinstance(panes, str):
        return f"whether {claim.name or 'its worker'} lives without its worktree cannot be told: {panes}"
    own, trouble = find_session(station.rig, station.config, claim.name, panes)
    if own:
        return f"{claim.name} lives without its worktree; `tmux kill-session -t ={own[0].session}` first"
    return trouble


def _reset_issues(station: Station, issues) -> Answer:
    """Forget an issue's failed attempts and its hand-over: a person decided that it is to be done again."""
    if not issues:
        raise UsageError("spawn reset needs an issue", "`witness spawn --explain` lists them")
    for issue in issues:
        if not is_issue_id(issue):
            raise UsageError(f"{clean_line(issue, 60)!r} is no issue's id", "`witness issues` lists them")
    fd = take_tick_lock(station, station.config.tool_timeout + 10)
    try:
        claims = station.queue.claims.read_all()
        memory, rows = station.store.load(), []
        for issue in issues:
            claim = claims.get(issue) or Claim(issue=issue, actor=station.actor, at=station.host.now())
            why = _why_not_reset(station, memory, claim)
            if why:
                rows.append({"id": issue, "result": "refused", "polecat": claim.name or None, "reason": why})
                continue
            left = station.queue.release(claim)
            memory = memory.but(issues={key: one for key, one in memory.issues.items() if key != issue})
            rows.append({"id": issue, "result": "reset", "reason": left or None, "polecat": None})
        station.remember(memory)
    finally:
        os.close(fd)
    data = {"issues": rows}
    good = all(row["result"] == "reset" for row in rows)
    return Answer(status=EXIT_OK if good else EXIT_FAILED, data=data, text=render_spawn(data))


def cmd_spawn(desk: Desk, words) -> Answer:
    """Start workers for ready issues now; for a named issue filters do not count."""
    station = desk.station()
    if words.issues and words.issues[0] == "reset":
        return _reset_issues(station, words.issues[1:])
    if words.explain or words.dry_run:
        return _explain_spawn(desk, station, words)
    rows = []
    for issue in words.issues or [""]:
        rows += _spawn_round(desk, station, issue)
    data = {"issues": rows, "reason": None}
    if not rows:
        seen, decision, _ = desk.run_rounds(station, {"duties": frozenset()}, act=False)
        data["reason"] = report_tick(seen, decision, station.config)["queue"]["reason"]
    good = all(row["result"] == "spawned" for row in rows)
    return Answer(status=EXIT_OK if good else EXIT_FAILED, data=data, text=render_spawn(data))


def cmd_retired(desk: Desk, words) -> Answer:
    """List what was retired, newest first."""
    data = {"retired": list_retired(make_tools(desk.host, desk.rig, desk.config()))}
    return Answer(status=EXIT_OK, data=data, text=render_retired(data))


def cmd_recover(desk: Desk, words) -> Answer:
    """Bring a retired worker's worktree back as it was."""
    name, _, at = words.name.partition("@")
    if not is_polecat_name(name):
        raise UsageError(f"{clean_line(name, 60)!r} is no polecat's name", "`witness retired` lists them")
    station = desk.station()
    fd = take_tick_lock(station, station.config.tool_timeout + 10)
    try:
        data = recover_worktree(station.tools, name, at)
    finally:
        os.close(fd)
    station.store.tell("recovered", name, f"from {data.get('ref')}")
    return Answer(
        status=EXIT_OK, data=data, text=render_lines([f"recovered {name} in {data['path']}, from {data['ref']}"])
    )


def cmd_add(desk: Desk, words) -> Answer:
    """Append an issue to the local queue."""
    station = desk.station()
    extra = {"priority": words.priority, "issue_type": words.type}
    if words.label:
        extra["labels"] = words.label
    links = [("blocks", one) for one in words.blocked_by] + [("parent-child", one) for one in words.parent]
    issue_id = station.queue.add(clean_line(words.title, 500), desk.rig.name, links, **extra)
    return Answer(status=EXIT_OK, data={"id": issue_id}, text=f"{issue_id}\n")


def cmd_issues(desk: Desk, words) -> Answer:
    """List the issues, each with the reason why it gets no worker."""
    station = desk.station()
    seen, decision, _ = desk.run_rounds(station, {"duties": frozenset()}, act=False)
    if seen.issues is None:
        raise ToolError(f"the queue is unknown: {seen.ports['queue'].reason}")
    rows = report_issues(seen, decision.memory, station.config, decision.verdicts)
    data = {
        "issues": [row for row in rows if words.all or row["status"] not in CLOSED],
        "bad_lines": list(seen.bad_lines),
    }
    return Answer(status=EXIT_OK, data=data, text=render_issues(data))


def cmd_close(desk: Desk, words) -> Answer:
    """Close an issue of the local queue."""
    station = desk.station()
    station.queue.close(words.issue, words.reason or "closed by hand")
    return Answer(status=EXIT_OK, data={"id": words.issue}, text=f"closed {plain(words.issue)}\n")


def _until(desk: Desk, words) -> str:
    """Return the stamp until which a hold or pause lasts, "" for as long as nobody ends it."""
    if not words.duration:
        return ""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", words.duration)
    if not match:
        raise UsageError(f"--for {clean_line(words.duration, 40)!r} is no duration", "write 90s, 15m, 2h or 1d")
    return rfc3339(
        desk.host.now() + float(match.group(1)) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match.group(2) or "s"]
    )


def cmd_pause(desk: Desk, words) -> Answer:
    """Stop acting; looking goes on."""
    station = desk.station()
    station.store.change_holds(
        paused={"reason": words.reason, "until": _until(desk, words), "at": rfc3339(desk.host.now())}
    )
    station.store.tell("paused", "rig", words.reason)
    return Answer(
        status=EXIT_OK, data={"paused": words.reason}, text=f"paused: {plain(words.reason)}; `witness resume` goes on\n"
    )


def cmd_resume(desk: Desk, words) -> Answer:
    """Act again after a pause or a halt."""
    station = desk.station()
    station.store.change_holds(paused=None, resumed_at=rfc3339(desk.host.now()))
    station.store.tell("resumed", "rig", "a person said go on")
    return Answer(status=EXIT_OK, data={"paused": None}, text="resumed\n")


def cmd_hold(desk: Desk, words) -> Answer:
    """Leave one worker alone."""
    if not is_polecat_name(words.name):
        raise UsageError(f"{clean_line(words.name, 60)!r} is no polecat's name", "`witness status` lists them")
    station = desk.station()
    entry = {"reason": words.reason, "until": _until(desk, words), "at": rfc3339(desk.host.now())}
    station.store.change_holds(hold=(words.name, entry))
    station.store.tell("held", words.name, words.reason)
    text = f"{words.name} is on hold: {plain(words.reason)}; `witness release {words.name}` ends it\n"
    return Answer(status=EXIT_OK, data={"held": words.name, "reason": words.reason}, text=text)


def cmd_release(desk: Desk, words) -> Answer:
    """End the hold on one worker."""
    station = desk.station()
    station.store.change_holds(hold=(words.name, None))
    station.store.tell("released", words.name, "a person ended the hold")
    return Answer(status=EXIT_OK, data={"released": words.name}, text=f"{clean_line(words.name, 60)} is released\n")


# ====================================================================================================
# room: service — the daemon's commands, its settings, its records
# ====================================================================================================


def _said(status: int, line: str) -> WitnessError:
    error = WitnessError(line)
    error.status = status
    return error


def report_daemon(sight: DaemonSight, view: dict) -> dict:
    """Return the daemon as data."""
    running = sight.verdict in ("running", "hanging")
    return {
        "running": running,
        "pid": sight.pid or None,
        "version": sight.version or None,
        "started_at": rfc3339(sight.started_at) or None,
        "last_tick_at": view.get("last_tick_at"),
    }


def cmd_start(desk: Desk, words) -> Answer:
    """Start the daemon; 0 only when it runs."""
    desk.prepare()
    if words.foreground:
        lock_fd = take_lock(desk.store.path(LOCK_FILE), 0.2)
        if lock_fd is None:
            raise BusyError(
                f"already running (pid {see_daemon(desk.store).pid or 'unknown'})", "`witness stop` ends it"
            )
        desk.store.change_holds(stopped=None)
        exec_daemon(desk.rig, desk.sets, lock_fd)
    status, line = start_daemon(desk.store, desk.rig, desk.sets, words.timeout)
    if status != EXIT_OK:
        raise _said(status, line)
    return Answer(
        status=status, data={"daemon": report_daemon(see_daemon(desk.store), {})}, text=f"witness {plain(line)}\n"
    )


def cmd_stop(desk: Desk, words) -> Answer:
    """Stop the daemon; workers go on."""
    check_state_folder(desk.rig)  # its PID file says who is signalled
    status, line = stop_daemon(desk.store, words.timeout, words.force)
    if status != EXIT_OK:
        raise _said(status, line)
    if os.path.isdir(desk.rig.state):
        try:
            desk.store.change_holds(stopped=True)  # remembered until the next start
        except StateError as error:
            line += f", which will not be remembered: {plain(error.message)}"  # a full disk: what was asked for is done
    return Answer(status=status, data={"stopped": not line.startswith("not running")}, text=f"witness {line}\n")


def cmd_restart(desk: Desk, words) -> Answer:
    """Stop the daemon and start it again; workers go on."""
    desk.prepare()
    status, line = stop_daemon(desk.store, words.timeout, words.force)
    if status != EXIT_OK:
        raise _said(status, line)
    return cmd_start(desk, words)


def cmd_unit(desk: Desk, words) -> Answer:
    """Print a unit for the host's service manager, with the environment of whoever prints it."""
    import shlex

    config = desk.config()
    # Agents are started from the daemon: they need the caller's PATH, and tmux its folder of sockets.
    kept = ["PATH", "TMUX_TMPDIR", *(f"WITNESS_{name.upper()}" for name in SETTING_BY_NAME)]
    # bd needs the server's address; a password is for its credentials file, not for a unit that anybody may read.
    kept += [name for name in os.environ if name.startswith(GT_KEPT_PREFIXES) and "PASSWORD" not in name]
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    if any(not value.isprintable() for value in (*environment.values(), desk.rig.path)):
        raise UsageError("the environment or the rig's path holds a control character", "mend it, then ask again")
    argv = [*shlex.split(desk.rig.agents_path), "start", "--foreground", "--rig", desk.rig.path]
    argv += [word for pair in desk.sets for word in ("--set", pair)]
    text = UNITS[words.manager](desk.rig, argv, environment, config)
    return Answer(status=EXIT_OK, data={"manager": words.manager, "unit": text}, text=text)


def cmd_reload(desk: Desk, words) -> Answer:
    """Let the daemon read its settings again."""
    import signal

    desk.config()  # a bad file is said here, not only in the log
    pid = signal_daemon(desk.store, signal.SIGHUP)
    return Answer(status=EXIT_OK, data={"pid": pid}, text=f"pid {pid} reads its settings again\n")


def _set_config(desk: Desk, words) -> Answer:
    if len(words.words) != 2:
        raise UsageError("config set needs a name and a value", "write `witness config set max_workers 6`")
    name, text = words.words
    value = parse_setting(name, text, "config set")
    check_state_folder(desk.rig)
    desk.config()
    host, path = desk.host, desk.store.path(CONFIG_FILE)
    host.make_folder(desk.rig.state)
    data = {**read_object(host, path), name: value}
    make_config(data, path, {})
    try:
        host.write(path, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}", "the setting was not changed") from None
    told = ""
    if see_daemon(desk.store).verdict == "running":
        told = "; `witness reload` lets the daemon take it into use"
    return Answer(status=EXIT_OK, data={"name": name, "value": value}, text=f"{name} is {json.dumps(value)}{told}\n")


def cmd_config(desk: Desk, words) -> Answer:
    """Show, change or check the settings."""
    if words.verb == "set":
        return _set_config(desk, words)
    config = desk.config()
    if words.verb == "check":
        return Answer(status=EXIT_OK, data={"settings": len(SETTINGS)}, text="the settings are good\n")
    names = words.words or [setting.name for setting in SETTINGS]
    for name in names:
        if name not in SETTING_BY_NAME:
            check_setting(name, None, "config get")
    rows = [{"name": name, "value": config.values[name], "origin": config.origins[name]} for name in names]
    text = render_table([(row["name"], json.dumps(row["value"]), row["origin"]) for row in rows], "") + "\n"
    return Answer(status=EXIT_OK, data={"settings": rows}, text=text)


# ====================================================================================================
# room: look — what a person reads: status and its watch, explain, events, log
# ====================================================================================================


VERDICT_STATUS = {
    "running": EXIT_OK,
    "dead": EXIT_FAILED,
    "not running": EXIT_NOT_RUNNING,
    "hanging": EXIT_UNKNOWN,
    "unknown": EXIT_UNKNOWN,
}


def _show_status(desk: Desk, sight: DaemonSight, view: dict, words) -> tuple:
    shown = "paused halted next_tick ports strangers escalations queue kept stats requests letters_waiting"
    now = desk.host.now()
    data = add_ages(
        {
            "rig": {"name": desk.rig.name, "path": desk.rig.path},
            "daemon": report_daemon(sight, view),
            "verdict": sight.verdict,
            "detail": sight.detail or None,
            **{key: view[key] for key in shown.split() if key in view},
        },
        now,
    )
    if words.json and "polecats" in view:
        polecats = sorted((*view["polecats"], *view.get("others", ())), key=lambda one: one["name"])
        data.update(polecats=add_ages(polecats, now))
    if words.json:
        return data, ""
    if "folded" not in view and "polecats" in view:  # of a daemon that was started before it folded them
        shown, others = pick_rows(view["polecats"])
        view = {**view, "polecats": shown, "folded": fold_polecats(others)}
    data.update({key: view[key] for key in ("polecats", "folded") if key in view})
    return data, render_status(data, words.width, words.colour, now)


def look_at_daemon(desk: Desk, words) -> Answer:
    """Return what `status` says now."""
    sight = see_daemon(desk.store)
    try:
        data, text = _show_status(desk, sight, desk.store.read_view(whole=words.json), words)
    except (KeyError, ValueError, TypeError, AttributeError):
        # The archive was replaced under a daemon of another version.
        data, text = _show_status(desk, sight, {}, words)
        text += f"{VIEW_FILE} is not of this version: `witness restart` takes the new one into use\n"
    if not data["daemon"]["running"]:
        text += "nothing is watched now: `witness start` starts it, `witness health` looks once\n"
    return Answer(status=VERDICT_STATUS[sight.verdict], data=data, text=text)


class Screen:
    """The terminal while something is redrawn on it; `with` gives it back as it was.

    Another page, no cursor, no echo, keys read one by one: ^C and ^Z come as keys, so that neither leaves it half set.
    """

    def __enter__(self):
        import signal
        import termios
        import tty

        self.saved = termios.tcgetattr(0)
        self.wake_fd, write_fd = os.pipe()
        for fd in (self.wake_fd, write_fd):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        self.caught = []
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGWINCH"):
            signal.signal(getattr(signal, name), lambda number, _: self.caught.append(number))
        tty.setraw(0, termios.TCSADRAIN)
        self._write("\x1b[?1049h\x1b[?25l")
        return self

    def __exit__(self, *_):
        import termios

        try:
            self._write("\x1b[?25h\x1b[?1049l")
            termios.tcsetattr(0, termios.TCSADRAIN, self.saved)
        except (OSError, termios.error):
            return  # the terminal is gone, and with it what there was to mend

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def draw(self, text: str, height: int) -> None:
        """Put a text in place of the last one; what does not fit is cut, never scrolled."""
        lines = text.rstrip("\n").split("\n")[:height]
        self._write("\x1b[H" + "".join(line + "\x1b[K\r\n" for line in lines[:-1]) + lines[-1] + "\x1b[K\x1b[J")

    def wait(self, wait_s: float) -> bool:
        """Wait for time or a new size; False where a key or a signal asks to leave."""
        import select
        import signal

        readable = select.select([0, self.wake_fd], [], [], wait_s)[0]
        if self.wake_fd in readable:
            os.read(self.wake_fd, 512)
        keys = os.read(0, 64) if 0 in readable else b""
        leaves = (0 in readable and not keys) or any(key in keys for key in b"q\x03\x04\x1a")
        return not leaves and not set(self.caught) - {signal.SIGWINCH}


WATCH_S = 1.0  # between two redraws: a file is read for it, nobody is asked


def _watch_status(desk: Desk, words) -> Answer:
    """Show the status again and again: on a terminal in place, as JSON an object a line."""
    if words.json:
        while True:
            answer = look_at_daemon(desk, words)
            print(render_json("status", answer.status == EXIT_OK, answer.data), end="", flush=True)
            desk.host.pause(WATCH_S)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("--watch needs a terminal", "`witness status --watch --json` prints an object a line anywhere")
    with Screen() as screen:
        go_on = True
        while go_on:
            words.width, height = os.get_terminal_size(1)
            answer = look_at_daemon(desk, words)
            keys = f"{time.strftime('%H:%M:%S', time.localtime(desk.host.now()))}  q leaves"
            screen.draw(answer.text + "\n" + keys, height)
            go_on = screen.wait(WATCH_S)
    return Answer(status=answer.status, data=None, text="")


def cmd_status(desk: Desk, words) -> Answer:
    """Say whether the daemon runs, and what it saw last."""
    return _watch_status(desk, words) if words.watch else look_at_daemon(desk, words)


def _parse_event(line: str) -> dict:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        event = None
    return event if isinstance(event, dict) else {"text": clean_line(line)}  # torn by a full disk


HISTORY_SHOWN = 20  # events that `explain` prints


def _list_history(desk: Desk, subject: str) -> list:
    """Return the last events of one worker or issue, oldest first; the rotated file before counts, too."""
    events = []
    for name in (f"{EVENTS_FILE}.1", EVENTS_FILE):
        try:
            with open(desk.store.path(name), "rb") as file:
                events += [_parse_event(line.decode("utf-8", "replace")) for line in file if subject.encode() in line]
        except FileNotFoundError:
            continue
    return [event for event in events if event.get("subject") == subject][-HISTORY_SHOWN:]


def _look_as_daemon(station: Station, name: str) -> tuple:
    """Return (observation, decision) as the daemon would judge now, a second look included; nothing is done.

    Without the tick lock: a retirement of minutes must not keep the question why waiting.
    """
    station.first = False  # else each worker's timers would count from now
    wish = {"duties": frozenset({"health"}), "only": (name,)}
    seen, decision, _ = run_round(station, act=False, **wish)
    sighting = seen.sightings.get(name)
    if sighting is None:
        return seen, decision
    station.looks = {}
    look_twice = LookTwice(subject=name, pane_id=sighting.pane.pane_id if sighting.pane is not None else "")
    perform(station, look_twice)
    return run_round(station, act=False, **wish)[:2]


def cmd_explain(desk: Desk, words) -> Answer:
    """Say why a worker or an issue is where it is, and what would have to change."""
    station, subject = desk.station(), words.subject
    seen, decision = _look_as_daemon(station, subject)
    issues = {issue.id: issue for issue in seen.issues or ()}
    # Between the removal of a worktree and the last step the worker is in neither list but the second.
    rows = list_retired(station.tools, RETIRING_REFS) + list_retired(station.tools)
    retired = [row for row in rows if subject in (row["name"], row["issue"])]
    found = []
    if subject in decision.verdicts:
        memory = decision.memory
        asked = subject in memory.requests or subject in memory.retirements
        blockers = inspect_for_handoff(station, seen.sightings[subject].worktree) if asked else ()
        history = _list_history(desk, subject)
        found.append(explain_polecat(subject, seen, decision, station.config, blockers, history))
        issue = issues.get(decision.verdicts[subject].issue)
        if issue is not None:
            found.append(explain_issue(issue, seen, decision, station.config, _list_history(desk, issue.id)))
    elif subject in issues:
        history = _list_history(desk, subject)
        found.append(explain_issue(issues[subject], seen, decision, station.config, history))
    for name in sorted({row["name"] for row in retired} - {subject if subject in decision.verdicts else ""}):
        history = _list_history(desk, name)
        found.append(explain_retired([row for row in retired if row["name"] == name], history))
    if not found:
        stranger = next((why for folder, why in seen.strangers if folder == subject), "")
        if seen.issues is None:
            why = f"the queue is unknown: {seen.ports['queue'].reason}"
            raise ToolError(f"{clean_line(subject, 60)} is no worker, and {why}")
        known = [*decision.verdicts, *issues]
        close = nearest(subject, known)
        raise WitnessError(
            f"{clean_line(subject, 60)} is no worker, issue or retired worker of {desk.rig.path}"
            + (f": {stranger}" if stranger else ""),
            f"did you mean {close}?" if close else "`witness status` and `witness issues --all` list them",
        )
    data = add_ages({**found[0], "related": found[1:]}, desk.host.now())
    return Answer(status=EXIT_OK, data=data, text=render_explanation(data, words.width))


def _read_lines(desk: Desk, words, name: str):
    """Yield the last lines of a file and, with -f, those that come; a rotated file is read to its end first."""
    path = desk.store.path(name)
    file, rest, first = None, b"", True
    while True:
        try:
            there = os.stat(path)
            # Asked before the read: once another file has the name, nothing more is written to this one.
            rotated = file is not None and not os.path.samestat(os.fstat(file.fileno()), there)
            file = file or open(path, "rb")  # noqa: SIM115 - it stays open between two looks
        except FileNotFoundError:
            rotated = False
        if file is not None:
            if os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)  # somebody emptied it
            whole, _, rest = (rest + file.read()).rpartition(b"\n")
            lines = whole.decode("utf-8", "replace").split("\n") if whole else []
            yield from lines[-words.number :] if first and words.number else lines
            first = False
        if rotated:
            file.close()
            file, rest = None, b""
            continue
        if not words.follow:
            return
        desk.host.pause(0.2)


def _print_records(desk: Desk, words, name: str, key: str, parse, render) -> Answer:
    """Print a file of lines as text or, with --json, as one object; with -f as one object a line."""
    records = (parse(line) for line in _read_lines(desk, words, name))
    if words.json and not words.follow:
        return Answer(status=EXIT_OK, data={key: list(records)}, text="")
    for record in records:
        print(json.dumps(record) if words.json else render(record), flush=True)
    return Answer(status=EXIT_OK, data=None, text="")


def cmd_events(desk: Desk, words) -> Answer:
    """Print what happened, oldest first; -f goes on."""
    return _print_records(desk, words, EVENTS_FILE, "events", _parse_event, render_event)


def cmd_logs(desk: Desk, words) -> Answer:
    """Print the log; -f goes on."""
    return _print_records(desk, words, LOG_FILE, "lines", plain, str)


# ====================================================================================================
# room: seat — the pane of a Gas Town's witness: a live view that keeps a daemon running
# ====================================================================================================
#
# `gt` starts this in a pane instead of a model, types lines into it and looks for its prompt. The process in the pane
# is only the view: what happens to it or to the terminal happens to no tick. The daemon is its child, and ends with it:
#
#   seat    takes the lock -> starts the daemon, lock and pipes handed on -> draws, reads, waits
#   daemon  ends where the seat sends TERM, or where nobody holds the other end of the pipe any more (kill -9)

SEAT_S = 2.0  # between two redraws; what is typed is answered at once
STOP_NOTED_S = 3.0  # whoever stops a daemon on purpose writes that down a moment after its end
LIVED_S = 60.0  # a daemon that lived so long has not failed to come up
LONGEST_RETRY_S = 60.0
ENDING_S = 60.0  # for the action in hand; later the daemon ends without being waited for
LINE_KEPT = 4096  # characters of a line that is being typed
HEALTH_ANSWERS_S = (2, 5, 10)  # `gt deacon health-check` looks every 2 s; tmux stamps whole seconds
HEALTH_ANSWER_TAKES_S = 5.0
PROMPT = "\u276f "  # what `gt` takes for an agent that is ready


class Typed:
    """What is typed into the seat: hints of whoever can type, of which only the last line is kept."""

    def __init__(self) -> None:
        import codecs

        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.rest = ""  # of an escape sequence that has not come whole
        self.line, self.last, self.count, self.at = "", "", 0, 0.0

    def feed(self, data: bytes, now: float) -> list:
        """Take what came and return the lines that it ended; marks of a paste, keys and a lone ESC are swallowed."""
        text = self.rest + self.decoder.decode(data)
        # Only what one read brought: `gt` types an ESC, and half a second later Enter.
        whole = re.sub(r"\x1b\[[0-?]{1,16}$|\x1b\[$", "", text)
        self.rest = text[len(whole) :]
        lines = []
        for char in re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[A-Z]|\x1b", "", whole):
            if char in "\r\n":
                lines.append(self.line)
                self.line = ""
            elif char in "\x7f\b":
                self.line = self.line[:-1]
            elif char in "\x03\x15":
                self.line = ""
            elif len(self.line) < LINE_KEPT:
                self.line += char
        if lines:
            self.count, self.at = self.count + len(lines), now
            self.last = mask_secrets(clean_line(lines[-1]))
        return lines

    def say(self) -> str:
        """Say how many lines came, and the last."""
        if not self.count:
            return "typed: nothing yet"
        clock = time.strftime("%H:%M:%S", time.localtime(self.at))
        return f"typed: {self.count} line{'s' * (self.count > 1)}, the last at {clock}: {self.last or '(blank)'}"


class Seat:
    """The process in the pane; it outlives whatever fails in it, and says so."""

    def __init__(self, host: Host, words, called_as: str) -> None:
        self.host, self.words, self.called_as = host, words, called_as
        self.desk = None
        self.typed = Typed()
        self.troubles = {}  # what failed -> why
        self.child = None  # the daemon, where it is ours
        self.life_fd = self.ready_fd = -1
        self.ran = False  # a daemon was seen
        self.started_at = self.start_at = self.look_at = 0.0  # monotonic
        self.failures = 0
        self.wants_look = False
        self.answers, self.answer, self.answer_until = set(), None, 0.0  # to health checks

    def _try(self, what: str, action, otherwise=None):
        """Return what an action returns; what it raises becomes a trouble that is shown."""
        try:
            done = action()
        except (WitnessError, OSError) as error:
            why = error.line() if isinstance(error, WitnessError) else str(error)
        except Exception as error:  # noqa: BLE001 - `gt` would find an empty seat, and seat a model in it
            import traceback

            why = f"bug: {type(error).__name__}: {error}"
            if self.desk is not None and self.troubles.get(what) != why:
                self.desk.store.log(f"seat: {traceback.format_exc()}")
        else:
            self.troubles.pop(what, None)
            return done
        self.troubles[what] = why
        return otherwise

    # -- the daemon ----------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the daemon as our child; the next try waits longer, whatever comes of this one."""
        desk, now = self.desk, self.host.mono()
        self.failures += 1
        self.started_at, self.start_at = now, now + min(2**self.failures, LONGEST_RETRY_S)
        desk.prepare()
        lock_fd = take_lock(desk.store.path(LOCK_FILE), 0.2)
        if lock_fd is None:
            return  # somebody was faster
        lent = [lock_fd]  # the daemon's, once it runs; ours are closed, or nobody could ever be the daemon
        try:
            life_fd, self.life_fd = os.pipe()
            lent.append(life_fd)
            self.ready_fd, ready_fd = os.pipe()
            lent.append(ready_fd)
            log_fd = os.open(desk.store.path(LOG_FILE), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            lent.append(log_fd)
            # A seat that `gt sling` started has BD_DOLT_AUTO_COMMIT=off: of bd's variables only the server's go on.
            env = {
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("BD_", "BEADS_")) or name.startswith(BD_KEPT_PREFIXES)
            }
            argv = call_daemon(desk.rig, desk.sets, lock_fd, ready_fd, life_fd)
            self.child = start_child(argv, env, (None, log_fd, log_fd), keep_fds=(lock_fd, ready_fd, life_fd))
        finally:
            for fd in lent:
                os.close(fd)
            if self.child is None:
                self._let_go()

    def _let_go(self) -> None:
        """Close our ends of the daemon's pipes; where it lives still, that ends it."""
        for fd in (self.life_fd, self.ready_fd):
            if fd >= 0:
                os.close(fd)
        self.child, self.life_fd, self.ready_fd = None, -1, -1

    def _hear(self) -> None:
        """Read what the daemon says of its start."""
        said = os.read(self.ready_fd, 4096).decode("utf-8", "replace").strip()
        os.close(self.ready_fd)
        self.ready_fd = -1
        if said and not said.startswith("ready "):
            self.troubles["daemon"] = said.partition(" ")[2]

    def _keep(self) -> str:
        """Start a daemon where none runs and none was told to stop; return what this seat is for now."""
        store, now = self.desk.store, self.host.mono()
        if self.child is not None and self.child.poll() is not None:
            status = self.child.status
            if status and "daemon" not in self.troubles:
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                self.troubles["daemon"] = f"the daemon {how}; see {store.path(LOG_FILE)}"
            self.failures = 0 if now - self.started_at > LIVED_S else self.failures
            self._let_go()
        sight = see_daemon(store)
        if sight.verdict not in ("not running", "dead"):
            self.ran = self.ran or sight.verdict != "unknown"
            if sight.pid_fits:
                self.troubles.pop("daemon", None)
            return "this seat runs the daemon" if self.child else "another process is the daemon; this seat watches it"
        if self.child is not None:
            return "this seat starts the daemon"
        if store.read_holds()["stopped"]:
            self.troubles.pop("daemon", None)
            self.ran, self.failures, self.start_at = False, 0, now
            return "a person stopped it; this seat waits for `witness start`"
        if self.ran and sight.verdict == "not running":
            self.start_at = max(self.start_at, now + STOP_NOTED_S)
        self.ran = False
        if now >= self.start_at:
            self._try("daemon", self._start)
        return "this seat starts the daemon" + (f" in {span(self.start_at - now + 1)}" if self.child is None else "")

    # -- what is typed -------------------------------------------------------------------------------

    def _heed(self, line: str) -> None:
        """Take one line as a hint: look now, and answer where health is asked for."""
        self.wants_look = True
        if "HEALTH_CHECK" in line:
            # In whole seconds: a thousand such lines are answered no more often than one.
            self.answers |= {round(self.host.mono() + wait_s) for wait_s in HEALTH_ANSWERS_S}

    def _answer(self) -> None:
        """Attach a control client for a moment: a detached session shows `gt` no other sign of life."""
        server = os.environ.get("TMUX", "").rsplit(",", 2)[0]
        session = os.environ.get("GT_SESSION", "")
        target = f"={session}" if session else os.environ.get("TMUX_PANE", "")
        if server and target:
            argv = ["tmux", "-S", server, "-C", "attach", "-f", "ignore-size,read-only,no-output", "-t", target]
            self.answer = start_child(argv, self.host.environment(), (None, None, None))

    def _serve(self) -> None:
        """Do what was asked for and is due; nothing here waits."""
        import signal

        now = self.host.mono()
        if self.answer is not None and self.answer.poll() is not None:
            self.answer = None
        if self.answer is not None and now > self.answer_until:
            os.kill(self.answer.pid, signal.SIGKILL)
        due = {at for at in self.answers if at <= now}
        if due:
            self.answers -= due
            if self.answer is None:
                self.answer_until = now + HEALTH_ANSWER_TAKES_S
                self._try("health check", self._answer)
        if self.wants_look and now >= self.look_at:
            self.wants_look, self.look_at = False, now + 1
            try:
                if self.desk is not None:
                    signal_daemon(self.desk.store, signal.SIGUSR1)
            except WitnessError:
                return  # it does not run: that is on the screen

    # -- the screen ----------------------------------------------------------------------------------

    def _open(self) -> Desk:
        self.desk = self.desk or Desk(self.host, self.words.rig, self.words.sets, self.called_as)
        return self.desk

    def _compose(self, width: int, height: int) -> str:
        """Return the whole screen: troubles, the status, what this seat is, what was typed last, the prompt."""
        self.words.width = width
        role = text = ""
        if self._try("rig", self._open) is not None:
            role = self._try("seat", self._keep, "")
            text = self._try("status", lambda: look_at_daemon(self.desk, self.words).text, "")
        body = (wrap_lines([f"! {why}" for why in self.troubles.values()], width) + text).rstrip("\n").split("\n")
        clock = time.strftime("%H:%M:%S", time.localtime(self.host.now()))
        foot = [f"{clock}  {role or 'this seat tries again'}", self.typed.say(), PROMPT + clean_line(self.typed.line)]
        room = max(height - len(foot), 0)
        lines = [*body[:room], *[""] * (room - len(body)), *foot][-height:]
        # A line with colours was cut to the width before it was painted.
        return "\n".join(line if "\x1b" in line else fit(line, width) for line in lines)

    def draw(self, screen: Screen) -> None:
        """Draw the screen; a terminal without a size gets the usual one."""
        width, height = os.get_terminal_size(1)
        width, height = (width, height) if width and height else (80, 24)
        screen.draw(self._try("screen", lambda: self._compose(width, height), PROMPT), height)

    def wait(self, screen: Screen) -> bool:
        """Wait for time, keys, signals or the daemon; False where somebody ends us or the terminal is gone."""
        import select
        import signal

        now = self.host.mono()
        wait_s = min([SEAT_S, *(at - now for at in (*self.answers, *([self.look_at] if self.wants_look else [])))])
        fds = [fd for fd in (0, screen.wake_fd, self.ready_fd) if fd >= 0]
        readable = select.select(fds, [], [], max(wait_s, 0))[0]
        if screen.wake_fd in readable:
            os.read(screen.wake_fd, 512)
        if self.ready_fd in readable:
            self._hear()
        if 0 in readable:
            data = os.read(0, 4096)
            if not data:
                return False
            for line in self.typed.feed(data, self.host.now()):
                self._heed(line)
        self._serve()
        go_on = True
        while screen.caught:
            go_on = screen.caught.pop(0) not in (signal.SIGTERM, signal.SIGHUP) and go_on
        return go_on

    def end(self) -> None:
        """End the daemon that is ours; where it takes too long it ends by itself, after the action in hand."""
        import signal

        if self.child is not None and self.child.poll() is None:
            os.kill(self.child.pid, signal.SIGTERM)
            self.child.outlives(time.monotonic() + ENDING_S)
        self._let_go()


def sit(host: Host, words, called_as: str) -> Answer:
    """Be the seat until TERM, or until its terminal is gone."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("the seat needs a terminal", "`witness start` runs the daemon without one")
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # tmux takes that, whatever the locale of the pane
    seat = Seat(host, words, called_as)
    with Screen() as screen:
        try:
            go_on = True
            while go_on:
                seat.draw(screen)
                go_on = seat.wait(screen)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE, errno.ENXIO, errno.ENOTTY):  # the terminal is gone
                raise
        finally:
            seat.end()
    return Answer(status=EXIT_OK, data=None, text="")


# ====================================================================================================
# room: seating — the settings of a Gas Town, with our seat put in and taken out
# ====================================================================================================
#
# `gt` 1.0.1 tells a live seat not by tmux.process_names but by the command's own name, which must be what tmux and ps
# show. Of a script they show the interpreter: so that is the command, and the archive its argument.

SEAT_AGENT = "witness"  # the name of the agent, and of the role that it plays


def make_seat_agent(python: str, archive: str) -> dict:
    """Return the agent that `gt` runs in the seat."""
    names = list(dict.fromkeys((os.path.basename(python), "python3")))
    return {
        "command": python,
        "args": [archive, "seat"],
        "prompt_mode": "none",
        "tmux": {"process_names": names},
    }


def _read_part(data: dict, name: str) -> dict:
    part = data.get(name)
    if part is not None and not isinstance(part, dict):
        raise WitnessError(f"{name} in the town's settings is no JSON object", "mend it: `gt` cannot read it either")
    return part or {}


def put_seat(data: dict, agent: dict) -> dict:
    """Return a town's settings with the seat in them; all else stays, in its order.

    Raises:
        WitnessError: there is an agent of that name already, and it is none of ours.
    """
    agents, roles = _read_part(data, "agents"), _read_part(data, "role_agents")
    if SEAT_AGENT in agents and not is_seat_agent(agents[SEAT_AGENT]):
        raise WitnessError(f"agents.{SEAT_AGENT} is an agent of somebody else's", "give that one another name")
    return {**data, "agents": {**agents, SEAT_AGENT: agent}, "role_agents": {**roles, SEAT_AGENT: SEAT_AGENT}}


def take_seat(data: dict, before: dict) -> dict:
    """Return a town's settings without the seat: what stood in its place before stands there again."""
    data = dict(data)
    for name, is_ours in (("agents", is_seat_agent), ("role_agents", lambda agent: agent == SEAT_AGENT)):
        part, old = _read_part(data, name), before.get(name)
        if SEAT_AGENT not in part or not is_ours(part[SEAT_AGENT]):
            continue
        left = {key: value for key, value in part.items() if key != SEAT_AGENT}
        if isinstance(old, dict) and SEAT_AGENT in old and not is_seat_agent(old[SEAT_AGENT]):
            left = {**part, SEAT_AGENT: old[SEAT_AGENT]}
        data[name] = left
        if not left and not isinstance(old, dict):
            data.update({name: old}) if name in before else data.pop(name)
    return data


def _parse_settings(path: str, content: bytes) -> dict:
    try:
        data = json.loads(content.decode("utf-8"))
        json.dumps(data, allow_nan=False)  # what Python reads and could not write: NaN, 1e999
    except (ValueError, RecursionError) as error:
        raise WitnessError(f"{path}: {clean_line(str(error))}", "mend it: `gt` cannot read it either") from None
    if not isinstance(data, dict):
        raise WitnessError(f"{path} holds no JSON object", "mend it: `gt` cannot read it either")
    return data


def _dump_settings(data: dict, like: bytes) -> bytes:
    """Write settings as the file was written: its indent, its end, its way with letters beyond ASCII."""
    text = like.decode("utf-8")
    indent = re.search(r"\n([ \t]+)\S", text)
    written = json.dumps(data, indent=indent.group(1) if indent else None, ensure_ascii=text.isascii())
    # Half a character, which JSON may have as an escape, becomes that escape again.
    return (written + ("\n" if text.endswith("\n") else "")).encode("utf-8", "backslashreplace")


def _find_settings(host: Host, words, called_as: str) -> str:
    """Return where the settings of the town lie in which we stand.

    Raises:
        WitnessError: there is no town, or they lie outside of it.
    """
    folder = os.path.realpath(words.rig or os.environ.get("WITNESS_RIG") or os.getcwd())
    town = find_town(os.path.join(folder, "."))
    if not town:
        rig = Desk(host, words.rig, words.sets, called_as).rig  # or it says what it looked for
        raise UsageError(f"{rig.path} stands in no Gas Town", "go into a rig of one, or run `witness start` here")
    path = os.path.join(town, "settings", "config.json")
    real = host.resolve(path)
    if os.path.commonpath((real, town)) != town:
        raise WitnessError(f"{path} leads out of the town, to {real}", "make it a file of the town")
    return real


def seat_in_town(host: Host, words, called_as: str) -> Answer:
    """Put the seat into the town's settings, or take it out; a copy of them as they were is kept beside."""
    path = _find_settings(host, words, called_as)
    content = host.read(path)
    if content is None:
        raise WitnessError(f"{path} is missing", "`gt config default-agent claude` writes it")
    data, backup = _parse_settings(path, content), f"{path}.before-witness"
    if words.verb == "install":
        version = decode_version(host.run(["gt", "version"], 10))
        if version is None or "seat" not in choose_dialect("gt", version)[0].can:
            known = join_version(version) if version else "of no known version"
            raise WitnessError(
                f"gt is {known}, and gt 0.5 kills any pane command but its own agents'",
                "run `witness start` beside it",
            )
        if shell_word(sys.executable) != sys.executable:
            raise WitnessError(f"gt takes no command as {sys.executable}", "use a Python at a path without blanks")
        archive = os.path.abspath(sys.argv[0])
        archive = archive if os.path.isfile(archive) else os.path.abspath(__file__)
        new = put_seat(data, make_seat_agent(sys.executable, archive))
    else:
        new = take_seat(data, read_object(host, backup))
    lines = []
    if new != data:
        import difflib

        written = _dump_settings(new, content)
        pair = [text.decode("utf-8").splitlines(keepends=True) for text in (content, written)]
        lines = list(difflib.unified_diff(*pair, path, path))
    if lines and not words.dry_run:
        mode = os.stat(path).st_mode & 0o777
        # A second install finds its own work, which is not what was before; who has the role by then is.
        is_in = is_seat_agent(_read_part(data, "agents").get(SEAT_AGENT))
        is_in = is_in and _read_part(data, "role_agents").get(SEAT_AGENT) == SEAT_AGENT
        if words.verb == "install" and not is_in:
            host.write(backup, content, mode=mode)
        host.write(path, written, mode=mode)
    role = _read_part(new, "role_agents").get(SEAT_AGENT)
    left = role if words.verb == "remove" and role is not None else None
    text = "".join(line if line.endswith("\n") else line + "\n" for line in lines) if words.dry_run else ""
    text += f"{path}: {'nothing to change' if not lines else 'would change' if words.dry_run else 'changed'}\n"
    if left is not None:
        text += f"role_agents.{SEAT_AGENT} names {clean_line(str(left), 60)}, which stays\n"
    elif lines:
        text += "`gt witness restart RIG` lets a seat that is taken follow\n"
    changed = bool(lines) and not words.dry_run
    told = {"path": path, "changed": changed, "diff": "".join(lines), "role": role}
    return Answer(status=EXIT_OK, data=told, text=text)


def cmd_seat(host: Host, words, called_as: str) -> Answer:
    """Be the seat, whatever else stands on the line; or put it into the town's settings."""
    return seat_in_town(host, words, called_as) if words.verb else sit(host, words, called_as)


# ====================================================================================================
# room: doctor — what a person should mend before trusting the watch, each finding with its remedy
# ====================================================================================================

# The oldest that has what we call, and the oldest that the tests were run with.
NEEDED = {"git": ((2, 17), (2, 39)), "tmux": ((2, 6), (3, 3))}
SOCKETS_ASKED = 20  # other tmux servers that are asked for our workers' sessions


class Checked(Value):
    """One thing that was looked at; remedy is "" where there is nothing to do."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def _good(name: str, detail: str) -> Checked:
    return Checked(name=name, ok=True, detail=detail)


def _bad(name: str, detail: str, remedy: str) -> Checked:
    return Checked(name=name, ok=False, detail=detail, remedy=remedy)


def _check_tools(station: Station) -> list:
    found = [_good("python", f"{sys.version.split()[0]}, {sys.executable}")]
    for tool, option in (("git", "--version"), ("tmux", "-V")):
        ran = station.host.run((tool, option), station.config.tool_timeout)
        match = re.search(r"(\d+)\.(\d+)\S*", ran.text()) if ran.ok else None
        if match is None:
            found.append(_bad(tool, ran.reason() if not ran.ok else "it tells no version", f"install {tool}"))
            continue
        version, (oldest, tested) = (int(match.group(1)), int(match.group(2))), NEEDED[tool]
        if version < oldest:
            needed = f"{tool} {oldest[0]}.{oldest[1]} or newer"
            found.append(_bad(tool, f"{match.group()} is too old", f"install {needed}"))
        else:
            older = f", older than {tested[0]}.{tested[1]}: the self-test below tells" if version < tested else ""
            found.append(_good(tool, match.group() + older))
    return found


def _check_rehearsal(station: Station) -> list:
    rows = rehearse(station.host, station.config.tool_timeout)
    return [
        _good(f"self-test: {step}", detail)
        if ok
        else _bad(f"self-test: {step}", detail, "mend the tool named here; nothing of the kind works in the rig either")
        for step, ok, detail in rows
    ]


def _check_layout(station: Station, seen: Observation) -> list:
    rig = station.rig
    backend, why = station.queue.backend, station.queue.backend_why
    base = "" if rig.base == rig.path else f", base {rig.base}"
    found = [_good("rig", f"{rig.name} in {rig.path}{base}"), _good("backend", f"{backend}: {why}")]
    found += [
        _bad("folder", f"polecats/{folder}: {reason}", "no worker of ours, never touched; move it away if it should be")
        for folder, reason in seen.strangers
    ]
    if not seen.strangers:
        found.append(_good("workers", f"{len(seen.sightings)} worktrees in {rig.polecats}"))
    return found


def _check_queue(station: Station, seen: Observation) -> list:
    """Say which bd answers, where its database is, and what a claim of it is worth."""
    queue = station.queue
    if queue.backend == "local":
        return [_bad("queue", f"issues.jsonl {line}", "mend the line; it is skipped") for line in seen.bad_lines[:5]]
    if queue.backend not in ("beads", "gastown"):
        return []
    about = read_object(station.host, os.path.join(station.rig.path, ".beads", "metadata.json"))
    shared = about.get("dolt_mode") == "server"
    where = "on this host"
    if shared:
        host = os.environ.get("BEADS_DOLT_SERVER_HOST") or about.get("dolt_server_host") or "127.0.0.1"
        port = os.environ.get("BEADS_DOLT_SERVER_PORT") or about.get("dolt_server_port") or "its own port"
        where = clean_line(f"on the server {host}:{port}", 80)
    port, dialect = seen.ports["queue"], queue.bd.dialect
    if port.state == UNKNOWN:
        remedy = "`bd ready` in the rig shows it; nothing is spawned until it answers, workers go on"
        return [_bad("queue", f"{port.version or 'bd'} {where}: {port.reason}", remedy)]
    found = [_good("queue", f"{port.version} {where}; this Witness claims as {station.actor}")]
    if queue.bd.note:
        found.append(_good("bd", queue.bd.note))
    if not dialect.exclusive and shared:
        remedy = "use bd 0.57 or newer, or let one Witness alone use this queue"
        found.append(_bad("claims", "two hosts that claim at once may both win", remedy))
    elif not dialect.exclusive:
        found.append(_good("claims", "not exclusive before bd 0.57: let one Witness alone use this queue"))
    else:
        found.append(_good("claims", "exclusive: of all who claim an issue at once, on whatever host, one wins"))
    return found + [
        _bad("queue", f"bd ready: {line}", "`bd show` tells more; it is skipped") for line in seen.bad_lines[:5]
    ]


def _check_town(station: Station, seen: Observation) -> list:
    """Say which gt runs the town, where its sessions are, and what of it works against the watch."""
    town, port = station.town, seen.ports["spawner"]
    if town is None:
        return []
    if seen.town is None:
        remedy = "install gt, or mend it; until then nobody is judged, for only gt tells where the sessions are"
        return [_bad("gt", port.reason, remedy)]
    where = f"sessions {seen.town.session} on the tmux server {seen.town.socket or 'default'}"
    found = [_good("gt", f"{town.gt.told()}, town {town.path}; {where}")]
    if port.state == UNKNOWN:
        found.append(_bad("gt", port.reason, "mend it; nothing is slung until it answers, workers go on"))
    outer = find_outermost_town(station.rig.path)
    if outer != town.path:
        remedy = "take one of the two away: gt and Witness would speak of different towns"
        found.append(_bad("town", f"gt 1.0 takes the outermost town, {outer}", remedy))
    pair = find_bad_pair(town.gt.numbers, station.queue.bd.numbers) if station.queue.bd.numbers else ""
    if pair:
        found.append(_bad("pair", f"known not to work: {pair}", "exchange one of the two"))
    found += [_good("gt", town.gt.note)] if town.gt.note else []
    found += [_good("spawning", seen.town.left)] if seen.town.left else []
    if seen.town.convoys:
        number = len(seen.town.convoys)
        found.append(_good("spawning", f"{number} issues of open convoys are left to gt, whose daemon runs"))
    notice = beside_notice(seen.town, seen.rig, seen.command)
    return [*found, _good("seat", notice or "Witness sits in the witness's seat")]


def _load(store: Store):
    """Return the memory, or the StateError that says why it cannot be used."""
    try:
        return store.load()
    except StateError as error:
        return error


def _check_files(station: Station, names) -> list:
    """Look at the state folder as the operator left it."""
    store, found = station.store, []
    about = os.stat(store.folder)
    mode = f"mode {about.st_mode & 0o777:o}"
    found.append(
        _good("state folder", f"{store.folder}, {mode}")
        if not about.st_mode & 0o077
        else _bad("state folder", f"{store.folder}, {mode}: others can look into it", f"chmod 700 {store.folder}")
    )
    damaged = sorted(name for name in names if ".corrupt-" in name)
    if damaged:
        remedy = f"look what is in it, then remove it: {store.path(damaged[-1])}"
        found.append(_bad("damaged files", f"{len(damaged)} were moved aside, {damaged[-1]} last", remedy))
    if store.read_holds()["paused"]:
        found.append(_bad("pause", store.read_holds()["paused"], "`witness resume` goes on"))
    claims = (station.queue.claims.read() or {}).values()
    held = [one for one in claims if one.state not in ("released", "closed") and one.actor != station.actor]
    if held:
        more = f" and {len(held) - 1} more are" if held[1:] else " is"
        other = clean_line(held[0].actor, 120)
        detail = f"{held[0].issue}{more} held for {other}, and left alone by this one"
        remedy = f"if no other host uses it, write {other.rpartition('@')[2]} as the id into {store.path(ID_FILE)}"
        found.append(_bad("identity", detail, f"{remedy}, then `witness restart`"))
    memory = _load(store)
    if isinstance(memory, StateError):
        return [*found, _bad("memory", memory.message, memory.remedy)]
    found.append(_good("memory", f"{len(memory.polecats)} workers, {len(memory.escalations)} open escalations"))
    late = [letter for letter in memory.pending.values() if letter.tries]
    if late:
        remedy = "mend escalate_command, or the folder of mayor's mail; nothing is lost, it is tried again"
        found.append(_bad("letters", f"{len(late)} could not be sent, {late[0].subject!r} first", remedy))
    dead = count_dead_letters(station.rig)
    if dead:
        remedy = f"read them in {store.path('mail')}/*/dead, then remove them"
        found.append(_bad("dead letters", f"{dead} mails could not be read", remedy))
    return found


def _check_daemon(station: Station) -> list:
    store, found = station.store, []
    sight = see_daemon(store)
    note = read_object(store.host, store.path(PID_FILE))
    if sight.verdict != "running":
        remedy = "`witness start`" if sight.verdict in ("dead", "not running") else "`witness restart`"
        found.append(_bad("daemon", f"{sight.verdict}: {sight.detail}".rstrip(": "), remedy))
    elif (note.get("version"), note.get("module")) != (__version__, os.path.abspath(__file__)):
        remedy = "`witness restart` takes this one into use; workers go on"
        found.append(_bad("daemon", f"pid {sight.pid} runs another build, version {sight.version}", remedy))
    else:
        found.append(_good("daemon", f"pid {sight.pid}, version {sight.version}"))
    for name in STATE_FOLDERS:
        folder = os.path.join(station.rig.path, name)
        if folder != store.folder and is_locked(os.path.join(folder, LOCK_FILE)):
            found.append(_bad("second witness", f"one runs on {folder}", "stop it: two would fight over the workers"))
    return found


def _check_host(station: Station) -> list:
    config, found = station.config, []
    load, now = read_load(station.rig.path), station.host.now()
    detail = f"{load.free_disk_mib:.0f} MiB free, kept folders {measure_kept_mib(station.rig):.0f} MiB"
    if load.free_disk_mib < config.min_free_disk:
        remedy = "free some, or lower trash_hours: kept folders go first"
        found.append(_bad("disk", f"{detail}, min_free_disk is {config.min_free_disk:g}", remedy))
    else:
        found.append(_good("disk", detail))
    probe = station.store.path(f"witness-clock.{os.getpid()}")
    station.host.write(probe, b"", durable=False)
    skew_s = os.stat(probe).st_mtime - now
    station.host.remove(probe)
    memory = _load(station.store)
    ahead_s = memory.last_check_at - now if isinstance(memory, Memory) else 0.0
    if abs(skew_s) > 2:  # a kernel's file stamps are some ms behind; NFS servers have clocks of their own
        found.append(_bad("clock", f"the file system's clock differs by {skew_s:.0f} s", "keep both by NTP"))
    elif ahead_s > 2:
        found.append(_bad("clock", f"the memory was written {span(ahead_s)} in the future", "set the clock"))
    else:
        found.append(_good("clock", "files, memory and clock agree"))
    return found


def find_program(name: str) -> str:
    """Return where a program lies, "" where it cannot be run."""
    import shutil

    return shutil.which(name) or ""


def _check_settings(station: Station) -> list:
    config = station.config
    found = [_bad("settings", why, "`witness config set` changes it") for why in find_misfits(config)]
    if not found:
        changed = sum(origin != "default" for origin in config.origins.values())
        found.append(_good("settings", f"{changed} of {len(SETTINGS)} are not the default, and they fit each other"))
    known = {f"WITNESS_{name.upper()}" for name in SETTING_BY_NAME}
    known |= set(worker_environment(station.rig, "", ""))
    odd = sorted(name for name in os.environ if name.startswith("WITNESS_") and name not in known)
    if odd:
        close = nearest(odd[0], known)
        found.append(_good("environment", f"{odd[0]} is no setting" + (f"; did you mean {close}?" if close else "")))
    for name in ("agent_command", "escalate_command"):
        command = config.values[name]
        if command and not find_program(command[0]):
            found.append(_bad(name, f"{clean_line(command[0], 80)} is not on the PATH", "install it, or name its path"))
    if not config.agent_command and station.town is None:
        found.append(_good("agent_command", "not set: workers are watched, none is started"))
    return found


def _check_sockets(station: Station, seen: Observation) -> list:
    """Look whether a worker's session lives on another tmux server than the one that is watched."""
    config, rig = station.config, station.rig
    default = "/tmp"  # noqa: S108 - where tmux itself keeps its sockets
    folder = os.path.join(os.environ.get("TMUX_TMPDIR") or default, f"tmux-{os.geteuid()}")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: -entry.stat().st_mtime)
    except OSError:
        entries = []
    wanted = {session_for(config.session_name, rig.name, name): name for name in seen.sightings}
    found = []
    for entry in entries[:SOCKETS_ASKED]:
        if entry.name == (config.tmux_socket or "default"):
            continue
        ran = Tmux(station.host, entry.name, 2.0).run("list-sessions", "-F", "#{session_name}")
        there = sorted(wanted[line] for line in ran.text().splitlines() if line in wanted) if ran.ok else []
        if there:
            remedy = f"`witness config set tmux_socket {shell_word(entry.name)}` watches that one"
            found.append(_bad("tmux socket", f"{', '.join(there)} live on the server {entry.name!r}", remedy))
    if not found:
        found.append(_good("tmux socket", f"{config.tmux_socket or 'default'}; no worker on another"))
    return found


def cmd_doctor(desk: Desk, words) -> Answer:
    """Look at everything that the watch stands on; 1 where something needs attention."""
    station = desk.station()
    names = os.listdir(station.store.folder)
    seen = observe(station, Memory())
    findings = [
        *_check_tools(station),
        *_check_layout(station, seen),
        *_check_town(station, seen),
        *_check_queue(station, seen),
        *_check_files(station, names),
        *_check_daemon(station),
        *_check_host(station),
        *_check_settings(station),
        *_check_sockets(station, seen),
        *([] if words.quick else _check_rehearsal(station)),
    ]
    rows = [one.fields() for one in findings]
    good = all(one.ok for one in findings)
    return Answer(status=EXIT_OK if good else EXIT_FAILED, data={"findings": rows}, text=render_findings(rows))


# ====================================================================================================
# room: commands — the table of commands, and the help made from it
# ====================================================================================================


class Command:
    """One row: handler, one-line help, one example, and its arguments as (flags, keywords of add_argument)."""

    __slots__ = ("arguments", "example", "handler", "help")

    def __init__(self, handler, help, example, arguments=()):
        self.handler, self.help, self.example, self.arguments = handler, help, example, arguments


def _flag(*names, help):
    return names, {"action": "store_true", "help": help}


TIMEOUT = (("--timeout",), {"type": float, "default": 10.0, "metavar": "S", "help": "seconds to wait (10)"})
FORCE_STOP = _flag("--force", help="end it with KILL when it does not stop in time")
FOREGROUND = _flag("--foreground", help="do not fork: for systemd, launchd, containers and tmux")
DRY_RUN = _flag("--dry-run", help="only say what would be done")
REASON = (("--reason",), {"default": "asked by a person", "help": "why, for those who look later"})
FOR = (("--for",), {"dest": "duration", "default": "", "metavar": "TIME", "help": "how long: 90s, 15m, 2h, 1d"})
FOLLOW = (
    _flag("-f", "--follow", help="go on printing what comes"),
    (("-n",), {"dest": "number", "type": int, "default": 50, "help": "the last lines only (50; 0: all)"}),
)

COMMANDS = {
    "start": Command(cmd_start, "start the daemon", "witness start", (FOREGROUND, TIMEOUT)),
    "stop": Command(cmd_stop, "stop the daemon; workers go on", "witness stop --timeout 30", (TIMEOUT, FORCE_STOP)),
    "restart": Command(
        cmd_restart, "stop and start the daemon; workers go on", "witness restart", (FOREGROUND, TIMEOUT, FORCE_STOP)
    ),
    "reload": Command(cmd_reload, "let the daemon read its settings again", "witness reload"),
    "status": Command(
        cmd_status,
        "is it running, and what did it see (exit 0, 1, 3, 4 as init scripts)",
        "witness status --watch",
        (_flag("--watch", help="redraw it in place each second; q leaves"),),
    ),
    "health": Command(
        cmd_health,
        "look at every worker now and do what is due",
        "witness health alpha --dry-run",
        (((("names"),), {"nargs": "*", "metavar": "NAME"}), DRY_RUN),
    ),
    "shutdown": Command(
        cmd_shutdown,
        "retire workers, only where nothing can be lost",
        "witness shutdown alpha",
        (
            (("names",), {"nargs": "*", "metavar": "NAME"}),
            DRY_RUN,
            _flag("--force", help="preserve uncommitted files instead of refusing because of them"),
        ),
    ),
    "spawn": Command(
        cmd_spawn,
        "start workers for ready issues; `spawn reset ISSUE` forgets its failures",
        "witness spawn --explain",
        (
            (("issues",), {"nargs": "*", "metavar": "ISSUE"}),
            DRY_RUN,
            _flag("--explain", help="say of each issue why it is or is not spawned"),
        ),
    ),
    "pause": Command(
        cmd_pause, "stop acting, go on looking", "witness pause --for 2h --reason 'host upgrade'", (REASON, FOR)
    ),
    "resume": Command(cmd_resume, "act again after a pause or a halt", "witness resume"),
    "hold": Command(
        cmd_hold, "leave one worker alone", "witness hold alpha --reason 'I work in it'", ((("name",), {}), REASON, FOR)
    ),
    "release": Command(cmd_release, "end the hold on one worker", "witness release alpha", ((("name",), {}),)),
    "explain": Command(
        cmd_explain,
        "why a worker or an issue is where it is, and what would have to change",
        "witness explain alpha",
        ((("subject",), {"metavar": "NAME|ISSUE"}),),
    ),
    "events": Command(cmd_events, "what happened, as one line each", "witness events -f", FOLLOW),
    "logs": Command(cmd_logs, "the daemon's log", "witness logs -n 200", FOLLOW),
    "retired": Command(cmd_retired, "what was retired, and where it is kept", "witness retired"),
    "recover": Command(
        cmd_recover,
        "bring a retired worker back as it was",
        "witness recover alpha",
        ((("name",), {"metavar": "NAME[@TIME]"}),),
    ),
    "config": Command(
        cmd_config,
        "show, change or check the settings",
        "witness config set max_workers 6",
        (
            (("verb",), {"nargs": "?", "default": "get", "choices": ("get", "set", "check")}),
            (("words",), {"nargs": "*", "metavar": "NAME VALUE"}),
        ),
    ),
    "doctor": Command(
        cmd_doctor,
        "look at everything the watch stands on, and try every outside call once",
        "witness doctor",
        (_flag("--quick", help="without the self-test of a few seconds"),),
    ),
    "unit": Command(
        cmd_unit,
        "print a unit that starts the daemon at boot and spares the agents",
        "witness unit systemd",
        ((("manager",), {"choices": tuple(UNITS), "metavar": "systemd|launchd"}),),
    ),
    "seat": Command(
        cmd_seat,
        "what `gt` runs in the pane of its witness; install and remove tell it so",
        "witness seat install --dry-run",
        ((("verb",), {"nargs": "?", "choices": ("install", "remove")}), DRY_RUN),
    ),
    "handoff": Command(cmd_handoff, "in a worktree: everything is committed, please retire me", "witness handoff"),
    "add": Command(
        cmd_add,
        "add an issue to the local queue",
        "witness add 'Fix the login page' --priority 1",
        (
            (("title",), {}),
            (("--priority",), {"type": int, "default": 2, "choices": range(5), "help": "0 first, 4 last (2)"}),
            (("--type",), {"default": "task", "help": "task, bug, feature, epic, …"}),
            (("--label",), {"action": "append", "default": []}),
            (("--parent",), {"action": "append", "default": [], "metavar": "ISSUE"}),
            (("--blocked-by",), {"action": "append", "default": [], "metavar": "ISSUE"}),
        ),
    ),
    "issues": Command(
        cmd_issues,
        "the queue, each issue with why it gets no worker",
        "witness issues",
        (_flag("--all", help="closed ones too"),),
    ),
    "close": Command(
        cmd_close,
        "close an issue of the local queue",
        "witness close demo-1a2b",
        ((("issue",), {}), (("--reason",), {"default": ""})),
    ),
    "mail": Command(
        cmd_mail,
        "send mail, list an inbox, acknowledge",
        "witness mail send mayor/ -s HELP -b 'which API?'",
        (
            (("verb",), {"choices": ("send", "inbox", "ack")}),
            (("words",), {"nargs": "*", "metavar": "ADDRESS or ID"}),
            (("-s", "--subject"), {"default": ""}),
            (("-b", "--body"), {}),
            (("--from",), {"dest": "sender", "default": ""}),
            (("--address",), {"default": ""}),
        ),
    ),
}
# How `--help` groups them; each command stands in one group.
GROUPS = (
    ("the daemon", "start stop restart reload status"),
    ("one round of a duty now, daemon or not", "health shutdown spawn"),
    ("stop acting; leave one worker alone", "pause resume hold release"),
    ("why, and what happened", "explain events logs"),
    ("what was retired; bring it back", "retired recover"),
    ("set-up", "config doctor unit"),
    ("in a Gas Town", "seat"),
    ("the worker's side, and the local queue", "handoff mail add issues close"),
)
COMMON = (
    (("--rig",), {"default": "", "metavar": "PATH", "help": "the rig (default: WITNESS_RIG, else upward from here)"}),
    _flag("--json", help="answer with one JSON object"),
    (("--set",), {"dest": "sets", "action": "append", "default": [], "metavar": "NAME=VALUE", "help": "a setting"}),
)


# ====================================================================================================
# room: cli — a command line into words, words into an answer, every expected failure into one line
# ====================================================================================================


class Words:
    """The words of one command line, as attributes."""


def render_overview() -> str:
    """Write what `witness --help` says: every command once, by what it is for."""
    lines = [
        "usage: witness COMMAND [--rig PATH] [--json] [--set NAME=VALUE] …",
        "",
        "Watches the AI coding agents of one repository: sees who is stuck, reminds, tells a person, retires without",
        "losing a commit, starts workers for ready issues.",
    ]
    for title, names in GROUPS:
        lines += ["", title, render_table([(name, COMMANDS[name].help) for name in names.split()])]
    lines += [
        "",
        "first day: witness doctor; witness start; witness status",
        "`witness COMMAND --help` shows one, with an example.",
        "exit status: 0 done or healthy, 1 failed or needs attention, 2 usage, 75 busy, 78 settings; status: see there",
    ]
    return "\n".join(lines) + "\n"


def read_plain(argv) -> Words | None:
    """Read a command with at most --json and --rig PATH without argparse, whose import costs more than the command."""
    words, rest = Words(), list(argv[1:])
    words.command, words.rig, words.json, words.sets = argv[0], "", False, []
    words.timeout, words.force, words.watch = 10.0, False, False
    while rest:
        word = rest.pop(0)
        if word == "--json":
            words.json = True
        elif word == "--rig" and rest:
            words.rig = rest.pop(0)
        else:
            return None
    return words


def read_seat(argv) -> Words | None:
    """Read a seat that is to be taken, whatever prompt `gt` put behind it; None of one that says more than that."""
    words, rest = Words(), list(argv[1:])
    words.command, words.verb, words.rig, words.json, words.sets = argv[0], None, "", False, []
    for at in [at for at, word in enumerate(rest) if word.partition("=")[0] == "--rig"][::-1]:
        _, given, value = rest.pop(at).partition("=")
        words.rig = value if given else rest.pop(at) if at < len(rest) else ""
    more = [word for word in rest if word not in ("--json", "--dry-run")]
    return None if more[:1] in (["install"], ["remove"]) or rest in (["--help"], ["-h"]) else words


def read_words(argv):
    """Read any command line.

    Raises:
        UsageError: no such command or argument; the nearest command is named.
    """
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message):
            called = self.prog.partition(" ")[2]  # report_failure says that it is Witness who speaks
            raise UsageError(f"{called}: {message}" if called else message, f"`{self.prog} --help` shows how")

    parser = Parser(prog="witness", allow_abbrev=False)
    parser.format_help = render_overview
    parser.add_argument("--version", action="version", version=f"witness {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, row in COMMANDS.items():
        one = commands.add_parser(
            name, help=row.help, description=row.help, epilog=f"example: {row.example}", allow_abbrev=False
        )
        for flags, keywords in (*row.arguments, *COMMON):
            one.add_argument(*flags, **keywords)
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    if argv and argv[0].partition("=")[0] in ("--rig", "--json", "--set"):
        raise UsageError(f"{clean_line(argv[0], 40)} stands before the command", "write `witness COMMAND --rig PATH`")
    first = next((word for word in argv if not word.startswith("-")), "")
    if first and first not in COMMANDS:
        close = nearest(first, COMMANDS)
        raise UsageError(
            f"no command {clean_line(first, 40)!r}",
            f"did you mean `{close}`?" if close else "`witness --help` lists them",
        )
    words, rest = parser.parse_known_args(argv, Words())
    if getattr(words, "words", None) is not None and not any(word.startswith("-") for word in rest):
        words.words, rest = [*words.words, *rest], []  # argparse gives a `*` nothing that stands behind an option
    if rest:
        row = COMMANDS.get(words.command)
        known = [flag for flags, _ in (*(row.arguments if row else ()), *COMMON) for flag in flags]
        close = nearest(rest[0].partition("=")[0], [flag for flag in known if flag.startswith("-")])
        called = f"witness {words.command or ''}".strip()
        where = f"{words.command}: " if words.command else ""
        raise UsageError(
            f"{where}unknown argument {clean_line(rest[0], 40)!r}",
            f"did you mean `{close}`?" if close else f"`{called} --help` shows how",
        )
    if words.command is None:
        raise UsageError("no command", "`witness --help` lists them, `witness start` starts the daemon")
    return words


def called_as() -> str:
    """Return how others call us, as a shell word: the archive or script that was run, else interpreter and module."""
    path = os.path.abspath(sys.argv[0])
    if os.path.isfile(path) and os.access(path, os.X_OK):
        return shell_word(path)
    return f"{shell_word(sys.executable)} {shell_word(os.path.abspath(__file__))}"


def mend_files() -> None:
    """Make sure that the three standard files are there, that no child gets another, and that all can be printed.

    Where the caller closed one, the next file opened got its number: once the daemon's own lock, which the daemon
    then replaced by its log. What the caller left open beside them would stay open in a tmux server for its life.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It gets the lowest free number, which is its own.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for good
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        numbers = list(range(3, 256))
    for fd in numbers:
        try:
            os.set_inheritable(fd, fd <= 2)
        except OSError:
            continue  # not open, as the one that listed them
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a title need not fit the terminal's encoding


def find_width() -> int:
    """Return the columns that a line may have, 0 for any: a file or a pipe has none."""
    if os.environ.get("COLUMNS", "").isdigit():
        return int(os.environ["COLUMNS"])
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return 0


# An OSError of one of these kinds is the machine's, not a bug of ours.
MACHINE_FAULTS = frozenset(
    getattr(errno, name)
    for name in (
        "EACCES EPERM EROFS ENOSPC EDQUOT EFBIG EIO EISDIR ENOTDIR ELOOP ENAMETOOLONG EMFILE ENFILE ENOMEM".split()
    )
)


def run_inner(host: Host, argv) -> int:
    """Run what we call ourselves: `_daemon` after the double fork, `_spawn` as the spawn child."""
    if argv[0] == "_spawn":
        return run_spawn_child(host, int(argv[1]), json.loads(sys.stdin.buffer.read()))
    rig = find_rig(host, argv[1], {}, "/", argv[2])
    return run_daemon(host, rig, argv[6:], *map(int, argv[3:6]))


def give_up_output() -> None:
    """Write the rest nowhere, or the interpreter fails at what is left once more, at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def put(text: str) -> bool:
    """Write an answer to the standard output; False where it takes no more, which is said here."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
        return True
    except OSError as error:
        give_up_output()
        if not isinstance(error, BrokenPipeError):  # a reader that went away has what it wanted
            print(f"witness: standard output: {error.strerror}", file=sys.stderr)
        return False


def report_failure(name: str, error: WitnessError, argv) -> int:
    """Say an expected failure, as data where that was asked for, and return its status."""
    if "--json" in argv:
        problem = {"kind": error.kind, "message": error.message, "remedy": error.remedy or None}
        put(render_json(name, False, {"error": problem}))
    else:
        print(f"witness: {plain(error.line())}", file=sys.stderr)
    return error.status


def main(argv=None, host: Host | None = None) -> int:
    """Run one command and return its exit status; every expected failure becomes one line here."""
    argv = list(sys.argv[1:] if argv is None else argv)
    host = host or Host()
    mend_files()
    name = argv[0] if argv and argv[0] in COMMANDS else ""
    try:
        if argv and argv[0] in ("_daemon", "_spawn"):
            return run_inner(host, argv)
        words = read_plain(argv) if name in ("status", "stop", "handoff") else None
        words = read_seat(argv) if name == "seat" else words
        words = words or read_words(argv)
        name = words.command
        words.colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        words.width = find_width()
        if name == "seat":  # a town has it, not a rig; and it waits where there is no rig yet
            answer = cmd_seat(host, words, called_as())
        else:
            answer = COMMANDS[name].handler(Desk(host, words.rig, words.sets, called_as()), words)
        if answer.data is None:
            return answer.status  # it was printed as it came
        text = render_json(name, answer.status == EXIT_OK, answer.data) if words.json else answer.text
        return answer.status if put(text) else EXIT_FAILED
    except WitnessError as error:
        return report_failure(name, error, argv)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        give_up_output()
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in MACHINE_FAULTS:
            raise
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return report_failure(name, StateError(f"{where}{error.strerror}"), argv)


if __name__ == "__main__":
    raise SystemExit(main())
