"""`python -m moiety.runtime.cli`: the same as the command `moiety`."""

from moiety.runtime.cli.start import main

main()
