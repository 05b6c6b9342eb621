"""The commands as somebody has them who types them: as processes, on pipes or in a terminal."""

import asyncio
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway import environment

SECONDS = 30.0


def fairlead(
    folder: Path, *arguments: str, given: str | bytes = b"", **environ: str
) -> "subprocess.CompletedProcess[str]":
    """What becomes of the command in `folder`, with `given` on its standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "fairlead", *arguments],
        cwd=folder, env={**environment(), **environ}, input=given.encode() if isinstance(given, str) else given,
        capture_output=True, timeout=60,
    )  # fmt: skip
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


async def asked(
    folder: Path, *arguments: str, given: str | bytes = b"", **environ: str
) -> "subprocess.CompletedProcess[str]":
    """The same while the loop of this process turns: for a command that asks a server in it."""
    return await asyncio.to_thread(fairlead, folder, *arguments, given=given, **environ)


class Terminal:
    """The other end of a terminal that a command runs in."""

    def __init__(self, end: int, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.shown = ""
        self._end = end
        self._seen = 0

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, once the command waits for a line: between its prompt and that, Python keeps one for the next key."""
        until, state = time.monotonic() + SECONDS, Path(f"/proc/{self.process.pid}/stat")
        while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < until, self.shown
            select.select([], [], [], 0.001)
        self.type("\x03")

    def until(self, text: str) -> str:
        """Everything that is shown from what was last waited for up to `text`."""
        until = time.monotonic() + SECONDS
        while (at := self.shown.find(text, self._seen)) < 0:
            assert time.monotonic() < until, self.shown
            assert self._read(), self.shown
        begin, self._seen = self._seen, at + len(text)
        return self.shown[begin : self._seen]

    def ended(self) -> int:
        """How the command left, once it has."""
        while self._read():
            pass
        return self.process.wait(SECONDS)

    def _read(self) -> bool:
        """Whether something more came before the end."""
        if not select.select([self._end], [], [], SECONDS)[0]:
            return False
        chunk = b""
        with suppress(OSError):  # how Linux says that nobody has the terminal open any more
            chunk = os.read(self._end, 65536)
        self.shown += chunk.decode(errors="replace")
        return bool(chunk)


@contextmanager
def terminal(folder: Path, *arguments: str, **environ: str) -> Iterator[Terminal]:
    """The command in a terminal of its own, which is where its Ctrl-C goes."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _IN_ITS_TERMINAL, *arguments],
        cwd=folder, env={**environment(), "TERM": "xterm", **environ}, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


_IN_ITS_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from fairlead.cli import main
main()
"""
