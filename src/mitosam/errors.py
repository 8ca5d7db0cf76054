"""The package's errors: each also is the builtin a caller would expect to catch.

On the command line every one of them ends as one line and exit code 2.
"""


class MitosamError(Exception):
    """Base of all errors that tell a user what to change."""


class InputError(MitosamError, ValueError):
    """An image, mask, prompt or table that cannot be used as it is."""


class DamagedFileError(InputError):
    """A file of ours that is not as it was written: cut short, or with other bytes."""

    what = ""
    """What does not fit, without the file's name and the way out."""


class InputNotFoundError(MitosamError, FileNotFoundError):
    """A file or folder that was named and is not there."""


class RemoteError(MitosamError, ConnectionError):
    """A store at a URL that cannot be reached, refuses, or was lost on the way."""


class OutputExistsError(MitosamError, FileExistsError):
    """A result that would be overwritten."""


class OutputInUseError(MitosamError, BlockingIOError):
    """A result that another process is writing."""


class StorageError(MitosamError, OSError):
    """A disk that is full or cannot be written."""


class RankError(MitosamError, ConnectionError):
    """A training on several processes of which another one ended."""


class SettingsError(MitosamError, ValueError):
    """A setting that is unknown, out of range or contradicts another."""


class ModelError(MitosamError, ValueError):
    """Weights that are damaged, of another architecture, or for another base model."""


class ModelNotFoundError(MitosamError, FileNotFoundError):
    """Weights that are not on this machine."""


class WorkersError(MitosamError, RuntimeError):
    """Worker processes that cannot be reached, or that an item of work brought down."""


class DownloadError(MitosamError, ConnectionError):
    """Something that could not be fetched, or came out wrong."""


def shown(value: object) -> str:
    """What a user wrote, for a message; nothing of what is beyond all measure.

    >>> shown("a"), shown(10**5000)
    ("'a'", '...')
    """
    try:
        return repr(value)
    except (RecursionError, ValueError):  # Python writes no number of thousands of digits
        return "..."
