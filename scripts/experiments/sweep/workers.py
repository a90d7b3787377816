"""Who evaluates the points: processes of this machine, or a Dask cluster."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from deltamoe.experiments.sweep.design import Design, evaluate, sources
from deltamoe.experiments.sweep.spec import Spec
from deltamoe.host.processes import workers

PATIENCE = 30
"""Seconds to wait for a cluster, and for a cluster without workers to get one."""


class LostError(ValueError):
    """Whoever evaluated points is gone."""


def timed(spec: Spec, values: dict) -> tuple[Design, float]:
    """Return the design of a point, and the seconds of processor time that it took."""
    began = time.thread_time()
    return evaluate(spec, values), time.thread_time() - began


class Workers:
    """Evaluates points in any order; ``seconds`` is the processor time that they took."""

    def __init__(self, executor: Executor, client=None) -> None:
        self.executor, self.client = executor, client
        self.seconds = 0.0

    def run(self, spec: Spec, points: Sequence[dict]) -> Iterator[Design]:
        """Return the design of each point as it is finished.

        Raises
        ------
        LostError
            A local process died, or the cluster has no worker left.
        """
        left, idle = set(), 0
        try:
            left = {self.executor.submit(timed, spec, point) for point in points}
            while left:
                done, left = wait(left, timeout=1, return_when=FIRST_COMPLETED)
                for job in done:
                    design, seconds = job.result()
                    self.seconds += seconds
                    yield design
                idle = 0 if done or self.manned() else idle + 1
                if idle > PATIENCE:
                    raise LostError("the cluster has no worker left")
        except BrokenProcessPool:
            raise LostError("a process that evaluated points died: it was killed, or memory ran out"
                       ) from None
        except CancelledError:
            raise LostError("the cluster's scheduler is gone") from None
        finally:
            for job in left:
                job.cancel()

    def manned(self) -> bool:
        """Tell whether there is anybody to evaluate points."""
        return self.client is None or bool(self.client.scheduler_info(n_workers=-1)["workers"])


@contextmanager
def local(count: int) -> Iterator[Workers]:
    """Start ``count`` processes."""
    with workers(count) as executor:
        yield Workers(executor)


@contextmanager
def cluster(address: str) -> Iterator[Workers]:
    """Connect to a Dask scheduler.

    Raises
    ------
    ValueError
        Dask is not installed, nobody answers, or a worker's sources are others than these.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise ValueError("--cluster needs Dask: pip install 'deltamoe[cluster]'") from None
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"cluster {address!r}: {error or 'nobody answers'}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise ValueError(f"cluster {address!r} has no workers; start some with dask worker"
                             ) from None
        for worker, version in client.run(sources, on_error="return").items():
            if version != sources():
                raise ValueError(f"cluster {address!r}: worker {worker} has other sources of "
                                 f"deltamoe than these ({version})")
        yield Workers(client.get_executor(pure=False), client)
