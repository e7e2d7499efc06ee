"""Light feed-forward networks of an .onnx file, run by a kernel of our own."""

from nightscore.scorers.contract import Options, Scorer
from nightscore.scorers.files.model_file import ModelFile
from nightscore.scorers.networks.network import NotNetwork
from nightscore.scorers.networks.scorer import NetworksScorer

__all__ = ["NetworksScorer", "NotNetwork", "open_networks"]


def open_networks(model: ModelFile, options: Options) -> Scorer:
    """A scorer for a light network in ONNX. Errors as `NetworksScorer`'s."""
    return NetworksScorer(model, options)
