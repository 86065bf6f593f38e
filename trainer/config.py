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
            the batch they are everyone's negatives. They push down what is never liked: good for recall, bad for
            items that are new.
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
    item_id_dropout: float = Field(default=0.05, ge=0, lt=1)
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


class SampledNegatives(StrictModel):
    """Items with label 0 that are put beside each impression, so that the ranker is trained on what it will score.

    Attributes:
        number: for each impression.
        from_retrieval: share of them drawn from what retrieval would hand on for that request at that time. Of the
            rest, half are drawn from the catalogue uniformly and half by the square root of popularity.
        retrieval_depth: how many of the best retrieved are drawn from.
    """

    number: int = Field(default=4, ge=0)
    from_retrieval: float = Field(default=0.25, ge=0, le=1)
    retrieval_depth: int = Field(default=200, ge=1)


class BoostedTreesConfig(StrictModel):
    """Gradient-boosted trees (LightGBM), one model for finding and one for liking.

    Attributes:
        objective: of the finding model: `binary`, or `lambdarank` over each impression and its sampled items.
        trees: most trees a model; fewer where validation log loss rises before.
        learning_rate, leaves, depth: of the trees.
        rows_in_leaf: fewest rows of a leaf.
        feature_share: of the columns that a tree may ask for.
        largest_vocabulary: categorical features with more values are left out: a tree that splits on ids learns
            their training rows by heart.
        most_rows: impressions that the trees are trained on; a sample where there are more.
    """

    objective: Literal["binary", "lambdarank"] = "binary"
    trees: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    leaves: int = Field(default=15, ge=2)
    depth: int = Field(default=6, ge=1)
    rows_in_leaf: int = Field(default=100, ge=1)
    feature_share: float = Field(default=0.5, gt=0, le=1)
    largest_vocabulary: int = Field(default=64, ge=2)
    most_rows: int = Field(default=500_000, ge=1)


class SimilarityConfig(StrictModel):
    """How items go together, learned in closed form from who engaged with what.

    Attributes:
        items: how many items, the most engaged with, it knows; memory and release grow with its square. 0 for none.
        regularisation: of the linear model; more forgets rare items.
        decay: factor of each older engagement of the user.
    """

    items: int = Field(default=4000, ge=0, le=20_000)
    regularisation: float = Field(default=500.0, gt=0)
    decay: float = Field(default=0.85, gt=0, le=1)


class RankingConfig(StrictModel):
    """The ranker.

    Attributes:
        model: `dcn_v2`, `dlrm` or `boosted_trees`.
        embedding_dimension: size of the item ids' embeddings and of both sides' vectors.
        feature_dimension: size of every other embedding (with `dlrm` all are of `embedding_dimension`).
        user_units, item_units: width of the hidden layer of each side.
        history_pools: as for retrieval.
        target_attention: whether candidates are held against the entries of the histories, liked or not.
        history_matches: whether it counts that the candidate itself is in a history.
        taste_matches: whether shares of a user's likes by an attribute are held against the candidate's values of it.
        cross_layers: number of cross layers.
        cross_rank: rank of a cross layer's weights; null for full ones.
        structure: `stacked`, the deep part reads what the cross layers make, or `parallel`, beside them.
        hidden_units: widths of the deep part.
        liking_units: widths of the hidden layers of the liking head's own network.
        dropout: share of histories and hidden units dropped in training.
        loss: of the finding head, over each impression and its sampled items: `pointwise` (binary cross-entropy),
            `pairwise` (RankNet) or `listwise` (softmax cross-entropy). The liking head is always trained by binary
            cross-entropy, because its probabilities are calibrated.
        within_users: weight, in the liking head's loss, of a pairwise loss over the impressions of one user in a
            batch; it raises per-user AUC at some cost in what tells users apart.
        sampled_negatives: items drawn for each impression.
        impressions_are_choices: whether users came to the impressions of their own accord, as with ratings and
            plays, rather than being shown them. What they chose is then found, liked or not.
        similarity: how items go together.
        liking_weights, retrieval_weights, similarity_weights: candidates for the weights, in the final logit, of the
            liking head, of the retrieval score and of the similarity to the user's history beside the finding head;
            those with the best validation NDCG@100 are kept. They are fitted on rows that no model was trained on,
            because on its own training positives each is too sure of itself.
        calibration: of `probability`: `platt` or `isotonic`. `score` is always scaled by Platt.
        selection_queries: validation queries on which epochs and weights are compared.
        boosted_trees: of that model.
        epochs, batch_size, learning_rate, patience, seed: as for retrieval; patience counts validation NDCG@100.
        liking_epochs: most further epochs of the liking head alone; their patience counts the mean of its AUC and its
            per-user AUC on the validation impressions.
        liking_learning_rate: of Adam in those.
    """

    model: Literal["dcn_v2", "dlrm", "boosted_trees"] = "dcn_v2"
    embedding_dimension: int = Field(default=32, ge=2)
    feature_dimension: int = Field(default=8, ge=1)
    user_units: int = Field(default=96, ge=1)
    item_units: int = Field(default=64, ge=1)
    history_pools: int = Field(default=4, ge=1)
    target_attention: bool = True
    history_matches: bool = True
    taste_matches: bool = True
    cross_layers: int = Field(default=2, ge=1)
    cross_rank: int | None = Field(default=32, ge=1)
    structure: Literal["stacked", "parallel"] = "stacked"
    hidden_units: tuple[int, ...] = Field(default=(64, 32), min_length=1)
    liking_units: tuple[int, ...] = (32,)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    loss: Literal["pointwise", "pairwise", "listwise"] = "pointwise"
    within_users: float = Field(default=2.0, ge=0)
    sampled_negatives: SampledNegatives = SampledNegatives()
    impressions_are_choices: bool = False
    liking_weights: tuple[float, ...] = Field(default=(0.0, 0.5, 1.0), min_length=1)
    retrieval_weights: tuple[float, ...] = Field(default=(0.0, 0.25, 0.5, 0.75, 1.0, 1.5), min_length=1)
    similarity: SimilarityConfig = SimilarityConfig()
    similarity_weights: tuple[float, ...] = Field(default=(0.0, 8.0, 16.0, 32.0), min_length=1)
    calibration: Literal["platt", "isotonic"] = "platt"
    selection_queries: int = Field(default=2000, ge=1)
    boosted_trees: BoostedTreesConfig = BoostedTreesConfig()
    epochs: int = Field(default=4, ge=1)
    liking_epochs: int = Field(default=2, ge=0)
    liking_learning_rate: float = Field(default=0.001, gt=0)
    batch_size: int = Field(default=512, ge=2)
    learning_rate: float = Field(default=0.003, gt=0)
    patience: int = Field(default=2, ge=1)
    seed: int = 1
