"""A stand-in for `bd`: stateful, small, of a chosen version, and one server for many callers.

It is run as a program. Beside it lies `bd.json`: {"version": "1.0.5"}. The database is named by the nearest
`.beads/stand-in.json` above the working directory: {"server": FOLDER}. In that folder lie:

  db.json      the issues
  down         while it exists, the server cannot be reached (its content is the address in the message)
  corrupt, skew  the database is damaged; it has another schema than this version
  faults.json  [{"at": n or null, "verb": "update" or null, "do": HOW, "times": k}]: from the at-th call on (of all, or
               of this verb) the next `times` calls are spoilt; HOW is fail, hang, garbage, late (done, then hang),
               mute (done, then nothing is printed), cut (done, half the answer is printed) or lose (the connection was
               lost: `show` says so as the real one does, of each issue, or of the last alone with lose-last)
  calls        one JSON line a call: argv, pid, status

`tests/test_stand_bd.py` holds it to the recordings: the same argv, the same status, keys, types and complaints.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time

DIRECT = any(os.environ.get(name) == "1" for name in ("BD_NO_DAEMON", "BEADS_NO_DAEMON")) or "--no-daemon" in sys.argv
BOOLEAN = {"--json", "--unassigned", "--claim", "--include-dependents", "--flat"}
BOOLEAN |= {"--escalate", "--dry-run", "--no-daemon"}
ALIASES = {
    "-p": "--priority",
    "-d": "--description",
    "-t": "--type",
    "-l": "--label",
    "-s": "--status",
    "-n": "--limit",
}
VALUED = {
    "ready": {"--limit", "--priority", "--label", "--type", "--assignee"},
    "list": {"--limit", "--status", "--label", "--assignee", "--type"},
    "show": set(),
    "update": {"--status", "--assignee", "--add-label", "--remove-label"},
    "create": {"--priority", "--description", "--type", "--label", "--assignee"},
    "dep": {"--type"},
    "close": {"--reason"},
    "reopen": {"--reason"},
    "export": {"-o"},
    "version": set(),
    "mail": {"--identity", "-s", "-m"},
    "gate": {"--type", "--limit"},
    "comments": set(),
}


class StoppedError(Exception):
    """The program ends here."""

    def __init__(self, status: int, out: str = "", err: str = "") -> None:
        super().__init__(err or out)
        self.status, self.out, self.err = status, out, err


class Program:
    """One call."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.v = tuple(int(part) for part in version.split("."))
        self.options: dict = {}
        self.words: list[str] = []

    # -- what it was called with ---------------------------------------------------------------------

    def known(self, verb: str) -> set:
        """Return the options that this version knows for a verb."""
        found = {"--json", "--actor", *VALUED[verb]}
        if verb == "ready":
            found |= {"--unassigned"}
            found |= {"--parent"} if self.v >= (0, 37, 0) else set()
            found |= {"--claim"} if self.v >= (1, 0, 4) else set()
        if verb == "list" and self.v >= (0, 59, 0):
            found |= {"--flat"}
        if verb == "update" and self.v >= (0, 42, 0):
            found |= {"--claim"}
        if verb == "show" and self.v >= (1, 0, 5):
            found |= {"--include-dependents"}
        if verb == "gate":
            found |= {"--escalate", "--dry-run"}
        if self.v < (0, 50, 0):
            found |= {"--no-daemon"}
        return found

    def parse(self, argv: list[str]) -> str:
        """Split argv into verb, words and options; an option that the version does not know ends it."""
        verb, rest = argv[0], list(argv[1:])
        if verb not in VALUED or (verb == "gate" and self.v < (0, 44, 0)):
            raise StoppedError(1, "", f'Error: unknown command "{verb}" for "bd"\n')
        known = self.known(verb)
        while rest:
            word = rest.pop(0)
            if not word.startswith("-") or word == "-":
                self.words.append(word)
                continue
            name, equals, value = word.partition("=")
            name = ALIASES.get(name, name) if ALIASES.get(name, name) in known else name
            if name not in known:
                raise StoppedError(1, "", f"Error: unknown flag: {name}\nUsage:\n  bd {verb} [flags]\n")
            if name in BOOLEAN:
                self.options[name] = True
            else:
                self.options[name] = value if equals else rest.pop(0)
        return verb

    # -- the database --------------------------------------------------------------------------------

    def find_server(self) -> str:
        """Return the database's folder, or complain as this version does where there is none."""
        folder = os.getcwd()
        while True:
            note = os.path.join(folder, ".beads", "stand-in.json")
            if os.path.exists(note):
                with open(note, encoding="utf-8") as file:
                    return json.load(file)["server"]
            if folder == os.path.dirname(folder):
                break
            folder = os.path.dirname(folder)
        if self.v >= (1, 0, 5):
            hints = ["Hint: run 'bd where' to inspect the resolved workspace, or 'bd init' to create a new database"]
        elif self.v >= (1, 0, 0):
            hints = ["Hint: run 'bd doctor' to diagnose, or 'bd init' to create a new database"]
        else:
            hints = ["Hint: run 'bd init' to create a database in the current directory"]
        if self.v < (0, 50, 0):
            hints.append("      or use 'bd --no-db' to work with JSONL only (no SQLite)")
        hints.append("      or set BEADS_DIR to point to your .beads directory")
        raise StoppedError(1, "", "\n".join(["Error: no beads database found", *hints]) + "\n")

    def complain(self, text: str) -> StoppedError:
        """Return the end of a call that could not open its database."""
        if self.v < (1, 0, 0):
            return StoppedError(1, "", f"Error: {text}\n")
        data = {"error": text, **({"schema_version": 1} if self.v >= (1, 0, 3) else {})}
        return StoppedError(1, "", json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def check_server(self, server: str, verb: str) -> None:
        """End the call where the server is down, the database damaged or of another schema."""
        down = os.path.join(server, "down")
        if os.path.exists(down):
            with open(down, encoding="utf-8") as file:
                at = file.read().strip() or "127.0.0.1:3307"
            text = (
                f"failed to open database: Dolt server unreachable at {at}: dial tcp {at}: connect: connection refused"
            )
            if self.v >= (1, 0, 5):
                text += "\n\nDolt server auto-start is disabled (dolt.auto-start: false).\n"
                text += "Start the server manually:\n  bd dolt start"
            elif self.v >= (1, 0, 0):
                text += "\n\nThe Dolt server may not be running. Try:\n  bd dolt start"
            else:
                text += "\nThe Dolt server may not be running. Try:\n  bd dolt start    # Start a local server\n"
                text += "  gt dolt start    # If using Gas Town"
            raise self.complain(text)
        if os.path.exists(os.path.join(server, "skew")):
            raise self.complain("schema skew check: Error 1146: table not found: schema_migrations")
        if os.path.exists(os.path.join(server, "corrupt")):
            text = "failed to get ready work: sqlite3: file is not a database"
            if self.v < (0, 40, 0):
                text = "failed to open database: failed to enable WAL mode: sqlite3: file is not a database"
            raise StoppedError(1, "", f"Error: {text}\n")

    # -- forms ---------------------------------------------------------------------------------------

    def stamp(self) -> str:
        """Return the time as this version writes it."""
        now = time.time()
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        return text + (f".{int(now % 1 * 1e9):09d}Z" if self.v < (0, 50, 0) else "Z")

    def plain(self, issue: dict) -> dict:
        """Return an issue's own fields, those that are empty left out as this version does."""
        keys = "id title description status priority issue_type assignee owner created_at created_by updated_at".split()
        keys += ["started_at"] * (self.v >= (1, 0, 5)) + ["closed_at", "close_reason", "sender", "ephemeral"]
        found = {}
        for key in keys:
            value = issue.get(key)
            if value is None or value is False or value == "":
                continue
            if key in ("owner", "created_by") and self.v < (0, 44, 0):
                continue
            if key == "priority" and value == 0 and self.v < (0, 33, 2):
                continue
            found[key] = value
        return found

    def labelled(self, issue: dict) -> dict:
        """Return an issue with its labels."""
        return {**self.plain(issue), **({"labels": issue["labels"]} if issue["labels"] else {})}

    def parent(self, issue: dict) -> str:
        """Return the id of an issue's parent."""
        return next((link["to"] for link in issue["links"] if link["type"] == "parent-child"), "")

    def counted(self, issue: dict, counts=True) -> dict:
        """Return an issue as `list` and the later `ready` give it."""
        found = self.labelled(issue)
        if self.v >= (0, 57, 0) and issue["links"]:
            found["dependencies"] = [
                {
                    "issue_id": issue["id"],
                    "depends_on_id": link["to"],
                    "type": link["type"],
                    "created_at": issue["updated_at"],
                    "created_by": "Tester",
                    "metadata": "{}",
                }
                for link in issue["links"]
            ]
        if counts:
            found.update(dependency_count=0, dependent_count=0)
            if self.v >= (0, 49, 2):
                found["comment_count"] = 0
        if self.v >= (0, 57, 0) and self.parent(issue):
            found["parent"] = self.parent(issue)
        return found

    def shown(self, issue: dict, issues: dict) -> dict:
        """Return an issue as `show` gives it."""
        found = self.labelled(issue)
        ups = [(issues[link["to"]], link["type"]) for link in issue["links"] if link["to"] in issues]
        downs = [(one, link["type"]) for one in issues.values() for link in one["links"] if link["to"] == issue["id"]]
        if ups:
            found["dependencies"] = [{**self.labelled(one), "dependency_type": kind} for one, kind in ups]
        if downs and self.v < (1, 0, 5):
            found["dependents"] = [{**self.labelled(one), "dependency_type": kind} for one, kind in downs]
        if self.options.get("--include-dependents") and downs:
            nothing = "0001-01-01T00:00:00Z"
            keys = ("id", "title", "status", "priority", "issue_type")
            found["dependents"] = [
                {
                    **{key: one[key] for key in keys},
                    "created_at": nothing,
                    "updated_at": nothing,
                    "dependency_type": kind,
                }
                for one, kind in downs
            ]
        if self.parent(issue) and self.v >= (0, 44, 0):
            found["parent"] = self.parent(issue)
        if self.v >= (1, 0, 5):
            found.update(dependent_count=len(downs), dependency_count=len(ups), comment_count=0)
        deep = self.v < (1, 0, 5) or self.options.get("--include-dependents")
        if issue["issue_type"] == "epic" and self.v >= (1, 0, 0) and deep:
            children = [one for one, kind in downs if kind == "parent-child"]
            closed = sum(one["status"] == "closed" for one in children)
            found.update(
                epic_total_children=len(children),
                epic_closed_children=closed,
                epic_closeable=bool(children) and closed == len(children),
            )
        return found

    def print_list(self, items: list) -> str:
        """Return a list as it is printed."""
        if os.environ.get("BD_JSON_ENVELOPE") == "1" and self.v >= (1, 0, 3):
            return json.dumps({"data": items, "schema_version": 1}, indent=2, ensure_ascii=False) + "\n"
        return json.dumps(items, indent=2, ensure_ascii=False) + "\n"

    def print_object(self, item: dict) -> str:
        """Return an object as it is printed."""
        if self.v >= (1, 0, 3):
            item = {**item, "schema_version": 1}
        return json.dumps(item, indent=2, ensure_ascii=False) + "\n"

    # -- verbs ---------------------------------------------------------------------------------------

    def do_version(self) -> str:
        """Tell the version."""
        if not self.options.get("--json"):
            return f"bd version {self.version} (dev)\n"
        branch = {"branch": "main"} if (0, 44, 0) <= self.v < (0, 50, 0) and os.path.exists(".git") else {}
        return self.print_object({**branch, "build": "dev", "version": self.version})

    def blocked(self, issue: dict, issues: dict) -> bool:
        """Tell whether something open blocks an issue."""
        return any(
            link["type"] == "blocks" and issues.get(link["to"], {}).get("status", "closed") != "closed"
            for link in issue["links"]
        )

    def do_ready(self, issues: dict) -> str:
        """List what is ready, or claim the first of it."""
        options = self.options
        states = {"open"} if self.v >= (0, 49, 4) else {"open", "in_progress"}
        hidden = {"merge-request", "gate", "molecule", "message", "agent"} if self.v >= (0, 36, 0) else set()
        found = [
            one
            for one in issues.values()
            if one["status"] in states and one["issue_type"] not in hidden and not self.blocked(one, issues)
        ]
        if options.get("--unassigned") or options.get("--claim"):
            found = [one for one in found if not one["assignee"]]
        if "--label" in options:
            found = [one for one in found if options["--label"] in one["labels"]]
        if "--type" in options:
            found = [one for one in found if one["issue_type"] == options["--type"]]
        if "--parent" in options:
            below, todo = set(), [options["--parent"]]
            while todo:
                level = [one["id"] for one in issues.values() if self.parent(one) == todo[0] and one["id"] not in below]
                below.update(level)
                todo = todo[1:] + (level if self.v < (0, 50, 0) or self.v >= (1, 0, 4) else [])
            found = [one for one in found if one["id"] in below]
        found.sort(key=lambda one: (one["priority"], one["number"]))
        limit = int(options.get("--limit") or (100 if self.v >= (1, 0, 4) else 10))
        found = found[:limit] if limit else found
        if options.get("--claim"):
            for one in found[:1]:
                self.set_status(one, "in_progress")
                one["assignee"] = options["--actor"]
            found = found[:1]
        plain = self.v < (0, 49, 2)
        return self.print_list([self.labelled(one) if plain else self.counted(one) for one in found])

    def do_list(self, issues: dict) -> str:
        """List issues."""
        wanted = self.options.get("--status")
        found = [one for one in issues.values() if wanted is None or one["status"] == wanted]
        if wanted is None and self.v >= (0, 42, 0):
            found = [one for one in found if one["status"] != "closed"]
        if "--type" in self.options:
            found = [one for one in found if one["issue_type"] == self.options["--type"]]
        found.sort(key=lambda one: (one["priority"], -one["number"]))
        limit = int(self.options.get("--limit") or (50 if self.v >= (0, 42, 0) else 0))
        found = found[:limit] if limit else found
        if (0, 59, 0) <= self.v < (0, 60, 0) and not self.options.get("--flat"):
            return "".join(f"├── {one['id']}: {one['title']}\n" for one in found)
        return self.print_list([self.counted(one) for one in found])

    def no_issue(self, issue_id: str, verb: str) -> str:
        """Complain of a missing issue on stderr, or end the call as this version does."""
        text = f'no issue found matching "{issue_id}"'
        if self.v < (0, 42, 0):
            raise StoppedError(1, "", f"Error: {text}\n")
        if self.v < (0, 50, 0) and not DIRECT:
            error = f"resolving ID {issue_id}: operation failed: failed to resolve ID: {text}"
            raise StoppedError(1, self.print_object({"error": error}))
        return f"Error {verb} {issue_id}: {text}\n"

    def resolve(self, issues: dict) -> None:
        """Take what lies in one id for that id, as bd does; what lies in several is ambiguous."""
        for place, word in enumerate(self.words):
            found = [one for one in issues if word in one]
            if word not in issues and len(found) == 1:
                self.words[place] = found[0]
            elif word not in issues and len(found) > 1:
                text = f'ambiguous ID "{word}" matches {len(found)} issues: [{" ".join(found)}]'
                if self.v < (0, 42, 0):
                    raise StoppedError(1, "", f"Error: {text}\n")
                status = 1 if self.v >= (0, 50, 0) else 0
                none = self.print_object({"error": "no issues found matching the provided IDs"}) if status else ""
                raise StoppedError(status, none, f"Error fetching {word}: {text}\n")

    def do_show(self, issues: dict) -> str:
        """Show issues."""
        self.resolve(issues)
        found, complaints = [], ""
        for word in self.words:
            if word in issues:
                found.append(self.shown(issues[word], issues))
            else:
                complaints += self.no_issue(word, "fetching")
        if found or not complaints:
            sys.stderr.write(complaints)
            return self.print_list(found)
        if self.v < (0, 50, 0):
            raise StoppedError(0, "", complaints)
        raise StoppedError(1, self.print_object({"error": "no issues found matching the provided IDs"}), complaints)

    def lose(self, issues: dict, only_last: bool) -> tuple[int, str, str]:
        """Answer `show` as where the connection is lost: from 0.57 on it then says of all that it found none."""
        lost = self.words[-1:] if only_last else list(self.words)
        found = [self.shown(issues[word], issues) for word in self.words if word not in lost]
        err = "".join(f"Error fetching {word}: get issue: invalid connection\n" for word in lost)
        if found or self.v < (0, 50, 0):
            return 0, self.print_list(found) if found else "", err
        return 1, self.print_object({"error": "no issues found matching the provided IDs"}), err

    def set_status(self, issue: dict, status: str) -> None:
        """Change a status with what hangs on it."""
        issue["status"], issue["updated_at"] = status, self.stamp()
        if status == "in_progress" and not issue.get("started_at"):
            issue["started_at"] = self.stamp()
        if status != "closed" and self.v < (0, 50, 0):
            issue["closed_at"] = issue["close_reason"] = None

    def claim(self, issue: dict, actor: str) -> None:
        """Claim an issue, or end the call."""
        holder = issue["assignee"]
        same = holder == actor and self.v >= (0, 63, 0)
        status = 1 if self.v >= (0, 57, 0) else 0
        if self.v >= (1, 0, 4) and issue["status"] not in ("open", "in_progress"):
            text = f"Error claiming {issue['id']}: issue not claimable: status {issue['status']}\n"
            raise StoppedError(status, "", text)
        if holder and not same:
            text = f"already claimed by {holder}"
            if self.v >= (0, 49, 4):
                text = f"Error claiming {issue['id']}: issue {text}"
            elif DIRECT:
                text = f"Error claiming {issue['id']}: {text}"
            else:
                text = f"Error updating {issue['id']}: operation failed: {text}"
            raise StoppedError(status, "", text + "\n")
        issue["assignee"] = actor
        self.set_status(issue, "in_progress")

    def do_update(self, issues: dict) -> str:
        """Change issues."""
        self.resolve(issues)
        options, found = self.options, []
        for word in self.words:
            if word not in issues:
                complaint = self.no_issue(word, "resolving")
                raise StoppedError(1 if self.v >= (0, 57, 0) else 0, "", complaint)
            issue = issues[word]
            if options.get("--claim"):
                self.claim(issue, options.get("--actor", "Tester"))
            if "--status" in options:
                self.set_status(issue, options["--status"])
            if "--assignee" in options:
                issue["assignee"] = options["--assignee"]
            if "--add-label" in options and options["--add-label"] not in issue["labels"]:
                issue["labels"].append(options["--add-label"])
            if options.get("--remove-label") in issue["labels"]:
                issue["labels"].remove(options["--remove-label"])
            issue["updated_at"] = self.stamp()
            found.append(self.labelled(issue))
        return self.print_list(found)

    def do_comments(self, issues: dict) -> str:
        """Write a comment below an issue."""
        _, *about, text = self.words
        self.words = about
        self.resolve(issues)
        if self.words[0] not in issues:
            raise StoppedError(1, "", self.no_issue(self.words[0], "adding comment to"))
        issues[self.words[0]].setdefault("comments", []).append(text)
        return f"Comment added to {self.words[0]}\n"

    def do_create(self, issues: dict) -> str:
        """File an issue."""
        options, number = self.options, 1 + max((one["number"] for one in issues.values()), default=0)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"
        spread = number * 7919 % 46656
        issue = {
            "id": "de-" + digits[spread // 1296] + digits[spread // 36 % 36] + digits[spread % 36],
            "number": number,
            "title": self.words[0],
            "description": options.get("--description", ""),
            "status": "open",
            "priority": int(options.get("--priority", 2)),
            "issue_type": options.get("--type", "task"),
            "assignee": options.get("--assignee", ""),
            "owner": "t@example.com",
            "created_at": self.stamp(),
            "created_by": "Tester",
            "updated_at": self.stamp(),
            "labels": [options["--label"]] if "--label" in options else [],
            "links": [],
        }
        issues[issue["id"]] = issue
        # The labels are stored after the issue was printed, until 1.0.5 took them along.
        return self.print_object(self.labelled(issue) if self.v >= (1, 0, 5) else self.plain(issue))

    def do_dep(self, issues: dict) -> str:
        """Add a dependency."""
        _, one, other = self.words
        kind = self.options.get("--type", "blocks")
        issues[one]["links"].append({"to": other, "type": kind})
        names = [f"{word} ({issues[word]['title']})" if self.v >= (0, 57, 0) else word for word in (one, other)]
        return f"✓ Added dependency: {names[0]} depends on {names[1]} ({kind})\n"

    def do_close(self, issues: dict) -> str:
        """Close issues."""
        self.resolve(issues)
        found = []
        for word in self.words:
            if word not in issues:
                raise StoppedError(1, "", self.no_issue(word, "resolving"))
            issue = issues[word]
            self.set_status(issue, "closed")
            issue["closed_at"], issue["close_reason"] = self.stamp(), self.options.get("--reason", "Closed")
            found.append(self.labelled(issue))
        return self.print_list(found)

    def do_reopen(self, issues: dict) -> str:
        """Open issues again."""
        for word in self.words:
            self.set_status(issues[word], "open")
            if self.v >= (1, 0, 4):
                issues[word].update(assignee="", closed_at=None, close_reason=None, started_at=None)
        return self.print_list([self.labelled(issues[word]) for word in self.words])

    def do_export(self, issues: dict) -> str:
        """Write all issues to a file."""
        path = self.options["-o"]
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"_type": "issue", **self.counted(one)}) + "\n" for one in issues.values())
        raise StoppedError(0, "", f"Exported {len(issues)} issues to {path}\n")

    def do_mail(self, issues: dict) -> str:
        """Be the mail that bd had until 0.31, or say that there is none."""
        if self.v >= (0, 32, 0):
            raise StoppedError(
                1,
                "",
                "Error: no mail delegate configured\nbd mail delegates to an external mail provider.\n"
                'Configure one of:\n  export BEADS_MAIL_DELEGATE="gt mail"   # Environment variable\n'
                '  bd config set mail.delegate "gt mail"  # Per-project config\n',
            )
        verb, rest = self.words[0], self.words[1:]
        if verb == "send":
            options = self.options
            self.words = [options["-s"]]
            self.options = {"--description": options["-m"], "--type": "message", "--assignee": rest[0]}
            made = json.loads(self.do_create(issues))
            issues[made["id"]].update(sender=options["--identity"], ephemeral=True)
            return f"Message sent: {made['id']}\n  To: {rest[0]}\n  Subject: {options['-s']}\n"
        if verb == "inbox":
            to = self.options.get("--identity")
            found = [one for one in issues.values() if one["issue_type"] == "message" and one["assignee"] == to]
            found = [one for one in found if one["status"] == "open"]
            return self.print_list([self.plain(one) for one in reversed(found)]) if found else "null\n"
        if verb == "read":
            return self.print_object(self.plain(issues[rest[0]]))
        acknowledged, errors = [], []
        for word in rest:
            if word not in issues:
                errors.append(f"{word}: not found")
            elif issues[word]["status"] == "closed":
                errors.append(f"{word}: already acknowledged")
            else:
                self.set_status(issues[word], "closed")
                acknowledged.append(word)
        return self.print_object({"acknowledged": acknowledged or None, "errors": errors or None})

    def do_gate(self, issues: dict) -> str:
        """Look for gates whose time has come: there are none."""
        if self.words != ["check"]:
            raise StoppedError(1, "", "Error: this stand-in only checks gates\n")
        kind = self.options.get("--type", "")
        return f"No open gates of type '{kind}' found.\n" if kind else "No open gates found.\n"

    # -- one call ------------------------------------------------------------------------------------

    def answer(self, verb: str, issues: dict) -> tuple[int, str, str]:
        """Return (status, stdout, stderr)."""
        try:
            return 0, getattr(self, f"do_{verb}")(issues), ""
        except StoppedError as end:
            return end.status, end.out, end.err


def find_fault(faults: list, calls: list, verb: str) -> str:
    """Return how this call is spoilt, "" if it is not; calls: the verbs of all before."""
    for fault in faults:
        wanted = fault.get("verb")
        if wanted and wanted != verb:
            continue
        number = 1 + sum(1 for one in calls if not wanted or one == wanted)
        start = fault.get("at") or 1
        if start <= number < start + fault.get("times", 1):
            return fault["do"]
    return ""


def read_json(path: str, default):
    """Return a file's content, or the default where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return default


def serve(program: Program, verb: str, argv: list[str]) -> tuple[int, str, str, str]:
    """Answer one call under the server's lock; also return how it is spoilt."""
    server = program.find_server()
    lock = os.open(os.path.join(server, "lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    calls = os.path.join(server, "calls")
    faults = read_json(os.path.join(server, "faults.json"), [])
    before = []
    if faults and os.path.exists(calls):
        with open(calls, encoding="utf-8") as file:
            before = [json.loads(line)["argv"][0] for line in file]
    spoilt = find_fault(faults, before, verb)
    path = os.path.join(server, "db.json")
    status, out, err = 1, "", "Error: it was told to fail\n"
    try:
        if spoilt not in ("fail", "hang", "garbage"):
            program.check_server(server, verb)
            issues = read_json(path, {})
            seen = json.dumps(issues)
            if spoilt.startswith("lose") and verb == "show":
                status, out, err = program.lose(issues, spoilt == "lose-last")
            else:
                status, out, err = program.answer(verb, issues)
            if json.dumps(issues) != seen:
                with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
                    json.dump(issues, file)
                os.replace(f"{path}.{os.getpid()}", path)
    except StoppedError as end:
        status, out, err = end.status, end.out, end.err
    with open(calls, "a", encoding="utf-8") as file:
        file.write(json.dumps({"argv": argv, "pid": os.getpid(), "status": status, "spoilt": spoilt}) + "\n")
    os.close(lock)
    return status, out, err, spoilt


def main(argv: list[str]) -> int:
    """Answer one call."""
    with open(os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "bd.json"), encoding="utf-8") as file:
        program = Program(json.load(file)["version"])
    spoilt = ""
    try:
        verb = program.parse(argv)
        if verb == "version":
            status, out, err = 0, program.do_version(), ""
        else:
            status, out, err, spoilt = serve(program, verb, argv)
    except StoppedError as end:
        status, out, err = end.status, end.out, end.err
    if spoilt in ("hang", "late"):
        time.sleep(600)
    if spoilt == "garbage":
        out, err, status = "\x00\x1b[31m}{ not JSON", "", 0
    if spoilt == "cut":
        out = out[: len(out) // 2]
    if spoilt == "mute":
        out, err = "", ""
    sys.stderr.write(err)
    sys.stdout.buffer.write(out.encode("utf-8", "surrogateescape"))
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
