"""``python -m mriprep``."""

import sys

from mriprep.cli import main

if __name__ == '__main__':
    sys.exit(main())
