"""What a scorer says when it can't."""


class ModelError(Exception):
    """This model can't be used as asked: the file, its inputs, its outputs or the device."""


class ChunkError(Exception):
    """These rows can't be scored: a column has a value that the model can't take."""


class ModelChangedError(ModelError):
    """A model file has another hash than the one that was planned with."""
