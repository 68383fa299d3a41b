"""The outside tools of one rig, under the same settings."""

from __future__ import annotations

import witness as w


def test_tools_share_rig_and_limits(rig):
    found = w.find_rig(w.Host(), str(rig.path), {}, "/")
    config = w.make_config({"tmux_socket": "s", "tool_timeout": 7}, "f", {})
    tools = w.make_tools(w.Host(), found, config, 5)
    assert (tools.tmux.socket, tools.tmux.timeout_s, tools.git.timeout_s, tools.git.tick_lock_fd) == ("s", 7, 7, 5)
    assert tools.git.rig is tools.rig is found
