"""Sections `retrieval` and `ranking` of a project config."""

from pydantic import Field

from feature_repo.model import StrictModel


class RetrievalConfig(StrictModel):
    """The two-tower model.

    Attributes:
        embedding_dimension: size of the vectors that both towers end in.
        hidden_units: widths of each tower's hidden layers.
        epochs: most passes over the training positives.
        batch_size: positives a step; the other positives of a batch are its negatives.
        learning_rate: of Adam.
        temperature: divides the logits.
        patience: epochs without a better validation Recall@100 before training stops.
        seed: of weights and shuffling.
    """

    embedding_dimension: int = Field(default=32, ge=2)
    hidden_units: tuple[int, ...] = (64,)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=1024, ge=2)
    learning_rate: float = Field(default=0.003, gt=0)
    temperature: float = Field(default=0.1, gt=0)
    patience: int = Field(default=2, ge=1)
    seed: int = 1


class RankingConfig(StrictModel):
    """The DCN-v2 ranker.

    Attributes:
        cross_layers: number of cross layers.
        hidden_units: widths of the deep part.
        sampled_negatives: items drawn from the catalogue for each positive impression, with label 0, so that the
            ranker is trained on what it will score.
        epochs, batch_size, learning_rate, patience, seed: as for retrieval; patience counts validation log loss.
    """

    cross_layers: int = Field(default=2, ge=1)
    hidden_units: tuple[int, ...] = (128, 64)
    sampled_negatives: int = Field(default=0, ge=0)
    epochs: int = Field(default=5, ge=1)
    batch_size: int = Field(default=1024, ge=2)
    learning_rate: float = Field(default=0.001, gt=0)
    patience: int = Field(default=1, ge=1)
    seed: int = 1
