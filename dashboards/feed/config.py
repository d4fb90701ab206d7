"""Settings of the feed: the table ``[feed]`` of ``dashboards.toml``."""

from typing import Annotated

import msgspec
from msgspec import Meta

from dashboards.feed.access import Rate
from dashboards.feed.disclosure import K_DEFAULT
from dashboards.feed.state import Rules


class FeedConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Paths are relative to the file. Nothing here is a secret: keys lie hashed in ``keys``, tokens live in memory."""

    keys: Annotated[str, Meta(min_length=1, description="file that `python -m dashboards keys add` writes")]
    audit: Annotated[str, Meta(min_length=1, description="folder for the log of who pulled what")] = "audit"
    figures: Annotated[str, Meta(min_length=1, description="folder of published figures")] = "figures"
    orders: Annotated[str | None, Meta(description="CSV of orders with their legs; none = no order labels")] = None
    company: Annotated[str, Meta(min_length=1, description="name of the data owner in PACT footprints")] = "fleetco2"
    company_ids: Annotated[tuple[str, ...], Meta(min_length=1, description="URNs of the data owner")] = (
        "urn:fleetco2:operator",
    )
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$", description="ISO 3166 country of the operations")] = "DE"
    k: Annotated[int, Meta(ge=1, le=1_000, description="fewest vehicles behind a figure that is shown")] = K_DEFAULT
    rules: Rules = Rules()
    rate: Rate = Rate()
    token_s: Annotated[int, Meta(ge=60, le=3_600, description="how long an access token lasts")] = 900
    streams: Annotated[int, Meta(ge=1, le=10_000, description="live streams at once")] = 1_000
    streams_per_key: Annotated[int, Meta(ge=1, le=10_000, description="live streams of one key at once")] = 20
    header_s: Annotated[float, Meta(gt=0, le=120, description="how long a client may take to send a request")] = 15.0
    connections: Annotated[int, Meta(ge=1, le=20_000, description="connections at once")] = 2_000
