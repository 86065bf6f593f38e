"""Training of the ranker."""

from dataclasses import dataclass

import tensorflow as tf

from feature_repo.spec import FeatureSpec
from trainer.calibration import Calibration, fit_calibration, fit_platt
from trainer.catalogue import Catalogue
from trainer.config import RankingConfig
from trainer.engagements import Engagements
from trainer.examples import ExampleFile
from trainer.feed import Feed, count_items, learn_preprocessing
from trainer.impressions import ImpressionLists
from trainer.inputs import Preprocessing
from trainer.item_similarity import ItemSimilarity, learn_similarity
from trainer.metrics import area_under_roc, mean_user_area_under_roc
from trainer.negatives import RetrievedNegatives
from trainer.network_training import train_network
from trainer.rankers.boosted_trees import BoostedTreesRanker
from trainer.rankers.interface import Ranker
from trainer.rankers.making import make_ranker
from trainer.rankers.neural import NeuralRanker
from trainer.scoring import Towers
from trainer.selection import Selection, Weights
from trainer.tree_training import train_trees
from trainer.warm_start import Parent, extend


@dataclass(frozen=True)
class RankingModel:
    """A trained ranker.

    Attributes:
        preprocessing: of its inputs.
        network: gives the logits of finding and liking.
        similarity: how items go together; None where there is no history to hold candidates against.
        weights: of the final logit, by which candidates are ordered; chosen on validation queries.
        score_calibration: of the final logit, fitted on validation impressions.
        liking_calibration: of the liking head alone, fitted on the same.
        validation_ndcg: NDCG@100 on the validation queries with those weights.
        validation_auc, validation_user_auc: of the liking head on the validation impressions, over all of them and
            the mean of each user's own.
    """

    preprocessing: Preprocessing
    network: Ranker
    similarity: ItemSimilarity | None
    weights: Weights
    score_calibration: Calibration
    liking_calibration: Calibration
    validation_ndcg: float
    validation_auc: float
    validation_user_auc: float


def train_ranking(
    spec: FeatureSpec,
    config: RankingConfig,
    train: ExampleFile,
    validation: ExampleFile,
    catalogue: Catalogue,
    towers: Towers,
    parent: Parent | None = None,
) -> RankingModel:
    """Trains the ranker on impressions and sampled items.

    Args:
        spec: the feature spec.
        config: section `ranking`.
        train: training rows.
        validation: rows on which the epoch, the retrieval score's weight and the calibration are chosen.
        catalogue: items with the features that ranking or retrieval takes.
        towers: the exported retrieval model.
        parent: whose weights training starts from; trees are always grown anew.

    Raises:
        ConfigError: if the parent is of another configuration.
    """
    tf.keras.utils.set_random_seed(config.seed)
    preprocessing = learn_preprocessing(spec, "ranking", train)
    if parent is not None:
        preprocessing = extend(preprocessing, parent)
    network = make_ranker(spec, preprocessing, config)
    counts = count_items(train, catalogue, positives_only=False)
    engagements = Engagements.read((train.path,), catalogue.item_ids)
    drawing = config.sampled_negatives
    retrieved = None
    read = [*network.query_features, *catalogue.dynamic_among(network.item_features)]
    if drawing.number and drawing.from_retrieval:
        retrieved = RetrievedNegatives(spec, catalogue, towers, engagements, drawing.retrieval_depth)
        read += spec.request_inputs("retrieval")
    lists = ImpressionLists(spec, config, preprocessing, network, catalogue, counts, engagements, retrieved)
    rows = train.with_features(read)
    # Where impressions are shown, not chosen, only what became of them says what goes together.
    chosen = engagements
    if not config.impressions_are_choices:
        chosen = Engagements.read((train.path,), catalogue.item_ids, positives_only=True)
    similarity = learn_similarity(network.query_features, preprocessing, catalogue, chosen, config.similarity)
    selection = Selection(spec, config, preprocessing, network, train, validation, catalogue, towers, similarity)
    if isinstance(network, BoostedTreesRanker):
        train_trees(network, config, lists, rows)
    elif isinstance(network, NeuralRanker):
        batch_size = min(config.batch_size, int(counts.sum()))
        train_network(network, config, lists, Feed(rows, lists.prepare), batch_size, selection, parent)
    weights, ndcg = selection.best_weights()
    parts = selection.impression_logits()
    labels = selection.impression_labels
    return RankingModel(
        preprocessing,
        network,
        similarity,
        weights,
        score_calibration=fit_platt(weights.combine(*parts), labels),
        liking_calibration=fit_calibration(config.calibration, parts[1], labels),
        validation_ndcg=ndcg,
        validation_auc=area_under_roc(labels, parts[1]),
        validation_user_auc=mean_user_area_under_roc(labels, parts[1], selection.impression_users),
    )
