"""Sources of events: the brokerage's push and files."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before any module imports grpc, which writes raw lines to stderr
