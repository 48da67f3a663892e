"""Runs geodiff as a child process and tells what it does; knows nothing of QGIS."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from geodiff_qgis.environment import clean
from geodiff_qgis.events import Event, parse
from geodiff_qgis.traces import sweep, traces

GRACE = 10.0
"""Seconds that a cancelled child has to tidy up before it is killed."""
POLL = 0.2
"""Seconds after which a caller is woken to look whether its user has cancelled."""
ORPHANED = 2.0
"""Seconds after the child's end in which processes of its own may still say something."""


class RunError(Exception):
    """The run failed; one line that a user can act on."""


class Cancelled(RunError):
    """The user stopped the run."""


class Run:
    """One call of a program that speaks as geodiff does with --json and --progress json.

    ``for event in run.events()`` starts it, in a process group of its own and with a cleaned
    environment, and ends with its end; then ``result`` is the object it printed. ``events`` yields
    None a few times a second while the child is silent. ``cancel`` and ``stop`` may be called from
    any thread, also before the start. Leaving ``events`` early kills the child. A run that does not
    succeed leaves no file of ``out`` that was not there before.
    """

    merged = False
    """Whether stdout is read like stderr, and no object is expected: for programs such as pip."""

    def __init__(
        self,
        command: Sequence[str],
        out: str | None = None,
        environ: Mapping[str, str] | None = None,
        grace: float = GRACE,
    ) -> None:
        self.command, self.out, self.grace = list(command), out, grace
        self.environ = clean(os.environ if environ is None else environ)
        self.result: dict[str, Any] = {}
        self.said: deque[str] = deque(maxlen=100)  # the last lines that were no progress
        self.cancelled = self.keep_charts = False  # kept: finished charts of a cancelled run
        self.ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def events(self) -> Generator[Event | None, None, None]:
        """Run to the end; raises RunError, or Cancelled after ``cancel``."""
        before = traces(self.out) if self.out else frozenset()
        succeeded = False
        _running.add(self)
        try:
            with tempfile.TemporaryFile() as stdout:
                yield from self._follow(self._start(stdout))
                self.result = self._outcome(stdout)
            succeeded = True
        finally:
            if not succeeded:
                self._kill()
                if self.out:
                    sweep(self.out, before, self.keep_charts)
            if self._timer is not None:
                self._timer.cancel()
            _running.discard(self)
            self.ended.set()

    def cancel(self) -> None:
        """Ask the child to stop and tidy up; after ``grace`` seconds it is killed."""
        with self._lock:
            process, first = self._process, not self.cancelled
            self.cancelled = True
            if process is None or not first or process.poll() is not None:
                return
            self._timer = threading.Timer(self.grace, self._kill)
            self._timer.daemon = True
            self._timer.start()
        if os.name == "nt":
            self._kill()  # a program without a window cannot be asked
        else:
            # To the child alone: it stops its own workers. Not SIGINT, which a shell's background
            # jobs ignore, and with them all that they start.
            with contextlib.suppress(OSError):
                process.send_signal(signal.SIGTERM)

    def stop(self, timeout: float) -> None:
        """``cancel``, and come back when nothing is left, or kill after ``timeout`` seconds."""
        self.cancel()
        if not self.ended.wait(timeout):
            self._kill()
            self.ended.wait(timeout)

    def _start(self, stdout: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self.cancelled:
                raise Cancelled("cancelled before it began")
            own: dict[str, Any] = {"start_new_session": True}
            if os.name == "nt":
                flags = ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW")
                own = {"creationflags": sum(getattr(subprocess, name) for name in flags)}
            try:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE if self.merged else stdout,
                    stderr=subprocess.STDOUT if self.merged else subprocess.PIPE,
                    env=self.environ,
                    cwd=tempfile.gettempdir(),
                    **own,
                )
            except OSError as error:
                raise RunError(f"{self.command[0]} does not start: {error.strerror}") from error
            return self._process

    def _follow(self, process: subprocess.Popen[bytes]) -> Iterator[Event | None]:
        """Events until the child has ended and its stderr is read, or only orphans hold that."""
        lines: queue.Queue[bytes | None] = queue.Queue()
        stream = process.stdout if self.merged else process.stderr
        threading.Thread(target=_read, args=(stream, lines), daemon=True).start()
        quiet_since: float | None = None
        while True:
            try:
                line = lines.get(timeout=POLL)
            except queue.Empty:
                if process.poll() is not None:
                    quiet_since = quiet_since or time.monotonic()
                    if time.monotonic() - quiet_since > ORPHANED:
                        break
                yield None
                continue
            if line is None:
                break
            event = parse(line.decode("utf-8", "replace"))
            if event.text:
                self.said.append(event.text)
            if event.text or event.stage:
                yield event
        while process.poll() is None:  # it closed stderr, but goes on
            yield None
            time.sleep(POLL)

    def _outcome(self, stdout: IO[bytes]) -> dict[str, Any]:
        """What the child printed, if it did what it was asked."""
        assert self._process is not None
        code = self._process.returncode
        if self.cancelled:
            raise Cancelled("cancelled")
        if code != 0:
            raise RunError(self._reason(code))
        if self.merged:
            return {}
        stdout.seek(0)
        try:
            result = json.loads(stdout.read().decode("utf-8", "replace"))
        except ValueError:
            result = None
        if not isinstance(result, dict):
            raise RunError(f"{self.command[0]} did not answer as geodiff does: is it another one?")
        if self.out and not Path(self.out).exists():
            raise RunError(f"geodiff says that it is done, but there is no {self.out}")
        return result

    def _reason(self, code: int) -> str:
        errors = [line for line in self.said if line.startswith("Error: ")]
        if errors:
            return errors[-1][len("Error: ") :]
        if -code == getattr(signal, "SIGKILL", None):
            return "geodiff was killed; the computer may have run out of memory: take a smaller box"
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        last = f": {self.said[-1]}" if self.said else " and said nothing"
        return f"geodiff ended {how}{last}"

    def _kill(self) -> None:
        """End the child and all that it started, without asking."""
        process = self._process
        if process is None:
            return
        if os.name == "nt":
            kill = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(kill, capture_output=True, check=False)
        else:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)


_running: set[Run] = set()


def stop_all(timeout: float = GRACE) -> None:
    """Stop every run of this process and wait until nothing of them is left: QGIS closes."""
    runs = list(_running)
    for run in runs:
        run.cancel()
    for run in runs:
        run.stop(timeout)


def running() -> list[str]:
    """The programs of all runs of this process that have not ended."""
    return [run.command[0] for run in list(_running)]


def _read(stream: IO[bytes] | None, lines: queue.Queue[bytes | None]) -> None:
    """Put every line of a stream into a queue, then None."""
    if stream is not None:
        with stream:
            for line in stream:
                lines.put(line)
    lines.put(None)
