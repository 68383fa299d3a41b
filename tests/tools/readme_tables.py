"""Make the README's tables from the code they describe; `--write` puts them in their places."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import witness  # noqa: E402


def table(head: tuple, rows) -> str:
    """Return a table as Markdown; a bar in a cell is written so that it stays in its cell."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings() -> str:
    """Return a row for each setting in their own order."""
    rows = []
    for setting in witness.SETTINGS:
        default = " ".join(setting.default) if setting.kind == "words" else json.dumps(setting.default).strip('"')
        unit = f" {setting.unit}" if setting.unit else ""
        rows.append((f"`{setting.name}`", f"`{default}`{unit}" if default else "(none)", setting.range(), setting.help))
    return table(("setting", "default", "takes", "what it does"), rows)


def usage(name: str) -> str:
    """Return how a command is written: its own arguments, without those that every command takes."""
    words = [name]
    for flags, keywords in witness.COMMANDS[name].arguments:
        if flags[0].startswith("-"):
            value = "" if keywords.get("action") == "store_true" else f" {keywords.get('metavar') or '…'}"
            words.append(f"[{flags[-1] if flags[0] == '-f' else flags[0]}{value}]")
            continue
        what = keywords.get("metavar") or "|".join(keywords.get("choices", ())) or flags[0].upper()
        words.append({"*": f"[{what}…]", "?": f"[{what}]"}.get(keywords.get("nargs"), what))
    return " ".join(words)


def commands() -> str:
    """Return a row for each command by what it is for."""
    rows = []
    for title, names in witness.GROUPS:
        rows.append((f"**{title}**", ""))
        rows += [(f"`{usage(name)}`", witness.COMMANDS[name].help) for name in names.split()]
    return table(("command", "what it does"), rows)


def blockers() -> str:
    """Return a row for each reason that a retirement is refused for."""
    rows = []
    for kind, (evidence, remedy, forceable) in witness.BLOCKERS.items():
        places = {"what": "…", "path": "WORKTREE", "name": "NAME"}
        forced = "preserved" if forceable else "refused"
        rows.append((f"`{kind}`", evidence.format(**places), f"`{remedy.format(**places)}`", forced))
    return table(("reason", "what it says", "what clears it", "with `--force`"), rows)


def events() -> str:
    """Return a row for each kind of event."""
    return table(("event", "what it means"), [(f"`{kind}`", meaning) for kind, meaning in witness.EVENTS.items()])


def dialects() -> str:
    """Return a row for each range of versions of bd whose claims are worth the same."""
    rows, last = [], None
    for row in witness.BD_DIALECTS:
        worth = row.exclusive, row.reopens
        if worth != last:
            one = "exactly one wins, also on several hosts" if row.exclusive else "two may win: let one Witness use it"
            closed = "it is opened again" if row.reopens else "it is refused"
            rows.append((".".join(map(str, row.since)) + " and later", one, closed))
        last = worth
    return table(("`bd`", "many claim one issue at once", "it was closed in the instant before the claim"), rows)


def towns() -> str:
    """Return a row for each version of gt from which on something is new."""
    rows, can = [], frozenset()
    for row in witness.GT_DIALECTS:
        news = "; ".join(witness.GT_WORDS[word] for word in witness.GT_WORDS if word in row.can - can)
        rows.append((".".join(map(str, row.since)) + " and later", news or "mail is bd's; `gt spawn` makes workers"))
        can = row.can
    return table(("`gt`", "what is new"), rows)


def pairs() -> str:
    """Return a row for each pair of versions that is known not to work."""

    def span(since: tuple, before: tuple) -> str:
        text = [f"from {'.'.join(map(str, since))}"] if since > (0, 0, 1) else []
        text += [f"before {'.'.join(map(str, before))}"] if before < (99,) else []
        return " ".join(text)

    rows = [(span(*row[0:2]), span(*row[2:4]), row[4]) for row in witness.BAD_PAIRS]
    return table(("`gt`", "`bd`", "why not together"), rows)


TABLES = {
    "dialects": dialects,
    "towns": towns,
    "pairs": pairs,
    "commands": commands,
    "settings": settings,
    "blockers": blockers,
    "events": events,
}


def put_tables(text: str) -> str:
    """Return the README's text with each table between its marks."""
    for name, make in TABLES.items():
        begin = f"<!-- {name}: made from witness.py by `python3 tests/tools/readme_tables.py --write` -->"
        end = f"<!-- end of {name} -->"
        before, mark, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not mark or not closed:
            raise SystemExit(f"README.md lacks {begin} or {end}")
        text = f"{before}{begin}\n\n{make()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    if "--write" in sys.argv[1:]:
        readme.write_text(put_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(make() for make in TABLES.values()))
