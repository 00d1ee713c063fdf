"""Padding and mean pooling, shared by the encoder's and the petition model's training."""

import torch

from nlp_service.tokens import PAD


def pad(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask, both (rows, longest row)."""
    longest = max(len(row) for row in rows)
    matrix = torch.full((len(rows), longest), PAD)
    for index, row in enumerate(rows):
        matrix[index, : len(row)] = torch.tensor(row)
    mask = (torch.arange(longest)[None, :] < torch.tensor([len(row) for row in rows])[:, None]).long()
    return matrix, mask


def mean_pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(rows, length, hidden) -> (rows, hidden), padding left out."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
