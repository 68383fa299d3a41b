"""Text that an enemy would write, and how to put it in place of every word of an answer."""

from __future__ import annotations

from hypothesis import strategies as st

HOSTILE = st.one_of(
    st.sampled_from(
        [
            "\x1b[2J\x1b[31mred",
            "a\rb",
            "two\nlines",
            "\x9b31m",
            "bell\x07",
            "\x00",
            "tab\there",
            "a\u202eb",
            "\udcff",
            "\x1b]0;title\x07",
            "\u2028",
            "\x85",
        ]
    ),
    st.text(max_size=20),
)


def plain(text: str) -> bool:
    """Tell whether a text can do nothing to a terminal but print lines on it."""
    return all(line.isprintable() for line in text.split("\n")) and text == text.encode("utf-8", "ignore").decode()


def spoilt(data, draw):
    """Return data with hostile text in place of every word of it, keys and kinds of values kept."""
    if isinstance(data, dict):
        return {key: spoilt(value, draw) if key != "running" else value for key, value in data.items()}
    if isinstance(data, list):
        return [spoilt(one, draw) for one in data]
    return draw(HOSTILE) if isinstance(data, str) else data
