"""The process that decodes large JSON bodies, one after the other; see `json_decoder`.

It reads questions from standard input and writes answers to standard output, both pickled, until
its input ends.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys

from pipeline.serving.errors import RequestError
from pipeline.serving.json_tensors import Decoded, decode


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    gc.disable()  # parsed JSON has no circles, and millions of lists
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed is no answer
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: Decoded | str
        try:
            answer = decode(*question)
        except RequestError as error:
            answer = error.message
        del question
        try:
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
        except BrokenPipeError:  # the server is gone
            return


if __name__ == "__main__":
    main()
