"""A process we start must not outlive us, not even when we are killed."""

import ctypes
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """For preexec_fn: the kernel sends the child SIGTERM when its parent is gone."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
