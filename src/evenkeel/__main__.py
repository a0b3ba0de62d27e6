"""`python -m evenkeel` is the `evenkeel` command."""

from evenkeel.cli.main import main

main()
