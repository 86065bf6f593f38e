"""The ranker that a config names."""

from feature_repo.spec import FeatureSpec
from trainer.config import RankingConfig
from trainer.inputs import Preprocessing
from trainer.rankers.boosted_trees import BoostedTreesRanker
from trainer.rankers.dcn import DeepCrossRanker
from trainer.rankers.dlrm import DotInteractionRanker
from trainer.rankers.interface import Ranker

RANKERS: dict[str, type[Ranker]] = {
    "dcn_v2": DeepCrossRanker,
    "dlrm": DotInteractionRanker,
    "boosted_trees": BoostedTreesRanker,
}


def make_ranker(spec: FeatureSpec, preprocessing: Preprocessing, config: RankingConfig) -> Ranker:
    """An untrained ranker.

    Args:
        spec: the feature spec.
        preprocessing: of the inputs of ranking.
        config: section `ranking`.
    """
    return RANKERS[config.model](spec.request_inputs("ranking"), spec.inputs("item", "ranking"), preprocessing, config)
