"""`python -m moiety.runtime.cli`: the same as the command `moiety`."""

from moiety.runtime.cli.app import main

main()
