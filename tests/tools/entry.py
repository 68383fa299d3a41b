# The archive's own __main__.py. The build fills in the two constants below.
#
# shiv's bootstrap imports zipfile, subprocess, compileall and more at every start. So this goes straight to the folder
# into which shiv unpacked this build, and calls shiv only to unpack. It imports next to nothing, because every start
# pays for it, and it parses on every Python 3, in order to say that one is too old.
import gc
import os
import sys

BUILD_ID = ""  # shiv's: the SHA-256 of the contents
SIZE = 0  # bytes of witness.py: a shorter one was cut off by a full disk or a crash


def is_private(path):
    """Say whether a path is there and only this user can change it."""
    try:
        seen = os.stat(path)
    except OSError:
        return False
    return seen.st_uid == os.geteuid() and not seen.st_mode & 0o022


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


def unpack(archive, folder):
    """Have shiv unpack the archive, over what is left of an earlier try."""
    import zipfile

    import _bootstrap

    with zipfile.ZipFile(archive) as opened:
        _bootstrap.extract_site_packages(opened, _bootstrap.Path(folder), force=os.path.exists(folder))


def find(archive):
    """Return the folder to import from, unpacking the archive where no start did so before."""
    name = os.path.basename(os.path.realpath(archive)) + "_" + BUILD_ID
    reasons = []
    for root in roots():
        folder = os.path.join(root, name)
        packages = os.path.join(folder, "site-packages")
        module = os.path.join(packages, "witness.py")
        try:
            if not os.path.isdir(root):
                os.makedirs(root)
            # Whoever can write there could have put in code of his own.
            if not is_private(root):
                reasons.append(root + ": others can write there")
                continue
            if not os.path.exists(module) or os.path.getsize(module) != SIZE:
                unpack(archive, folder)
            return packages
        except OSError as error:  # not writable, a full disk, a quota: another file system may do
            reasons.append("%s: %s" % (root, error.strerror or error))
    sys.exit("witness: cannot unpack itself (%s); set SHIV_ROOT to a folder of your own" % "; ".join(reasons))


def start():
    """Import the module of this build and run it."""
    if sys.version_info < (3, 9):
        sys.exit("witness: needs Python 3.9 or newer; %s is %d.%d" % ((sys.executable,) + sys.version_info[:2]))
    if any(name.startswith("SHIV_") and name != "SHIV_ROOT" for name in os.environ):
        import _bootstrap

        _bootstrap.bootstrap()  # shiv's own switches, such as SHIV_INTERPRETER
        return
    # What is made here is for this user alone, whatever the caller set for what the program makes.
    umask = os.umask(0o077)
    # In place of the archive, which holds nothing else to import.
    sys.path[0] = find(sys.argv[0])
    # The folder is ours: without compiled code in it every start would compile the whole module.
    no_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    # What an import makes stays: looking through it for garbage, now and in each collection to come, finds nothing.
    gc.disable()
    import witness

    gc.freeze()
    gc.enable()
    sys.dont_write_bytecode = no_bytecode
    os.umask(umask)
    status = witness.main()
    try:
        sys.stdout.flush()
    except OSError:  # a full disk, a reader that went away
        status = status or 1
    os._exit(status)  # taking the interpreter down piece by piece took as long as a tenth of `status`


if __name__ == "__main__":
    start()
