"""`python -m datumaro_embed.cli`."""

import sys

from . import main

sys.exit(main())
