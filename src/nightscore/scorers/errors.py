"""What a scorer says when it can't."""


class ModelError(Exception):
    """This model can't be used as asked: the file, its inputs, its outputs or the device.

    `option` is what was asked for and is to blame: kind, outputs, columns or device; empty: the model.
    """

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


class ChunkError(Exception):
    """These rows can't be scored: a column has a value that the model can't take.

    With fewer of them it may be another matter: a row that can't be scored is found so.
    """


class MissingValueError(ChunkError):
    """A column has a null, and the model takes none there."""


class ContractError(Exception):
    """A scorer has not kept its contract: other columns, or other rows than it was given."""


class ModelChangedError(ModelError):
    """A model file has another hash than the one that was planned with."""


class ScorerFileError(ModelError):
    """A scorer of the workspace is at fault, not the model: its file, what it offers, or what that gives."""
