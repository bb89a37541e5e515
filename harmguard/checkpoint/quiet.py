"""Libraries that talk on their own: their warnings and log lines are not for our users."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as library

_TALKERS = ("optimum", "torch.onnx", "accelerate")


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what transformers, torch and optimum warn of and log below an error."""
    before, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in _TALKERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.set_verbosity_error()
        library.disable_progress_bar()
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            library.set_verbosity(before)
            if bars:
                library.enable_progress_bar()
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
