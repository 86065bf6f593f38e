"""Metrics of retrieval, ranking and lists, vectorised, and their bootstrap over users."""

from trainer.metrics.bootstrap import Estimate, Interval, UserBootstrap, bootstrap_interval
from trainer.metrics.classification import (
    CalibrationBin,
    area_under_roc,
    calibration_bins,
    expected_calibration_error,
    log_loss,
    log_losses,
    mean_user_area_under_roc,
    roc_areas_by_weight,
    user_areas_under_roc,
)
from trainer.metrics.lists import catalogue_coverage, gini, intra_list_diversity, mean_of_list, self_information
from trainer.metrics.ranking import (
    average_precision_at_k,
    hit_rate_at_k,
    ndcg_at_k,
    ranks_of_relevant,
    ranks_of_targets,
    recall_at_k,
    reciprocal_rank_at_k,
)

__all__ = [
    "CalibrationBin",
    "Estimate",
    "Interval",
    "UserBootstrap",
    "area_under_roc",
    "average_precision_at_k",
    "bootstrap_interval",
    "calibration_bins",
    "catalogue_coverage",
    "expected_calibration_error",
    "gini",
    "hit_rate_at_k",
    "intra_list_diversity",
    "log_loss",
    "log_losses",
    "mean_of_list",
    "mean_user_area_under_roc",
    "ndcg_at_k",
    "ranks_of_relevant",
    "ranks_of_targets",
    "recall_at_k",
    "reciprocal_rank_at_k",
    "roc_areas_by_weight",
    "self_information",
    "user_areas_under_roc",
]
