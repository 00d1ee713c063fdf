"""`python -m training` is `petitions-train`."""

from training.cli import main

main()
