# The archive's own __main__.py; the build fills in the two constants below. Python compiles it anew at every start, so
# it is short: straight to the folder into which shiv has unpacked this build. Whatever is not as usual there is for
# _unpack. It parses on every Python 3, in order to say that one is too old.
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


def find():
    """Return the usual folder of this build, None where it is not whole, or others can change what lies in it."""
    given, home = os.environ.get("SHIV_ROOT"), os.path.expanduser("~")
    root = os.path.abspath(given or os.path.join(home, ".shiv"))
    folder = os.path.join(root, os.path.basename(os.path.realpath(sys.argv[0])) + "_" + BUILD_ID)
    packages = os.path.join(folder, "site-packages")
    module = os.path.join(packages, "witness.py")
    try:
        private = all(map(is_private, (given or home, root, folder, packages, module)))
        return packages if private and os.path.getsize(module) == SIZE else None
    except OSError:  # another start puts it there anew at this very moment
        return None


def load(packages, last=False):
    """Return the module of this build, None where it cannot be imported: a power cut leaves names without bytes.

    The last time it is said why.
    """
    archive, sys.path[0] = sys.path[0], packages  # in its place: it holds nothing else to import
    try:
        import witness
    except Exception:
        if last:
            raise
        sys.path[0] = archive
        return None
    return witness


def start():
    """Run the module of this build."""
    if sys.version_info < (3, 9):
        sys.exit("witness: needs Python 3.9 or newer; %s is %d.%d" % ((sys.executable,) + sys.version_info[:2]))
    if any(name.startswith("SHIV_") and name != "SHIV_ROOT" for name in os.environ):
        import _bootstrap

        _bootstrap.bootstrap()  # shiv's own switches, such as SHIV_INTERPRETER
        return
    # What is made here is for this user alone, whatever the caller set for what the program makes.
    umask = os.umask(0o077)
    # Without compiled code in that folder every start would compile the whole module.
    no_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    # What an import makes stays: looking through it for garbage, now and in each collection to come, finds nothing.
    gc.disable()
    packages = find()
    witness = load(packages) if packages else None
    if witness is None:
        import _unpack

        witness = load(_unpack.unpack(False)) or load(_unpack.unpack(True)) or load(_unpack.unpack(True), True)
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
