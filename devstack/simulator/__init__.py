"""A simulator of the brokerage's event push, by its public protocol. It is not the brokerage.

From the brokerage's documents: the gRPC service and its messages, the signed metadata, the event shapes and status
values, replay after a position.

Assumed, because no public document says it (each place in the code says so again): which end of the log a subscription
without a position starts at, the ping period, the stream's lifetime, what follows an AuthError, NumOfConnExceed or
SubscribeExpired message, the status of an unknown position, the connection limit, the clock window, how often which
event happens.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before grpc is imported: it writes raw lines to stderr
