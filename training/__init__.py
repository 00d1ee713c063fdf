"""Making the encoder and the petition models. Needs the `train` extra; serving never imports this package."""
