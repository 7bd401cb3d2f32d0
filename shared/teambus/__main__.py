"""`python -P -m teambus` is the `teambus` command."""

import sys

from teambus.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
