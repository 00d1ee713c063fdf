"""Embeddings as they are stored: of unit length, in half precision, which moves a cosine by less than 0.001."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def pack(vector: Floats) -> bytes:
    """Little-endian float16 of unit length; a vector of zeros stays one. Raises ValueError for values that are no numbers."""
    if not np.isfinite(vector).all():
        raise ValueError("the embedding holds values that are no numbers")
    length = float(np.linalg.norm(vector))
    return (vector / length if length else vector).astype("<f2").tobytes()


def unpack(stored: bytes) -> Floats:
    """(hidden,) of what `pack` wrote."""
    return np.frombuffer(stored, "<f2").astype(np.float32)
