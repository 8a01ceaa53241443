"""onnxruntime in a process of its own: a kernel that ends its process must not end the check."""

from __future__ import annotations

import atexit
import pickle
import struct
import sys
from collections import OrderedDict
from time import monotonic, sleep
from typing import Any, BinaryIO

SESSIONS = 32  # kept open by the worker
WAIT = 60.0  # seconds for an answer
_LOOK = 2.0  # seconds between two looks at that
_LENGTH = struct.Struct("<Q")


class Died(Exception):
    """The process ended, or did not answer."""


class Worker:
    """Opens models and runs them elsewhere; a new process takes over where one ended."""

    def __init__(self) -> None:
        self._process: Any = None
        self._asked = 0.0  # when the question was asked that is not answered yet
        self._watched = False

    def ask(self, model: bytes, feeds: dict[str, Any] | None) -> Any:
        """The outputs of a model; without feeds it is only opened.

        Raises Died, and RuntimeError with what onnxruntime said.
        """
        if self._process is None:
            self._start()
        process = self._process
        self._asked = monotonic()
        try:
            _send(process.stdin, (model, feeds))
            done, answer = _receive(process.stdout)
        except (EOFError, OSError):
            self.stop()
            raise Died("onnxruntime ended its process") from None
        finally:
            self._asked = 0.0
        if not done:
            raise RuntimeError(answer)
        return answer

    def _start(self) -> None:
        import os
        import subprocess
        from threading import Thread

        if not self._watched:
            self._watched = True
            Thread(target=self._watch, daemon=True).start()

        path = os.pathsep.join(p for p in sys.path if p)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what a kernel says before it ends its process
            env={**os.environ, "PYTHONPATH": path},
        )

    def _watch(self) -> None:
        """End a process that does not answer."""
        while True:
            sleep(_LOOK)
            process, asked = self._process, self._asked
            if process is not None and asked and monotonic() - asked > WAIT:
                process.kill()

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


WORKER = Worker()
atexit.register(WORKER.stop)


def _send(stream: BinaryIO, item: Any) -> None:
    data = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def _receive(stream: BinaryIO) -> Any:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer questions until there are none."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    sessions: OrderedDict[bytes, Any] = OrderedDict()
    while True:
        try:
            model, feeds = _receive(questions)
        except EOFError:
            return
        try:
            session = sessions.pop(model, None)
            if session is None:
                session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
            sessions[model] = session
            if len(sessions) > SESSIONS:
                sessions.popitem(last=False)
            answer = (True, None if feeds is None else session.run(None, feeds))
        except Exception as error:  # onnxruntime's exceptions share no base
            answer = (False, str(error))
        _send(answers, answer)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
