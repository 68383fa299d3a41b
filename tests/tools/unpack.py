# The archive's _unpack.py: what a start does that does not find this build unpacked, whole and its own. A first start,
# one after a crash or a full disk, one without a home. It parses on every Python 3, as __main__.py does.
import os
import sys
import zipfile

import _bootstrap

from __main__ import BUILD_ID, SIZE, is_private


def roots():
    """Yield the folders that may hold the unpacked archive, the usual one first; most are not there yet."""
    if os.environ.get("SHIV_ROOT"):
        yield os.path.abspath(os.environ["SHIV_ROOT"])
    home = os.path.expanduser("~")
    if os.path.isabs(home) and home != "/" and is_private(home):
        yield os.path.join(home, ".shiv")
    # No home, or one that is somebody else's (cron, systemd, sudo, containers): a private folder with a fixed name, so
    # that the next start finds it. Another user may have taken a name first; then the next one is tried.
    for base in (os.environ.get("TMPDIR", ""), "/var/tmp", "/tmp"):
        for more in ("", "-1", "-2", "-3"):
            root = os.path.join(base, "witness-%d%s" % (os.geteuid(), more))
            if os.path.isabs(base) and not os.path.islink(root):
                yield root


def is_whole(module):
    """Say whether the module that was unpacked is there to its last byte, and nobody else can change it."""
    return is_private(module) and os.path.getsize(module) == SIZE


def compile_bare(module):
    """Compile the module for this Python without its docstrings: each start reads less, and the daemon is smaller.

    An import would leave them in, so the result has the name at which the next one looks. An import that finds nothing
    there compiles for itself.
    """
    import importlib.util
    import py_compile

    cached, stamp = importlib.util.cache_from_source(module), py_compile.PycInvalidationMode.TIMESTAMP
    try:
        py_compile.compile(module, cached, doraise=True, optimize=2, invalidation_mode=stamp)
    except (OSError, py_compile.PyCompileError):
        pass  # whoever imports it meets the same, and says so


def unpack(anew):
    """Return the folder to import from, unpacked by shiv where that is needed; anew: what is there is of no use."""
    name = os.path.basename(os.path.realpath(sys.argv[0])) + "_" + BUILD_ID
    reasons = []
    for root in roots():
        folder = os.path.join(root, name)
        packages = os.path.join(folder, "site-packages")
        try:
            if not os.path.isdir(root):
                os.makedirs(root)
            # Whoever can write there could have put in code of his own.
            theirs = [path for path in (root, folder, packages) if os.path.lexists(path) and not is_private(path)]
            if theirs:
                reasons.append(theirs[0] + ": others can write there")
                continue
            there = os.path.exists(folder)  # asked first: another start may bring it, whole, before we look into it
            if anew or not is_whole(os.path.join(packages, "witness.py")):
                with zipfile.ZipFile(sys.argv[0]) as opened:
                    # Over what is left of an earlier try, of which the names may be there and the bytes not.
                    _bootstrap.extract_site_packages(opened, _bootstrap.Path(folder), force=there)
                compile_bare(os.path.join(packages, "witness.py"))
                sys.path_importer_cache.clear()  # it may know the folder as it was
            return packages
        except OSError as error:  # not writable, a full disk, a quota: another file system may do
            reasons.append("%s: %s" % (root, error.strerror or error))
    sys.exit("witness: cannot unpack itself (%s); set SHIV_ROOT to a folder of your own" % "; ".join(reasons))
