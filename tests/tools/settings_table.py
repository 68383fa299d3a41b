"""Make the README's table of settings from the settings themselves; `--write` puts it in its place."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import witness  # noqa: E402

BEGIN = "<!-- settings: made from witness.py by `python3 tests/tools/settings_table.py --write` -->"
END = "<!-- end of settings -->"


def make_table() -> str:
    """Return the table as Markdown, a row for each setting in their own order."""
    rows = ["| setting | default | takes | what it does |", "| --- | --- | --- | --- |"]
    for setting in witness.SETTINGS:
        default = " ".join(setting.default) if setting.kind == "words" else json.dumps(setting.default).strip('"')
        unit = f" {setting.unit}" if setting.unit else ""
        shown = f"`{default}`{unit}" if default else "(none)"
        rows.append(f"| `{setting.name}` | {shown} | {setting.range()} | {setting.help} |")
    return "\n".join(rows)


def put_table(text: str) -> str:
    """Return the README's text with the table between its marks."""
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"README.md lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{make_table()}\n\n{END}{after}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    if "--write" in sys.argv[1:]:
        readme.write_text(put_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(make_table())
