"""`python -m deeplearn` is the command `deeplearn`."""

import sys

from deeplearn.cli import main

sys.exit(main())
