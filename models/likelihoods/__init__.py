"""Distributions of the uint8 pixels given the codes; what the decoder's output stands for."""

from __future__ import annotations

from models.config import DecoderConfig
from models.likelihoods.categorical import CategoricalLikelihood
from models.likelihoods.gaussian import GaussianLikelihood
from models.likelihoods.likelihood import Likelihood
from models.likelihoods.logistic_mixture import LogisticMixtureLikelihood


def build_likelihood(config: DecoderConfig, channels: int, data_variance: float) -> Likelihood:
    """The likelihood that a configuration names.

    Args:
        config: kind and sizes.
        channels: C of the images.
        data_variance: variance of pixel / 255 over the training images.
    """
    match config.likelihood:
        case "gaussian":
            return GaussianLikelihood(data_variance, channels)
        case "categorical":
            return CategoricalLikelihood(channels)
        case "logistic_mixture":
            return LogisticMixtureLikelihood(channels, config.mixture_components)
