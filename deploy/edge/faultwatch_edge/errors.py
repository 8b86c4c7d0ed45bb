"""What can go wrong beside the machine; each error's text says what to do.

EdgeError
├── BundleError   a bundle is refused
├── TrustError    a key cannot be used, or no key is trusted
├── SourceError   an input cannot be used at all (a single bad line is a message, no error)
├── SinkError     an output cannot be written
├── SpoolError    what is to be kept cannot be kept
└── ConfigError   the agent's configuration cannot be used
"""


class EdgeError(Exception):
    """Any error of this package that a person can act on."""


class BundleError(EdgeError):
    """A bundle is refused: the text says what was found, what was expected and what to do."""


class TrustError(EdgeError):
    """A key file cannot be used, or no trusted key was found."""


class SourceError(EdgeError):
    """An input cannot be used at all."""


class SinkError(EdgeError):
    """An output cannot be opened or written."""


class SpoolError(EdgeError):
    """What an agent must not lose cannot be kept or read."""


class ConfigError(EdgeError):
    """The configuration is refused: the text names the key, what was found and expected."""
