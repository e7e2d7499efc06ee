"""Which neurons or heads a layer can do without, and the weights of those that stay.

The optimal brain surgeon of Hassibi and Stork, "Second order derivatives for network pruning" (1993), for
groups of weights as in Kurtic, Frantar and Alistarh, "ZipLM" (2023, arXiv:2302.04089, section 3.1). What is
fitted again is what He, Zhang and Sun, "Channel pruning" (2017, arXiv:1707.06168, section 3.1) fit: the next
layer's weights, by least squares, to what that layer gave before.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DAMPING = 1e-4  # of the mean square of a number: rows of the past are never all of them
STEPS = 64  # groups are removed a sixty-fourth at a time; ZipLM removes one, for a sixty-fourth of the speed


def gram(inputs: npt.NDArray[np.floating]) -> Floats:
    """Sums of products of a layer's inputs, with a 1 as the last of them: [width + 1, width + 1].

    Args:
        inputs: what the layer takes, [rows …, width]; rows with a NaN or an infinity are passed over.
    """
    flat = inputs.reshape(-1, inputs.shape[-1])
    flat = flat[np.isfinite(flat).all(axis=1)]
    extended = np.concatenate([flat, np.ones((len(flat), 1), flat.dtype)], axis=1)
    sums: Floats = (extended.T @ extended).astype(np.float64)
    return sums


def prune_groups(
    moments: Floats, weights: Floats, size: int, keep: int
) -> tuple[npt.NDArray[np.intp], Floats]:
    """The inputs that stay, in order, and the weights fitted again, zero where inputs are removed.

    Each step removes the groups S with the least error tr(W_S' [H^-1]_SS^-1 W_S), and spreads what they did
    over the others: W -= [H^-1]_:S [H^-1]_SS^-1 W_S. In the end W is the least-squares fit of what stays.

    Args:
        moments: H, from `gram`, of the layer's inputs and a 1: [n + 1, n + 1].
        weights: W, of the layer, its bias as the last row: [n + 1, outputs]; [n, outputs] where it has none.
        size: inputs in a group: 1 for neurons, a head's numbers for heads.
        keep: how many groups stay.
    """
    inverse, fitted = _inverse(moments, len(weights)), weights.copy()
    groups = np.arange(len(moments) - 1).reshape(-1, size)
    alive = np.ones(len(groups), bool)
    while (surplus := int(alive.sum()) - keep) > 0:
        errors = np.where(alive, _errors(inverse, fitted, groups), np.inf)
        worst = np.argsort(errors, kind="stable")[: min(surplus, max(1, len(groups) // STEPS))]
        _remove(inverse, fitted, groups[worst].ravel())
        alive[worst] = False
    return groups[alive].ravel(), fitted


def _inverse(moments: Floats, size: int) -> Floats:
    squares = np.diagonal(moments)[:-1]
    damping = np.append(np.full(len(squares), DAMPING * max(float(squares.mean()), 1e-12)), 0.0)
    inverse: Floats = np.linalg.inv((moments + np.diag(damping))[:size, :size]).astype(np.float64)
    return inverse


def _errors(inverse: Floats, fitted: Floats, groups: npt.NDArray[np.intp]) -> Floats:
    """What removing each group alone adds to the squared error of the layer's outputs."""
    blocks = inverse[groups[:, :, None], groups[:, None, :]]
    parts = fitted[groups]
    errors: Floats = np.einsum("gko,gko->g", parts, np.linalg.inv(blocks) @ parts)
    return errors


def _remove(inverse: Floats, fitted: Floats, gone: npt.NDArray[np.intp]) -> None:
    spread = inverse[:, gone] @ np.linalg.inv(inverse[np.ix_(gone, gone)])
    fitted -= spread @ fitted[gone]
    inverse -= spread @ inverse[gone]
    fitted[gone] = 0
    inverse[gone] = inverse[:, gone] = 0
    inverse[gone, gone] = 1  # so that later steps can invert the blocks
