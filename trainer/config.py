"""Sections `retrieval` and `ranking` of a project config."""

from typing import Literal

from pydantic import Field, model_validator

from feature_repo.model import StrictModel


class RetrievalConfig(StrictModel):
    """The two-tower model.

    Attributes:
        positives: training rows that count as a match: `positive` ones, or `any` impression.
        embedding_dimension: size of the vectors that both towers end in, and of the item ids' embeddings, which the
            item tower and the query's histories share.
        feature_dimension: size of every other embedding.
        hidden_units: widths of each tower's hidden layers.
        history_encoder: how a history becomes vectors: `pooling` by learned weights of positions, a `gru`, or
            `self_attention`.
        history_pools: number of learned weightings of positions. For `pooling`.
        attention_blocks: for `self_attention`.
        dropout: share of the query tower's inputs and hidden units dropped in training.
        item_id_dropout: share of the item ids that training hides, so that an item is also known by its content: an
            item without events is embedded by the row of the hidden ids.
        history_dropout: share of the rows whose histories training hides, so that a user without any is served from
            context and attributes.
        loss: `sampled_softmax`, with the log Q correction, or `contrastive`, symmetric and without.
        sampled_negatives: items drawn uniformly from the catalogue for each positive; with the other positives of
            the batch they are everyone's negatives.
        hard_negatives: items a positive that the model as of the last epoch ranks highest for its query, without what
            the user engaged with; negatives of their own row.
        hard_skip: how many of the highest are passed over: the very first are often what the user would like.
        normalise: whether embeddings have length 1, the query's before the temperature divides it, which should then
            be about 0.1.
        epochs: most passes over the training positives.
        batch_size: positives a step; the other positives of a batch are its negatives.
        shuffle_batches: rows are shuffled within stretches of time this many batches long. Item features are as of
            each row's instant, so negatives must be of about the same time: else a popularity that grows over the
            data gives away which item is whose.
        learning_rate: of Adam.
        temperature: divides the query's embedding, and so the scores.
        patience: epochs without a better validation recall (at rank 100, or a tenth of a small catalogue) before
            training stops.
        validation_queries: validation positives on which epochs are compared; a sample where there are more.
        seed: of weights and shuffling.
    """

    positives: Literal["positive", "any"] = "positive"
    embedding_dimension: int = Field(default=64, ge=2)
    feature_dimension: int = Field(default=16, ge=1)
    hidden_units: tuple[int, ...] = (128,)
    history_encoder: Literal["pooling", "gru", "self_attention"] = "pooling"
    history_pools: int = Field(default=4, ge=1)
    attention_blocks: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    item_id_dropout: float = Field(default=0.1, ge=0, lt=1)
    history_dropout: float = Field(default=0.0, ge=0, lt=1)
    loss: Literal["sampled_softmax", "contrastive"] = "sampled_softmax"
    sampled_negatives: int = Field(default=0, ge=0)
    hard_negatives: int = Field(default=0, ge=0)
    hard_skip: int = Field(default=0, ge=0)
    normalise: bool = False
    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=512, ge=2)
    shuffle_batches: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=0.005, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    patience: int = Field(default=2, ge=1)
    validation_queries: int = Field(default=20_000, ge=1)
    seed: int = 1

    @model_validator(mode="after")
    def _check_loss(self) -> "RetrievalConfig":
        if self.loss == "contrastive" and not self.normalise:
            raise ValueError("loss `contrastive` compares directions: set normalise to true. Received: normalise=False")
        return self


class RankingConfig(StrictModel):
    """The DCN-v2 ranker.

    Attributes:
        embedding_dimension: size of the item ids' embeddings and of both sides' vectors.
        feature_dimension: size of every other embedding.
        user_units, item_units: width of the hidden layer of each side.
        history_pools: as for retrieval.
        cross_layers: number of cross layers.
        cross_rank: rank of a cross layer's weights.
        hidden_units: widths of the deep part.
        dropout: share of histories and hidden units dropped in training.
        sampled_negatives: items drawn from the catalogue for each impression, with label 0, so that the ranker is
            trained on what it will score: half of them uniformly, half by the square root of popularity.
        impressions_are_choices: whether users came to the impressions of their own accord, as with ratings and
            plays, rather than being shown them. What they chose is then found, liked or not.
        liking_weights, retrieval_weights: candidates for the weights, in the final logit, of the liking head and of
            the retrieval score beside the finding head; the pair with the best validation NDCG@100 is kept. They are
            fitted on rows that no model was trained on, because on its own training positives retrieval is too sure
            of itself.
        selection_queries: validation queries on which epochs and weights are compared.
        epochs, batch_size, learning_rate, patience, seed: as for retrieval; patience counts validation NDCG@100.
    """

    embedding_dimension: int = Field(default=32, ge=2)
    feature_dimension: int = Field(default=8, ge=1)
    user_units: int = Field(default=96, ge=1)
    item_units: int = Field(default=64, ge=1)
    history_pools: int = Field(default=4, ge=1)
    cross_layers: int = Field(default=2, ge=1)
    cross_rank: int = Field(default=32, ge=1)
    hidden_units: tuple[int, ...] = (64, 32)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    sampled_negatives: int = Field(default=4, ge=0)
    impressions_are_choices: bool = False
    liking_weights: tuple[float, ...] = Field(default=(0.0, 0.5, 1.0), min_length=1)
    retrieval_weights: tuple[float, ...] = Field(default=(0.0, 0.25, 0.5, 0.75, 1.0, 1.5), min_length=1)
    selection_queries: int = Field(default=2000, ge=1)
    epochs: int = Field(default=4, ge=1)
    batch_size: int = Field(default=512, ge=2)
    learning_rate: float = Field(default=0.003, gt=0)
    patience: int = Field(default=2, ge=1)
    seed: int = 1
