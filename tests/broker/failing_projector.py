"""A projector whose rules fail at one event: `python failing_projector.py EVENT_ID projector --instance-id ID`."""

import sys
from typing import Any

from broker_events.processors import fold
from broker_events.processors.rules import PROJECTIONS

event_id = sys.argv.pop(1)


def failing(apply: Any) -> Any:  # the rules of any state
    def apply_or_fail(state: Any, event: Any, *rest: Any) -> Any:
        if event["event_id"] == event_id:
            raise KeyError("a typo in the last deploy")
        return apply(state, event, *rest)

    return apply_or_fail


fold.PROJECTIONS = {  # type: ignore[attr-defined]
    biz_type: projection._replace(apply=failing(projection.apply)) for biz_type, projection in PROJECTIONS.items()
}

from broker_events.cli.main import main  # noqa: E402 (only now)

main()
