"""What code has to do, counted, not timed: the same on a machine that is slow or busy."""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any


class Work:
    """Lines that run, the bytes that they allocate, and the length of every string whose method is called: that may
    look at all of it. What other C code looks at without keeping any of it is not counted."""

    def __init__(self) -> None:
        self.done = 0
        self._kept = 0

    def count(self, run: Callable[[], object]) -> int:
        outer, was_collecting = (sys.gettrace(), sys.getprofile()), gc.isenabled()
        gc.disable()
        tracemalloc.start()
        sys.setprofile(self._called)
        sys.settrace(self._traced)
        try:
            run()
        finally:
            sys.settrace(outer[0])
            sys.setprofile(outer[1])
            tracemalloc.stop()
            if was_collecting:
                gc.enable()
        return self.done

    def _traced(self, frame: FrameType, event: str, told: Any) -> Any:
        _, most = tracemalloc.get_traced_memory()
        self.done += 1 + max(most - self._kept, 0)
        tracemalloc.reset_peak()
        self._kept, _ = tracemalloc.get_traced_memory()
        return self._traced

    def _called(self, frame: FrameType, event: str, function: Any) -> None:
        of = getattr(function, "__self__", None) if event == "c_call" else None
        if isinstance(of, bytes | bytearray | str):
            self.done += len(of)


def work(run: Callable[[], object]) -> int:
    """How much `run` has to do. No unit: compare it with what it is for another size."""
    return Work().count(run)


def grows_with_its_size(run: Callable[[int], object], size: int) -> bool:
    """Whether `run` has four times as much to do for four times `size`, or a little more, where lists and the like grow
    by leaps. By the square it were sixteen times."""
    run(1)  # what is learned and remembered is
    return work(lambda: run(4 * size)) < 6 * work(lambda: run(size))
