"""What can be wrong with a folder that should hold a public data set."""


class DatasetError(Exception):
    """A data set that is not there or not as published; the message says what to do."""
