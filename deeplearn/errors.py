"""Errors a user can act on: one sentence, the next step, and an exit code that a launcher can act on too; and notes."""

import sys


def note(message: str) -> None:
    """Say on standard error what is no error but good to know."""
    print(message, file=sys.stderr, flush=True)


class DeeplearnError(Exception):
    """Something the user can mend. The message is one sentence that names the place and the next step."""

    exit_code = 1


class UsageError(DeeplearnError):
    """The command line does not say something we can do."""

    exit_code = 2


class DataError(DeeplearnError):
    """A data file is missing, unreadable or wrong; the message names the file and the line or image (EX_DATAERR)."""

    exit_code = 65


class NumericalError(DeeplearnError):
    """Training left the finite numbers; the message names the step and the leaves (EX_SOFTWARE)."""

    exit_code = 70


class StorageError(DeeplearnError):
    """A disk is full, read-only, or a checkpoint cannot be trusted (EX_IOERR)."""

    exit_code = 74


class ConfigError(DeeplearnError):
    """Knobs that contradict each other or the machine (EX_CONFIG)."""

    exit_code = 78
